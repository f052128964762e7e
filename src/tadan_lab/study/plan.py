"""What the study compares: schedules by name, the seeds they are trained with, and what batches are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tadan.errors import InvalidInput
from tadan.schedule import PatternSchedule, Schedule, get_schedule

QUALITIES = (10, 34, 56)  # about 0.15, 0.4 and 0.9 bits per pixel on Kodak with the bundled model
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
