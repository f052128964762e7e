"""Vectors that depend on the quality, so that one set of networks serves every rate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tadan.models.config import QUALITY_MAX, QUALITY_MIN


class ByQuality(nn.Module):
    """A vector for each quality, interpolated linearly between learned knots."""

    def __init__(self, knots: int, size: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(knots, size))

    def forward(self, quality: Tensor) -> Tensor:
        """quality float (B,) in 1..100 -> (B, 1, 1, size)."""
        knots = self.values.shape[0]
        position = (quality - QUALITY_MIN) / (QUALITY_MAX - QUALITY_MIN) * (knots - 1)
        weights = (1 - (position[:, None] - torch.arange(knots, device=position.device)).abs()).clamp_min(0)
        return (weights @ self.values.float())[:, None, None]


def gains_of(network: nn.Module) -> list[ByQuality]:
    """Vectors by quality of a transform in the order of their definition, which is that of its graph's ``gains``."""
    return [module for module in network.modules() if isinstance(module, ByQuality)]
