"""Weights in eight bits: whole numbers, and a scale in half precision for every 32 of them.

For the residual branches of the transforms alone: their layers at the edges carry the picture itself, and eight bits of
those would cost 0.1 dB and more. One scale for each output is too coarse, too: trained blocks have inputs that are much
weaker than others (docs/experiments.md, the entry on sizes of model files).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GROUP = 32  # weights of one output that share a scale
LARGEST = 127
_SMALLEST_SCALE = 2.0**-24  # of half precision


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


def from_eight_bits(integers: NDArray[np.int8], scales: NDArray[np.float16]) -> NDArray[np.float32]:
    """Weights that :func:`to_eight_bits` stands for, float32 of the shape of the integers."""
    rows = integers.reshape(len(scales), -1).astype(np.float32)
    return (rows * scales.astype(np.float32)).reshape(integers.shape)


def group_of(inputs: int) -> int:
    """Weights that share a scale in a layer with so many inputs."""
    return inputs if inputs % GROUP else GROUP
