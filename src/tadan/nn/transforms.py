"""Transforms: everything heavy at 1/16 with wide channels, pixels painted at 1/4.

::

    picture --16x16 blocks--> inlet -> [depthwise 5x5, wide layers] x n -> outlet --> y
    y_hat --inlet--> [depthwise 5x5, wide layers] x n = body --to_grid--> grid at 1/4
                                                        |                   v
                                                        +--modulate--> [layers] x m --> 4x4 pixels a grid point

The split into a body and a renderer that it modulates follows PULSE (Jia et al., arXiv 2609.18602), section 3; the
linear start is that of :mod:`tadan.nn.klt`.

Each writes the ONNX graphs that the codec runs. In these the renderer's grid is kept as 16 tensors, one for each of the
4x4 grid points of a position of y: ``(positions, channels)``, a *part*. Every part meets the same shift and scale, so
that a product takes the shift in as it starts, and all that happens to a part stays in the processor's cache. Measured
against whole planes and against a layout with broadcasting, that is the fastest in ONNX Runtime on a CPU
(docs/experiments.md, the entry on layouts of g_s).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto
from torch import Tensor, nn

from tadan.models.config import ModelConfig
from tadan.models.search_rule import AXES
from tadan.nn.blocks import CELL, SIDE, STRIDE, GridBlock, WideBlock, add_product
from tadan.nn.layers import depth_to_space, gains_of, precise, space_to_depth
from tadan.nn.onnx_graph import GAINS, Graph, Port, as_rows

CELL_SAMPLES = 3 * CELL * CELL
PARTS = SIDE * SIDE


def to_patches(picture: Tensor) -> Tensor:
    """(B, H, W, 3) -> (B, H/16, W/16, 768): 4x4 grid points of 4x4 pixels each, the order of the renderer's grid."""
    return space_to_depth(space_to_depth(picture, CELL), SIDE)


class Transform(nn.Module):
    """What g_a and g_s have in common: wide blocks at 1/16, and the gains of all blocks as one input of a graph."""

    blocks: nn.ModuleList

    @property
    def gains_port(self) -> Port:
        """The input ``gains`` (1, n, 1, 1): all vectors of :func:`gains_of`, one after the other."""
        return GAINS, TensorProto.FLOAT, [1, sum(by.values.shape[1] for by in gains_of(self)), 1, 1]

    def split_gains(self, graph: Graph) -> tuple[list[tuple[WideBlock, str, str]], list[str]]:
        """Wide blocks with their two vectors of gains each, and the vectors that are left: one a grid block."""
        gains = graph.split(GAINS, 1, [by.values.shape[1] for by in gains_of(self)])
        wide = [block for block in self.blocks if isinstance(block, WideBlock)]
        return list(zip(wide, gains[0::2], gains[1::2], strict=False)), gains[2 * len(wide) :]


class Analysis(Transform):
    """g_a: picture in 0..1 -> y at 1/16 with the step size of lambda = 0.013 as unit."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.analysis_width
        self.inlet = nn.Linear(3 * STRIDE * STRIDE, width)
        blocks = (
            WideBlock(width, config.analysis_expansion, config.kernel, config.knots)
            for _ in range(config.analysis_blocks)
        )
        self.blocks = nn.ModuleList(blocks)
        self.outlet = nn.Linear(width, config.latent)

    def forward(self, picture: Tensor, quality: Tensor) -> Tensor:
        """(B, H, W, 3) with H, W multiples of 16, quality (B,) -> (B, H/16, W/16, latent)."""
        x = precise(self.inlet, to_patches(picture) - 0.5)
        for block in self.blocks:
            x = block(x, quality)
        return precise(self.outlet, x)

    def graph(self) -> bytes:
        """picture uint8 (B, H, W, 3), sides multiples of 16; gains -> y float32 (B, latent, H/16, W/16), unscaled."""
        graph = Graph("g_a", "picture", self)
        graph.add("Cast", to=TensorProto.FLOAT)
        graph.add("Transpose", perm=[0, 3, 1, 2])
        graph.add("Div", graph.scalar(255.0))
        graph.add("Sub", graph.scalar(0.5))
        width, latent = self.inlet.out_features, self.outlet.out_features
        kernel = graph.reshape(graph.parameter(self.inlet.weight), width, SIDE, SIDE, CELL, CELL, 3)
        kernel = graph.reshape(graph.transpose(kernel, 0, 5, 1, 3, 2, 4), width, 3, STRIDE, STRIDE)
        graph.add("Conv", kernel, graph.parameter(self.inlet.bias), strides=[STRIDE, STRIDE])
        for block, gain_in, gain_out in self.split_gains(graph)[0]:
            block.nodes(graph, gain_in, gain_out)
        graph.pointwise(self.outlet)
        return graph.finish(
            [("picture", TensorProto.UINT8, ["B", "H", "W", 3]), self.gains_port],
            [(graph.tip, "y", TensorProto.FLOAT, ["B", latent, "h", "w"])],
        )


class Synthesis(Transform):
    """g_s: a body at 1/16 and a renderer at 1/4."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.body_width
        self.inlet = nn.Linear(config.latent, width)
        blocks = (
            WideBlock(width, config.body_expansion, config.kernel, config.knots) for _ in range(config.body_blocks)
        )
        self.blocks = nn.ModuleList(blocks)
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

    def graph(self) -> bytes:
        """y_hat float32 (B, latent, h, w), inverse gain applied; gains -> picture uint8 (B, 16 h, 16 w, 3), rounded."""
        graph = Graph("g_s", "y_hat", self)
        graph.measure("y_hat")
        wide, gains = self.split_gains(graph)
        graph.pointwise(self.inlet)
        for block, gain_in, gain_out in wide:
            block.nodes(graph, gain_in, gain_out)
        body = as_rows(graph, graph.tip, self.inlet.out_features)
        parts = self._to_parts(graph, body)
        for grid, gain in zip(self._grid_blocks(), gains, strict=True):
            parts, _ = grid.nodes(graph, gain, body, parts)
        weight, bias = self._levels(graph, 128.0)  # 0.5 * 255 and half a level: truncation then rounds
        low, high = graph.scalar(0.0), graph.scalar(255.0)
        shown = []
        for part in parts:
            clipped = graph.node("Clip", graph.node("Gemm", part, weight, bias, transB=1), low, high)
            shown.append(graph.node("Cast", clipped, to=TensorProto.UINT8))
        cells = graph.reshape(graph.node("Concat", *shown, axis=1), "b", "h", "w", SIDE, SIDE, CELL, CELL, 3)
        picture = graph.reshape(graph.transpose(cells, 0, 1, 3, 5, 2, 4, 6, 7), "b", "16h", "16w", 3)
        return graph.finish(
            [("y_hat", TensorProto.FLOAT, ["B", self.inlet.in_features, "h", "w"]), self.gains_port],
            [(picture, "picture", TensorProto.UINT8, ["B", "H", "W", 3])],
        )

    def gradient_graph(self) -> bytes:
        """ONNX graph of the gradient of the squared error through g_s, for the encoder's search.

        Inputs: y_hat float32 (B, latent, h, w), inverse gain applied; gains; picture uint8 (B, 16 h, 16 w, 3); weights.

        ``weights`` float32 (B, 4 h, 4 w, 3) are those of :func:`tadan.models.search_rule.error_weights`. The error is
        the sum of squared differences (shown - picture) along :data:`~tadan.models.search_rule.AXES`, times the weight
        of the cell and axis; shown is clipped to 0..255 and not rounded. Output ``gradient`` float32 (B, latent, h, w)
        is its gradient, in squared levels per unit of y_hat. ``error`` float32 (B, 4 h) is the sum for every row of
        cells. Of the renderer only the outputs of its ReLUs are kept, 32 bytes a pixel and block with 128 channels.
        """
        graph = Graph("g_s_gradient", "y_hat", self)
        graph.measure("y_hat")
        (wide, gains), renderer = self.split_gains(graph), self._grid_blocks()
        graph.pointwise(self.inlet)
        positive = [block.nodes_kept(graph, gain_in, gain_out) for block, gain_in, gain_out in wide]
        body_width = self.inlet.out_features
        body = as_rows(graph, graph.tip, body_width)
        parts = self._to_parts(graph, body)
        kept = []
        for grid, gain in zip(renderer, gains, strict=True):
            parts, one = grid.nodes(graph, gain, body, parts)
            kept.append(one)
        slopes, error = self._compare(graph, parts)
        towards_body = ""
        for grid, one in zip(reversed(renderer), reversed(kept), strict=True):
            slopes, towards_body = grid.back(graph, one, slopes, towards_body)
        towards_body = add_product(graph, graph.node("Concat", *slopes, axis=1), self.to_grid, towards_body)
        graph.tip = graph.transpose(graph.reshape(towards_body, "b", "h", "w", body_width), 0, 3, 1, 2)
        for (block, gain_in, gain_out), passes in zip(reversed(wide), reversed(positive), strict=True):
            block.back(graph, passes, gain_in, gain_out)
        graph.add("Conv", graph.transposed(self.inlet))
        latent = self.inlet.in_features
        return graph.finish(
            [
                ("y_hat", TensorProto.FLOAT, ["B", latent, "h", "w"]),
                self.gains_port,
                ("picture", TensorProto.UINT8, ["B", "H", "W", 3]),
                ("weights", TensorProto.FLOAT, ["B", "4h", "4w", 3]),
            ],
            [
                (graph.tip, "gradient", TensorProto.FLOAT, ["B", latent, "h", "w"]),
                (error, "error", TensorProto.FLOAT, ["B", "4h"]),
            ],
        )

    def _compare(self, graph: Graph, parts: Sequence[str]) -> tuple[list[str], str]:
        """Show every part and compare with the picture: gradients by the parts, and the error of each row of cells."""
        picture = graph.reshape("picture", "b", "h", SIDE, CELL, "w", SIDE, CELL, 3)
        cells = graph.reshape(graph.transpose(picture, 2, 5, 0, 1, 4, 3, 6, 7), -1, CELL_SAMPLES)
        weights = graph.reshape("weights", "b", "h", SIDE, "w", SIDE, 3)
        weights = graph.reshape(graph.transpose(weights, 2, 4, 0, 1, 3, 5), -1, 3)
        weight, bias = self._levels(graph, 127.5)
        low, high, two = graph.scalar(0.0), graph.scalar(255.0), graph.scalar(2.0)
        pixels = CELL_SAMPLES // 3
        turn = graph.constant(
            np.kron(np.eye(pixels), AXES.T).astype(np.float32)
        )  # samples -> differences along the axes
        by_axis = graph.constant(np.tile(np.eye(3), pixels).astype(np.float32))  # a cell's weights, once for each pixel
        across = graph.constant(np.array([2, 3], np.int64))
        slopes, errors = [], []
        pairs = zip(graph.split(cells, 0, PARTS), graph.split(weights, 0, PARTS), strict=True)
        for part, (cell, seen) in zip(parts, pairs, strict=True):
            unclipped = graph.node("Gemm", part, weight, bias, transB=1)
            shown = graph.node("Clip", unclipped, low, high)
            difference = graph.node("Sub", shown, graph.node("Cast", cell, to=TensorProto.FLOAT))
            turned = graph.node("Gemm", difference, turn)
            weighed = graph.node("Mul", turned, graph.node("Gemm", seen, by_axis))
            squares = graph.reshape(graph.node("Mul", turned, weighed), "b", "h", "w", CELL_SAMPLES)
            errors.append(graph.reshape(graph.node("ReduceSum", squares, across, keepdims=0), "b", "h", 1))
            inside = graph.node("Cast", graph.node("Equal", unclipped, shown), to=TensorProto.FLOAT)
            slope = graph.node("Gemm", weighed, turn, transB=1)
            by_sample = graph.node("Mul", graph.node("Mul", slope, inside), two)
            slopes.append(graph.node("Gemm", by_sample, weight))
        lines = [graph.node("Sum", *errors[SIDE * line : SIDE * (line + 1)]) for line in range(SIDE)]
        return slopes, graph.reshape(graph.node("Concat", *lines, axis=2), "b", "4h")

    def _to_parts(self, graph: Graph, body: str) -> list[str]:
        """The grid that the body starts, one product a part."""
        weights = graph.split(graph.parameter(self.to_grid.weight), 0, PARTS)
        biases = graph.split(graph.parameter(self.to_grid.bias), 0, PARTS)
        return [graph.node("Gemm", body, w, b, transB=1) for w, b in zip(weights, biases, strict=True)]

    def _levels(self, graph: Graph, offset: float) -> tuple[str, str]:
        """Weights and bias that give samples in levels of 255 instead of 1, ``offset`` added."""
        full = graph.scalar(255.0)
        bias = graph.node("Mul", graph.parameter(self.outlet.bias), full)
        return graph.node("Mul", graph.parameter(self.outlet.weight), full), graph.node(
            "Add", bias, graph.scalar(offset)
        )

    def _grid_blocks(self) -> list[GridBlock]:
        return [block for block in self.renderer if isinstance(block, GridBlock)]
