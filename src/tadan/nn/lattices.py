"""Visibility patterns as the context network reads them, and its window product over lattices of equal patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

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
