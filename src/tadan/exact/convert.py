"""Float layers to integer layers: choice of formats and rounding of weights. Used once, at export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.errors import InvalidInput

BIAS_LIMIT = 2**50  # of an integer bias; leaves the sums of a layer below the 2**53 of float64
INT32_MAX = 2**31 - 1  # the same where the file stores rows by quality
HEADROOM = 2.0  # activations may exceed those seen in calibration by this factor before they saturate


def fractions_for(maximum: NDArray[np.floating[Any]], limit: int) -> NDArray[np.int64]:
    """Fraction bits per channel such that ``maximum * HEADROOM`` just fits ``limit``; int64, same shape.

    Channels that hardly ever fire get a hundredth of the largest, those of a layer that never does a maximum of 1.
    """
    largest = np.asarray(maximum, np.float64) * HEADROOM
    safe = np.maximum(largest, max(1e-6, 0.01 * float(largest.max(initial=0)) or 1.0))
    return np.clip(np.floor(np.log2(limit / safe)), -8, 24).astype(np.int64)


@dataclass(frozen=True)
class IntegerLayer:
    """Result of :func:`to_integer`; arrays as :class:`tadan.exact.linear.ExactLayer` takes them.

    The bias is int64 of the shape that the float bias had.
    """

    weight: NDArray[np.int16]
    bias: NDArray[np.int64]
    shift: NDArray[np.int32]

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Entries of the model file."""
        return {f"{name}.weight": self.weight, f"{name}.bias": self.bias, f"{name}.shift": self.shift}


def to_integer(
    weight: NDArray[np.floating[Any]],
    bias: NDArray[np.floating[Any]],
    fraction_in: NDArray[np.int64] | int,
    fraction_out: NDArray[np.int64] | int,
    bits: int,
    bias_limit: int = BIAS_LIMIT,
) -> IntegerLayer:
    """Round a float layer ``y = x @ weight + bias`` to integers.

    With inputs ``x = a * 2**-fraction_in`` and outputs ``y = b * 2**-fraction_out``, every output channel gets the
    largest shift for which its weights fit ``bits`` bits and its bias fits ``bias_limit``:
    ``b = (a @ W + B) >> shift``.

    Args:
        weight: (inputs, outputs).
        bias: (outputs,), or (n, outputs) where the layer is called with one of n.
        fraction_in: fraction bits of the inputs, one or (inputs,).
        fraction_out: fraction bits of the outputs, one or (outputs,).
        bits: width of a weight including its sign, 2..16.
        bias_limit: largest magnitude of an integer bias.

    Raises:
        InvalidInput: a weight or a bias is not finite or does not fit.
    """
    inputs, outputs = weight.shape
    k_in = np.broadcast_to(np.asarray(fraction_in, np.int64), (inputs,))
    k_out = np.broadcast_to(np.asarray(fraction_out, np.int64), (outputs,))
    scaled = weight.astype(np.float64) * np.ldexp(1.0, k_out[None] - k_in[:, None])
    if not np.isfinite(scaled).all() or not np.isfinite(bias).all():
        raise InvalidInput("the network to export holds weights that are not finite; train it again")
    largest = 2 ** (bits - 1) - 1
    scaled_bias = bias.astype(np.float64) * np.ldexp(1.0, k_out)
    # The largest shift of the weights; of tiny ones it would carry a plain bias beyond its limit.
    shift = np.floor(np.log2(largest / np.maximum(np.abs(scaled).max(axis=0), 1e-9)))
    largest_bias = np.abs(scaled_bias).reshape(-1, outputs).max(axis=0)
    shift = np.minimum(shift, np.floor(np.log2(bias_limit / np.maximum(largest_bias, 1e-9))))
    shift = np.clip(shift, 0, 30).astype(np.int32)
    integer = np.rint(scaled * np.ldexp(1.0, shift))
    if np.abs(integer).max() > 2**15 - 1:
        raise InvalidInput(f"a weight of {np.abs(integer).max():.0f} does not fit 16 bits; the formats are too coarse")
    integer_bias = np.rint(scaled_bias * np.ldexp(1.0, shift))
    if np.abs(integer_bias).max() > bias_limit:
        raise InvalidInput(f"a bias of {np.abs(integer_bias).max():.3g} does not fit an integer layer; train it again")
    return IntegerLayer(integer.astype(np.int16), integer_bias.astype(np.int64), shift)


def by_quality(knots: NDArray[np.floating[Any]], qualities: int) -> NDArray[np.float64]:
    """Interpolate (knots, n) linearly to (qualities, n), row i for quality i + 1."""
    positions = np.arange(qualities) / (qualities - 1) * (len(knots) - 1)
    low = np.minimum(np.floor(positions).astype(int), len(knots) - 2)
    part = (positions - low)[:, None]
    return np.asarray(knots[low] * (1 - part) + knots[low + 1] * part, dtype=np.float64)
