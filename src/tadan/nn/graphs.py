"""ONNX graphs of g_a and g_s, written node by node: dynamic sizes, compact weights.

The renderer's grid is kept as 16 tensors, one for each of the 4x4 grid points of a position of y: ``(positions,
channels)``, a *part*. Every part meets the same shift and scale, so that a product takes the shift in as it starts, and
all that happens to a part stays in the processor's cache. Measured against whole
planes and against a layout with broadcasting, that is the fastest in ONNX Runtime on a CPU (docs/experiments.md, the
entry on layouts of g_s).

Parameters are stored under their own names and in their own order of values; what turns them into the operands of the
nodes is folded when the session starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from tadan.nn.by_quality import gains_of
from tadan.nn.eight_bits import to_eight_bits
from tadan.nn.entropy_model import HyperAnalysis
from tadan.nn.layers import Block
from tadan.nn.onnx_graph import GAINS, Graph, as_array, gains_port
from tadan.nn.transforms import CELL, SIDE, STRIDE, Analysis, GridBlock, Synthesis

PARTS = SIDE * SIDE
BRANCHES = ("blocks.", "renderer.")  # parameters of residual branches


class PartGraph(Graph):
    """A graph with branches, and shapes that follow the plane of y."""

    def __init__(self, name: str, source: str, owner: nn.Module) -> None:
        super().__init__(name, source, owner)
        self._stored: dict[int, str] = {}
        self._sizes: dict[str, str] = {}

    def constant(self, values: NDArray[Any], parameter: Tensor | None = None) -> str:
        """As of every graph, but the linear layers of residual branches in eight bits; widened at the start as well."""
        name = self._names.get(id(parameter), "")
        if parameter is None or parameter.dim() != 2 or not name.startswith(BRANCHES):
            return super().constant(values, parameter)
        integers, scales = to_eight_bits(values)
        self._constants += [numpy_helper.from_array(integers, f"{name}_int8")]
        self._constants += [numpy_helper.from_array(scales, f"{name}_scale_half")]
        groups = self.reshape(self.node("Cast", f"{name}_int8", to=TensorProto.FLOAT), *scales.shape[:1], -1)
        widened = self.node("Mul", groups, self.node("Cast", f"{name}_scale_half", to=TensorProto.FLOAT))
        return self.reshape(widened, *values.shape)

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node that takes ``inputs``; returns its output and leaves the tip alone."""
        tip, self.tip = self.tip, inputs[0]
        out = self.add(kind, *inputs[1:], **attributes)
        self.tip = tip
        return out

    def split(self, value: str, axis: int, sizes: Sequence[int] | int) -> list[str]:
        """Cut a tensor into parts of ``sizes``, or into that many equal ones."""
        self._count += 1
        count = sizes if isinstance(sizes, int) else len(sizes)
        outputs = [f"split{self._count}_{number}" for number in range(count)]
        inputs = [value] if isinstance(sizes, int) else [value, self.constant(np.array(sizes, np.int64))]
        self._nodes.append(helper.make_node("Split", inputs, outputs, axis=axis))
        return outputs

    def parameter(self, value: Tensor | None) -> str:
        """A parameter of the owner as it is; stored once."""
        if id(value) not in self._stored:
            self._stored[id(value)] = self.constant(as_array(value), value)
        return self._stored[id(value)]

    def measure(self, latents: str) -> None:
        """Take the sizes from a tensor (B, channels, h, w)."""
        batch, _, height, width = self.split(self.node("Shape", latents), 0, 4)
        self._sizes = {"b": batch, "h": height, "w": width}

    def reshape(self, value: str, *shape: int | str) -> str:
        """Reshape to whole numbers and sizes: b of the batch, h and w of y, 4h and 4w of the grid, 16h and 16w."""
        if not any(isinstance(one, str) for one in shape):
            return self.node("Reshape", value, self.constant(np.array(shape, np.int64)))
        parts = [self._size(one) if isinstance(one, str) else self.constant(np.array([one], np.int64)) for one in shape]
        return self.node("Reshape", value, self.node("Concat", *parts, axis=0))

    def _size(self, name: str) -> str:
        if name not in self._sizes:
            factor = self.constant(np.array([int(name[:-1])], np.int64))
            self._sizes[name] = self.node("Mul", self._sizes[name[-1]], factor)
        return self._sizes[name]

    def transpose(self, value: str, *order: int) -> str:
        """Permute the dimensions."""
        return self.node("Transpose", value, perm=list(order))

    def gains(self, network: nn.Module) -> list[str]:
        """Split the input ``gains``: two vectors a wide block, then one a grid block."""
        return self.split(GAINS, 1, [by.values.shape[1] for by in gains_of(network)])


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


def wide_blocks(network: Analysis | Synthesis) -> list[Block]:
    """Blocks at 1/16, in order."""
    return [block for block in network.blocks if isinstance(block, Block)]


def grid_blocks(g_s: Synthesis) -> list[GridBlock]:
    """Blocks at 1/4, in order."""
    return [block for block in g_s.renderer if isinstance(block, GridBlock)]


def grid_block(
    graph: PartGraph, block: GridBlock, gain: str, body: str, parts: list[str]
) -> tuple[list[str], Modulated]:
    """Append a block of the renderer; body (positions, body_width). Returns the parts and what the adjoint needs."""
    hidden, channels = block.expand.weight.shape
    modulation = linear(graph, body, block.modulate)
    shift, scale = graph.split(modulation, 1, [hidden, hidden])
    shift = graph.node("Add", shift, graph.parameter(block.expand.bias))
    scale = graph.node("Add", scale, graph.scalar(1.0))
    project = graph.node("Mul", graph.parameter(block.project.weight), graph.reshape(gain, channels, 1))
    bias = graph.node("Mul", graph.parameter(block.project.bias), graph.reshape(gain, channels))
    out, kept = [], []
    for part in parts:
        active = graph.node("Relu", graph.node("Gemm", part, graph.parameter(block.expand.weight), shift, transB=1))
        kept.append(active)
        added = graph.node("Gemm", graph.node("Mul", active, scale), project, part, transB=1)
        out.append(graph.node("Add", added, bias))
    return out, Modulated(kept, scale, project)


def linear(graph: PartGraph, rows: str, layer: nn.Linear) -> str:
    """A linear layer on (positions, inputs)."""
    return graph.node("Gemm", rows, graph.parameter(layer.weight), graph.parameter(layer.bias), transB=1)


def to_parts(graph: PartGraph, layer: nn.Linear, body: str) -> list[str]:
    """The grid that the body starts, one product a part."""
    weights = graph.split(graph.parameter(layer.weight), 0, PARTS)
    biases = graph.split(graph.parameter(layer.bias), 0, PARTS)
    return [graph.node("Gemm", body, w, b, transB=1) for w, b in zip(weights, biases, strict=True)]


def as_rows(graph: PartGraph, plane: str, channels: int) -> str:
    """(B, channels, h, w) -> (positions, channels)."""
    return graph.reshape(graph.transpose(plane, 0, 2, 3, 1), -1, channels)


def levels(graph: PartGraph, outlet: nn.Linear, offset: float) -> tuple[str, str]:
    """Weights and bias that give samples in levels of 255 instead of 1, ``offset`` added."""
    full = graph.scalar(255.0)
    bias = graph.node("Mul", graph.parameter(outlet.bias), full)
    return graph.node("Mul", graph.parameter(outlet.weight), full), graph.node("Add", bias, graph.scalar(offset))


def analysis_graph(g_a: Analysis) -> bytes:
    """picture uint8 (B, H, W, 3), sides multiples of 16; gains -> y float32 (B, latent, H/16, W/16), unscaled."""
    graph = PartGraph("g_a", "picture", g_a)
    graph.add("Cast", to=TensorProto.FLOAT)
    graph.add("Transpose", perm=[0, 3, 1, 2])
    graph.add("Div", graph.scalar(255.0))
    graph.add("Sub", graph.scalar(0.5))
    width, latent = g_a.inlet.out_features, g_a.outlet.out_features
    kernel = graph.reshape(graph.parameter(g_a.inlet.weight), width, SIDE, SIDE, CELL, CELL, 3)
    kernel = graph.reshape(graph.transpose(kernel, 0, 5, 1, 3, 2, 4), width, 3, STRIDE, STRIDE)
    graph.add("Conv", kernel, graph.parameter(g_a.inlet.bias), strides=[STRIDE, STRIDE])
    gains = graph.gains(g_a)
    for number, block in enumerate(wide_blocks(g_a)):
        graph.block(block, gains[2 * number], gains[2 * number + 1])
    graph.pointwise(g_a.outlet)
    return graph.finish(
        [("picture", TensorProto.UINT8, ["B", "H", "W", 3]), gains_port(g_a)],
        [(graph.tip, "y", TensorProto.FLOAT, ["B", latent, "h", "w"])],
    )


def hyper_analysis_graph(h_a: HyperAnalysis) -> bytes:
    """y float32 (B, latent, h, w) in quantisation steps, h and w multiples of 4 -> z (B, z_channels, h/4, w/4)."""
    graph = Graph("h_a", "y", h_a)
    graph.pointwise(h_a.first)
    graph.depthwise(h_a.first_spatial)
    graph.add("Relu")
    graph.gather_blocks(h_a.second, 2)
    graph.depthwise(h_a.second_spatial)
    graph.add("Relu")
    graph.gather_blocks(h_a.third, 2)
    return graph.finish(
        [("y", TensorProto.FLOAT, ["B", h_a.first.in_features, "h", "w"])],
        [(graph.tip, "z", TensorProto.FLOAT, ["B", h_a.third.out_features, "hz", "wz"])],
    )


def synthesis_graph(g_s: Synthesis) -> bytes:
    """y_hat float32 (B, latent, h, w), inverse gain applied; gains -> picture uint8 (B, 16 h, 16 w, 3), rounded."""
    graph = PartGraph("g_s", "y_hat", g_s)
    graph.measure("y_hat")
    gains = graph.gains(g_s)
    graph.pointwise(g_s.inlet)
    for number, block in enumerate(wide_blocks(g_s)):
        graph.block(block, gains[2 * number], gains[2 * number + 1])
    body = as_rows(graph, graph.tip, g_s.inlet.out_features)
    parts = to_parts(graph, g_s.to_grid, body)
    for grid, gain in zip(grid_blocks(g_s), gains[2 * len(g_s.blocks) :], strict=True):
        parts, _ = grid_block(graph, grid, gain, body, parts)
    weight, bias = levels(graph, g_s.outlet, 128.0)  # 0.5 * 255 and half a level: truncation then rounds
    low, high = graph.scalar(0.0), graph.scalar(255.0)
    shown = []
    for part in parts:
        clipped = graph.node("Clip", graph.node("Gemm", part, weight, bias, transB=1), low, high)
        shown.append(graph.node("Cast", clipped, to=TensorProto.UINT8))
    cells = graph.reshape(graph.node("Concat", *shown, axis=1), "b", "h", "w", SIDE, SIDE, CELL, CELL, 3)
    picture = graph.reshape(graph.transpose(cells, 0, 1, 3, 5, 2, 4, 6, 7), "b", "16h", "16w", 3)
    return graph.finish(
        [("y_hat", TensorProto.FLOAT, ["B", g_s.inlet.in_features, "h", "w"]), gains_port(g_s)],
        [(picture, "picture", TensorProto.UINT8, ["B", "H", "W", 3])],
    )
