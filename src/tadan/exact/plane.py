"""The latent plane while it is being decoded: gathers what a stage may see, asks the twin, takes in the result."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tadan.errors import InvalidInput
from tadan.exact.group_network import GroupTwin
from tadan.exact.group_plane import GroupPlane
from tadan.exact.linear import MatMul
from tadan.exact.network import EntropyTwin
from tadan.exact.steps import Plane, Predicted, Step
from tadan.schedule import Cell, Schedule

Twin = EntropyTwin | GroupTwin


def open_plane(
    twin: Twin,
    z_hat: NDArray[np.int32],
    shape: tuple[int, int],
    schedule: Schedule,
    quality: int,
    matmul: MatMul = np.matmul,
    hyper: NDArray[np.float64] | None = None,
) -> Plane:
    """The plane of a twin's design, nothing of y decoded yet; arguments as of :class:`LatentPlane`.

    Raises:
        InvalidInput: the model cannot tell the schedule's channel groups apart.
    """
    kind = GroupPlane if isinstance(twin, GroupTwin) else LatentPlane
    return kind(twin, z_hat, shape, schedule.groups, quality, matmul, hyper)  # type: ignore[arg-type]


class LatentPlane(Plane):
    """State of ``batch`` latent planes of one size that are coded side by side under one schedule.

    Args:
        twin: integer networks.
        z_hat: int32 (batch, ceil(h/4), ceil(w/4), z_channels), Q6.
        shape: (h, w) of the latent plane.
        groups: channel groups of the schedule.
        quality: 1..100.
        matmul: backend of the matrix products; exact ones give identical results.
        hyper: what :meth:`EntropyTwin.hyper` gives for z_hat and quality, if it is known already.

    Raises:
        InvalidInput: the model cannot tell that many channel groups apart.
    """

    def __init__(
        self,
        twin: EntropyTwin,
        z_hat: NDArray[np.int32],
        shape: tuple[int, int],
        groups: int,
        quality: int,
        matmul: MatMul = np.matmul,
        hyper: NDArray[np.float64] | None = None,
    ) -> None:
        self._twin, self._groups, self._quality, self._matmul = twin, groups, quality, matmul
        self._batch, self.shape = len(z_hat), shape
        self._height, self._width = shape
        sizes = twin.sizes
        if groups not in (1, sizes.groups):
            raise InvalidInput(
                f"this model decodes 1 or {sizes.groups} channel groups, not the {groups} of the schedule; "
                "choose another schedule"
            )
        if hyper is None:
            hyper = twin.hyper(z_hat, quality, matmul)
        self._hyper = hyper[:, : self._height, : self._width].reshape(self._batch, self._height * self._width, -1)
        radius = sizes.radius
        self._pitch = self._width + 2 * radius
        # A margin of `radius` zeros stands for the neighbours outside the plane.
        self._embedded = np.zeros(
            (self._batch, (self._height + 2 * radius) * self._pitch, sizes.groups, sizes.embed), np.float32
        )
        self.y_hat = np.zeros((self._batch, self._height * self._width, sizes.latent), np.int32)

    def steps(self, schedule: Schedule) -> Iterator[Step]:
        """One step per stage."""
        return self._twin.steps(schedule, self.shape)

    def predict_step(self, step: Step) -> Predicted:
        """Mean (Q6) and scale index of a stage, both (batch, n)."""
        pairs = [self.predict(cell) for part in step.parts for cell in part.cells]
        mean = np.concatenate([mean.reshape(self._batch, -1) for mean, _ in pairs], axis=1)
        return mean, np.concatenate([index.reshape(self._batch, -1) for _, index in pairs], axis=1)

    def reveal_step(self, step: Step, y_hat: NDArray[np.int32]) -> None:
        """Take in the decoded latents of a stage: int32 (batch, n), Q6."""
        size, start = self.y_hat.shape[2] // self._groups, 0
        for cell in (cell for part in step.parts for cell in part.cells):
            end = start + len(cell.positions) * size
            self.reveal(cell, y_hat[:, start:end].reshape(self._batch, -1, size))
            start = end

    def channels(self, cell: Cell) -> slice:
        """Channels of y that a cell holds."""
        size = self.y_hat.shape[2] // self._groups
        return slice(cell.group * size, (cell.group + 1) * size)

    def predict(self, cell: Cell) -> Predicted:
        """Mean (Q6) and scale index of a cell's latents, both (batch, n, latent / groups)."""
        twin = self._twin
        kernel = twin.kernel(cell.visible)
        n = len(cell.positions)
        context = None
        if kernel.product is not None:
            where = self._padded(cell.positions)[:, None] + kernel.taps @ np.array([self._pitch, 1])
            if kernel.groups is None:
                context = self._embedded[:, where].reshape(self._batch * n, -1)
            else:
                context = self._embedded[:, where, kernel.groups].reshape(self._batch * n, -1)
        pre = self._hyper[:, cell.positions].reshape(self._batch * n, -1)
        mean, index = twin.parameters(pre, context, kernel, self._quality, cell.group, self._groups, self._matmul)
        return mean.reshape(self._batch, n, -1), index.reshape(self._batch, n, -1)

    def reveal(self, cell: Cell, y_hat: NDArray[np.int32]) -> None:
        """Take in decoded latents of a cell: int32 (batch, n, latent / groups), Q6."""
        size = y_hat.shape[2]
        self.y_hat[:, cell.positions, self.channels(cell)] = y_hat
        embedded = self._twin.embed(y_hat.reshape(-1, size), cell.group, self._groups, self._matmul)
        own = embedded.shape[1]
        where = self._padded(cell.positions)
        self._embedded[:, where, cell.group * own : (cell.group + 1) * own] = embedded.reshape(
            self._batch, len(where), own, -1
        )

    def _padded(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        row, col = np.divmod(positions, self._width)
        radius = self._twin.sizes.radius
        return (row + radius) * self._pitch + col + radius
