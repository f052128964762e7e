"""ONNX graph of the gradient of the squared error through g_s: what the encoder's search needs, without torch.

Reverse-mode differentiation written out: every node of :func:`tadan.nn.graphs.synthesis_graph` has its adjoint here.
Weights are stored once; ONNX Runtime folds the transposed copies when the session starts.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto
from torch import nn

from tadan.nn.graphs import Graph, gains_port
from tadan.nn.transforms import PIXELS, Block, Synthesis


def gradient_graph(g_s: Synthesis) -> bytes:
    """Inputs y_hat float32 (B, latent, h, w), inverse gain applied; gains; picture uint8 (B, 16 h, 16 w, 3).

    Output ``gradient`` float32 (B, latent, h, w) is that of the sum over samples of (shown - picture)², in squared
    levels per unit of y_hat, where shown is clipped to 0..255 and not rounded; ``error`` float32 (B, 16 h) is
    that sum for every row of pixels.
    """
    graph = Graph("g_s_gradient", "y_hat")
    gains = graph.split_gains(g_s.blocks)
    graph.pointwise(g_s.inlet)
    graph.add("DepthToSpace", blocksize=2, mode="DCR")
    positive = [block_kept(graph, block, *gains[2 * n : 2 * n + 2]) for n, block in enumerate(g_s.blocks)]
    graph.pointwise(g_s.outlet)
    graph.add("DepthToSpace", blocksize=PIXELS, mode="DCR")
    graph.add("Mul", graph.scalar(255.0))
    unclipped = graph.add("Add", graph.scalar(127.5))
    shown = graph.add("Clip", graph.scalar(0.0), graph.scalar(255.0))
    graph.tip = "picture"
    graph.add("Cast", to=TensorProto.FLOAT)
    target = graph.add("Transpose", perm=[0, 3, 1, 2])
    graph.tip = shown
    difference = graph.add("Sub", target)
    graph.add("Mul", difference)
    error = graph.add("ReduceSum", graph.constant(np.array([1, 3], np.int64)), keepdims=0)
    graph.tip = unclipped
    inside = graph.add("Equal", shown)
    graph.tip = inside
    graph.add("Cast", to=TensorProto.FLOAT)
    graph.add("Mul", difference)
    graph.add("Mul", graph.scalar(2 * 255.0))
    _gather_back(graph, g_s.outlet, PIXELS)
    for number, block in reversed(list(enumerate(g_s.blocks))):
        block_back(graph, block, positive[number], gains[2 * number], gains[2 * number + 1])
    _gather_back(graph, g_s.inlet, 2)
    return graph.finish(
        [
            ("y_hat", TensorProto.FLOAT, ["B", g_s.inlet.in_features, "h", "w"]),
            gains_port(g_s.blocks),
            ("picture", TensorProto.UINT8, ["B", "H", "W", 3]),
        ],
        [
            (graph.tip, "gradient", TensorProto.FLOAT, ["B", g_s.inlet.in_features, "h", "w"]),
            (error, "error", TensorProto.FLOAT, ["B", "H"]),
        ],
    )


def _gather_back(graph: Graph, layer: nn.Linear, size: int) -> None:
    """Adjoint of a linear layer and depth_to_space(size): one strided convolution."""
    outputs, inputs = layer.weight.shape
    weight = layer.weight.detach().float().numpy()  # (size * size * c, inputs), channels (row, col, channel)
    kernel = weight.reshape(size, size, outputs // size**2, inputs).transpose(3, 2, 0, 1)
    graph.add("Conv", graph.constant(np.ascontiguousarray(kernel)), strides=[size, size])


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
