"""Do streams of CompressAI's models decode to the same latents under other kernels? In floats, and in their exact form.

Crops are encoded once; processes with other settings of torch decode them: no oneDNN, an older instruction set, one
thread. All of them load the same stored weights. A crop is wrong if a latent is off by more than a quarter of a step;
last bits of means may differ in floats.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.errors import InvalidInput
from tadan.pictures.folder import open_rgb

CROP = 256
CALIBRATION = 4  # crops that the ranges of activations are taken from
#: Ways of decoding: settings of the environment, and of torch by the process itself.
WAYS: dict[str, tuple[dict[str, str], bool]] = {
    "as encoded": ({}, True),
    "one thread": ({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}, True),
    "without oneDNN": ({}, False),
    "SSE4.1 only": ({"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}, True),
}
FORMS = ("floats", "exact")


@dataclass(frozen=True)
class ExactRow:
    """Crops that one way of decoding gets wrong.

    Attributes:
        way: key of :data:`WAYS`.
        crops: number of them.
        floats: wrong ones, or an error, with the model's own streams.
        exact: the same in the exact form.
        float_bytes: of all crops.
        exact_bytes: the same in the exact form.
    """

    way: str
    crops: int
    floats: int
    exact: int
    float_bytes: int
    exact_bytes: int


def crops_of(pictures: Sequence[Path], count: int) -> list[NDArray[np.uint8]]:
    """``count`` crops of 256 x 256, equally many of each picture, along its diagonals.

    Raises:
        InvalidInput: there are too few pictures of that size.
    """
    each = -(-count // max(1, len(pictures)))
    found: list[NDArray[np.uint8]] = []
    for path in pictures:
        rgb = np.asarray(open_rgb(path))
        rows, cols = rgb.shape[0] - CROP, rgb.shape[1] - CROP
        if min(rows, cols) >= 0:
            for i in range(each):
                top, left = (round(side * (i + 0.5) / each) for side in (rows, cols))
                found.append(rgb[top : top + CROP, left : left + CROP])
    if len(found) < count:
        raise InvalidInput(f"only {len(found)} crops of {CROP} pixels a side; give more or larger pictures")
    return found[:count]


def check_exact(pictures: Sequence[Path], kind: str, context: str, channels: int, crops: int) -> Iterator[ExactRow]:
    """Encode crops with a model of random weights, decode them in every way.

    Args:
        pictures: to take crops of.
        kind: key of :data:`tadan_lab.frameworks.speed.MODELS`.
        context: one of its contexts that is ours.
        channels: N of the model.
        crops: how many.

    Raises:
        InvalidInput: a process failed, or what is asked for does not exist.
    """
    import torch

    from tadan.interop.compressai.exact import make_exact
    from tadan_lab.frameworks.speed import CONTEXTS, MODELS, build

    if context not in MODELS.get(kind, ()) or CONTEXTS[context][1] is None:
        raise InvalidInput(
            f"{kind} has no context {context!r} of ours; choose from: {'; '.join(MODELS.get(kind, MODELS))}"
        )
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        folder, model = Path(name), build(kind, context, channels)
        _spread_scales(model)
        batches = [_tensor(crop) for crop in crops_of(pictures, crops)]
        exact = make_exact(model, batches[:CALIBRATION])
        torch.save(model.state_dict(), folder / "model.pth")
        exact.entropy.save(folder / "exact.safetensors")
        sizes = dict.fromkeys(FORMS, 0)
        for number, x in enumerate(batches):
            for form, coder in zip(FORMS, (model, exact), strict=True):
                coded = coder.compress(x)
                sizes[form] += sum(len(one) for streams in coded["strings"] for one in streams)
                shape = json.dumps(coded["shape"])
                np.save(folder / f"{form}-{number}.npy", coded["y_hat"].numpy())
                (folder / f"{form}-{number}.json").write_text(shape)
                for place, streams in enumerate(coded["strings"]):
                    (folder / f"{form}-{number}-{place}.bin").write_bytes(streams[0])
        for way in WAYS:
            wrong = _decoded(folder, way, kind, context, channels, crops)
            yield ExactRow(way, crops, wrong["floats"], wrong["exact"], sizes["floats"], sizes["exact"])


def _spread_scales(model: Any) -> None:
    """Let predicted standard deviations differ as those of trained models do, from 0.2 to 20 steps."""
    import torch

    from tadan.interop.compressai import MultistageLatentCodec

    generator = torch.Generator().manual_seed(0)
    for codec in model.modules():
        if isinstance(codec, MultistageLatentCodec):
            last: Any = codec.entropy_parameters[-1]  # type: ignore[index]
            m = last.out_channels // 2
            exponents = torch.rand(m, generator=generator) * 2
            last.bias[:m] = 0.2 * 10**exponents
            last.weight[:m] *= 3 * last.bias[:m, None, None, None]


def _tensor(crop: NDArray[np.uint8]) -> Any:
    import torch

    return torch.tensor(crop).permute(2, 0, 1)[None] / 255


def _decoded(folder: Path, way: str, kind: str, context: str, channels: int, crops: int) -> dict[str, int]:
    command = [sys.executable, "-m", "tadan_lab.frameworks.exactness", str(folder), way, kind, context]
    done = subprocess.run(
        [*command, str(channels), str(crops)], env={**os.environ, **WAYS[way][0]}, capture_output=True, text=True
    )
    if done.returncode:
        raise InvalidInput(f"decoding {way} failed: {done.stderr.strip()[-500:]}")
    wrong: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return wrong


def decode_all(folder: Path, way: str, kind: str, context: str, channels: int, crops: int) -> dict[str, int]:
    """Decode what :func:`check_exact` encoded, in this process; how many crops are wrong, by form."""
    import torch

    from tadan.interop.compressai.exact import ExactEntropy, ExactModel
    from tadan_lab.frameworks.speed import build

    torch.set_grad_enabled(False)
    model = build(kind, context, channels)
    model.load_state_dict(torch.load(folder / "model.pth", weights_only=True))
    torch.backends.mkldnn.enabled = WAYS[way][1]  # type: ignore[assignment]
    exact = ExactModel(model, ExactEntropy.load(folder / "exact.safetensors"))
    wrong = dict.fromkeys(FORMS, 0)
    for number in range(crops):
        for form, coder in zip(FORMS, (model, exact), strict=True):
            shape = json.loads((folder / f"{form}-{number}.json").read_text())
            files = sorted(folder.glob(f"{form}-{number}-*.bin"), key=lambda path: int(path.stem.split("-")[-1]))
            strings = [[path.read_bytes()] for path in files]
            expected = torch.from_numpy(np.load(folder / f"{form}-{number}.npy"))
            try:
                found = _latents(coder, strings, shape)
            except ValueError:
                wrong[form] += 1
            else:
                wrong[form] += int(((found - expected).abs() > 0.25).any())
    return wrong


def _latents(coder: Any, strings: Any, shape: Any) -> Any:
    """y_hat alone: the pixels are not looked at."""
    seen: list[Any] = []
    g_s = getattr(coder, "model", coder).g_s
    hook = g_s.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        coder.decompress(strings, shape)
    finally:
        hook.remove()
    return seen[-1]


if __name__ == "__main__":
    where, setting, model_name, context_name, width, amount = sys.argv[1:]
    print(json.dumps(decode_all(Path(where), setting, model_name, context_name, int(width), int(amount))))
