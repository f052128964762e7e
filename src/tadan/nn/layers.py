"""Layers of the transforms and the hyperprior.

All tensors are (batch, height, width, channels): a 1x1 convolution is then a plain matrix product, which torch
runs several times faster on a CPU than the convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tadan.models.config import QUALITY_MAX, QUALITY_MIN


def space_to_depth(x: Tensor, size: int) -> Tensor:
    """(B, H, W, C) -> (B, H/size, W/size, size*size*C), the order of channels is (row, col, channel)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // size, size, w // size, size, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // size, w // size, size * size * c)


def depth_to_space(x: Tensor, size: int) -> Tensor:
    """Inverse of :func:`space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, size, size, c // (size * size)).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h * size, w * size, c // (size * size))


def precise(layer: nn.Module, x: Tensor) -> Tensor:
    """Run a layer in float32 under autocast: bf16 has 8 bits, too few for pixels and for large latents."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())


class Conv(nn.Conv2d):
    """``nn.Conv2d`` with 'same' zero padding on channels-last tensors."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, inputs) -> (B, H, W, outputs)."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


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
