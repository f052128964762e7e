"""Context kernels: a visibility pattern mixes base kernels over uneven channel groups."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tadan.errors import InvalidInput
from tadan.exact.constants import COEFFICIENT_FRACTION, EMBED_LIMIT, PRE_LIMIT
from tadan.exact.linear import ExactLayer, ExactProduct, requantise
from tadan.exact.steps import check_groups

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
        self._lock = threading.Lock()

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
