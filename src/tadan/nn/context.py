"""Context networks: from the latents that a schedule shows around a position to a term of its hidden layer.

The *any-schedule* network reads the visibility pattern of a position (which neighbours, of which channel group, are
decoded before it) and mixes ``bases`` base kernels with one coefficient per neighbour and group. It therefore runs
under every schedule with one set of weights. The *specialised* network has one kernel per position of the pattern of
one schedule, as in the paper: the reference for the study.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadan.errors import InvalidInput
from tadan.exact.constants import MAGNITUDE_CLIP
from tadan.models.config import ModelConfig
from tadan.schedule import Schedule


@lru_cache(maxsize=64)
def visibility_input(schedule: Schedule, height: int, width: int, radius: int, groups: int) -> Tensor:
    """Visibility patterns as the networks read them: bool (schedule groups, h, w, window * groups).

    Args:
        schedule: decoding order; its groups divide ``groups``.
        height: rows of the latent plane.
        width: columns of it.
        radius: of the context window.
        groups: channel groups of the model. The last dimension is ordered (window row, window column, group).
    """
    visible = schedule.visibility(height, width, radius)
    bits = visible.reshape(*visible.shape[:4], -1)  # (groups, h, w, groups, window)
    bits = np.repeat(bits, groups // schedule.groups, axis=3)
    return torch.from_numpy(np.ascontiguousarray(bits.transpose(0, 1, 2, 4, 3))).flatten(3)


@dataclass(frozen=True)
class Lattices:
    """Visibility patterns of one channel group of a schedule: which kernel each position of the period needs.

    Attributes:
        patterns: bool (P, window * groups), all different.
        which: for each row and column of the period, the index of its pattern.
        offsets: for each pattern the window positions where any channel group is visible, row by row.
        radius: of the window.
    """

    patterns: Tensor
    which: list[list[int]]
    offsets: list[list[int]]
    radius: int

    def products(self, embedded: Tensor, kernels: Sequence[Tensor], bias: Tensor) -> Tensor:
        """Product of the visible neighbours of every position with the kernel of its pattern; only they are gathered.

        Args:
            embedded: (B, h, w, features) of every position.
            kernels: of every pattern, (number of its offsets * features, hidden).
            bias: (P, hidden).

        Returns:
            (B, h, w, hidden)
        """
        (b, h, w, _), r, k = embedded.shape, self.radius, 2 * self.radius + 1
        padded = F.pad(embedded, (0, 0, r, r, r, r))
        rows, cols = len(self.which), len(self.which[0])
        out = padded.new_empty(b, h, w, bias.shape[-1])
        for i in range(min(rows, h)):
            for j in range(min(cols, w)):
                which = self.which[i][j]
                term = bias[which]
                if self.offsets[which]:
                    corners = [(i + o // k, j + o % k) for o in self.offsets[which]]
                    seen = [padded[:, top : h + top - i : rows, left : w + left - j : cols] for top, left in corners]
                    term = torch.cat(seen, -1) @ kernels[which] + term
                out[:, i::rows, j::cols] = term
        return out


@lru_cache(maxsize=256)
def lattices(schedule: Schedule, group: int, radius: int, groups: int) -> Lattices:
    """Lattices of one channel group of ``schedule`` for a model with ``groups`` channel groups."""
    visible = visibility_input(schedule, *schedule.period, radius, groups)[group]
    patterns, which = torch.unique(visible.flatten(0, 1), dim=0, return_inverse=True)
    offsets = [one.reshape(-1, groups).any(-1).nonzero().flatten().tolist() for one in patterns]
    return Lattices(patterns, which.reshape(schedule.period).tolist(), offsets, radius)


class _WindowContext(nn.Module, ABC):
    """Window product over embeddings, each position of the schedule's period on its own lattice.

    Only visible neighbours are gathered. Subclasses say where the kernels come from.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        group = config.latent // config.groups
        self.embed = nn.Parameter(torch.randn(config.groups, group, config.embed) / math.sqrt(group))
        self.embed_magnitude = nn.Parameter(torch.zeros(config.groups, group, config.embed))

    def embedding(self, y_hat: Tensor) -> Tensor:
        """(B, h, w, latent) -> (B, h, w, groups, embed), linear in values and log magnitudes of each channel group."""
        b, h, w, _ = y_hat.shape
        with torch.autocast(y_hat.device.type, enabled=False):
            grouped = y_hat.float().reshape(b, h, w, self.config.groups, -1)
            magnitude = torch.log1p(grouped.abs().clamp_max(MAGNITUDE_CLIP))
            both, weights = torch.cat([grouped, magnitude], -1), torch.cat([self.embed, self.embed_magnitude], 1)
            return torch.einsum("bhwgc,gce->bhwge", both, weights)

    @abstractmethod
    def mixed(self, schedule: Schedule, group: int) -> tuple[Sequence[Tensor], Tensor]:
        """Kernel of every pattern of :func:`lattices`, (offsets * groups * embed, hidden), and biases (P, hidden)."""

    def forward(self, y_hat: Tensor, schedule: Schedule, group: int = 0) -> Tensor:
        """Context term of every position.

        Args:
            y_hat: (B, h, w, latent) latents in quantisation steps.
            schedule: decoding order.
            group: channel group of the schedule whose latents are to be predicted.

        Returns:
            (B, h, w, hidden)
        """
        plan = lattices(schedule, group, self.config.radius, self.config.groups)
        return plan.products(self.embedding(y_hat).flatten(3), *self.mixed(schedule, group))


class AnyScheduleContext(_WindowContext):
    """Kernels are mixed from base kernels by the visibility pattern: one set of weights for every schedule."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        features = config.visibility_bits * config.embed
        self.bases = nn.Linear(config.bases * features, config.hidden)
        self.mask_in = nn.Linear(config.visibility_bits, config.mask_hidden)
        self.mask_out = nn.Linear(config.mask_hidden, config.bases * config.visibility_bits + config.hidden)
        with torch.no_grad():
            self.bases.weight.mul_(2.0)
            self.mask_out.weight.mul_(0.3)
            self.mask_out.bias.zero_()
            self.mask_out.bias[: config.visibility_bits] = 1.0

    def mixing(self, visible: Tensor) -> tuple[Tensor, Tensor]:
        """visible (..., window * groups) in {0, 1} -> masked coefficients (..., bases, window * groups), bias."""
        out = self.mask_out(torch.relu(self.mask_in(visible)))
        cut = self.config.bases * self.config.visibility_bits
        coefficients = out[..., :cut].unflatten(-1, (self.config.bases, -1)) * visible[..., None, :]
        return coefficients, out[..., cut:]

    def kernels(self, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Patterns (P, window * groups) -> kernels (P, window, groups * embed, hidden), biases (P, hidden)."""
        config = self.config
        coefficients, bias = self.mixing(visible.to(self.embed))
        bases = self.bases.weight.unflatten(-1, (config.bases, config.visibility_bits, -1))
        kernels = torch.einsum("pbv,hbve->pveh", coefficients, bases)
        return kernels.unflatten(1, (config.window, -1)).flatten(2, 3), bias + self.bases.bias

    def mixed(self, schedule: Schedule, group: int) -> tuple[Sequence[Tensor], Tensor]:
        """See :meth:`_WindowContext.mixed`."""
        plan = lattices(schedule, group, self.config.radius, self.config.groups)
        kernels, bias = self.kernels(plan.patterns)
        pairs = zip(kernels.unbind(0), plan.offsets, strict=True)
        return [kernel[offsets].flatten(0, 1) for kernel, offsets in pairs], bias


class SpecialisedContext(_WindowContext):
    """One kernel per pattern of a schedule; a drop-in for :class:`AnyScheduleContext`, without integer twin.

    Args:
        config: sizes.
        schedule: the only one that it runs under.
    """

    def __init__(self, config: ModelConfig, schedule: Schedule) -> None:
        super().__init__(config)
        self.schedule = schedule
        plans = [lattices(schedule, group, config.radius, config.groups) for group in range(schedule.groups)]
        self._first = np.cumsum([0] + [len(plan.patterns) for plan in plans]).tolist()
        self.kernels = nn.ParameterList()
        for offsets in (one for plan in plans for one in plan.offsets):
            inputs = len(offsets) * config.groups * config.embed
            self.kernels.append(torch.randn(inputs, config.hidden) / math.sqrt(max(1, inputs)))
        self.bias = nn.Parameter(torch.zeros(len(self.kernels), config.hidden))

    @torch.no_grad()
    def start_from(self, network: AnyScheduleContext) -> None:
        """Take over embedding and mixed kernels: from then on both compute the same under this schedule."""
        self.embed.copy_(network.embed)
        self.embed_magnitude.copy_(network.embed_magnitude)
        for group in range(self.schedule.groups):
            kernels, bias = network.mixed(self.schedule, group)
            first, end = self._first[group : group + 2]
            for own, kernel in zip(self.kernels[first:end], kernels, strict=True):
                own.copy_(kernel)
            self.bias[first:end] = bias

    def mixed(self, schedule: Schedule, group: int) -> tuple[Sequence[Tensor], Tensor]:
        """See :meth:`_WindowContext.mixed`.

        Raises:
            InvalidInput: another schedule than its own.
        """
        if schedule != self.schedule:
            raise InvalidInput(f"this specialised context network runs under {self.schedule} only, not {schedule}")
        first, end = self._first[group : group + 2]
        kernels: list[Tensor] = list(self.kernels[first:end])
        if schedule.groups > 1:  # some channel groups of a window position may be hidden: zeros for them
            plan = lattices(schedule, group, self.config.radius, self.config.groups)
            shown = [
                pattern.reshape(self.config.window, -1)[offsets].flatten().repeat_interleave(self.config.embed)
                for pattern, offsets in zip(plan.patterns, plan.offsets, strict=True)
            ]
            kernels = [kernel * seen[:, None].to(kernel) for kernel, seen in zip(kernels, shown, strict=True)]
        return kernels, self.bias[first:end]
