"""What the study compares: schedules by name, their seeds and batches, and the real codec under them.

Of the codec: bytes, PSNR and decode times of the model as it is installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from tadan.codec.codec import Codec
from tadan.errors import InvalidInput
from tadan.pictures.folder import open_rgb
from tadan.schedule import PatternSchedule, Schedule, get_schedule
from tadan_lab.measure.bench import measure_speed
from tadan_lab.measure.metrics import psnr

QUALITIES = (10, 34, 56)  # about 0.15, 0.4 and 0.9 bits per pixel on Kodak with the bundled model
CODED = "4x4-opt-4"  # under which channel groups are compared in streams
SEEDS = (1, 2, 3)
REPEATED = ("checkerboard", "2x2", "4x4-optimised", "raster")  # trained once per seed of SEEDS, the others once
RANDOM_ORDERS = ("4x4-random-1", "4x4-random-2", "4x4-random-3")

_SPIRAL = [[0, 1, 2, 3], [11, 12, 13, 4], [10, 15, 14, 5], [9, 8, 7, 6]]  # from a corner inwards
_HILBERT = [[0, 1, 14, 15], [3, 2, 13, 12], [4, 7, 8, 11], [5, 6, 9, 10]]


def random_order(size: int, seed: int) -> PatternSchedule:
    """Full order of a ``size`` x ``size`` patch, drawn from ``seed``."""
    order = np.random.default_rng((size, seed)).permutation(size * size)
    return PatternSchedule(order.reshape(size, size), name=f"{size}x{size}-random-{seed}")


def listed() -> dict[str, Schedule]:
    """Schedules that need no measurement, by their names in the study; scans stand for raster and wavefront alike."""
    names = ("hyper", "checkerboard", "2x2-raster", "2x2", "3x3-raster", "3x3", "4x4-raster", "4x4-8", "2x2-rotated")
    schedules = {name: get_schedule(name) for name in names}
    schedules |= {f"4x4-random-{seed}": random_order(4, seed) for seed in SEEDS}
    schedules["4x4-spiral"] = PatternSchedule(_SPIRAL, name="4x4-spiral")
    schedules["4x4-hilbert"] = PatternSchedule(_HILBERT, name="4x4-hilbert")
    schedules["4x4-published"] = get_schedule("4x4")
    schedules["raster"] = get_schedule("raster")
    return schedules


@dataclass(frozen=True)
class Entry:
    """One specialised network to train."""

    name: str
    schedule: Schedule
    seed: int

    @property
    def key(self) -> str:
        """Name of its files."""
        return f"{self.name}-s{self.seed}"


def entries(schedules: Mapping[str, Schedule], seeds: int = len(SEEDS), only: Sequence[str] = ()) -> list[Entry]:
    """Specialised networks of the study, first seeds first, so that a run cut short has compared everything once.

    Args:
        schedules: all that could be trained, by name.
        seeds: how often :data:`REPEATED` schedules are trained.
        only: names to keep; empty for all.

    Raises:
        InvalidInput: a name of ``only`` is none of the schedules.
    """
    unknown = sorted({*only} - {*schedules})
    if unknown:
        raise InvalidInput(f"the study has no schedule {unknown[0]!r}; choose from: {', '.join(schedules)}")
    return [
        Entry(name, schedule, seed)
        for seed in SEEDS[:seeds]
        for name, schedule in schedules.items()
        if (seed == SEEDS[0] or name in REPEATED) and (not only or name in only)
    ]


def draw(rng: np.random.Generator, groups: Sequence[int] = (1, 4)) -> Schedule:
    """Schedule of a batch for an any-schedule network; ``groups``: numbers of channel groups that it can follow.

    No order of a patch is preferred: half of the draws are full orders of 2x2, 3x3 or 4x4 patches, all equally
    likely; a quarter lets positions share stages; the rest are what no pattern of a patch covers.
    """
    while (schedule := _drawn(rng)).groups not in groups:
        pass
    return schedule


def _drawn(rng: np.random.Generator) -> Schedule:
    kinds = ("order", "stages", "raster", "checkerboard", "hyper", "2x2-rotated")
    kind = rng.choice(kinds, p=(0.5, 0.25, 0.09, 0.06, 0.04, 0.06))
    if kind not in ("order", "stages"):
        return get_schedule(str(kind))
    size = int(rng.choice((2, 3, 4), p=(0.2, 0.2, 0.6)))
    cells = size * size
    stages = cells if kind == "order" else int(rng.integers(2, cells))
    pattern = np.concatenate([np.arange(stages), rng.integers(stages, size=cells - stages)])
    return PatternSchedule(rng.permutation(pattern).reshape(size, size))


LISTED = ("hyper", "checkerboard", "2x2", "3x3", "4x4", "wavefront")
TIMED = (*LISTED, "raster")
STAGES = (2, 3, 4, 8, 16)  # of the best 4x4 schedules that are compared with the listed ones in bytes
TIMED_QUALITY = 50


def found_patterns(orders: Mapping[str, Any], stages: Sequence[int]) -> dict[str, str]:
    """Inline patterns of the best 4x4 schedules by name, ``best-K``."""
    return {f"best-{count}": orders["4x4"]["schedules"][f"best-{count}"]["pattern"] for count in stages}


def coded_rates(
    model: str | None, pictures: Sequence[Path], qualities: Sequence[int], schedules: Mapping[str, str]
) -> dict[str, Any]:
    """Whole files under each schedule: mean bits per pixel and RGB PSNR (dB) over the pictures, by quality.

    Args:
        model: name or path; None for the bundled one.
        pictures: evaluation pictures.
        qualities: 1..100 each.
        schedules: what ``tadan encode --schedule`` takes, by the name to report.
    """
    codec = Codec(model)
    out: dict[str, Any] = {name: {"schedule": text, "bpp": [], "psnr": []} for name, text in schedules.items()}
    images = [open_rgb(path) for path in pictures]
    for quality in qualities:
        for name, text in schedules.items():
            files = [codec.encode(image, quality=quality, schedule=text) for image in images]
            rates = [8 * len(data) / (image.width * image.height) for data, image in zip(files, images, strict=True)]
            shown = [
                psnr(np.asarray(image), np.asarray(codec.decode(data)))
                for data, image in zip(files, images, strict=True)
            ]
            out[name]["bpp"].append(round(fmean(rates), 6))
            out[name]["psnr"].append(round(fmean(shown), 4))
    return {"qualities": list(qualities), "schedules": out}


def timed(model: str | None, picture: Path, frontier: Sequence[str], repeat: int) -> dict[str, Any]:
    """Decode times of the listed schedules and of patterns, in turn in one process; medians of ``repeat`` rounds."""
    image = open_rgb(picture)
    rows = measure_speed(image, [*TIMED, *frontier], TIMED_QUALITY, repeat, None, model)
    facts = {"picture": picture.name, "width": image.width, "height": image.height, "quality": TIMED_QUALITY}
    return {**facts, "repeat": repeat, "rows": [row.to_dict() for row in rows]}
