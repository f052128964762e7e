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

SIZES = ((8, 12), (16, 24), (32, 48), (64, 72))  # latents of the measured pictures, (rows, columns)
SCHEDULES = ("hyper", "balanced", "4x4-opt-16", "wavefront")
QUALITIES = (25, 60, 85)
REPEAT = 5
_USUAL = 60  # quality of what is measured once
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
    parts = {}
    for threads in thread_counts(cores):
        say(f"parts, {threads} thread{'s' * (threads > 1)}")
        measured = list(_parts(model, threads, repeat))
        parts[threads] = {
            part: fit([one for one in measured if one.part == part], amounts)
            for part, amounts in PARTS.items()
            if not part.endswith("_rest")
        }
    say("whole encodes and decodes")
    rest = _rest(model, parts[1], repeat)
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


def _parts(model: Model, threads: int, repeat: int) -> Iterator[Sample]:
    """Every part but the rests, at every size, with so many threads."""
    transforms, tune = Transforms(model, threads), model.tune
    with threadpool_limits(threads, user_api="blas"), team(threads):
        for rows, cols in SIZES:
            plane, rgb = Plane(rows, cols), photo_like(rows, cols)
            usual = get_schedule("balanced")

            def sample(
                part: str, call: Callable[[], object], schedule: str = "balanced", bits: float = 0, at: Plane = plane
            ) -> Sample:
                order = get_schedule(schedule)
                return Sample(part, part_work(part, at, model.config, order, bits), _seconds(call, repeat))

            y, z = transforms.analyse(rgb, _USUAL)
            coder = LatentCoder(model, _USUAL, usual)
            z_hat = coder.round_z(z)[1]
            hyper = coder.hyper(z_hat)
            trial = coder.price(y, z_hat, hyper)
            scene = Scene(rgb, tune=tune)
            yield sample("g_a", lambda: transforms.latents_of(rgb, _USUAL))  # noqa: B023 (called at once, as below)
            yield sample("h_a", lambda: transforms.hyper_of(y))  # noqa: B023
            yield sample("h_s", lambda: coder.hyper(z_hat))  # noqa: B023
            yield sample("weights", lambda: Scene(rgb, tune=tune).weights)  # noqa: B023
            yield sample("gradient", lambda: scene.error_gradient(transforms, trial.y_hat, _USUAL))  # noqa: B023
            yield sample("error", lambda: scene.error(transforms, trial.y_hat, _USUAL))  # noqa: B023
            yield sample("g_s", lambda: transforms.synthesise(trial.y_hat, _USUAL))  # noqa: B023

            def move() -> NDArray[np.float32]:
                slope = rate_slope(model.tables, y, trial.mean, trial.index, SYMBOL_LIMIT)  # noqa: B023
                pull = np.clip(slope + y, -1, 1) / 2 + (y - trial.y_hat / np.float32(64))  # noqa: B023
                return np.asarray(y - np.float32(0.25) * pull)  # noqa: B023

            yield sample("move", move)
            for name in SCHEDULES:
                quality_set = QUALITIES if name == "balanced" else (_USUAL,)
                for quality in quality_set:
                    one = LatentCoder(model, quality, get_schedule(name))
                    own = y if quality == _USUAL else transforms.latents_of(rgb, quality)
                    own_z = z if quality == _USUAL else transforms.hyper_of(own)
                    own_hat = one.round_z(own_z)[1]
                    priced = one.price(own, own_hat)
                    if quality == _USUAL:
                        known = one.hyper(own_hat)
                        yield sample("walk", lambda: one.price(own, own_hat, known), name)  # noqa: B023
                    payload = one.write(priced, own_z)
                    shape, bits = own.shape[:2], 8 * len(payload.words)
                    yield sample("write", lambda: one.write(priced, own_z).latents.checksum(), name, bits)  # noqa: B023
                    yield sample("read", lambda: one.decode([payload.words], shape)[0].checksum(), name, bits)  # noqa: B023


def _rest(model: Model, parts: dict[str, dict[str, float]], repeat: int) -> dict[str, dict[str, float]]:
    """Seconds of whole runs on one thread without those of the parts, by pictures."""
    empty = {rest: dict.fromkeys(PARTS[rest], 0.0) for rest in ("encode_rest", "decode_rest")}
    known = MachineProfile({}, {}, 1, {1: {**parts, **empty}}, {kind: {1: 1.0} for kind in KINDS}, {}, {}, 0.0)
    costs, codec = CostModel(known, model.config), Codec(model, threads=1)
    options = EncodeOptions(quality=_USUAL, effort=0)
    found: dict[str, list[Sample]] = {"encode_rest": [], "decode_rest": []}
    for rows, cols in SIZES:
        image = Image.fromarray(photo_like(rows, cols))
        encoded = codec.encode_picture(image, options)
        data, setting = encoded.data, Setting(quality=_USUAL, effort=0)
        bits = 8.0 * len(data)
        runs = {
            "encode_rest": (lambda: codec.encode_picture(image, options), costs.encode(setting, image.size, bits)),  # noqa: B023
            "decode_rest": (lambda: codec.decode(data), costs.decode(setting, image.size, bits)),  # noqa: B023
        }
        for name, (call, explained) in runs.items():
            work = {"each": 1.0, "mpixels": rows * cols * 256 / 1e6}
            found[name].append(Sample(name, work, max(1e-6, _seconds(call, repeat) - explained)))
    # The rest is a small difference of large numbers: sums weigh more than the smallest picture.
    return {name: _fit_plain(samples) for name, samples in found.items()}


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
    call()
    taken = []
    for _ in range(repeat):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return median(taken)
