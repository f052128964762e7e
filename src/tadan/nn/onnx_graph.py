"""ONNX graphs written node by node: dynamic sizes, half-precision weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from tadan.errors import InvalidInput
from tadan.nn.by_quality import gains_of
from tadan.nn.layers import Block

OPSET = 17
IR_VERSION = 8
GAINS = "gains"
Port = tuple[str, int, list[Any]]


class Graph:
    """Grows a chain of nodes; ``tip`` is the name of the latest result.

    Args:
        name: of the graph.
        source: input that the chain begins with.
        owner: network whose parameters give their names to the tensors that store them.
    """

    def __init__(self, name: str, source: str, owner: nn.Module | None = None) -> None:
        self.name, self.tip = name, source
        self._names = {} if owner is None else {id(value): known for known, value in owner.named_parameters()}
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._pointwise: dict[nn.Linear, str] = {}
        self._count = 0

    def constant(self, values: NDArray[Any], parameter: Tensor | None = None) -> str:
        """Store a tensor; floats in half precision, widened when the session starts.

        ``parameter`` is what the values are of; a parameter of the owner gives its name, with ``_half`` behind it.
        """
        self._count += 1
        name = self._names.get(id(parameter), f"c{self._count}")
        if values.dtype.kind != "f":
            self._constants.append(numpy_helper.from_array(values, name))
            return name
        self._constants.append(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        self._nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
        return name

    def scalar(self, value: float) -> str:
        """Store a number, exactly."""
        self._count += 1
        name = f"c{self._count}"
        self._constants.append(numpy_helper.from_array(np.array(value, np.float32), name))
        return name

    def transposed(self, layer: nn.Linear) -> str:
        """Weight of the adjoint of :meth:`pointwise`; the half-precision tensor is shared with it."""
        self._count += 1
        name = f"c{self._count}"
        self._nodes.append(helper.make_node("Transpose", [self._pointwise[layer]], [name], perm=[1, 0, 2, 3]))
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node that takes the tip and ``inputs``; its output becomes the tip."""
        self._count += 1
        out = f"{kind.lower()}{self._count}"
        self._nodes.append(helper.make_node(kind, [self.tip, *inputs], [out], **attributes))
        self.tip = out
        return out

    def convolve(self, weight: NDArray[np.float32], layer: nn.Linear | nn.Conv2d, **attributes: Any) -> str:
        """Append ``layer`` as a convolution by its weights (out, in, rows, cols); returns the name of these."""
        name = self.constant(weight, layer.weight)
        self.add("Conv", name, self.constant(as_array(layer.bias), layer.bias), **attributes)
        return name

    def pointwise(self, layer: nn.Linear) -> None:
        """Append a linear layer as a 1x1 convolution."""
        self._pointwise[layer] = self.convolve(as_array(layer.weight)[:, :, None, None], layer)

    def depthwise(self, layer: nn.Conv2d) -> None:
        """Append a depthwise convolution with zero padding."""
        self.convolve(as_array(layer.weight), layer, group=layer.groups, pads=[layer.kernel_size[0] // 2] * 4)

    def gather_blocks(self, layer: nn.Linear, size: int) -> None:
        """Append space_to_depth(size) and a linear layer as one strided convolution."""
        outputs, inputs = layer.weight.shape
        weight = as_array(layer.weight).reshape(outputs, size, size, inputs // size**2).transpose(0, 3, 1, 2)
        self.convolve(np.ascontiguousarray(weight), layer, strides=[size, size])

    def block(self, block: Block, gain_in: str, gain_out: str) -> None:
        """Append a residual block."""
        shortcut = self.tip
        self.depthwise(block.spatial)
        self.add("Mul", gain_in)
        self.pointwise(block.expand)
        self.add("Relu")
        self.pointwise(block.project)
        self.add("Mul", gain_out)
        self.add("Add", shortcut)

    def finish(self, inputs: Sequence[Port], results: Sequence[tuple[str, str, int, list[Any]]]) -> bytes:
        """Serialise; an input is (name, element type, shape), a result (node output, name, element type, shape)."""
        for source, name, _, _ in results:
            self._nodes.append(helper.make_node("Identity", [source], [name]))
        graph = helper.make_graph(
            self._nodes,
            self.name,
            [helper.make_tensor_value_info(*one) for one in inputs],
            [helper.make_tensor_value_info(*one[1:]) for one in results],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


def as_array(value: Tensor | None) -> NDArray[np.float32]:
    """Values of a parameter, float32.

    Raises:
        InvalidInput: there is none.
    """
    if value is None:
        raise InvalidInput("a layer to export has no bias; the graphs expect one")
    return value.detach().float().numpy()


def gains_port(blocks: nn.Module) -> Port:
    """The input ``gains`` (1, n, 1, 1): all vectors of :func:`gains_of`, one after the other."""
    length = sum(by.values.shape[1] for by in gains_of(blocks))
    return GAINS, TensorProto.FLOAT, [1, length, 1, 1]
