"""Integer matrix products carried out by floating-point hardware, with the proof that nothing is ever rounded.

All operands are integers stored in float arrays. If the largest possible |partial sum| of a product stays below
2**24, float32 computes it exactly: in any order of summation, with or without fused multiply-add, on any BLAS, thread
count, batch or device. Where the bound fails, the inputs are split into pieces that each satisfy it and the pieces
are added in float64 (exact below 2**53); where that takes too many pieces, the product itself runs in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.errors import Corrupt
from tadan.exact.constants import FLOAT32_EXACT, FLOAT64_EXACT, MAX_SPLITS

Floats = NDArray[np.float32] | NDArray[np.float64]
#: Matrix product of two float arrays of one dtype, (n, k) @ (k, m) -> (n, m).
MatMul = Callable[[Any, Any], Any]
MAX_SHIFT = 40


@dataclass(frozen=True)
class Proof:
    """How a product is kept exact.

    Attributes:
        bound: largest possible magnitude of any partial sum of one piece.
        total: largest possible magnitude of the whole sum.
        splits: number of pieces the inputs are cut into.
        wide: True if a piece needs float64.
    """

    bound: int
    total: int
    splits: int
    wide: bool


def prove(weight: NDArray[np.integer[Any]], limit: int) -> Proof:
    """Find the cheapest exact way to compute ``x @ weight`` for integer ``|x| <= limit``.

    Args:
        weight: integers (inputs, outputs).
        limit: largest magnitude of an input.

    Raises:
        Corrupt: even float64 could round (the sum of |w| times the limit reaches 2**53).
    """
    magnitude = np.abs(weight.astype(np.int64))
    total = int(magnitude.sum(axis=0).max(initial=0)) * limit
    if total >= FLOAT64_EXACT:
        raise Corrupt(f"an integer layer could reach {total:.3g}, which no float64 sum holds exactly; export it again")
    for splits in range(1, MAX_SPLITS + 1):
        pieces = np.array_split(magnitude, splits)
        bound = max(int(piece.sum(axis=0).max(initial=0)) for piece in pieces) * limit
        if bound < FLOAT32_EXACT:
            return Proof(bound, total, splits, wide=False)
    return Proof(total, total, 1, wide=True)


class ExactProduct:
    """``x @ weight`` in integers.

    Args:
        weight: integers (inputs, outputs).
        limit: largest magnitude of an input; the caller guarantees it by clipping.
    """

    def __init__(self, weight: NDArray[np.integer[Any]], limit: int) -> None:
        self.proof = prove(weight, limit)
        self.inputs, self.outputs = weight.shape
        self._dtype = np.float64 if self.proof.wide else np.float32
        carried = weight.astype(self._dtype)
        self._pieces = [np.ascontiguousarray(piece) for piece in np.array_split(carried, self.proof.splits)]

    @property
    def nbytes(self) -> int:
        """Memory of the carried weights."""
        return sum(piece.nbytes for piece in self._pieces)

    def __call__(self, x: Floats, matmul: MatMul = np.matmul) -> NDArray[np.float64]:
        """(n, inputs) integers in floats -> (n, outputs) integers in float64."""
        x = x.astype(self._dtype, copy=False)  # type: ignore[assignment]
        if len(self._pieces) == 1:
            return np.asarray(matmul(x, self._pieces[0]), dtype=np.float64)
        total = np.zeros((x.shape[0], self.outputs))
        start = 0
        for piece in self._pieces:
            total += matmul(np.ascontiguousarray(x[:, start : start + len(piece)]), piece)
            start += len(piece)
        return total


def requantise(
    total: NDArray[np.float64],
    shift: NDArray[np.integer[Any]] | int,
    low: int | NDArray[np.int64],
    high: int | NDArray[np.int64],
) -> NDArray[np.float64]:
    """``clip((total + 2**(shift - 1)) >> shift, low, high)`` per column, in place; integers in float64.

    A power of two only moves the exponent, so the product is exact, and floor then rounds down like the shift.
    """
    total += np.ldexp(0.5, shift)  # for a shift of 0 the floor below takes the half away again
    total *= np.ldexp(1.0, -shift)
    np.floor(total, out=total)
    return np.clip(total, low, high, out=total)


class ExactLayer:
    """Integer linear layer: product, bias, rounding shift, clip.

    Args:
        weight: integers (inputs, outputs).
        bias: integers (outputs,), in units of the sums before the shift.
        shift: integers (outputs,), >= 0.
        limit: largest magnitude of an input.
        low: lower bound of the outputs, one or (outputs,).
        high: upper bound of the outputs, one or (outputs,).

    Raises:
        Corrupt: shapes disagree, a shift is out of range or the sums could leave float64's exact range.
    """

    def __init__(
        self,
        weight: NDArray[np.integer[Any]],
        bias: NDArray[np.integer[Any]],
        shift: NDArray[np.integer[Any]],
        limit: int,
        low: int | NDArray[np.int64],
        high: int | NDArray[np.int64],
    ) -> None:
        shape = weight.shape[1:]
        if weight.ndim != 2 or bias.shape != shape or shift.shape != shape:
            raise Corrupt("the model file holds an integer layer whose parts do not fit each other; fetch it again")
        if shift.min() < 0 or shift.max() > MAX_SHIFT:
            raise Corrupt(f"the model file holds a shift outside 0..{MAX_SHIFT}; fetch it again")
        self.product = ExactProduct(weight, limit)
        largest_bias = max(int(bias.max(initial=0)), -int(bias.min(initial=0)))  # abs(-2**63) would wrap
        if self.product.proof.total + 2 * largest_bias + 2**MAX_SHIFT >= FLOAT64_EXACT:
            raise Corrupt("an integer layer of the model file could overflow; export it again")
        self.bias = bias.astype(np.float64)
        self.shift = shift.astype(np.int64)
        self.low, self.high = low, high

    def __call__(
        self, x: Floats, matmul: MatMul = np.matmul, bias: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """(n, inputs) integers in floats -> (n, outputs) integers in float64.

        ``bias`` (outputs,) replaces the layer's own, which bounds its magnitude in the proof.
        """
        total = self.product(x, matmul)
        total += self.bias if bias is None else bias
        return requantise(total, self.shift, self.low, self.high)
