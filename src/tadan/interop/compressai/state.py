"""Latents while they are decoded: the context of a step from earlier ones, in two ways of computing."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from tadan.interop.compressai.context import MultistageContext
from tadan.interop.compressai.walk import Step, Walk, merged
from tadan.schedule import ScanSchedule


class Gathered:
    """Latents as rows of a padded buffer; a step gathers what its positions see.

    Args:
        context: g_cm.
        walk: of the plane.
        side: (B, side channels, h, w).
    """

    def __init__(self, context: MultistageContext, walk: Walk, side: Tensor) -> None:
        self._context, self._walk, self._size = context, walk, side.shape[-2:]
        self._side = side.flatten(2).transpose(1, 2).contiguous()
        self._rows = side.new_zeros(len(side), walk.rows, context.channels)

    def fill(self, y_hat: Tensor) -> None:
        """Take all latents (B, M, h, w) at once."""
        grouped = y_hat.flatten(2).unflatten(1, (len(self._walk.inner), -1)).permute(0, 1, 3, 2)
        self._rows = self._rows.index_copy(1, self._walk.inner.flatten(), grouped.flatten(1, 2).to(self._rows.dtype))

    def context_of(self, kernels: Mapping[int, tuple[Tensor, Tensor]], positions: Tensor) -> Tensor:
        """Context of all positions of the plane, in its order: (B, h * w, channels).

        Args:
            kernels: for each, places among ``positions`` and their neighbours.
            positions: int64 (h * w,), each once.
        """
        out = self._rows.new_zeros(len(self._rows), len(positions), self._context.out_channels)
        for kernel, (places, neighbours) in kernels.items():
            if kernel >= 0:
                found = self._context.gathered(self._rows, kernel, neighbours)
                out = out.index_copy(1, positions.index_select(0, places), found.to(out.dtype))
        return out

    def inputs(self, step: Step) -> tuple[Tensor, Tensor]:
        """Context and side parameters of a step's positions, each (B, n, channels)."""
        context = self._context(self._rows, step.parts, len(step.positions))
        return context, self._side.index_select(1, step.positions)

    def put(self, step: Step, y_hat: Tensor) -> None:
        """Add the latents of a step, (B, channels / groups, n, 1)."""
        values = y_hat.flatten(2).transpose(1, 2).to(self._rows.dtype)
        if torch.is_grad_enabled():  # earlier steps need what the buffer was
            self._rows = self._rows.index_copy(1, step.targets, values)
        else:
            self._rows.index_copy_(1, step.targets, values)

    def plane(self) -> Tensor:
        """All latents, (B, M, h, w)."""
        inner = self._walk.inner
        rows = self._rows.index_select(1, inner.flatten()).unflatten(1, tuple(inner.shape))
        return rows.permute(0, 1, 3, 2).flatten(1, 2).unflatten(2, self._size).contiguous()


class Dense:
    """The operations of CompressAI's codecs, in their shapes, for their very numbers.

    A convolution over the whole plane for each pattern, in raster order over the window alone; side parameters and
    results as rectangles of positions.

    Args:
        context: g_cm of a schedule without channel groups.
        walk: of the plane.
        side: (B, side channels, h, w).
    """

    def __init__(self, context: MultistageContext, walk: Walk, side: Tensor) -> None:
        self._context, self._walk, self._side = context, walk, side
        self._kernels = [context.kernel(number).contiguous() for number in range(len(context.patterns))]
        self._raster = isinstance(context.schedule, ScanSchedule) and context.schedule.slope == 0
        self._margin = context.radius if self._raster else 0
        self._y_hat = F.pad(side.new_zeros(len(side), context.in_channels, *side.shape[-2:]), (self._margin,) * 4)

    def fill(self, y_hat: Tensor) -> None:
        """Take all latents (B, M, h, w) at once."""
        self._y_hat, self._margin = y_hat, 0

    def everywhere(self) -> Tensor:
        """Context of all positions, (B, channels, h, w)."""
        positions, kernels = merged(self._walk.steps, 0)
        size = self._side.shape[-2:]
        if len(kernels) == 1 and 0 in kernels:
            return self._convolved(0)
        out = self._side.new_zeros(len(self._side), self._context.out_channels, size.numel())
        for kernel, (places, _) in kernels.items():
            if kernel >= 0:
                at = positions.index_select(0, places)
                out = out.index_copy(2, at, self._convolved(kernel).flatten(2).index_select(2, at))
        return out.unflatten(2, size)

    def inputs(self, step: Step) -> tuple[Tensor, Tensor]:
        """Context and side parameters of a step's positions, each (B, channels, rows, columns)."""
        context = self._context
        side = self._side.flatten(2).index_select(2, step.positions).unflatten(2, step.rectangle)
        if self._raster:
            row, col = divmod(int(step.positions[0]), self._side.shape[-1])
            crop = self._y_hat[:, :, row : row + context.kernel_size, col : col + context.kernel_size]
            return F.conv2d(crop, self._kernels[0], self._bias(0)), side
        out = side.new_zeros(len(side), context.out_channels, len(step.positions))
        for part in step.parts:
            if part.kernel >= 0:
                at = step.positions.index_select(0, part.places)
                out = out.index_copy(2, part.places, self._convolved(part.kernel).flatten(2).index_select(2, at))
        return out.unflatten(2, step.rectangle), side

    def put(self, step: Step, y_hat: Tensor) -> None:
        """Add the latents of a step, (B, M, rows, columns)."""
        line, margin = self._y_hat.shape[-1], self._margin
        width = line - 2 * margin
        at = (step.positions // width + margin) * line + step.positions % width + margin
        flat, values = self._y_hat.flatten(2), y_hat.flatten(2).to(self._y_hat.dtype)
        if torch.is_grad_enabled():
            self._y_hat = flat.index_copy(2, at, values).view_as(self._y_hat)
        else:
            flat.index_copy_(2, at, values)

    def plane(self) -> Tensor:
        """All latents, (B, M, h, w)."""
        r, (height, width) = self._margin, self._side.shape[-2:]
        return self._y_hat[..., r : r + height, r : r + width].contiguous()

    def _convolved(self, kernel: int) -> Tensor:
        return F.conv2d(self._y_hat, self._kernels[kernel], self._bias(kernel), padding=self._context.radius)

    def _bias(self, kernel: int) -> Tensor | None:
        return None if self._context.bias is None else self._context.bias[kernel]
