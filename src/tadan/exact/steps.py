"""What is coded together, and the one loop that encoder, decoder and tracer share.

A *step* is what one push or pull of the entropy coder covers. Designs without channel groups of their own have one
step per stage of the schedule; the design ``renderer`` has one per stage and model group. Latents of a step are
ordered by schedule group, phase and position as in :meth:`tadan.schedule.Schedule.plan`, then by channel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tadan.errors import InvalidInput
from tadan.exact.constants import LATENT_FRACTION
from tadan.schedule import Cell, Schedule

Sample = TypeVar("Sample", bound="np.generic[Any]")
Predicted = tuple[NDArray[np.int32], NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Part:
    """Some channels at the positions of some cells of one stage.

    Attributes:
        cells: cells of one schedule group.
        group: channel group of the design: a model group, or a schedule group where the design has none.
        channels: of y, those of ``group``.
        positions: int64 (n,), those of the cells one after the other.
    """

    cells: tuple[Cell, ...]
    group: int
    channels: slice
    positions: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Step:
    """Latents that are coded together.

    Attributes:
        stage: stage of the schedule, counted from 0 without gaps.
        parts: in the order of coding.
    """

    stage: int
    parts: tuple[Part, ...]

    def take(self, rows: NDArray[Sample]) -> NDArray[Sample]:
        """Values of the step in the order of coding: (..., positions, latent) -> (..., n)."""
        flat = [rows[..., part.positions, part.channels].reshape(*rows.shape[:-2], -1) for part in self.parts]
        return flat[0] if len(flat) == 1 else np.concatenate(flat, axis=-1)

    def put(self, rows: NDArray[Sample], values: NDArray[Sample]) -> None:
        """Inverse of :meth:`take`: write ``values`` (..., n) into ``rows`` (..., positions, latent)."""
        start = 0
        for part in self.parts:
            shape = (len(part.positions), part.channels.stop - part.channels.start)
            end = start + shape[0] * shape[1]
            rows[..., part.positions, part.channels] = values[..., start:end].reshape(*values.shape[:-1], *shape)
            start = end


def stage_steps(schedule: Schedule, shape: tuple[int, int], radius: int, latent: int) -> Iterator[Step]:
    """One step per stage, for a design whose channel groups are those of the schedule.

    Args:
        schedule: decoding order.
        shape: (h, w) of the latent plane.
        radius: of the context window.
        latent: channels of y, a multiple of the schedule's groups.
    """
    size = latent // schedule.groups
    for number, stage in enumerate(schedule.plan(*shape, radius)):
        parts = (
            Part(cells, group, slice(group * size, (group + 1) * size), _positions(cells))
            for group, cells in _by_group(stage)
        )
        yield Step(number, tuple(parts))


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
                yield Step(number, (Part(cells, group, channels, positions),))


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


class Plane(ABC):
    """Latent planes of one size that are decoded side by side; what all designs have in common.

    Attributes:
        shape: (h, w).
        y_hat: int32 (batch, h * w, latent), Q6; zeros where nothing is decoded yet.
    """

    shape: tuple[int, int]
    y_hat: NDArray[np.int32]

    @abstractmethod
    def steps(self, schedule: Schedule) -> Iterator[Step]:
        """All steps of the plane in the order of coding."""

    @abstractmethod
    def predict_step(self, step: Step) -> Predicted:
        """Mean (Q6) and scale index of a step, both (batch, n)."""

    @abstractmethod
    def reveal_step(self, step: Step, y_hat: NDArray[np.int32]) -> None:
        """Take in the decoded latents of a step: int32 (batch, n), Q6."""

    @abstractmethod
    def predict(self, cell: Cell) -> Predicted:
        """Mean (Q6) and scale index of all channels of a cell, both (batch, n, channels of its schedule group)."""

    @abstractmethod
    def reveal(self, cell: Cell, y_hat: NDArray[np.int32]) -> None:
        """Take in all decoded channels of a cell: int32 (batch, n, channels of its schedule group), Q6."""

    @abstractmethod
    def channels(self, cell: Cell) -> slice:
        """Channels of y that a cell holds: those of its schedule group."""

    def walk(self, schedule: Schedule) -> Iterator[OpenStep]:
        """Predict step after step; whoever iterates settles each before it asks for the next.

        Args:
            schedule: decoding order, with as many groups as the plane was made for.
        """
        for step in self.steps(schedule):
            mean, index = self.predict_step(step)
            yield OpenStep(self, step, mean, index)

    def decoded(self) -> NDArray[np.int32]:
        """:attr:`y_hat` as int32 (batch, h, w, latent)."""
        return self.y_hat.reshape(len(self.y_hat), *self.shape, -1)


@dataclass(frozen=True, eq=False)
class OpenStep:
    """A step that is predicted and waits for its symbols.

    Attributes:
        step: what is coded.
        mean: int32 (batch, n), Q6.
        index: uint8 (batch, n), scale indices.
    """

    plane: Plane
    step: Step
    mean: NDArray[np.int32]
    index: NDArray[np.uint8]

    def settle(self, symbols: NDArray[np.int32]) -> NDArray[np.int32]:
        """Take in residual symbols (batch, n); returns ``y_hat = 64 * symbol + mean`` of the same shape, Q6."""
        y_hat = (symbols << LATENT_FRACTION) + self.mean
        self.plane.reveal_step(self.step, y_hat)
        return y_hat
