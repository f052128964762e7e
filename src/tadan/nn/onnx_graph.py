"""ONNX graphs written node by node: dynamic sizes, compact weights, one copy of what graphs have in common.

Parameters are stored under their own names and in their own order of values; what turns them into the operands of the
nodes is folded when the session starts. They take half precision, and those of residual branches eight bits: whole
numbers, and a scale for every 32 of them. The layers at the edges carry the picture itself, and eight bits of those
would cost 0.1 dB and more. One scale for each output is too coarse: trained blocks have inputs that are much weaker
than others (docs/experiments.md, the entry on sizes of model files).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from tadan.errors import InvalidInput
from tadan.nn.layers import gains_of

OPSET = 17
IR_VERSION = 8
GAINS = "gains"
BRANCHES = ("blocks.", "renderer.")  # parameters of residual branches
GROUP = 32  # weights of one output that share a scale
LARGEST = 127
_SMALLEST_SCALE = 2.0**-24  # of half precision
WEIGHT_TYPES = frozenset({TensorProto.FLOAT16, TensorProto.INT8})  # others are a few numbers each
Port = tuple[str, int, list[Any]]


class Graph:
    """Grows a chain of nodes, with branches where asked; ``tip`` is the name of the latest result of the chain.

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
        self._stored: dict[int, str] = {}
        self._sizes: dict[str, str] = {}

    def constant(self, values: NDArray[Any], parameter: Tensor | None = None) -> str:
        """Store a tensor; floats in half precision or eight bits, widened when the session starts.

        ``parameter`` is what the values are of; a parameter of the owner gives its name, with ``_half`` behind it, or
        ``_int8`` and ``_scale_half``.
        """
        known = self._names.get(id(parameter), "")
        if parameter is not None and parameter.dim() == 2 and known.startswith(BRANCHES):
            return self._eight_bits(values, known)
        self._count += 1
        name = known or f"c{self._count}"
        if values.dtype.kind != "f":
            self._constants.append(numpy_helper.from_array(values, name))
            return name
        self._constants.append(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        self._nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
        return name

    def _eight_bits(self, values: NDArray[Any], name: str) -> str:
        integers, scales = to_eight_bits(values)
        self._constants += [numpy_helper.from_array(integers, f"{name}_int8")]
        self._constants += [numpy_helper.from_array(scales, f"{name}_scale_half")]
        groups = self.reshape(self.node("Cast", f"{name}_int8", to=TensorProto.FLOAT), *scales.shape[:1], -1)
        widened = self.node("Mul", groups, self.node("Cast", f"{name}_scale_half", to=TensorProto.FLOAT))
        return self.reshape(widened, *values.shape)

    def parameter(self, value: Tensor | None) -> str:
        """A parameter of the owner as it is; stored once."""
        if id(value) not in self._stored:
            self._stored[id(value)] = self.constant(as_array(value), value)
        return self._stored[id(value)]

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


def linear(graph: Graph, rows: str, layer: nn.Linear) -> str:
    """A linear layer on (positions, inputs)."""
    return graph.node("Gemm", rows, graph.parameter(layer.weight), graph.parameter(layer.bias), transB=1)


def as_rows(graph: Graph, plane: str, channels: int) -> str:
    """(B, channels, h, w) -> (positions, channels)."""
    return graph.reshape(graph.transpose(plane, 0, 2, 3, 1), -1, channels)


def to_eight_bits(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Round the weights of a linear layer.

    Args:
        weight: (outputs, inputs), or the same with dimensions of 1 behind.

    Returns:
        integers of the same shape, and scales (groups, 1): the weights are about ``integers * scales``. A group is 32
        weights in a row, or all of an output if its inputs do not divide by 32.
    """
    rows = weight.astype(np.float64).reshape(-1, group_of(weight.shape[1]))
    scales = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / LARGEST, _SMALLEST_SCALE).astype(np.float16)
    integers = np.clip(np.rint(rows / scales), -LARGEST, LARGEST)
    return integers.astype(np.int8).reshape(weight.shape), scales


def group_of(inputs: int) -> int:
    """Weights that share a scale in a layer with so many inputs."""
    return inputs if inputs % GROUP else GROUP


def share_weights(graphs: Mapping[str, bytes]) -> tuple[dict[str, bytes], bytes]:
    """Cut the weights that are the same in all ``graphs``, under the same name, out of them.

    The bytes of two protobuf messages, one after the other, are one message: embedded messages merge, and repeated
    fields continue (https://protobuf.dev/programming-guides/encoding/#last-one-wins). So the runtime joins a model
    and its weights by concatenation, and needs no package for it.

    Args:
        graphs: ONNX models by name.

    Returns:
        the models without these weights, and the weights: ``rest[name] + weights`` is the model again, up to the order
        of its initializers.
    """
    models = {name: onnx.load_from_string(data) for name, data in graphs.items()}
    stored = [{one.name: one.SerializeToString() for one in model.graph.initializer} for model in models.values()]
    fragment = onnx.ModelProto()
    for one in next(iter(models.values())).graph.initializer:
        if one.data_type in WEIGHT_TYPES and all(each.get(one.name) == stored[0][one.name] for each in stored):
            fragment.graph.initializer.append(one)
    common = {one.name for one in fragment.graph.initializer}
    for model in models.values():
        own = [one for one in model.graph.initializer if one.name not in common]
        del model.graph.initializer[:]
        model.graph.initializer.extend(own)
    return {name: bytes(model.SerializeToString()) for name, model in models.items()}, fragment.SerializeToString()
