"""Any-schedule context over uneven channel groups: the window sees each group through an embedding of its own width.

A visibility pattern (which neighbours, of which channel group, are decoded before a position) mixes base kernels with
one coefficient per neighbour and channel group, so that one set of weights runs under every schedule.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadan.exact.constants import MAGNITUDE_CLIP
from tadan.models.config import ModelConfig
from tadan.schedule import Schedule


def with_magnitudes(y_hat: Tensor) -> Tensor:
    """(..., C) -> (..., 2, C): values and log(1 + magnitude), float32."""
    y_hat = y_hat.float()
    return torch.stack([y_hat, torch.log1p(y_hat.abs().clamp_max(MAGNITUDE_CLIP))], -2)


class AnyScheduleContext(nn.Module):
    """Term of the hidden layer from the latents that a schedule shows in the window around a position."""

    spread: Tensor
    group_of: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        #: What values of y are divided by before a trained weight: their spread, 300 steps for some, would make one
        #: learning rate too large for them and too small for the rest. Folded into the weights at export.
        self.register_buffer("spread", torch.ones(config.latent))
        self.embed_weights = nn.ParameterList(
            torch.randn(2, size, width) / math.sqrt(size)  # magnitudes too: they tell the scale from the first step
            for size, width in zip(config.group_sizes, config.embed_sizes, strict=True)
        )
        self.features = sum(config.embed_sizes)  # of one window position
        self.bases = nn.Linear(config.bases * config.window * self.features, config.hidden)
        self.mask_in = nn.Linear(config.visibility_bits, config.mask_hidden)
        self.mask_out = nn.Linear(config.mask_hidden, config.bases * config.visibility_bits + config.hidden)
        group_of = torch.repeat_interleave(torch.arange(config.groups), torch.tensor(config.embed_sizes))
        self.register_buffer("group_of", group_of, persistent=False)
        with torch.no_grad():
            self.bases.weight.mul_(2.0)
            self.mask_out.weight.mul_(0.3)
            self.mask_out.bias.zero_()
            self.mask_out.bias[: config.visibility_bits] = 1.0

    def per_value(self, weight: Tensor, channels: slice = slice(None)) -> Tensor:
        """Weights (2, C, n) of spread values and magnitudes of some channels -> of plain values and magnitudes."""
        scale = torch.stack([1 / self.spread[channels], torch.ones_like(self.spread[channels])])
        return weight * scale[..., None]

    @property
    def embeddings(self) -> list[Tensor]:
        """Of each channel group, float32 (2, channels, width): weights of values and of log magnitudes."""
        ends = list(accumulate(self.config.group_sizes, initial=0))
        pairs = zip(self.embed_weights, pairwise(ends), strict=True)
        return [self.per_value(weight, slice(*channels)) for weight, channels in pairs]

    def embedding(self, y_hat: Tensor) -> Tensor:
        """(B, h, w, latent) -> (B, h, w, features), linear in values and log magnitudes of each channel group."""
        with torch.autocast(y_hat.device.type, enabled=False):
            parts = with_magnitudes(y_hat).split(self.config.group_sizes, -1)
            pairs = zip(parts, self.embeddings, strict=True)
            return torch.cat([part.flatten(-2) @ weight.flatten(0, 1) for part, weight in pairs], -1)

    def mixing(self, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Patterns bool (P, window * groups) -> (P, bases, window, features), 0 where hidden; biases (P, hidden)."""
        config = self.config
        shown = visible.to(self.bases.weight)
        out = self.mask_out(torch.relu(self.mask_in(shown)))
        cut = config.bases * config.visibility_bits
        mixing = out[:, :cut].unflatten(-1, (config.bases, -1)) * shown[:, None]
        mixing = mixing.unflatten(-1, (config.window, config.groups))[..., self.group_of]
        return mixing, out[:, cut:] + self.bases.bias

    def kernels(self, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Patterns bool (P, window * groups) -> kernels (P, window, features, hidden), biases (P, hidden)."""
        mixing, bias = self.mixing(visible)
        bases = self.bases.weight.unflatten(-1, mixing.shape[1:])
        return torch.einsum("pbvf,hbvf->pvfh", mixing, bases), bias

    def forward(self, y_hat: Tensor, schedule: Schedule, group: int = 0) -> Tensor:
        """Context term of every position; hidden neighbours meet factors of 0.

        What is mixed are the neighbours, not the kernels: planes in training have few positions a pattern, and a kernel
        for each pattern costs more than a product of twice the size for all.

        Args:
            y_hat: (B, h, w, latent) latents in quantisation steps.
            schedule: decoding order.
            group: channel group of the schedule whose latents are to be predicted.

        Returns:
            (B, h, w, hidden)
        """
        radius, (_, h, w, _) = self.config.radius, y_hat.shape
        patterns, at = patterns_of(schedule, group, radius, self.config.groups)
        mixing, bias = self.mixing(patterns.to(y_hat.device))
        rows, cols = (torch.arange(side) % period for side, period in zip((h, w), at.shape, strict=True))
        at = at[rows[:, None], cols].to(y_hat.device)
        padded = F.pad(self.embedding(y_hat), (0, 0, *[radius] * 4))
        side = range(2 * radius + 1)
        seen = torch.cat([padded[:, i : i + h, j : j + w] for i in side for j in side], -1)
        mixed = seen[:, :, :, None] * F.embedding(at, mixing.flatten(1)).unflatten(-1, (self.config.bases, -1))
        return mixed.flatten(3) @ self.bases.weight.T + F.embedding(at, bias)


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


@lru_cache(maxsize=256)
def patterns_of(schedule: Schedule, group: int, radius: int, groups: int) -> tuple[Tensor, Tensor]:
    """Visibility patterns of one channel group of ``schedule``, for a model with ``groups`` channel groups.

    Returns:
        the patterns, all different, bool (P, window * groups); which of them holds where, int64 (rows, cols) of the
        period.
    """
    visible = visibility_input(schedule, *schedule.period, radius, groups)[group]
    patterns, which = torch.unique(visible.flatten(0, 1), dim=0, return_inverse=True)
    return patterns, which.reshape(schedule.period)
