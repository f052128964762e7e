"""Integer layers over planes (B, h, w, channels): pointwise, 3x3, and rearrangement of channels into positions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.exact.linear import ExactLayer, Floats, MatMul


def depth_to_space(x: Floats, size: int) -> Floats:
    """(B, h, w, size*size*C) -> (B, size*h, size*w, C), channels ordered (row, col, channel)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, size, size, c // (size * size)).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h * size, w * size, -1)


def pointwise(layer: ExactLayer, x: Floats, matmul: MatMul) -> NDArray[np.float32]:
    """A layer at every position; its outputs are below 2**24."""
    rows = layer(x.reshape(-1, x.shape[-1]), matmul)
    return rows.reshape(*x.shape[:3], -1).astype(np.float32)


def conv3(layer: ExactLayer, x: Floats, matmul: MatMul) -> NDArray[Any]:
    """A layer over windows of 3x3, inputs ordered (row, col, channel), zeros outside the plane.

    float32 where its outputs are activations (low 0), float64 otherwise.
    """
    b, h, w, c = x.shape
    padded = np.zeros((b, h + 2, w + 2, c), np.float32)
    padded[:, 1:-1, 1:-1] = x
    rows = np.concatenate([padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=3)
    out = layer(rows.reshape(b * h * w, 9 * c), matmul).reshape(b, h, w, -1)
    return out if layer.low != 0 else out.astype(np.float32)
