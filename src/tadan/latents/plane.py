"""The latent plane, and the one loop that encoder, decoder and tracer share.

The window is gathered once per stage and position, then group after group is predicted and taken in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.core import StepOf, Window
from tadan.exact.constants import LATENT_FRACTION
from tadan.exact.linear import MatMul
from tadan.exact.native import CoreTwin, in_core
from tadan.exact.network import EntropyTwin
from tadan.exact.steps import Predicted, Step, check_groups
from tadan.latents.core_steps import CoreSteps
from tadan.schedule import Cell, Schedule
from tadan.team import Strength


class LatentPlane:
    """State of ``batch`` latent planes of one size that are coded side by side under one schedule.

    Args:
        twin: integer networks.
        z_hat: int32 (batch, ceil(h/4), ceil(w/4), z_channels), Q6.
        shape: (h, w) of the latent plane.
        groups: channel groups of the schedule.
        quality: 1..100.
        matmul: backend of the matrix products; exact ones give identical results.
        hyper: what :meth:`EntropyTwin.hyper` gives for z_hat and quality, if it is known already.

    Attributes:
        shape: as given.
        y_hat: int32 (batch, h * w, latent), Q6; zeros where nothing is decoded yet.

    Raises:
        InvalidInput: the schedule's groups do not divide the model's.
    """

    def __init__(
        self,
        twin: EntropyTwin,
        z_hat: NDArray[np.int32],
        shape: tuple[int, int],
        groups: int,
        quality: int,
        matmul: MatMul = np.matmul,
        hyper: NDArray[Any] | None = None,
    ) -> None:
        sizes = twin.sizes
        check_groups(groups, sizes.groups)
        self._twin, self._quality, self._matmul = twin, quality, matmul
        self._own = sizes.groups // groups
        self._batch, self.shape = len(z_hat), shape
        height, width = shape
        if hyper is None:
            hyper = twin.hyper(z_hat, quality, matmul)
        core = twin.core if matmul is np.matmul else None
        self._hyper: NDArray[Any] = hyper[:, :height, :width].reshape(self._batch, height * width, -1)
        self._pitch = width + 2 * sizes.radius
        # A margin of `radius` zeros stands for the neighbours outside the plane; where each position is, with it.
        self._padded = sizes.radius + np.add.outer((np.arange(height) + sizes.radius) * self._pitch, np.arange(width))
        self._padded = self._padded.ravel()
        rows = (height + 2 * sizes.radius) * self._pitch
        kinds: tuple[Any, Any] = (np.float32, np.float64) if core is None else (np.int16, np.int64)
        self._embedded: NDArray[Any] = np.zeros((self._batch, rows, sizes.features), kinds[0])
        self._late: NDArray[Any] = np.zeros((self._batch, height * width, sizes.late), kinds[1])
        self._left = np.full(height * width, sizes.groups)  # groups that are not decoded yet
        self._stage: tuple[int, int] | None = None  # stage and schedule group that `_hidden` belongs to
        self._hidden: NDArray[Any] = np.empty((0, sizes.hidden))
        self.y_hat = np.zeros((self._batch, height * width, sizes.latent), np.int32)
        self._core_steps: CoreSteps | None = None
        if core is not None:
            self._hyper = np.ascontiguousarray(self._hyper, np.int32)
            self._core_steps = CoreSteps(core, twin, quality, (self._embedded, self._late, self.y_hat))
            self._windows: dict[int, tuple[Window, Any]] = {}

    def steps(self, schedule: Schedule) -> Iterator[Step]:
        """One step per stage and model group."""
        return self._twin.steps(schedule, self.shape)

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

    def predict_step(self, step: Step) -> Predicted:
        """Mean (Q6) and scale index of the model group of a step, both (batch, n)."""
        self._ready(step)
        if self._core_steps is not None:
            return self._core_steps.predict(step)
        late = self._late[:, step.positions].reshape(len(self._hidden), -1)
        mean, index = self._twin.parameters(self._hidden, late, self._quality, step.group, self._matmul)
        return mean.reshape(self._batch, -1), index.reshape(self._batch, -1)

    @property
    def in_core(self) -> bool:
        """Whether :meth:`open_in_core` can be used."""
        return self._core_steps is not None

    def open_in_core(self, step: Step, most: int) -> Iterator[tuple[StepOf, Strength]]:
        """For each plane what the core needs to predict, code and take in a step in one call; to be done at once.

        Args:
            step: the next of :meth:`steps`.
            most: largest magnitude of a symbol.
        """
        if self._core_steps is None:
            raise RuntimeError("these planes are not in the core")
        self._ready(step)
        return self._core_steps.open(step, self._take_in(step.positions), most)

    def _ready(self, step: Step) -> None:
        key = step.stage, step.group // self._own
        if self._stage != key:
            self._stage, self._hidden = key, self._hidden_of(step.cells)
            if self._core_steps is not None:
                self._core_steps.enter(self._hidden, *self._places(step.positions))

    def reveal_step(self, step: Step, y_hat: NDArray[np.int32]) -> None:
        """Take in the decoded latents of a step: int32 (batch, n), Q6."""
        self._reveal(step.positions, step.group, y_hat.reshape(self._batch, len(step.positions), -1))

    def predict(self, cell: Cell) -> Predicted:
        """Mean (Q6) and scale index of all channels of a cell, as if its lower groups took their means.

        Changes nothing. Only the lowest group has what :meth:`predict_step` would give.
        """
        twin, n = self._twin, len(cell.positions)
        hidden = np.asarray(self._hidden_of((cell,)), np.float64)
        late = self._late[:, cell.positions].reshape(len(hidden), -1).astype(np.float64)
        pairs = []
        for group in self._groups_of(cell):
            mean, index = twin.parameters(hidden, late.copy(), self._quality, group, self._matmul)
            late += twin.late(twin.read(mean), group, self._matmul)
            pairs.append((mean, index))
        means, indices = (np.concatenate(one, axis=1).reshape(self._batch, n, -1) for one in zip(*pairs, strict=True))
        return means, indices

    def reveal(self, cell: Cell, y_hat: NDArray[np.int32]) -> None:
        """Take in all decoded channels of a cell: int32 (batch, n, channels of its schedule group), Q6."""
        start = 0
        for group in self._groups_of(cell):
            end = start + self._twin.sizes.group_sizes[group]
            self._reveal(cell.positions, group, y_hat[..., start:end])
            start = end

    def channels(self, cell: Cell) -> slice:
        """Channels of y that a cell holds."""
        groups = self._groups_of(cell)
        return slice(self._twin.sizes.channels(groups[0]).start, self._twin.sizes.channels(groups[-1]).stop)

    def _groups_of(self, cell: Cell) -> range:
        return range(cell.group * self._own, (cell.group + 1) * self._own)

    def _hidden_of(self, cells: Sequence[Cell]) -> NDArray[Any]:
        """Hidden layer at the positions of cells of one stage and schedule group: (batch * positions, hidden)."""
        if self._core_steps is not None:
            return self._hidden_in_core(self._core_steps.core, cells)
        parts = [self._activations(cell) for cell in cells]
        activations = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return self._twin.hidden(activations.reshape(-1, activations.shape[2]), self._matmul)

    def _hidden_in_core(self, core: CoreTwin, cells: Sequence[Cell]) -> NDArray[np.int32]:
        ends = np.cumsum([0, *(len(cell.positions) for cell in cells)])
        out = np.empty((self._batch, int(ends[-1]), self._twin.sizes.hidden), np.int32)
        for cell, first, end in zip(cells, ends[:-1], ends[1:], strict=True):
            kernel = self._twin.kernel(cell.visible)
            if not in_core(kernel):
                activations = self._activations(cell)
                rest = self._twin.hidden(activations.reshape(-1, activations.shape[2]), self._matmul)
                out[:, first:end] = rest.reshape(self._batch, -1, out.shape[2])
                continue
            if id(kernel) not in self._windows:  # which keeps the kernel, and so its id
                self._windows[id(kernel)] = core.window(kernel, self._pitch)
            window, (rows, starts) = self._windows[id(kernel)][0], self._places(cell.positions)
            for b in range(self._batch):
                core.hidden(window, self._hyper[b], rows, self._embedded[b], starts, out[b, first:end])
        return out.reshape(-1, out.shape[2])

    def _activations(self, cell: Cell) -> NDArray[np.float32]:
        kernel, n = self._twin.kernel(cell.visible), len(cell.positions)
        context = None
        if kernel.product is not None:
            where = self._padded[cell.positions][:, None] + kernel.taps @ np.array([self._pitch, 1])
            seen = self._embedded[:, where] if kernel.features is None else self._embedded[:, where, kernel.features]
            context = seen.reshape(self._batch * n, -1)
        pre = self._hyper[:, cell.positions].reshape(self._batch * n, -1)
        return self._twin.activate(pre, context, kernel, self._matmul).reshape(self._batch, n, -1)

    def _reveal(self, positions: NDArray[np.int64], group: int, y_hat: NDArray[np.int32]) -> None:
        twin, sizes = self._twin, self._twin.sizes
        self.y_hat[:, positions, sizes.channels(group)] = y_hat
        if self._core_steps is not None:
            self._reveal_in_core(self._core_steps.core, positions, group, y_hat)
            return
        values = twin.read(y_hat.reshape(-1, y_hat.shape[2]))
        embedded = twin.embed(values, group, self._matmul).reshape(*y_hat.shape[:2], -1)
        self._embedded[:, self._padded[positions], sizes.embedded(group)] = embedded
        if self._take_in(positions):
            self._late[:, positions] += twin.late(values, group, self._matmul).reshape(*y_hat.shape[:2], -1)

    def _reveal_in_core(
        self, core: CoreTwin, positions: NDArray[np.int64], group: int, y_hat: NDArray[np.int32]
    ) -> None:
        needed, (rows, starts) = self._take_in(positions), self._places(positions)
        for b in range(self._batch):
            own, late = np.ascontiguousarray(y_hat[b]), self._late[b] if needed else None
            core.reveal(group, own, rows, starts, self._embedded[b], late)

    def _take_in(self, positions: NDArray[np.int64]) -> bool:
        """Count a group of these positions as decoded; whether others are left there, which see the late sums."""
        left = self._left[positions] - 1
        self._left[positions] = left
        return bool(left.any())

    def _places(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of the planes, and where their embedded values start, as the core takes them."""
        return np.ascontiguousarray(positions), self._padded[positions] * self._twin.sizes.features


@dataclass(frozen=True, eq=False)
class OpenStep:
    """A step that is predicted and waits for its symbols.

    Attributes:
        step: what is coded.
        mean: int32 (batch, n), Q6.
        index: uint8 (batch, n), scale indices.
    """

    plane: LatentPlane
    step: Step
    mean: NDArray[np.int32]
    index: NDArray[np.uint8]

    def settle(self, symbols: NDArray[np.int32]) -> NDArray[np.int32]:
        """Take in residual symbols (batch, n); returns ``y_hat = 64 * symbol + mean`` of the same shape, Q6."""
        y_hat = (symbols << LATENT_FRACTION) + self.mean
        self.plane.reveal_step(self.step, y_hat)
        return y_hat
