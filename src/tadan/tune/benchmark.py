"""Measuring a machine: every part of the codec at a few sizes and numbers of threads, by the functions that do it.

Coefficients are fitted to relative errors and never negative. What a whole encode or decode takes beyond its parts is
measured by whole runs on one thread. Start-up and memory come from processes of their own.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_limits

from tadan.bitstream import read_header
from tadan.codec.codec import Codec
from tadan.codec.effort import Scene
from tadan.codec.engine import PICTURE_BYTES
from tadan.codec.options import EncodeOptions
from tadan.codec.stored import as_png, as_webp, can_be_webp
from tadan.codec.transforms import Transforms
from tadan.core import kernel
from tadan.entropy import rate_slope
from tadan.latents.coder import SYMBOL_LIMIT, LatentCoder
from tadan.machine import machine_facts
from tadan.models import Model
from tadan.process import run_tadan
from tadan.schedule import get_schedule
from tadan.team import team
from tadan.tune.crowd import side_by_side
from tadan.tune.machine import KINDS, MachineProfile
from tadan.tune.predict import CostModel
from tadan.tune.setting import Setting
from tadan.tune.work import PARTS, Plane, Work, part_work

SIZES = ((8, 12), (16, 24), (32, 48), (64, 64))  # latents of the measured pictures, (rows, columns)
SCHEDULES = ("balanced", "hyper", "4x4-opt-16", "wavefront")  # the usual one first
QUALITIES = (60, 25, 85)  # likewise
REPEAT = 5
_USUAL = QUALITIES[0]  # quality of what is measured once
_PROCESS_SIZES = ((16, 16), (64, 80))
_SEED = 5
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """Seconds of one part for one amount of work."""

    part: str
    work: Work
    seconds: float


def facts_here() -> dict[str, str]:
    """What a profile of this machine is true for."""
    return {**machine_facts(), "core": kernel()}


def thread_counts(cores: int) -> list[int]:
    """Numbers of threads to measure: 1, 2, 4 and so on, and all."""
    counts = [1]
    while counts[-1] * 2 < cores:
        counts.append(counts[-1] * 2)
    return sorted({*counts, cores})


def measure_machine(
    model: Model, repeat: int = REPEAT, say: Callable[[str], None] = lambda what: None, cores: int | None = None
) -> MachineProfile:
    """Measure the machine that this runs on; about a minute on two cores.

    Args:
        model: with its encoder.
        repeat: runs of everything; medians count.
        say: told what is measured next.
        cores: to measure up to; None for all.

    Raises:
        ModelMissing: the model cannot encode.
        InvalidInput: no process could be started.
    """
    model.check_encoder()
    cores = cores or os.cpu_count() or 1
    parts: dict[int, dict[str, dict[str, float]]] = {}
    rest: dict[str, dict[str, float]] = {}
    for threads in thread_counts(cores):
        say(f"parts, {threads} thread{'s' * (threads > 1)}")
        samples = _measured(model, threads, repeat)
        if threads == 1:
            rest = _rest(samples)
        parts[threads] = {
            part: fit([one for own in samples for one in own if one.part == part], amounts)
            for part, amounts in PARTS.items()
            if part not in rest
        }
    complete = {threads: {**found, **rest} for threads, found in parts.items()}
    factors = {}
    for kind in KINDS:
        say(f"{kind} side by side")
        factors[kind] = side_by_side(kind, thread_counts(cores), photo_like(24, 32))
    say("start-up and memory")
    draft = MachineProfile(
        facts=facts_here(),
        model={"name": model.name, "id": model.id_hex},
        cores=cores,
        parts=complete,
        side_by_side=factors,
        start=dict.fromkeys(("encode", "search", "decode"), 0.0),
        memory={},
        storing=_storing(repeat),
    )
    start, memory = _processes(CostModel(draft, model.config), max(1, repeat // 2))
    return MachineProfile(**{**draft.__dict__, "start": start, "memory": memory})


def photo_like(rows: int, cols: int, seed: int = _SEED) -> Picture:
    """A picture with the statistics of photographs, amplitudes that fall with frequency; 16 pixels a position."""
    height, width = 16 * rows, 16 * cols
    rng = np.random.default_rng(seed)
    down, right = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.maximum(np.hypot(down, right), 1 / max(height, width))
    shared = rng.normal(size=(height, width))
    planes = []
    for own in (0.0, 0.25, 0.25):
        noise = shared + own * rng.normal(size=shared.shape)
        plane = np.fft.irfft2(np.fft.rfft2(noise) / frequency**1.35, s=shared.shape)
        planes.append(plane / plane.std())
    return np.clip(120 + 45 * np.stack(planes, axis=2), 0, 255).astype(np.uint8)


def fit(samples: Sequence[Sample], amounts: Sequence[str]) -> dict[str, float]:
    """Non-negative seconds for each amount, of least relative squared error; amounts that would be negative are 0."""
    table = np.array([[one.work[name] for name in amounts] for one in samples])
    seconds = np.array([one.seconds for one in samples])
    rows = table / seconds[:, None]
    used = [column for column in range(len(amounts)) if table[:, column].any()]
    found = np.zeros(len(amounts))
    while used:
        solved = np.linalg.lstsq(rows[:, used], np.ones(len(rows)), rcond=None)[0]
        if (solved >= 0).all():
            found[used] = solved
            break
        used.remove(used[int(np.argmin(solved * table[:, used].mean(axis=0)))])
    return dict(zip(amounts, map(float, found), strict=True))


@dataclass(frozen=True)
class _Call:
    """Something to time: a part at an amount of work, or a whole run (``part`` "encode" or "decode")."""

    part: str
    work: Work
    call: Callable[[], object]


def _calls(model: Model, transforms: Transforms, rows: int, cols: int) -> Iterator[_Call]:
    """Every part but the rests, for one picture."""
    plane, rgb, tune = Plane(rows, cols), photo_like(rows, cols), model.tune
    coder = LatentCoder(model, _USUAL, get_schedule("balanced"))

    def of(part: str, call: Callable[[], object], schedule: str = "balanced", bits: float = 0) -> _Call:
        return _Call(part, part_work(part, plane, model.config, get_schedule(schedule), bits), call)

    y, z = transforms.analyse(rgb, _USUAL)
    z_hat = coder.round_z(z)[1]
    hyper = coder.hyper(z_hat)
    trial = coder.price(y, z_hat, hyper)
    scene = Scene(rgb, tune=tune)
    weights = scene.weights(_USUAL)

    def move() -> NDArray[np.float32]:
        slope = rate_slope(model.tables, y, trial.mean, trial.index, SYMBOL_LIMIT)
        pull = np.clip(slope + y, -1, 1) / 2 + (y - trial.y_hat / np.float32(64))
        return np.asarray(y - np.float32(0.25) * pull)

    yield of("g_a", lambda: transforms.latents_of(rgb, _USUAL))
    yield of("h_a", lambda: transforms.hyper_of(y))
    yield of("h_s", lambda: coder.hyper(z_hat))
    yield of("weights", lambda: scene.weights(_USUAL))
    yield of("gradient", lambda: scene.error_gradient(transforms, trial.y_hat, _USUAL, weights))
    yield of("error", lambda: scene.error(transforms, trial.y_hat, _USUAL, weights))
    yield of("g_s", lambda: transforms.synthesise(trial.y_hat, _USUAL))
    yield of("move", move)
    for name in SCHEDULES:
        for quality in QUALITIES if name == "balanced" else (_USUAL,):
            own = y if quality == _USUAL else transforms.latents_of(rgb, quality)
            own_z = z if quality == _USUAL else transforms.hyper_of(own)
            one = LatentCoder(model, quality, get_schedule(name))
            for part, call, bits in _coding(one, own, own_z):
                if part != "walk" or quality == _USUAL:
                    yield of(part, call, name, bits)


def _coding(
    coder: LatentCoder, y: NDArray[np.float32], z: NDArray[np.float32]
) -> Iterator[tuple[str, Callable[[], object], float]]:
    """Parts, and the bits of them, that depend on quality and schedule."""
    z_hat = coder.round_z(z)[1]
    hyper = coder.hyper(z_hat)
    priced = coder.price(y, z_hat, hyper)
    payload = coder.write(priced, z)
    bits = 8.0 * len(payload.words)
    yield "walk", lambda: coder.price(y, z_hat, hyper), bits
    yield "write", lambda: coder.write(priced, z).latents.checksum(), bits
    yield "read", lambda: coder.decode([payload.words], y.shape[:2])[0].checksum(), bits


def _whole(model: Model, rows: int, cols: int) -> Iterator[_Call]:
    """An encode and a decode of one picture, on one thread."""
    codec, image = Codec(model, threads=1), Image.fromarray(photo_like(rows, cols))
    options, work = EncodeOptions(quality=_USUAL, effort=0), {"each": 1.0, "mpixels": rows * cols * 256 / 1e6}
    data = codec.encode(image, quality=_USUAL, effort=0)
    yield _Call("encode", work, lambda: codec.encode_picture(image, options))
    yield _Call("decode", work, lambda: codec.decode(data))


def _measured(model: Model, threads: int, repeat: int) -> list[list[Sample]]:
    """Samples of every part, and of whole runs if there is one thread: a list for each size.

    All take turns, round after round, as the pace of a machine changes while it is measured.
    """
    transforms = Transforms(model, threads)
    with threadpool_limits(threads, user_api="blas"), team(threads):
        calls = [
            [*_calls(model, transforms, rows, cols), *(_whole(model, rows, cols) if threads == 1 else ())]
            for rows, cols in SIZES
        ]
        seconds = iter(_in_turn([one.call for own in calls for one in own], repeat))
    return [[Sample(one.part, one.work, next(seconds)) for one in own] for own in calls]


def _rest(samples: Sequence[Sequence[Sample]]) -> dict[str, dict[str, float]]:
    """Of whole runs on one thread what is beyond their parts, from samples of the same rounds, one list a size."""
    found: dict[str, list[Sample]] = {"encode_rest": [], "decode_rest": []}
    for own in samples:
        usual = {one.part: one for one in reversed(own)}  # the first of each part, under the usual settings
        for whole, parts in (("encode", ("g_a", "h_a", "h_s", "walk", "write")), ("decode", ("read", "g_s"))):
            rest = usual[whole].seconds - sum(usual[part].seconds for part in parts)
            found[f"{whole}_rest"].append(Sample(f"{whole}_rest", usual[whole].work, max(1e-6, rest)))
    # The rest is a small difference of large numbers: sums weigh more than the smallest picture.
    return {name: _fit_plain(of) for name, of in found.items()}


def _fit_plain(samples: Sequence[Sample]) -> dict[str, float]:
    pixels = np.array([one.work["mpixels"] for one in samples])
    weights = 1 / np.sqrt(pixels)
    rows = np.stack([np.ones_like(pixels), pixels], axis=1) * weights[:, None]
    seconds = np.array([one.seconds for one in samples]) * weights
    each, per_pixel = np.linalg.lstsq(rows, seconds, rcond=None)[0]
    if each < 0 or per_pixel < 0:
        column = 0 if per_pixel < 0 else 1
        only = max(0.0, float(rows[:, column] @ seconds / (rows[:, column] @ rows[:, column])))
        each, per_pixel = (only, 0.0) if column == 0 else (0.0, only)
    return {"each": float(each), "mpixels": float(per_pixel)}


def _storing(repeat: int) -> float:
    """Seconds for a megapixel as PNG and WebP, of a picture of both flat and busy parts."""
    pixels = photo_like(24, 32)
    pixels[: len(pixels) // 2] = 230
    pixels[40:60:3, ::7] = 20

    def store() -> None:
        as_png(pixels)
        if can_be_webp(pixels):
            as_webp(pixels)

    return _seconds(store, repeat) * 1e6 / (pixels.shape[0] * pixels.shape[1])


def _processes(costs: CostModel, repeat: int) -> tuple[dict[str, float], dict[str, float]]:
    """Start-up seconds and memory of commands of their own."""
    start: dict[str, list[float]] = {}
    peaks: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for rows, cols in _PROCESS_SIZES:
            source, coded, back = (Path(folder) / name for name in ("a.ppm", "a.tdn", "b.ppm"))
            image = Image.fromarray(photo_like(rows, cols))
            image.save(source)
            for verb, effort in (("search", 1), ("encode", 0), ("decode", 0)):
                line = ["encode", source, coded, "-e", effort, "-f", "-Q", "--threads", 1]
                if verb == "decode":
                    line = ["decode", coded, back, "-f", "-Q", "--threads", 1]
                runs = [run_tadan([str(word) for word in line]) for _ in range(repeat)]
                data = coded.read_bytes()
                setting = Setting(quality=read_header(data).quality, effort=effort)
                predict = costs.decode if verb == "decode" else costs.encode
                taken = median(run.seconds for run in runs) - predict(setting, image.size, 8.0 * len(data))
                start.setdefault(verb, []).append(max(0.0, taken))
                known = [run.peak_bytes for run in runs if run.peak_bytes is not None]
                if known:
                    peaks.setdefault(verb, []).append((image.width * image.height, median(known)))
    return {verb: min(found) for verb, found in start.items()}, _memory(peaks)


def _memory(peaks: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
    """Bytes a pixel by verb and those of no picture; where they cannot be measured, what the encoder plans with."""
    from tadan.codec.engine import DECODE_BYTES, ENCODE_BYTES, SEARCH_BYTES
    from tadan.codec.parallel import BASE_BYTES

    if not peaks:
        return {"base": BASE_BYTES, "encode": ENCODE_BYTES, "search": SEARCH_BYTES, "decode": DECODE_BYTES}
    slopes = {}
    for verb, ((small, low), (large, high)) in peaks.items():
        slopes[verb] = max(1.0, (high - low) / (large - small) - PICTURE_BYTES)
    base = max(low - (slopes[verb] + PICTURE_BYTES) * small for verb, ((small, low), _) in peaks.items())
    return {"base": max(0.0, base), **slopes}


def _seconds(call: Callable[[], object], repeat: int) -> float:
    """Median seconds of a call, the first one left out."""
    return _in_turn([call], repeat)[0]


def _in_turn(calls: Sequence[Callable[[], object]], repeat: int) -> list[float]:
    """Median seconds of calls that take turns, the first round left out."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(1 + repeat):
        for call, seconds in zip(calls, taken, strict=True):
            begun = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begun)
    return [median(seconds[1:]) for seconds in taken]
