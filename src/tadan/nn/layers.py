"""Layers of the transforms and the hyperprior.

All tensors are (batch, height, width, channels): a 1x1 convolution is then a plain matrix product, which torch
runs several times faster on a CPU than the convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tadan.nn.by_quality import ByQuality


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


class Block(nn.Module):
    """Residual block: depthwise convolution, then two pointwise layers with a ReLU between; zero at the start.

    Every quality has its own gain of each channel behind the first and behind the last layer: details that a high
    quality needs are noise to a low one, and the weights are shared by all.
    """

    def __init__(self, width: int, expansion: int, kernel: int, knots: int) -> None:
        super().__init__()
        self.spatial = Conv(width, width, kernel, groups=width)
        self.log_gain_in = ByQuality(knots, width)
        self.log_gain_out = ByQuality(knots, width)
        self.expand = nn.Linear(width, width * expansion)
        self.project = nn.Linear(width * expansion, width)
        with torch.no_grad():
            self.spatial.weight.mul_(0.5)
            self.spatial.weight[:, :, kernel // 2, kernel // 2] += 0.7
            nn.init.kaiming_normal_(self.expand.weight, nonlinearity="relu")
            self.project.weight.zero_()
            self.project.bias.zero_()

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """(B, H, W, C), quality (B,) -> same shape."""
        inside = self.spatial(x) * torch.exp(self.log_gain_in(quality)).to(x.dtype)
        outside = self.project(torch.relu(self.expand(inside)))
        return x + outside * torch.exp(self.log_gain_out(quality)).to(x.dtype)
