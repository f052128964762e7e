"""The schedules that a batch is trained under: named ones by share, and random patterns."""

from __future__ import annotations

import numpy as np

from tadan.schedule import PatternSchedule, Schedule, get_schedule

#: Share of the batches trained under each schedule; the rest (to 1) are random patterns of 2x2 to 4x4 positions.
MIXTURE = {
    "checkerboard": 0.14,
    "4x4-opt-4": 0.20,
    "4x4-opt-8": 0.12,
    "2x2": 0.10,
    "4x4": 0.08,
    "raster": 0.09,
    "hyper": 0.05,
    "2x2-rotated": 0.05,
}


def draw_schedule(rng: np.random.Generator) -> Schedule:
    """A schedule of :data:`MIXTURE`, or a random pattern in which several positions may share a stage."""
    names = list(MIXTURE)
    chances = np.array([*MIXTURE.values(), 1 - sum(MIXTURE.values())])
    choice = rng.choice(len(chances), p=chances / chances.sum())
    if choice < len(names):
        return get_schedule(names[choice])
    size = int(rng.integers(2, 5))
    stages = int(rng.integers(2, size * size + 1))
    pattern = np.concatenate([np.arange(stages), rng.integers(stages, size=size * size - stages)])
    return PatternSchedule(rng.permutation(pattern).reshape(size, size))
