"""Integer matrix products carried out by floating-point hardware, with the proof that nothing is ever rounded.

All operands are integers stored in float arrays. If the largest possible |partial sum| of a product stays below
2**24, float32 computes it exactly: in any order of summation, with or without fused multiply-add, on any BLAS, thread
count, batch or device. Where the bound fails, the inputs are split into pieces that each satisfy it and the pieces
are added in float64 (exact below 2**53); where that takes too many pieces, the product itself runs in float64.

On top of the product: layers over rows and over planes, and context kernels, where a visibility pattern mixes base
kernels over uneven channel groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.errors import Corrupt, InvalidInput
from tadan.exact.constants import (
    COEFFICIENT_FRACTION,
    EMBED_LIMIT,
    FLOAT32_EXACT,
    FLOAT64_EXACT,
    MAX_SPLITS,
    PRE_LIMIT,
)
from tadan.exact.native import CoreLayer, core_layer
from tadan.exact.steps import check_groups
from tadan.fork import ForkGate, ForkLock

Floats = NDArray[np.float32] | NDArray[np.float64]
#: Matrix product of two float arrays of one dtype, (n, k) @ (k, m) -> (n, m).
MatMul = Callable[[Any, Any], Any]
MAX_SHIFT = 40
_products = ForkGate()


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
        self.weight, self.limit = smallest(weight), limit

    @cached_property
    def core(self) -> CoreLayer | None:
        """The product in the core, if it can be computed there; made when it is asked for."""
        return core_layer(self.weight, self.limit)

    @cached_property
    def _pieces(self) -> list[NDArray[Any]]:
        """Weights as floats, made when a product is not computed in the core."""
        carried = self.weight.astype(self._dtype)
        return [np.ascontiguousarray(piece) for piece in np.array_split(carried, self.proof.splits)]

    @property
    def nbytes(self) -> int:
        """Memory of the carried weights."""
        carried = self.weight.size * np.dtype(self._dtype).itemsize if self.core is None else self.core.nbytes
        return self.weight.nbytes + carried

    def __call__(self, x: Floats, matmul: MatMul = np.matmul) -> NDArray[np.float64]:
        """(n, inputs) integers in floats -> (n, outputs) integers in float64."""
        if self.core is not None and matmul is np.matmul:
            return self.core.product(x)
        x = x.astype(self._dtype, copy=False)  # type: ignore[assignment]
        if len(self._pieces) == 1:
            with _products:
                return np.asarray(matmul(x, self._pieces[0]), dtype=np.float64)
        total = np.zeros((x.shape[0], self.outputs))
        start = 0
        for piece in self._pieces:
            with _products:
                total += matmul(np.ascontiguousarray(x[:, start : start + len(piece)]), piece)
            start += len(piece)
        return total


def smallest(weight: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """The same integers in 16 or 32 bits, if they fit."""
    kinds: tuple[Any, ...] = (np.int16, np.int32)
    narrow: Iterator[NDArray[Any]] = (weight.astype(dtype) for dtype in kinds)
    return next((one for one in narrow if np.array_equal(one, weight)), weight)


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

    @cached_property
    def core(self) -> CoreLayer | None:
        """The layer in the core, if it can be computed there; made when it is asked for."""
        return core_layer(self.product.weight, self.product.limit, (self.bias, self.shift, self.low, self.high))

    def __call__(
        self, x: Floats, matmul: MatMul = np.matmul, bias: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """(n, inputs) integers in floats -> (n, outputs) integers in float64.

        ``bias`` (outputs,) replaces the layer's own, which bounds its magnitude in the proof.
        """
        return self.integers(x, matmul, bias).astype(np.float64, copy=False)

    def integers(self, x: Floats, matmul: MatMul = np.matmul, bias: NDArray[np.float64] | None = None) -> NDArray[Any]:
        """The same in int32 from the core, in float64 without it."""
        if self.core is not None and matmul is np.matmul:
            return self.core.apply(x, None if bias is None else bias.astype(np.int64))
        total = self.product(x, matmul)
        total += self.bias if bias is None else bias
        return requantise(total, self.shift, self.low, self.high)


MAX_KERNEL_BYTES = 2**28  # a 4x4 schedule needs about 30 MB


@dataclass(frozen=True, eq=False)
class WindowKernel:
    """Context kernel of one visibility pattern.

    Attributes:
        taps: int64 (v, 2), row and column offsets of what is gathered.
        features: int64 (v,), the embedded value that each tap takes; None when every tap takes all of its position.
        product: integers (gathered values, hidden); None when nothing is visible.
        bias: float64 (hidden,), integers in pre-activation units.
    """

    taps: NDArray[np.int64]
    features: NDArray[np.int64] | None
    product: ExactProduct | None
    bias: NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        """Memory of the kernel."""
        return 0 if self.product is None else self.product.nbytes


class ContextKernels:
    """Mixes kernels and keeps those that were met; safe to share between threads.

    Args:
        bases: integers (bases, window, features, hidden).
        mask_in: layer from the bits of a pattern, ordered (window position, model group), to its state.
        mask_mix: from the state to a coefficient per base, window position and model group.
        mask_bias: from the state to a term of the pre-activations.
        embed_sizes: features of each model group; they stand one after the other.
    """

    def __init__(
        self,
        bases: NDArray[np.int16],
        mask_in: ExactLayer,
        mask_mix: ExactLayer,
        mask_bias: ExactLayer,
        embed_sizes: Sequence[int],
    ) -> None:
        self._bases, self._in, self._mix, self._bias = bases, mask_in, mask_mix, mask_bias
        self._groups = len(embed_sizes)
        self._group_of = np.repeat(np.arange(self._groups), embed_sizes)
        self._side = round(bases.shape[1] ** 0.5)
        self._kept: dict[bytes, WindowKernel] = {}
        self._lock = ForkLock()

    def __call__(self, visible: NDArray[np.bool_]) -> WindowKernel:
        """Kernel of a pattern, bool (schedule groups, k, k) as in :class:`tadan.schedule.Cell`.

        Raises:
            InvalidInput: the schedule's groups do not divide the model's, or its window is another one.
        """
        key = visible.tobytes()
        kernel = self._kept.get(key)
        if kernel is None:
            kernel = self._mixed(visible)
            with self._lock:
                while self._kept and sum(k.nbytes for k in self._kept.values()) > MAX_KERNEL_BYTES:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[key] = kernel
        return kernel

    def _mixed(self, visible: NDArray[np.bool_]) -> WindowKernel:
        side = self._side
        check_groups(len(visible), self._groups)
        if visible.shape[1:] != (side, side):
            raise InvalidInput(
                f"this model reads a window of {side}x{side}, not {visible.shape[1]}x{visible.shape[2]}; plan the "
                "schedule with the radius of the model"
            )
        bits = visible.repeat(self._groups // len(visible), axis=0).transpose(1, 2, 0).reshape(1, -1)
        state = self._in(bits.astype(np.float32))
        coefficients = self._mix(state).reshape(len(self._bases), side * side, self._groups)
        window, feature = np.nonzero(bits.reshape(-1, self._groups)[:, self._group_of])
        mixed = np.zeros((len(window), self._bases.shape[3]))
        for coefficient, base in zip(coefficients, self._bases, strict=True):
            mixed += coefficient[window, self._group_of[feature]][:, None] * base[window, feature]
        requantise(mixed, COEFFICIENT_FRACTION, -PRE_LIMIT, PRE_LIMIT)
        features = len(self._group_of)
        whole = bool((np.bincount(window, minlength=side * side) % features == 0).all())
        if whole:
            window = window[::features]
        taps = np.stack(np.divmod(window, side), axis=1) - side // 2
        product = ExactProduct(mixed.astype(np.int64), EMBED_LIMIT) if len(mixed) else None
        return WindowKernel(taps, None if whole else feature, product, self._bias(state)[0])


def depth_to_space(x: Floats, size: int) -> Floats:
    """(B, h, w, size*size*C) -> (B, size*h, size*w, C), channels ordered (row, col, channel)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, size, size, c // (size * size)).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h * size, w * size, -1)


def pointwise(layer: ExactLayer, x: Floats, matmul: MatMul) -> NDArray[np.float32]:
    """A layer at every position; its outputs are below 2**24."""
    rows = layer.integers(x.reshape(-1, x.shape[-1]), matmul)
    return rows.reshape(*x.shape[:3], -1).astype(np.float32)


def conv3(layer: ExactLayer, x: Floats, matmul: MatMul) -> NDArray[Any]:
    """A layer over windows of 3x3, inputs ordered (row, col, channel), zeros outside the plane.

    float32 where its outputs are activations (low 0), otherwise as :meth:`ExactLayer.integers`.
    """
    b, h, w, c = x.shape
    padded = np.zeros((b, h + 2, w + 2, c), np.float32)
    padded[:, 1:-1, 1:-1] = x
    rows = np.concatenate([padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=3)
    out = layer.integers(rows.reshape(b * h * w, 9 * c), matmul).reshape(b, h, w, -1)
    return out if layer.low != 0 else out.astype(np.float32)
