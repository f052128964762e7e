"""Residual blocks of the transforms, each with its layers, its nodes in an ONNX graph, and the nodes of its adjoint.

Adjoints are reverse-mode differentiation written out, for the encoder's search. Weights are stored once; ONNX Runtime
folds the transposed copies when the session starts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor, nn

from tadan.models.config import ModelConfig
from tadan.nn.layers import ByQuality, Conv
from tadan.nn.onnx_graph import Graph, linear

STRIDE = 16  # pixels a side of a position of y
CELL = 4  # pixels a side of a grid point of the renderer
SIDE = STRIDE // CELL  # grid points a side of a position of y


def quiet_high_qualities(log_gain: ByQuality) -> None:
    """Let a residual branch start at full gain for quality 1 and at a fifth for 100.

    The linear start is nearly right for high qualities, and what a branch tries first is noise to them.
    """
    with torch.no_grad():
        knots = len(log_gain.values)
        log_gain.values.copy_(torch.linspace(0, math.log(0.2), knots)[:, None].expand_as(log_gain.values))


class WideBlock(nn.Module):
    """Residual block at 1/16: depthwise convolution, then two pointwise layers with a ReLU between; zero at the start.

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
        quiet_high_qualities(self.log_gain_out)

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """(B, H, W, C), quality (B,) -> same shape."""
        with torch.autocast(x.device.type, enabled=False):  # in bf16 its gradient takes six times as long
            inside = self.spatial(x) * torch.exp(self.log_gain_in(quality)).to(x.dtype)
        outside = self.project(torch.relu(self.expand(inside)))
        return x + outside * torch.exp(self.log_gain_out(quality)).to(x.dtype)

    def nodes(self, graph: Graph, gain_in: str, gain_out: str) -> None:
        """Append a residual self."""
        shortcut = graph.tip
        graph.depthwise(self.spatial)
        graph.add("Mul", gain_in)
        graph.pointwise(self.expand)
        graph.add("Relu")
        graph.pointwise(self.project)
        graph.add("Mul", gain_out)
        graph.add("Add", shortcut)

    def nodes_kept(self, graph: Graph, gain_in: str, gain_out: str) -> str:
        """As :meth:`nodes`; returns where its ReLU passes.

        That is all that the adjoint needs of the widest tensors, one byte a sample. ONNX Runtime would compute it only
        when the adjoint asks for it, and keep four bytes until then. So the block depends on it, by 0 times one sample.
        """
        shortcut = graph.tip
        graph.depthwise(self.spatial)
        graph.add("Mul", gain_in)
        graph.pointwise(self.expand)
        active = graph.add("Relu")
        graph.pointwise(self.project)
        projected, graph.tip = graph.tip, active
        positive = graph.add("Greater", graph.scalar(0.0))
        graph.add("Slice", graph.constant(np.zeros(4, np.int64)), graph.constant(np.ones(4, np.int64)))
        graph.add("Cast", to=TensorProto.FLOAT)
        graph.add("Mul", graph.scalar(0.0))
        gain = graph.add("Add", gain_out)
        graph.tip = projected
        graph.add("Mul", gain)
        graph.add("Add", shortcut)
        return positive

    def back(self, graph: Graph, positive: str, gain_in: str, gain_out: str) -> None:
        """Adjoint of :meth:`nodes_kept`; ``positive`` is what it returned."""
        shortcut = graph.tip
        graph.add("Mul", gain_out)
        through = graph.add("Conv", graph.transposed(self.project))
        graph.tip = positive
        graph.add("Cast", to=TensorProto.FLOAT)  # Where takes ten times as long
        graph.add("Mul", through)
        graph.add("Conv", graph.transposed(self.expand))
        graph.add("Mul", gain_in)
        flipped = self.spatial.weight.detach().flip(2, 3).float().numpy()
        pad = self.spatial.kernel_size[0] // 2
        graph.add("Conv", graph.constant(flipped), group=self.spatial.groups, pads=[pad] * 4)
        graph.add("Add", shortcut)


@dataclass(frozen=True)
class Modulated:
    """What a grid block leaves for its adjoint.

    Attributes:
        active: outputs of the ReLU, one a part, (positions, hidden).
        scale: ``1 + scale``, (positions, hidden), shared by the parts.
        project: weights of the last layer with the gain applied, (grid, hidden).
    """

    active: list[str]
    scale: str
    project: str


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

    def nodes(self, graph: Graph, gain: str, body: str, parts: list[str]) -> tuple[list[str], Modulated]:
        """Append the block; body (positions, body_width). Returns the parts and what the adjoint needs."""
        hidden, channels = self.expand.weight.shape
        modulation = linear(graph, body, self.modulate)
        shift, scale = graph.split(modulation, 1, [hidden, hidden])
        shift = graph.node("Add", shift, graph.parameter(self.expand.bias))
        scale = graph.node("Add", scale, graph.scalar(1.0))
        project = graph.node("Mul", graph.parameter(self.project.weight), graph.reshape(gain, channels, 1))
        bias = graph.node("Mul", graph.parameter(self.project.bias), graph.reshape(gain, channels))
        out, kept = [], []
        for part in parts:
            active = graph.node("Relu", graph.node("Gemm", part, graph.parameter(self.expand.weight), shift, transB=1))
            kept.append(active)
            added = graph.node("Gemm", graph.node("Mul", active, scale), project, part, transB=1)
            out.append(graph.node("Add", added, bias))
        return out, Modulated(kept, scale, project)

    def back(self, graph: Graph, kept: Modulated, slopes: Sequence[str], towards_body: str) -> tuple[list[str], str]:
        """Adjoint of :meth:`nodes`: gradients by the parts before it, and by the body."""
        zero, expand = graph.scalar(0.0), graph.parameter(self.expand.weight)
        before, shift, scale = [], "", ""
        for slope, active in zip(slopes, kept.active, strict=True):
            modulated = graph.node("Gemm", slope, kept.project)
            by_scale = graph.node("Mul", modulated, active)
            through = graph.node("Mul", modulated, kept.scale)
            passed = graph.node("Cast", graph.node("Greater", active, zero), to=TensorProto.FLOAT)
            by_shift = graph.node("Mul", through, passed)
            scale = graph.node("Add", by_scale, scale) if scale else by_scale
            shift = graph.node("Add", by_shift, shift) if shift else by_shift
            before.append(graph.node("Gemm", by_shift, expand, slope))  # with the shortcut
        both = graph.node("Concat", shift, scale, axis=1)
        return before, add_product(graph, both, self.modulate, towards_body)


def add_product(graph: Graph, rows: str, layer: nn.Linear, total: str) -> str:
    """Adjoint of a linear layer, added to ``total`` if there is one yet."""
    return graph.node("Gemm", rows, graph.parameter(layer.weight), *([total] if total else []))
