"""The context network: one kernel for each visibility pattern, computed only where and over what it is needed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tadan.codec.info import pattern_text
from tadan.errors import InvalidInput
from tadan.interop.compressai.walk import Part, Pattern, patterns
from tadan.schedule import PatternSchedule, ScanSchedule, Schedule, catalogued, parse_schedule, schedule_names

GATHERED = 2**23  # values that are gathered at a time, 32 MB in float32; more positions are taken in pieces


class MultistageContext(nn.Module):
    """g_cm of the multistage model: latents of earlier stages inside a window, to a context of each latent.

    Every pattern of visible neighbours that occurs in the schedule has a kernel of its own, which holds the weights of
    visible neighbours only. (Lin et al., arXiv 2302.09263, section 3: one masked convolution for each stage.) Where
    nothing is visible the context is zero, without a bias, as in CompressAI's checkerboard.

    Args:
        in_channels: channels of y.
        out_channels: channels of the context, 2 M in most models.
        schedule: decoding order, a :class:`tadan.schedule.Schedule` or its text; its channel groups divide
            ``in_channels``.
        kernel_size: of the window, odd.
        bias: whether kernels have one.

    Attributes:
        weights: for each pattern (v, in_channels / groups, out_channels), v visible neighbours.
        bias: (patterns, out_channels), or None.

    Raises:
        InvalidInput: the window has no centre, or the channels cannot be split among the schedule's groups.
    """

    def __init__(
        self, in_channels: int, out_channels: int, schedule: Schedule | str, kernel_size: int = 5, bias: bool = True
    ) -> None:
        super().__init__()
        self.schedule = parsed(schedule)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise InvalidInput(f"a context window has an odd number of rows and columns, not {kernel_size}; take 5")
        if in_channels % self.schedule.groups:
            raise InvalidInput(
                f"{in_channels} channels do not split into the schedule's {self.schedule.groups} equal groups; "
                "choose another schedule"
            )
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.radius = kernel_size // 2
        self.patterns: tuple[Pattern, ...] = patterns(self.schedule, self.radius)
        self.channels = in_channels // self.schedule.groups
        self.weights = nn.ParameterList(
            torch.empty(len(seen.rows), self.channels, out_channels) for seen in self.patterns
        )
        self.bias = nn.Parameter(torch.empty(len(self.patterns), out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights as ``nn.Conv2d`` does, with the inputs that are visible as its fan-in."""
        for number, weight in enumerate(self.weights):
            bound = 1 / math.sqrt(weight.shape[0] * weight.shape[1])
            nn.init.uniform_(weight, -bound, bound)
            if self.bias is not None:
                nn.init.uniform_(self.bias[number], -bound, bound)

    @torch.no_grad()
    def load_kernel(self, weight: Tensor, bias: Tensor | None) -> None:
        """Take the weights of visible neighbours from one kernel of a convolution, for every pattern.

        A masked convolution's kernel under its own schedule gives the same network. Under another schedule, neighbours
        that it never saw have the weights they had there, zero where it was masked.

        Args:
            weight: (out_channels, in_channels, k, k), masked.
            bias: (out_channels,), or None.

        Raises:
            InvalidInput: the shapes do not fit.
        """
        k = self.kernel_size
        if weight.shape != (self.out_channels, self.in_channels, k, k) or (bias is None) != (self.bias is None):
            raise InvalidInput(f"a kernel of {tuple(weight.shape)} is not one of this context; make one of its sizes")
        grouped = weight.unflatten(1, (self.schedule.groups, self.channels)).permute(1, 3, 4, 2, 0)
        for seen, own in zip(self.patterns, self.weights, strict=True):
            own.copy_(grouped[seen.groups, seen.rows, seen.cols])
        if self.bias is not None and bias is not None:
            self.bias.copy_(bias.expand_as(self.bias))

    def kernel(self, pattern: int) -> Tensor:
        """The kernel of a pattern as that of a convolution: (out_channels, in_channels, k, k), zero where masked."""
        seen, k = self.patterns[pattern], self.kernel_size
        full = self.weights[pattern].new_zeros(self.schedule.groups, k, k, self.channels, self.out_channels)
        full[seen.groups, seen.rows, seen.cols] = self.weights[pattern]
        return full.permute(4, 0, 3, 1, 2).flatten(1, 2)

    def gathered(self, rows: Tensor, kernel: int, neighbours: Tensor) -> Tensor:
        """Context of positions that share a kernel.

        Args:
            rows: (B, buffer rows, channels / groups), see :mod:`tadan.interop.compressai.walk`.
            kernel: number of the pattern, 0 or above.
            neighbours: int64 (m, v).

        Returns:
            (B, m, out_channels)
        """
        weight = self.weights[kernel].flatten(0, 1)
        bias = None if self.bias is None else self.bias[kernel]
        batch, most = rows.shape[0], max(1, GATHERED // max(1, weight.shape[0]))
        pieces = []
        for some in neighbours.split(most):
            seen = rows.index_select(1, some.flatten()).view(batch * len(some), -1)
            product = seen @ weight if bias is None else torch.addmm(bias, seen, weight)
            pieces.append(product.view(batch, len(some), -1))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)

    def forward(self, rows: Tensor, parts: Sequence[Part], positions: int) -> Tensor:
        """Context of a step's positions: (B, buffer rows, channels / groups) -> (B, positions, out_channels)."""
        if len(parts) == 1 and parts[0].kernel >= 0:
            return self.gathered(rows, parts[0].kernel, parts[0].neighbours)
        out = rows.new_zeros(rows.shape[0], positions, self.out_channels)
        for part in parts:
            if part.kernel >= 0:
                out = out.index_copy(1, part.places, self.gathered(rows, part.kernel, part.neighbours).to(out.dtype))
        return out

    def get_extra_state(self) -> str:
        """The schedule as text, kept in checkpoints."""
        return schedule_text(self.schedule)

    def set_extra_state(self, state: str) -> None:
        """Compare the schedule of a checkpoint.

        Raises:
            InvalidInput: it has another one.
        """
        if parsed(state) != self.schedule:
            raise InvalidInput(
                f"the checkpoint is of schedule {state}, the model of {schedule_text(self.schedule)}; build the model "
                "with that of the checkpoint"
            )

    def extra_repr(self) -> str:
        """Sizes and order, for ``print(model)``."""
        text = schedule_text(self.schedule)
        return f"{self.in_channels}, {self.out_channels}, schedule={text}, kernel_size={self.kernel_size}"


def schedule_text(schedule: Schedule) -> str:
    """Text that :func:`parsed` reads: a name of the catalogue, the slope of a scan, or the pattern written out."""
    if isinstance(schedule, PatternSchedule):
        known = catalogued(schedule)
        if known.name in schedule_names():
            return str(known.name)
        return pattern_text(schedule.pattern.tolist())
    return f"scan {schedule.slope}" if isinstance(schedule, ScanSchedule) else repr(schedule)


def parsed(schedule: Schedule | str) -> Schedule:
    """A schedule from what :func:`schedule_text` or a user wrote.

    Raises:
        InvalidInput: it is no schedule.
    """
    if isinstance(schedule, Schedule):
        return schedule
    scan = re.fullmatch(r"scan ([0-9]{1,4})", schedule)
    return ScanSchedule(int(scan[1])) if scan else parse_schedule(schedule)
