"""ONNX graphs of g_a, h_a and g_s, written node by node: dynamic sizes, half-precision weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from tadan.errors import InvalidInput
from tadan.nn.entropy_model import HyperAnalysis
from tadan.nn.transforms import PIXELS, Analysis, Synthesis

OPSET = 17
IR_VERSION = 8


class _Graph:
    """Grows a chain of nodes; ``tip`` is the name of the latest result."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.tip = name, source
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._count = 0

    def constant(self, values: NDArray[Any]) -> str:
        """Store a tensor; floats in half precision, widened when the session starts."""
        self._count += 1
        name = f"c{self._count}"
        if values.dtype.kind != "f":
            self._constants.append(numpy_helper.from_array(values, name))
            return name
        self._constants.append(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        self._nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node that takes the tip and ``inputs``; its output becomes the tip."""
        self._count += 1
        out = f"{kind.lower()}{self._count}"
        self._nodes.append(helper.make_node(kind, [self.tip, *inputs], [out], **attributes))
        self.tip = out
        return out

    def convolve(self, weight: NDArray[np.float32], bias: Tensor | None, **attributes: Any) -> None:
        """Append a convolution with weights (out, in, rows, cols)."""
        self.add("Conv", self.constant(weight), self.constant(_numpy(bias)), **attributes)

    def pointwise(self, layer: nn.Linear) -> None:
        """Append a linear layer as a 1x1 convolution."""
        self.convolve(_numpy(layer.weight)[:, :, None, None], layer.bias)

    def depthwise(self, layer: nn.Conv2d) -> None:
        """Append a depthwise 3x3 convolution with zero padding."""
        self.convolve(_numpy(layer.weight), layer.bias, group=layer.groups, pads=[1, 1, 1, 1])

    def gather_blocks(self, layer: nn.Linear, size: int) -> None:
        """Append space_to_depth(size) and a linear layer as one strided convolution."""
        outputs, inputs = layer.weight.shape
        weight = _numpy(layer.weight).reshape(outputs, size, size, inputs // size**2).transpose(0, 3, 1, 2)
        self.convolve(np.ascontiguousarray(weight), layer.bias, strides=[size, size])

    def block(self, block: Any) -> None:
        """Append a residual :class:`~tadan.nn.transforms.Block`."""
        shortcut = self.tip
        self.depthwise(block.spatial)
        self.pointwise(block.expand)
        self.add("Relu")
        self.pointwise(block.project)
        self.add("Add", shortcut)

    def finish(self, source: tuple[str, int, list[Any]], result: tuple[str, int, list[Any]]) -> bytes:
        """Serialise; source and result are (name, element type, shape)."""
        self._nodes.append(helper.make_node("Identity", [self.tip], [result[0]]))
        graph = helper.make_graph(
            self._nodes,
            self.name,
            [helper.make_tensor_value_info(*source)],
            [helper.make_tensor_value_info(*result)],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


def _numpy(value: Tensor | None) -> NDArray[np.float32]:
    if value is None:
        raise InvalidInput("a layer to export has no bias; the graphs expect one")
    return value.detach().float().numpy()


def analysis_graph(g_a: Analysis) -> bytes:
    """picture uint8 (B, H, W, 3), H and W multiples of 16 -> y float32 (B, latent, H/16, W/16), gain not applied."""
    graph = _Graph("g_a", "picture")
    graph.add("Cast", to=TensorProto.FLOAT)
    graph.add("Transpose", perm=[0, 3, 1, 2])
    graph.add("Div", graph.constant(np.array(255.0, np.float32)))
    graph.add("Sub", graph.constant(np.array(0.5, np.float32)))
    graph.gather_blocks(g_a.inlet, PIXELS)
    for block in g_a.blocks:
        graph.block(block)
    graph.gather_blocks(g_a.outlet, 2)
    latent = g_a.outlet.out_features
    return graph.finish(
        ("picture", TensorProto.UINT8, ["B", "H", "W", 3]), ("y", TensorProto.FLOAT, ["B", latent, "h", "w"])
    )


def hyper_analysis_graph(h_a: HyperAnalysis) -> bytes:
    """y float32 (B, latent, h, w) in quantisation steps, h and w multiples of 4 -> z (B, z_channels, h/4, w/4)."""
    graph = _Graph("h_a", "y")
    graph.pointwise(h_a.first)
    graph.depthwise(h_a.first_spatial)
    graph.add("Relu")
    graph.gather_blocks(h_a.second, 2)
    graph.depthwise(h_a.second_spatial)
    graph.add("Relu")
    graph.gather_blocks(h_a.third, 2)
    return graph.finish(
        ("y", TensorProto.FLOAT, ["B", h_a.first.in_features, "h", "w"]),
        ("z", TensorProto.FLOAT, ["B", h_a.third.out_features, "hz", "wz"]),
    )


def synthesis_graph(g_s: Synthesis) -> bytes:
    """y_hat float32 (B, latent, h, w), inverse gain applied -> picture uint8 (B, 16 h, 16 w, 3), rounded."""
    graph = _Graph("g_s", "y_hat")
    graph.pointwise(g_s.inlet)
    graph.add("DepthToSpace", blocksize=2, mode="DCR")
    for block in g_s.blocks:
        graph.block(block)
    graph.pointwise(g_s.outlet)
    graph.add("DepthToSpace", blocksize=PIXELS, mode="DCR")
    graph.add("Mul", graph.constant(np.array(255.0, np.float32)))
    graph.add("Add", graph.constant(np.array(128.0, np.float32)))  # 0.5 * 255 and half a level: floor then rounds
    graph.add("Clip", graph.constant(np.array(0.0, np.float32)), graph.constant(np.array(255.0, np.float32)))
    graph.add("Transpose", perm=[0, 2, 3, 1])
    graph.add("Cast", to=TensorProto.UINT8)
    return graph.finish(
        ("y_hat", TensorProto.FLOAT, ["B", g_s.inlet.in_features, "h", "w"]),
        ("picture", TensorProto.UINT8, ["B", "H", "W", 3]),
    )
