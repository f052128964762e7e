"""Integer layers in the core: which ones it can compute exactly, and how their inputs are cut for it.

The core multiplies 16-bit integers and adds pairs of products in 32 bits. Two bounds are proven here, for all inputs up
to the limit of the layer: no sum of a *chunk* of inputs leaves 32 bits, and what does not fit 16 bits is cut into a
high and a low part which do.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tadan.core import CHUNK, OUTPUTS, Layer, Twin, Window, library
from tadan.exact.constants import ACTIVATION_LIMIT, PRE_EXTRA, PRE_LIMIT, Y_LIMIT
from tadan.team import Strength

if TYPE_CHECKING:
    from tadan.exact.linear import Floats, WindowKernel
    from tadan.exact.network import EntropyTwin

INT16_MAX, INT32_MAX = 2**15 - 1, 2**31 - 1
MAX_NARROW_SHIFT = 30
#: Bias, shift, lowest and highest output of a layer; all integers, in whatever type, one or (outputs,).
Rounding = tuple[Any, Any, Any, Any]


def padded_vector(values: Any, outputs: int, dtype: Any) -> NDArray[Any]:
    """Values (one for all, or one each) and zeros, as many as packed weights have outputs; too large ones are cut."""
    bounds = np.iinfo(dtype)
    out = np.zeros(-(-outputs // OUTPUTS) * OUTPUTS, dtype)
    out[:outputs] = np.clip(np.asarray(values).astype(np.int64), bounds.min, bounds.max)
    return out


def both_biases(values: Any, outputs: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """A bias as the core takes it; the second one is read where the layer is narrow, and so fits."""
    return padded_vector(values, outputs, np.int64), padded_vector(values, outputs, np.int32)


def cut(limit: int) -> int:
    """Low bits that are split off an input of at most ``limit``: 0 if it fits 16 bits, else half of its bits."""
    return 0 if limit <= INT16_MAX else -(-limit.bit_length() // 2)


def largest_part(limit: int) -> int:
    """Largest magnitude of what is multiplied: of the input, or of its parts."""
    split = cut(limit)
    return limit if split == 0 else max((limit >> split) + 1, (1 << split) - 1)


def chunk_of(weight: NDArray[np.integer[Any]], limit: int) -> int:
    """Pairs of inputs whose products can be added in 32 bits, whatever the inputs are; 0 if not even one can.

    Args:
        weight: integers (inputs, outputs).
        limit: largest magnitude of an input.
    """
    largest, magnitude = largest_part(limit), np.abs(weight.astype(np.int64))
    most = int(magnitude.max(initial=0))
    if largest > INT16_MAX or most > INT16_MAX:
        return 0
    if int(magnitude.sum(axis=0).max(initial=0)) * largest <= INT32_MAX:
        return max(1, -(-len(weight) // 2))
    return INT32_MAX // (2 * largest * most)


def largest_whole(weight: NDArray[np.integer[Any]]) -> int:
    """Largest magnitude of inputs that can be multiplied without a cut, and all their products added in 32 bits."""
    most = int(np.abs(weight.astype(np.int64)).sum(axis=0).max(initial=0))
    return min(INT16_MAX, INT32_MAX // max(1, most))


class CoreLayer:
    """``clip((x @ weight + bias) >> shift)`` in the core; without a rounding only the product.

    Args:
        weight: integers (inputs, outputs) of which :func:`chunk_of` is not 0.
        limit: largest magnitude of an input.
        chunk: what :func:`chunk_of` gave.
        rounding: bias and so on.
    """

    def __init__(
        self, weight: NDArray[np.integer[Any]], limit: int, chunk: int, rounding: Rounding | None = None
    ) -> None:
        inputs, self.outputs = weight.shape
        k = inputs + inputs % 2
        blocks = -(-self.outputs // OUTPUTS)
        padded = np.zeros((k, blocks * OUTPUTS), np.int16)
        padded[:inputs, : self.outputs] = weight
        # [block of outputs][pair of inputs][output][input of the pair]
        packed = np.ascontiguousarray(padded.reshape(k // 2, 2, blocks, OUTPUTS).transpose(2, 0, 3, 1))
        self.nbytes = packed.nbytes
        self._scratch = 4 * CHUNK * (k + blocks * OUTPUTS)  # parts of the inputs, and results
        total = int(np.abs(weight.astype(np.int64)).sum(axis=0).max(initial=0)) * limit
        vectors: list[NDArray[Any]] = []
        added = 2**MAX_NARROW_SHIFT  # of a product: room for the half of whatever shift the caller uses
        if rounding is not None:
            bias, shift, low, high = rounding
            bounds = (padded_vector(one, self.outputs, np.int32) for one in (shift, low, high))
            vectors = [*both_biases(bias, self.outputs), *bounds]
            added = int(np.abs(vectors[0]).max()) + 2 ** int(vectors[2].max()) // 2
        narrow = cut(limit) == 0 and total + added <= INT32_MAX
        self._kept = (packed, *vectors)  # the structure holds their addresses only
        addresses = [one.ctypes.data for one in self._kept] if vectors else [packed.ctypes.data, *5 * [0]]
        self.struct = Layer(*addresses, inputs, k, self.outputs, chunk, cut(limit), int(narrow), largest_whole(weight))

    def product(self, x: Floats) -> NDArray[np.float64]:
        """(n, inputs) integers in floats -> (n, outputs) integers in float64."""
        return self._run(library().tadan_product, self.struct, x, np.float64)

    def apply(self, x: Floats, bias: NDArray[np.int64] | None = None) -> NDArray[np.int32]:
        """The whole layer, (n, outputs); ``bias`` replaces its own, which bounds it."""
        struct = self.struct
        if bias is not None:
            struct = Layer.from_buffer_copy(self.struct)
            kept = both_biases(bias, self.outputs)
            struct.bias, struct.bias32 = (one.ctypes.data for one in kept)
        return self._run(library().tadan_apply, struct, x, np.int32)

    def _run(self, function: Any, struct: Layer, x: Floats, kind: Any) -> NDArray[Any]:
        if x.strides[1] != x.itemsize or x.strides[0] % x.itemsize:
            x = np.ascontiguousarray(x)  # type: ignore[assignment]
        out = np.empty((len(x), self.outputs), kind)
        wide, stride = int(x.dtype == np.float64), x.strides[0] // x.itemsize
        strength = Strength(self._scratch)
        function(strength.address, ctypes.byref(struct), x.ctypes.data, wide, len(x), stride, out.ctypes.data)
        return out


def core_layer(weight: NDArray[np.integer[Any]], limit: int, rounding: Rounding | None = None) -> CoreLayer | None:
    """A layer, or without a rounding a product; None if there is no core, or if it cannot be exact there."""
    if library() is None or not weight.size:
        return None
    if rounding is not None and max(abs(int(np.max(rounding[3]))), abs(int(np.min(rounding[2])))) > INT32_MAX:
        return None
    chunk = chunk_of(weight, limit)
    return CoreLayer(weight, limit, chunk, rounding) if chunk else None


def in_core(kernel: WindowKernel) -> bool:
    """Whether the core computes a kernel: it sees nothing, or its mixed weights fit 16 bits."""
    return kernel.product is None or kernel.product.core is not None


class CoreTwin:
    """The entropy network in the core: what :class:`tadan.latents.plane.LatentPlane` does with a cell, a call each.

    Planes: hyper int32 (positions, hidden), embedded int16 (rows, features), late int64 (positions, late).

    Args:
        twin: whose layers all are in the core.
    """

    def __init__(self, twin: EntropyTwin) -> None:
        sizes = twin.sizes
        names = ("embed", "late_in", "late_out", "outlet")
        arrays = [(Layer * sizes.groups)(*(one.struct for one in twin.core_layers(name))) for name in names]
        [hidden] = twin.core_layers("hidden")
        starts = np.cumsum([0, *sizes.embed_sizes[:-1]]).astype(np.int32)
        group_sizes = np.array([*sizes.group_sizes, 0], np.int32)
        vectors = (group_sizes, starts, *twin.core_vectors())
        self._kept = (twin, hidden, arrays, vectors)
        addresses = [ctypes.addressof(one) for one in (hidden.struct, *arrays)]
        counts = (len(vectors[-1]), sizes.hidden, sizes.late, sizes.features)
        limits = (Y_LIMIT, ACTIVATION_LIMIT, PRE_LIMIT, PRE_EXTRA, int(vectors[-1].max()))
        self._struct = Twin(*addresses, *(one.ctypes.data for one in vectors), *counts, *limits)
        self._sizes = sizes
        self._scratch = int(library().tadan_scratch(ctypes.byref(self._struct), sizes.window * sizes.features))

    @property
    def address(self) -> int:
        """Of the structure."""
        return ctypes.addressof(self._struct)

    def strength(self) -> Strength:
        """Threads and scratch for a call."""
        return Strength(self._scratch)

    def window(self, kernel: WindowKernel, pitch: int) -> tuple[Window, Any]:
        """A kernel on planes of a pitch in positions, and what has to live as long; see :func:`in_core`."""
        features, bias = self._sizes.features, np.ascontiguousarray(kernel.bias, np.int32)
        if kernel.product is None or kernel.product.core is None:
            return Window(0, 0, bias.ctypes.data), (kernel, bias)
        taps = kernel.taps @ np.array([pitch, 1]) * features
        each = taps[:, None] + np.arange(features) if kernel.features is None else taps + kernel.features
        where = np.ascontiguousarray(each.ravel(), np.int64)
        struct = kernel.product.core.struct
        return Window(ctypes.addressof(struct), where.ctypes.data, bias.ctypes.data), (kernel, where, bias)

    def hidden(
        self,
        window: Window,
        hyper: NDArray[np.int32],
        rows: NDArray[np.int64],
        embedded: NDArray[np.int16],
        starts: NDArray[np.int64],
        out: NDArray[np.int32],
    ) -> None:
        """Hidden layer at positions: ``rows`` of hyper, ``starts`` in the embedded plane, into out (n, hidden)."""
        strength = Strength(self._scratch)
        own = (strength.address, ctypes.byref(self._struct), ctypes.byref(window))
        planes = (one.ctypes.data for one in (hyper, rows, embedded, starts))
        library().tadan_hidden(*own, *planes, len(rows), out.ctypes.data)

    def predict(
        self,
        group: int,
        hidden: NDArray[np.int32],
        late: NDArray[np.int64],
        rows: NDArray[np.int64],
        bias: tuple[NDArray[np.int64], NDArray[np.int32]],
        mean: NDArray[np.int32],
        index: NDArray[np.uint8],
    ) -> None:
        """Mean and scale index of a group, both (n * size,), with the outlet's ``bias`` of the quality."""
        strength = Strength(self._scratch)
        given = (one.ctypes.data for one in (hidden, late, rows, *bias))
        results = (mean.ctypes.data, index.ctypes.data)
        library().tadan_predict(strength.address, ctypes.byref(self._struct), group, *given, len(rows), *results)

    def reveal(
        self,
        group: int,
        y_hat: NDArray[np.int32],
        rows: NDArray[np.int64],
        starts: NDArray[np.int64],
        embedded: NDArray[np.int16],
        late: NDArray[np.int64] | None,
    ) -> None:
        """Take in y_hat (n, size) of a group; ``late`` is None where nobody will read the sums."""
        strength = Strength(self._scratch)
        given = (one.ctypes.data for one in (y_hat, rows, starts))
        planes = (embedded.ctypes.data, 0 if late is None else late.ctypes.data)
        library().tadan_reveal(strength.address, ctypes.byref(self._struct), group, *given, len(rows), *planes)
