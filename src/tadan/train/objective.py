"""What training lowers, J = distortion + rate, and the schedules that a batch is trained under."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tadan.models import ModelConfig
from tadan.nn.butteraugli import price_of_a_unit
from tadan.nn.model import Losses, lambdas
from tadan.nn.visual import price_of_a_point
from tadan.schedule import PatternSchedule, Schedule, get_schedule
from tadan.train.recipe import Recipe

#: Share of the batches trained under each schedule; the rest (to 1) are random patterns of 2x2 to 4x4 positions, half
#: of them with a pattern of its own for each half of the channel groups.
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


def draw_schedule(rng: np.random.Generator, groups: Sequence[int] = (1, 2, 4)) -> Schedule:
    """A schedule of :data:`MIXTURE`, or a random pattern in which several positions may share a stage.

    ``groups``: numbers of channel groups that the model can follow; what it cannot is drawn again.
    """
    while (schedule := _drawn(rng)).groups not in groups:
        pass
    return schedule


def _drawn(rng: np.random.Generator) -> Schedule:
    names = list(MIXTURE)
    chances = np.array([*MIXTURE.values(), 1 - sum(MIXTURE.values())])
    choice = rng.choice(len(chances), p=chances / chances.sum())
    if choice < len(names):
        return get_schedule(names[choice])
    size = int(rng.integers(2, 5))
    low = _random_pattern(size, int(rng.integers(2, size * size + 1)), rng)
    if rng.random() < 0.5:
        return PatternSchedule(low)
    high = _random_pattern(size, int(rng.integers(1, 5)), rng)  # rarely more than zero: few stages do
    return PatternSchedule(np.stack([low, low.max() + 1 + high]))


def _random_pattern(size: int, stages: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """int64 (size, size) with each of ``stages`` stages somewhere."""
    pattern = np.concatenate([np.arange(stages), rng.integers(stages, size=size * size - stages)])
    return rng.permutation(pattern).reshape(size, size)


def distortion(losses: Losses, config: ModelConfig, recipe: Recipe, quality: Tensor) -> Tensor:
    """Of every picture, bits per pixel that its error is worth: ``lambda * 255² * MSE``, and a share that is seen.

    With a teacher a share of it all is the squared error against what that shows (Hinton et al., arXiv 1503.02531).

    Args:
        losses: of the batch, with ``unseen`` if the recipe has an ``eye``, ``distance`` if it has a ``near`` too,
            ``taught`` if there is a teacher.
        config: which lambdas the qualities stand for.
        recipe: its ``eye``, ``near`` and ``distill`` are the shares.
        quality: (B,) in 1..100, on any device.
    """
    squares = lambdas(config, quality.to(losses.mse.device)) * 255**2
    own = squares * losses.mse
    if losses.unseen is not None:
        seen = price_of_a_point(quality.cpu()).to(own.device) * losses.unseen
        if losses.distance is not None:
            distance = price_of_a_unit(quality.cpu()).to(own.device) * losses.distance
            seen = (1 - recipe.near) * seen + recipe.near * distance
        own = (1 - recipe.eye) * own + recipe.eye * seen
    if losses.taught is None:
        return own
    return (1 - recipe.distill) * own + recipe.distill * squares * losses.taught
