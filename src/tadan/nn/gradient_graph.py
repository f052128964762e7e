"""ONNX graph of the gradient of the squared error through g_s, for the encoder's search.

Every node of :func:`tadan.nn.graphs.synthesis_graph` has its adjoint here.
Of the renderer only the outputs of its ReLUs are kept, 32 bytes a pixel and block with 128 hidden channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto
from torch import nn

from tadan.models.error_metric import AXES
from tadan.nn.block_gradient import block_back, block_kept
from tadan.nn.graphs import (
    PARTS,
    Modulated,
    PartGraph,
    as_rows,
    grid_block,
    grid_blocks,
    levels,
    to_parts,
    wide_blocks,
)
from tadan.nn.onnx_graph import gains_port
from tadan.nn.transforms import CELL, CELL_SAMPLES, SIDE, GridBlock, Synthesis


def gradient_graph(g_s: Synthesis) -> bytes:
    """Inputs y_hat float32 (B, latent, h, w), inverse gain applied; gains; picture uint8 (B, 16 h, 16 w, 3); weights.

    ``weights`` float32 (B, 4 h, 4 w, 3) are those of :func:`tadan.models.error_metric.error_weights`: the error is the
    sum of squared differences (shown - picture) along :data:`~tadan.models.error_metric.AXES`, times the weight of
    the cell and axis; shown is clipped to 0..255 and not rounded. Output ``gradient`` float32 (B, latent, h, w) is its
    gradient, in squared levels per unit of y_hat; ``error`` float32 (B, 4 h) is the sum for every row of cells.
    """
    graph = PartGraph("g_s_gradient", "y_hat", g_s)
    graph.measure("y_hat")
    gains, blocks, renderer = graph.gains(g_s), wide_blocks(g_s), grid_blocks(g_s)
    graph.pointwise(g_s.inlet)
    positive = [block_kept(graph, block, *gains[2 * n : 2 * n + 2]) for n, block in enumerate(blocks)]
    body_width = g_s.inlet.out_features
    body = as_rows(graph, graph.tip, body_width)
    parts = to_parts(graph, g_s.to_grid, body)
    kept = []
    for grid, gain in zip(renderer, gains[2 * len(blocks) :], strict=True):
        parts, one = grid_block(graph, grid, gain, body, parts)
        kept.append(one)
    slopes, error = _compare(graph, g_s.outlet, parts)
    towards_body = ""
    for grid, one in zip(reversed(renderer), reversed(kept), strict=True):
        slopes, towards_body = _grid_block_back(graph, grid, one, slopes, towards_body)
    towards_body = _add_product(graph, graph.node("Concat", *slopes, axis=1), g_s.to_grid, towards_body)
    graph.tip = graph.transpose(graph.reshape(towards_body, "b", "h", "w", body_width), 0, 3, 1, 2)
    for number, block in reversed(list(enumerate(blocks))):
        block_back(graph, block, positive[number], gains[2 * number], gains[2 * number + 1])
    graph.add("Conv", graph.transposed(g_s.inlet))
    latent = g_s.inlet.in_features
    return graph.finish(
        [
            ("y_hat", TensorProto.FLOAT, ["B", latent, "h", "w"]),
            gains_port(g_s),
            ("picture", TensorProto.UINT8, ["B", "H", "W", 3]),
            ("weights", TensorProto.FLOAT, ["B", "4h", "4w", 3]),
        ],
        [
            (graph.tip, "gradient", TensorProto.FLOAT, ["B", latent, "h", "w"]),
            (error, "error", TensorProto.FLOAT, ["B", "4h"]),
        ],
    )


def _compare(graph: PartGraph, outlet: nn.Linear, parts: Sequence[str]) -> tuple[list[str], str]:
    """Show every part and compare with the picture: gradients by the parts, and the error of each row of cells."""
    picture = graph.reshape("picture", "b", "h", SIDE, CELL, "w", SIDE, CELL, 3)
    cells = graph.reshape(graph.transpose(picture, 2, 5, 0, 1, 4, 3, 6, 7), -1, CELL_SAMPLES)
    weights = graph.reshape("weights", "b", "h", SIDE, "w", SIDE, 3)
    weights = graph.reshape(graph.transpose(weights, 2, 4, 0, 1, 3, 5), -1, 3)
    weight, bias = levels(graph, outlet, 127.5)
    low, high, two = graph.scalar(0.0), graph.scalar(255.0), graph.scalar(2.0)
    pixels = CELL_SAMPLES // 3
    turn = graph.constant(np.kron(np.eye(pixels), AXES.T).astype(np.float32))  # samples -> differences along the axes
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


def _grid_block_back(
    graph: PartGraph, block: GridBlock, kept: Modulated, slopes: Sequence[str], towards_body: str
) -> tuple[list[str], str]:
    """Adjoint of :func:`~tadan.nn.graphs.grid_block`: gradients by the parts before it, and by the body."""
    zero, expand = graph.scalar(0.0), graph.parameter(block.expand.weight)
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
    return before, _add_product(graph, both, block.modulate, towards_body)


def _add_product(graph: PartGraph, rows: str, layer: nn.Linear, total: str) -> str:
    """Adjoint of a linear layer, added to ``total`` if there is one yet."""
    return graph.node("Gemm", rows, graph.parameter(layer.weight), *([total] if total else []))
