"""What is coded together: a *step*, which is what one push or pull of the entropy coder covers.

There is one step per stage of the schedule and model group in it. Its latents are ordered by phase and position as in
:meth:`tadan.schedule.Schedule.plan`, then by channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tadan.errors import InvalidInput
from tadan.schedule import Cell, Schedule

Sample = TypeVar("Sample", bound="np.generic[Any]")
Predicted = tuple[NDArray[np.int32], NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Step:
    """Latents that are coded together: the channels of one model group at the positions of some cells of one stage.

    Attributes:
        stage: stage of the schedule, counted from 0 without gaps.
        cells: cells of one schedule group.
        group: model group.
        channels: of y, those of ``group``.
        positions: int64 (n,), those of the cells one after the other.
    """

    stage: int
    cells: tuple[Cell, ...]
    group: int
    channels: slice
    positions: NDArray[np.int64]

    def take(self, rows: NDArray[Sample]) -> NDArray[Sample]:
        """Values of the step in the order of coding: (..., positions, latent) -> (..., n)."""
        return rows[..., self.positions, self.channels].reshape(*rows.shape[:-2], -1)

    def put(self, rows: NDArray[Sample], values: NDArray[Sample]) -> None:
        """Inverse of :meth:`take`: write ``values`` (..., n) into ``rows`` (..., positions, latent)."""
        shape = *values.shape[:-1], len(self.positions), self.channels.stop - self.channels.start
        rows[..., self.positions, self.channels] = values.reshape(shape)


def group_steps(schedule: Schedule, shape: tuple[int, int], radius: int, group_sizes: Sequence[int]) -> Iterator[Step]:
    """One step per stage and model group that the stage holds, lowest group first.

    Every schedule group stands for equally many consecutive model groups.

    Args:
        schedule: decoding order.
        shape: (h, w) of the latent plane.
        radius: of the context window.
        group_sizes: channels of each model group.

    Raises:
        InvalidInput: the schedule's groups do not divide the model's.
    """
    check_groups(schedule.groups, len(group_sizes))
    own = len(group_sizes) // schedule.groups
    ends = np.cumsum(group_sizes).tolist()
    for number, stage in enumerate(schedule.plan(*shape, radius)):
        for schedule_group, cells in _by_group(stage):
            positions = _positions(cells)
            for group in range(schedule_group * own, (schedule_group + 1) * own):
                channels = slice(ends[group] - group_sizes[group], ends[group])
                yield Step(number, cells, group, channels, positions)


def check_groups(groups: int, model_groups: int) -> None:
    """Whether a model of ``model_groups`` channel groups can follow a schedule of ``groups``.

    Raises:
        InvalidInput: it cannot.
    """
    if model_groups % groups:
        allowed = ", ".join(str(n) for n in range(1, model_groups + 1) if model_groups % n == 0)
        raise InvalidInput(
            f"this model decodes schedules of {allowed} channel groups, not {groups}; choose another schedule"
        )


def _by_group(stage: Sequence[Cell]) -> Iterator[tuple[int, tuple[Cell, ...]]]:
    """Cells of a stage by schedule group, ascending as in the plan."""
    return ((group, tuple(cells)) for group, cells in groupby(stage, lambda cell: cell.group))


def _positions(cells: Sequence[Cell]) -> NDArray[np.int64]:
    return cells[0].positions if len(cells) == 1 else np.concatenate([cell.positions for cell in cells])
