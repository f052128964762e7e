"""Float weights of a transform, read from the tensors of its graph without a package for ONNX.

A weight ``NAME`` is stored as ``NAME_half`` (float16), or as ``NAME_int8`` with a scale ``NAME_scale_half`` for every
group of inputs. Field numbers are those of onnx.proto3, as in :mod:`tadan.models.graph_check`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.errors import Corrupt
from tadan.models.graph_check import message, raw_fields, varints

_GRAPH, _INITIALIZER = 7, 5  # fields of ModelProto and GraphProto
_DIMS, _TYPE, _NAME, _RAW = 1, 2, 8, 9  # of TensorProto
_DTYPES = {3: "i1", 10: "<f2"}


def stored_tensors(data: bytes) -> dict[str, NDArray[Any]]:
    """Tensors of half precision and of eight bits in a serialised graph that :func:`check_graph` has let pass."""
    out: dict[str, NDArray[Any]] = {}
    for number, graph in raw_fields(memoryview(data)):
        for kind, tensor in raw_fields(message(graph)) if number == _GRAPH else ():
            if kind == _INITIALIZER:
                out |= _tensor(message(tensor))
    return out


def _tensor(data: memoryview) -> dict[str, NDArray[Any]]:
    shape: list[int] = []
    name, dtype, raw = "", "", b""
    for number, value in raw_fields(data):
        if number == _DIMS:
            shape += [value] if isinstance(value, int) else varints(value)
        elif number == _TYPE:
            dtype = _DTYPES.get(value, "") if isinstance(value, int) else ""
        elif number == _NAME:
            name = bytes(message(value)).decode()
        elif number == _RAW:
            raw = bytes(message(value))
    if not dtype or math.prod(shape) * np.dtype(dtype).itemsize != len(raw):
        return {}
    return {name: np.frombuffer(raw, dtype).reshape(shape)}


def from_eight_bits(integers: NDArray[np.int8], scales: NDArray[np.float16]) -> NDArray[np.float32]:
    """Weights from integers of any shape and a scale for each group of them, (groups, 1)."""
    rows = integers.reshape(len(scales), -1).astype(np.float32)
    return (rows * scales.astype(np.float32)).reshape(integers.shape)


def weight_of(stored: dict[str, NDArray[Any]], name: str, shape: tuple[int, ...] | None = None) -> NDArray[np.float32]:
    """A weight or bias by name.

    Args:
        stored: what :func:`stored_tensors` found.
        name: without ``_half`` and so on.
        shape: that it is to have; None: as stored.

    Raises:
        Corrupt: it is missing, or of another size.
    """
    half, integers, scales = (stored.get(f"{name}_{kind}") for kind in ("half", "int8", "scale_half"))
    if half is not None:
        weight = half.astype(np.float32)
    elif integers is not None and scales is not None and len(scales) and integers.size % len(scales) == 0:
        weight = from_eight_bits(integers, scales)
    else:
        raise Corrupt(f"the graphs of the model file lack {name}; fetch or export it again")
    if shape is not None and weight.size != math.prod(shape):
        raise Corrupt(f"the graphs of the model file have a {name} of another size; fetch or export it again")
    return weight if shape is None else weight.reshape(shape)
