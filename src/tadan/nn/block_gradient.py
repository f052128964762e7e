"""Adjoint of a residual block, node by node: reverse-mode differentiation written out.

Weights are stored once; ONNX Runtime folds the transposed copies when the session starts.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from tadan.nn.layers import Block
from tadan.nn.onnx_graph import Graph


def block_kept(graph: Graph, block: Block, gain_in: str, gain_out: str) -> str:
    """As :meth:`Graph.block`; returns where its ReLU passes.

    That is all that the adjoint needs of the widest tensors, one byte a sample. ONNX Runtime would compute it only when
    the adjoint asks for it, and keep four bytes until then; so the block depends on it, by 0 times one sample.
    """
    shortcut = graph.tip
    graph.depthwise(block.spatial)
    graph.add("Mul", gain_in)
    graph.pointwise(block.expand)
    active = graph.add("Relu")
    graph.pointwise(block.project)
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


def block_back(graph: Graph, block: Block, positive: str, gain_in: str, gain_out: str) -> None:
    """Adjoint of :func:`block_kept`; ``positive`` is what it returned."""
    shortcut = graph.tip
    graph.add("Mul", gain_out)
    through = graph.add("Conv", graph.transposed(block.project))
    graph.tip = positive
    graph.add("Cast", to=TensorProto.FLOAT)  # Where takes ten times as long
    graph.add("Mul", through)
    graph.add("Conv", graph.transposed(block.expand))
    graph.add("Mul", gain_in)
    flipped = block.spatial.weight.detach().flip(2, 3).float().numpy()
    pad = block.spatial.kernel_size[0] // 2
    graph.add("Conv", graph.constant(flipped), group=block.spatial.groups, pads=[pad] * 4)
    graph.add("Add", shortcut)
