"""What an ONNX graph of a model file may hold, checked before ONNX Runtime sees it.

ONNX Runtime trusts its graphs: one may read files beside it (external data), name operators of libraries, loop for
ever or make tensors of any size. Ours do none of that: they are made of twenty plain operators. Everything else is
refused, by a walk over the protobuf message that needs neither the package ``onnx`` nor a session. Field numbers are
those of onnx.proto3 (github.com/onnx/onnx, onnx/onnx.proto). A model is to be trusted like code all the same
(docs/security.md): plain operators, too, can ask for much arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator

from tadan.errors import Corrupt

#: Inputs and outputs of each graph of a model file, in order.
PORTS = {
    "g_a": (("picture", "gains"), ("y",)),
    "h_a": (("y",), ("z",)),
    "g_s": (("y_hat", "gains"), ("picture",)),
    "g_s_gradient": (("y_hat", "gains", "picture", "weights"), ("gradient", "error")),
}
#: Operators of opset 17 and the attributes that they may have.
OPERATORS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("Add", "Clip", "Div", "Equal", "Greater", "Identity", "Mul", "Relu", "Reshape"), frozenset()),
    **dict.fromkeys(("Shape", "Slice", "Sub", "Sum"), frozenset()),
    "Cast": frozenset({"to"}),
    "Concat": frozenset({"axis"}),
    "Conv": frozenset({"group", "pads", "strides"}),
    "Gemm": frozenset({"transB"}),
    "ReduceSum": frozenset({"keepdims"}),
    "Split": frozenset({"axis"}),
    "Transpose": frozenset({"perm"}),
}
MOST_NODES = 8192
MOST_PADDING = 16  # and stride: of values in `pads` and `strides`, which make outputs large or small
TYPES = frozenset({1, 2, 3, 7, 10})  # float32, uint8, int8, int64, float16

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL = {1: "ir_version", 2: "producer", 3: "producer", 6: "doc", 7: "graph", 8: "opset"}
_GRAPH = {1: "node", 2: "name", 5: "initializer", 10: "doc", 11: "input", 12: "output", 13: "value_info"}
_NODE = {1: "input", 2: "output", 3: "name", 4: "op_type", 5: "attribute", 6: "doc", 7: "domain"}
_ATTRIBUTE = {1: "name", 2: "f", 3: "i", 8: "ints", 20: "type"}
_TENSOR = {1: "dims", 2: "data_type", 4: "float_data", 5: "int32_data", 7: "int64_data", 8: "name", 9: "raw_data"}
_OPSET = {1: "domain", 2: "version"}

Field = tuple[str, int | memoryview]


class _Refused(Exception):
    """Why a graph is refused, in words."""


def check_graph(data: bytes, graph: str) -> None:
    """Make sure that a graph is one of ours.

    Args:
        data: serialised ModelProto.
        graph: a key of :data:`PORTS`.

    Raises:
        Corrupt: it is damaged, or holds what no graph of a Tadan model holds.
    """
    try:
        _check_model(memoryview(data), *PORTS[graph])
    except (_Refused, IndexError, UnicodeDecodeError) as error:
        reason = error if isinstance(error, _Refused) else "it is no ONNX graph"
        raise Corrupt(f"the graph {graph} of the model file is refused: {reason}; fetch or export it again") from error


def _check_model(data: memoryview, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    ports: dict[str, list[str]] = {"input": [], "output": []}
    nodes = 0
    for name, value in _fields(data, _MODEL, "the model"):
        if name == "opset":
            domains = [_text(domain) for kind, domain in _fields(value, _OPSET, "the opset") if kind == "domain"]
            if any(domains):
                raise _Refused(f"it needs operators of {domains[0]!r}")
        if name != "graph":
            continue
        for kind, part in _fields(value, _GRAPH, "the graph"):  # messages are joined by concatenation: graphs may be
            if kind == "node":
                nodes += 1
                _check_node(part)
            elif kind == "initializer":
                _check_tensor(part)
            elif kind in ports:
                ports[kind].append(_name(part))
    if nodes > MOST_NODES:
        raise _Refused(f"it has {nodes} nodes")
    if (tuple(ports["input"]), tuple(ports["output"])) != (inputs, outputs):
        raise _Refused(f"it goes from {ports['input']} to {ports['output']}, not from {inputs} to {outputs}")


def _check_node(data: int | memoryview) -> None:
    operator, domain, attributes = "", "", []
    for name, value in _fields(data, _NODE, "a node"):
        if name == "op_type":
            operator = _text(value)
        elif name == "domain":
            domain = _text(value)
        elif name == "attribute":
            attributes.append(value)
    if domain or operator not in OPERATORS:
        raise _Refused(f"it has the operator {domain + ':' if domain else ''}{operator[:40]!r}")
    for attribute in attributes:
        name, numbers = "", []
        for kind, value in _fields(attribute, _ATTRIBUTE, f"an attribute of {operator}"):
            if kind == "name":
                name = _text(value)
            elif kind in ("i", "ints"):
                numbers += [value] if isinstance(value, int) else list(varints(value))
        if name not in OPERATORS[operator]:
            raise _Refused(f"its operator {operator} has the attribute {name[:40]!r}")
        if name in ("pads", "strides") and not all(0 <= number <= MOST_PADDING for number in numbers):
            raise _Refused(f"its operator {operator} has {name} of {numbers[:8]}")


def _check_tensor(data: int | memoryview) -> None:
    for name, value in _fields(data, _TENSOR, "a weight"):  # fields of external data are not among the known ones
        if name == "data_type" and value not in TYPES:
            raise _Refused(f"it has a weight of type {value}")


def _name(value: int | memoryview) -> str:
    """Of a ValueInfoProto, whose type ONNX Runtime states and :mod:`tadan.codec.transforms` checks."""
    return next((_text(part) for number, part in raw_fields(message(value)) if number == 1), "")


def _fields(data: int | memoryview, known: dict[int, str], what: str) -> Iterator[Field]:
    for number, value in raw_fields(message(data)):
        if number not in known:
            raise _Refused(f"{what} has the field {number}, which no graph of ours has")
        yield known[number], value


def raw_fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Fields of a protobuf message: number, and a whole number or bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise _Refused("it is no ONNX graph")
        if length > len(data) - at:
            raise _Refused("it ends early")
        yield key >> 3, data[at : at + length]
        at += length


def varints(data: memoryview) -> Iterator[int]:
    """Whole numbers of a packed field."""
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Refused("it is no ONNX graph")


def message(value: int | memoryview) -> memoryview:
    """The bytes of a field that holds some."""
    if isinstance(value, int):
        raise _Refused("it is no ONNX graph")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(message(value)).decode()
