"""How long a step takes on this machine: sizes a schedule that is to fit a given time."""

from __future__ import annotations

import time

import numpy as np

from tadan.train.loop import Trainer


def seconds_per_step(trainer: Trainer, tries: int = 5) -> float:
    """Mean over the whole recipe of a run that has not begun, from steps of both crop sizes that are then undone."""
    recipe = trainer.recipe
    weights = {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}
    average = {name: value.clone() for name, value in trainer.average.items()}
    means = []
    for first in (0, recipe.switch_step):
        taken = []
        for trainer.step in range(first, first + tries + 1):
            begun = time.monotonic()
            trainer.one_step()
            taken.append(time.monotonic() - begun)
        means.append(float(np.mean(taken[1:])))  # the first one compiles, allocates, fills caches
    trainer.model.load_state_dict(weights)
    trainer.step, trainer.average = 0, average
    for optimizer in trainer.optimizers:
        optimizer.state.clear()
        for group in optimizer.param_groups:
            group.pop("step", None)
    return means[0] * recipe.switch + means[1] * (1 - recipe.switch)
