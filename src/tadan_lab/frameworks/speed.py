"""Models of CompressAI under several contexts, its own and ours: seconds, bytes and memory on one machine.

Weights are random, the same for all codecs of a model: transforms, hyperprior, parameter networks and for each context
one 5x5 kernel, of which it has what its schedule shows. They are scaled so that latents and their predicted standard
deviations are some steps wide, as in trained models. The rate says nothing; that equal codecs give equal bytes does.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tadan.errors import InvalidInput
from tadan.launch import PEAK_UNIT
from tadan.pictures.folder import open_rgb

#: Contexts by name: schedule, and options of conversion; None stands for CompressAI's own code.
CONTEXTS: dict[str, tuple[str, dict[str, str] | None]] = {
    "CompressAI, autoregressive": ("raster", None),
    "raster, same bytes": ("raster", {}),
    "raster along diagonals": ("wavefront", {}),
    "CompressAI, checkerboard": ("checkerboard", None),
    "checkerboard, same bytes": ("checkerboard", {}),
    "checkerboard": ("checkerboard", {"compute": "gather", "streams": "joint"}),
    "2x2": ("2x2", {}),
    "4x4": ("4x4", {}),
}
#: What can be measured of each model of CompressAI.
MODELS = {
    "cheng2020-attn": tuple(CONTEXTS),
    "mbt2018": tuple(name for name in CONTEXTS if name != "CompressAI, checkerboard" and "checkerboard, " not in name),
    "elic2022": tuple(CONTEXTS)[3:],
}
Clock = Callable[[], float]
#: What seconds are: of the clock on the wall, or of processors, for machines that do other things meanwhile.
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
SPREAD = 3.0  # standard deviation of latents, in steps
SLOW = 4.0  # seconds; what takes longer is timed once


@dataclass(frozen=True)
class SpeedRow:
    """Cost of one codec on one picture, in a process of its own.

    Attributes:
        codec: key of :data:`CONTEXTS`.
        encode: median seconds of ``compress``.
        decode: of ``decompress``.
        context_encode: of the latent codec of y alone: context, parameters and entropy coding.
        context_decode: the same.
        bytes: of all streams.
        stages: that decode at least one latent.
        peak_mb: largest resident set, 10**6 bytes, with torch and CompressAI in it.
        digest: of the streams, to see which codecs write the same.
    """

    codec: str
    encode: float
    decode: float
    context_encode: float
    context_decode: float
    bytes: int
    stages: int
    peak_mb: float
    digest: str


def measure_speed(
    picture: Path, model: str, names: Sequence[str], channels: int, repeat: int, threads: int, clock: str = "wall"
) -> Iterator[SpeedRow]:
    """Measure contexts of a model one after the other.

    Args:
        picture: to code; its sides are cut to multiples of 64.
        model: key of :data:`MODELS`.
        names: keys of :data:`CONTEXTS`; none: all of the model.
        channels: N of the model; y has 192 or more.
        repeat: times that each step is timed, behind one that warms up.
        threads: of torch.
        clock: key of :data:`CLOCKS`.

    Raises:
        InvalidInput: a name is unknown, or a process failed.
    """
    if clock not in CLOCKS:
        raise InvalidInput(f"there is no clock {clock!r}; choose from: {', '.join(CLOCKS)}")
    if model not in MODELS:
        raise InvalidInput(f"there is no model {model!r}; choose from: {', '.join(MODELS)}")
    for name in names:
        if name not in MODELS[model]:
            raise InvalidInput(f"{model} has no context {name!r}; choose from: {'; '.join(MODELS[model])}")
    for name in names or MODELS[model]:
        arguments = [model, name, str(picture), clock, str(channels), str(repeat), str(threads)]
        command = [sys.executable, "-m", "tadan_lab.frameworks.speed", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise InvalidInput(f"{name} could not be measured: {done.stderr.strip()[-500:]}")
        yield SpeedRow(**json.loads(done.stdout.splitlines()[-1]))


def build(model: str, name: str, channels: int) -> Any:
    """A model with one of :data:`CONTEXTS`, for evaluation, its tables made."""
    import torch

    from tadan.interop.compressai import MultistageContext, convert
    from tadan.interop.compressai.loading import load

    load()
    from compressai.models import Cheng2020Attention, Elic2022Official, JointAutoregressiveHierarchicalPriors

    schedule, options = CONTEXTS[name]
    torch.manual_seed(0)
    source: Any
    if model == "mbt2018":
        source = JointAutoregressiveHierarchicalPriors(channels, 192)
    else:
        source = Cheng2020Attention(channels) if model == "cheng2020-attn" else Elic2022Official(channels)
    kernels = _full_kernels(source)
    _enliven(source)
    if schedule == "checkerboard" and model == "cheng2020-attn":
        source = _with_checkerboard(source, channels)
    if options is None:
        made = source
        for module, (weight, _) in zip(_masked(source), kernels, strict=True):
            module.weight.data.copy_(weight * module.mask)
    else:
        made = convert(source, schedule, **options)
        contexts = [module for module in made.modules() if isinstance(module, MultistageContext)]
        for context, (weight, bias) in zip(contexts, kernels, strict=True):
            context.load_kernel(weight, bias)
    made.eval()
    made.update()
    return made


def _masked(model: Any) -> list[Any]:
    from compressai.layers import MaskedConv2d

    return [module for module in model.modules() if isinstance(module, MaskedConv2d)]


def _full_kernels(model: Any) -> list[tuple[Any, Any]]:
    """Kernel and bias of each context, before anything is masked."""
    return [(module.weight.data.clone(), module.bias.data.clone()) for module in _masked(model)]


def _enliven(source: Any) -> None:
    """Widen latents and their predicted scales to some steps."""
    import torch
    from torch import nn

    with torch.no_grad():
        y = source.g_a(torch.rand(1, 3, 256, 256))
        first = next(module for module in source.g_s.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d))
        gain = SPREAD / y.std()
        source.g_a = nn.Sequential(*source.g_a, nn.Conv2d(y.shape[1], y.shape[1], 1, groups=y.shape[1], bias=False))
        source.g_a[-1].weight.fill_(gain)
        first.weight.div_(gain)
        networks = [module for name, module in source.named_modules() if name.endswith("entropy_parameters")]
        for network in networks:
            if isinstance(network, nn.Sequential):
                last: Any = network[-1]
                last.bias[: last.out_channels // 2] = SPREAD


def _with_checkerboard(source: Any, channels: int) -> Any:
    """The parts of an autoregressive Cheng2020 in CompressAI's model with a checkerboard."""
    from compressai.models.sensetime import Cheng2020AnchorCheckerboard

    made = Cheng2020AnchorCheckerboard(channels)
    made.g_a, made.g_s = source.g_a, source.g_s
    hyper, y_codec = made.latent_codec.hyper, made.latent_codec.y
    hyper.h_a, hyper.h_s, hyper.entropy_bottleneck = source.h_a, source.h_s, source.entropy_bottleneck
    y_codec.entropy_parameters.load_state_dict(source.entropy_parameters.state_dict())
    convolution = y_codec.context_prediction
    convolution.bias.data.copy_(source.context_prediction.bias)
    return made


def measure_one(
    model_name: str, name: str, picture: Path, clock: str, channels: int, repeat: int, threads: int
) -> SpeedRow:
    """Measure one codec in this process; arguments as of :func:`measure_speed`."""
    import hashlib

    import torch

    now = CLOCKS[clock]
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    rgb = np.asarray(open_rgb(picture))
    rgb = rgb[: rgb.shape[0] // 64 * 64, : rgb.shape[1] // 64 * 64]
    x = torch.tensor(rgb).permute(2, 0, 1)[None] / 255
    model = build(model_name, name, channels)
    encode, coded = _timed(lambda: model.compress(x), repeat, now)
    decode, _ = _timed(lambda: model.decompress(coded["strings"], coded["shape"]), repeat, now)
    context_encode, context_decode = _context(model, x, coded, repeat, now)
    data = [one for streams in coded["strings"] for one in streams]
    schedule = CONTEXTS[name][0]
    from tadan.schedule import get_schedule

    stages = get_schedule(schedule).stage_count(x.shape[2] // 16, x.shape[3] // 16)
    digest = hashlib.sha256(b"".join(data)).hexdigest()[:12]
    size = sum(map(len, data))
    return SpeedRow(name, encode, decode, context_encode, context_decode, size, stages, _peak_mb(), digest)


def _context(model: Any, x: Any, coded: Any, repeat: int, now: Clock) -> tuple[float, float]:
    """Seconds of what lies between y with its side parameters and the streams, both ways."""
    if hasattr(model, "latent_codec"):
        codec = model.latent_codec.y
        y, hyper = model.g_a(x), model.latent_codec.hyper
        side = hyper.compress(y)["params"]
        encode, out = _timed(lambda: codec.compress(y, side), repeat, now)
        decode, _ = _timed(lambda: codec.decompress(out["strings"], out["shape"], side), repeat, now)
        return encode, decode
    import torch
    from torch.nn import functional as F

    y = model.g_a(x)
    z_hat = model.entropy_bottleneck.decompress(coded["strings"][1], coded["shape"])
    side, (height, width) = model.h_s(z_hat), y.shape[-2:]
    encode, string = _timed(lambda: model._compress_ar(F.pad(y, (2, 2, 2, 2)), side, height, width, 5, 2), repeat, now)

    def back() -> None:
        y_hat = torch.zeros(1, model.M, height + 4, width + 4)
        model._decompress_ar(string, y_hat, side, height, width, 5, 2)

    return encode, _timed(back, repeat, now)[0]


def _timed(work: Callable[[], Any], repeat: int, now: Clock) -> tuple[float, Any]:
    """Median seconds, and the result; of slow work, those of the first run."""
    start = now()
    result = work()
    times = [now() - start]
    if times[0] > SLOW:
        return times[0], result
    times.clear()
    for _ in range(repeat):
        start = now()
        result = work()
        times.append(now() - start)
    return statistics.median(times), result


def _peak_mb() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_UNIT / 1e6


if __name__ == "__main__":
    kind, chosen, path, timer, *numbers = sys.argv[1:]
    print(json.dumps(asdict(measure_one(kind, chosen, Path(path), timer, *map(int, numbers)))))
