"""Transforms: everything heavy at 1/16 with wide channels, pixels painted at 1/4.

::

    picture --16x16 blocks--> inlet -> [depthwise 5x5, wide layers] x n -> outlet --> y
    y_hat --inlet--> [depthwise 5x5, wide layers] x n = body --to_grid--> grid at 1/4
                                                        |                   v
                                                        +--modulate--> [layers] x m --> 4x4 pixels a grid point

The split into a body and a renderer that it modulates follows PULSE (Jia et al., arXiv 2609.18602), section 3; the
linear start is that of :mod:`tadan.nn.klt`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tadan.models.config import ModelConfig
from tadan.nn.by_quality import ByQuality
from tadan.nn.layers import Block, depth_to_space, precise, space_to_depth

STRIDE = 16  # pixels a side of a position of y
CELL = 4  # pixels a side of a grid point of the renderer
SIDE = STRIDE // CELL  # grid points a side of a position of y
CELL_SAMPLES = 3 * CELL * CELL


def to_patches(picture: Tensor) -> Tensor:
    """(B, H, W, 3) -> (B, H/16, W/16, 768): 4x4 grid points of 4x4 pixels each, the order of the renderer's grid."""
    return space_to_depth(space_to_depth(picture, CELL), SIDE)


def quiet_high_qualities(log_gain: ByQuality) -> None:
    """Let a residual branch start at full gain for quality 1 and at a fifth for 100.

    The linear start is nearly right for high qualities, and what a branch tries first is noise to them.
    """
    with torch.no_grad():
        knots = len(log_gain.values)
        log_gain.values.copy_(torch.linspace(0, math.log(0.2), knots)[:, None].expand_as(log_gain.values))


def wide_blocks(width: int, count: int, expansion: int, config: ModelConfig) -> nn.ModuleList:
    """Residual blocks at 1/16."""
    blocks = [Block(width, expansion, config.kernel, config.knots) for _ in range(count)]
    for block in blocks:
        quiet_high_qualities(block.log_gain_out)
    return nn.ModuleList(blocks)


class Analysis(nn.Module):
    """g_a: picture in 0..1 -> y at 1/16 with the step size of lambda = 0.013 as unit."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.analysis_width
        self.inlet = nn.Linear(3 * STRIDE * STRIDE, width)
        self.blocks = wide_blocks(width, config.analysis_blocks, config.analysis_expansion, config)
        self.outlet = nn.Linear(width, config.latent)

    def forward(self, picture: Tensor, quality: Tensor) -> Tensor:
        """(B, H, W, 3) with H, W multiples of 16, quality (B,) -> (B, H/16, W/16, latent)."""
        x = precise(self.inlet, to_patches(picture) - 0.5)
        for block in self.blocks:
            x = block(x, quality)
        return precise(self.outlet, x)


class GridBlock(nn.Module):
    """Residual block of the renderer: two pointwise layers that the body modulates.

    ``hidden = relu(expand(g) + shift) * (1 + scale)``: shift and scale are linear in the body, one pair a
    position of y, shared by its 4x4 grid points.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        grid, hidden = config.grid, config.grid_hidden
        self.expand = nn.Linear(grid, hidden)
        self.modulate = nn.Linear(config.body_width, 2 * hidden)
        self.log_gain = ByQuality(config.knots, grid)
        self.project = nn.Linear(hidden, grid)
        with torch.no_grad():
            nn.init.kaiming_normal_(self.expand.weight, nonlinearity="relu")
            self.modulate.weight.mul_(0.1)
            self.modulate.bias.zero_()
            self.project.weight.zero_()
            self.project.bias.zero_()
            quiet_high_qualities(self.log_gain)

    def forward(self, grid: Tensor, body: Tensor, quality: Tensor) -> Tensor:
        """Grid (B, 4 h, 4 w, grid), body (B, h, w, body_width), quality (B,) -> like the grid."""
        b, h, w, _ = body.shape
        shift, scale = self.modulate(body)[:, :, None, :, None].chunk(2, -1)
        hidden = self.expand(grid).reshape(b, h, SIDE, w, SIDE, -1)
        hidden = torch.relu(hidden + shift) * (1 + scale)
        return grid + self.project(hidden.reshape(b, h * SIDE, w * SIDE, -1)) * torch.exp(self.log_gain(quality))


class Synthesis(nn.Module):
    """g_s: a body at 1/16 and a renderer at 1/4."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.body_width
        self.inlet = nn.Linear(config.latent, width)
        self.blocks = wide_blocks(width, config.body_blocks, config.body_expansion, config)
        self.to_grid = nn.Linear(width, SIDE * SIDE * config.grid)
        self.renderer = nn.ModuleList(GridBlock(config) for _ in range(config.grid_blocks))
        self.outlet = nn.Linear(config.grid, CELL_SAMPLES)

    def forward(self, y_hat: Tensor, quality: Tensor) -> Tensor:
        """(B, h, w, latent), quality (B,) -> picture (B, 16 h, 16 w, 3), nominally 0..1, not clipped."""
        body = precise(self.inlet, y_hat)
        for block in self.blocks:
            body = block(body, quality)
        grid = depth_to_space(precise(self.to_grid, body), SIDE)
        for block in self.renderer:
            grid = block(grid, body, quality)
        return depth_to_space(precise(self.outlet, grid), CELL) + 0.5
