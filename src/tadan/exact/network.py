"""The integer twin of hyper synthesis, context and parameter networks: from decoded latents to mean and scale index.

Float side: :mod:`tadan.nn.entropy_model`. Formats: :mod:`tadan.exact.constants`. Everything is gather + matrix
product + shift; no transcendental function, no Winograd, no FFT. Pictures can be decoded alone or in a batch: rows of
a product never influence each other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.entropy.constants import N_SCALES
from tadan.errors import Corrupt, InvalidInput, TadanError
from tadan.exact.constants import (
    ACTIVATION_LIMIT,
    COEFFICIENT_FRACTION,
    COEFFICIENT_LIMIT,
    EMBED_LIMIT,
    MAGNITUDE_ENTRIES,
    MAGNITUDE_LIMIT,
    MASK_LIMIT,
    PRE_EXTRA,
    PRE_LIMIT,
    Y_LIMIT,
    Z_LIMIT,
)
from tadan.exact.linear import MAX_SHIFT, ExactLayer, ExactProduct, Floats, MatMul, Proof, requantise
from tadan.exact.spatial import conv3, depth_to_space, pointwise
from tadan.exact.steps import Step, stage_steps
from tadan.schedule import Schedule

Arrays = Mapping[str, NDArray[Any]]
QUALITIES = 100
MAX_KERNEL_BYTES = 2**28  # a 4x4 schedule needs about 60 MB


@dataclass(frozen=True)
class TwinSizes:
    """Sizes of the integer networks, in channels unless stated; see :class:`tadan.models.config.ModelConfig`."""

    latent: int
    z_channels: int
    groups: int
    embed: int
    radius: int
    hidden: int
    bases: int

    @property
    def window(self) -> int:
        """Positions in the context window."""
        return (2 * self.radius + 1) ** 2


@dataclass(frozen=True)
class MixedKernel:
    """Context kernel of one visibility pattern.

    Attributes:
        taps: int64 (v, 2): row and column offsets of what is gathered.
        groups: int64 (v,) channel group of each tap, or None when every tap takes all groups.
        product: integers (gathered features, hidden); None when nothing is visible.
        bias: float64 (hidden,), integers in pre-activation units.
    """

    taps: NDArray[np.int64]
    groups: NDArray[np.int64] | None
    product: ExactProduct | None
    bias: NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        """Memory of the kernel."""
        return 0 if self.product is None else self.product.nbytes


class EntropyTwin:
    """Integer networks of one model; immutable apart from a cache of mixed kernels, safe to share between threads.

    Args:
        arrays: tensors of the model file whose names begin with ``exact.``, that prefix removed.
        sizes: sizes of the networks.

    Raises:
        Corrupt: a tensor is missing or does not fit, or a layer could overflow.
    """

    def __init__(self, arrays: Arrays, sizes: TwinSizes) -> None:
        self.sizes = sizes
        try:
            self._build(arrays)
        except KeyError as error:
            raise Corrupt(f"the model file lacks the tensor exact.{error.args[0]}; fetch or export it again") from error
        except TadanError:
            raise
        except (ValueError, IndexError, TypeError) as error:  # empty, too small or of too many dimensions
            raise Corrupt(f"a tensor of the model file does not fit ({error}); fetch or export it again") from error
        self._kernels: dict[bytes, MixedKernel] = {}
        self._lock = threading.Lock()

    def _build(self, arrays: Arrays) -> None:
        sizes = self.sizes
        relu = (0, ACTIVATION_LIMIT)
        self.layers: dict[str, ExactLayer] = {}

        def layer(name: str, limit: int, low: int | NDArray[np.int64], high: int | NDArray[np.int64]) -> ExactLayer:
            parts = [arrays[f"{name}.{part}"] for part in ("weight", "bias", "shift")]
            self.layers[name] = ExactLayer(parts[0], parts[1], parts[2], limit, low, high)
            return self.layers[name]

        self.conv1 = layer("conv1", Z_LIMIT, *relu)
        self.up1 = layer("up1", ACTIVATION_LIMIT, *relu)
        self.conv2 = layer("conv2", ACTIVATION_LIMIT, *relu)
        self.up2 = layer("up2", ACTIVATION_LIMIT, *relu)
        self.conv3 = layer("conv3", ACTIVATION_LIMIT, -PRE_LIMIT, PRE_LIMIT)
        self._magnitude = arrays["magnitude"].astype(np.float64)
        self.embeds = [layer(f"embed{group}", Y_LIMIT, -EMBED_LIMIT, EMBED_LIMIT) for group in range(sizes.groups)]
        self.mask_in = layer("mask_in", 1, 0, MASK_LIMIT)
        self.mask_mix = layer("mask_mix", MASK_LIMIT, -COEFFICIENT_LIMIT, COEFFICIENT_LIMIT)
        self.mask_bias = layer("mask_bias", MASK_LIMIT, -PRE_LIMIT, PRE_LIMIT)
        self.hidden = layer("hidden", ACTIVATION_LIMIT, *relu)
        self._outlet_bias = arrays["quality.outlet"].astype(np.float64)
        is_mean = np.arange(2 * sizes.latent) < sizes.latent
        low, high = np.where(is_mean, -Y_LIMIT, 0), np.where(is_mean, Y_LIMIT, N_SCALES - 1)
        weight, shift = arrays["outlet.weight"], arrays["outlet.shift"]
        largest = np.abs(arrays["quality.outlet"].astype(np.int64)).max(axis=0)  # each call brings its quality's row
        self.layers["outlet"] = ExactLayer(weight, largest, shift, ACTIVATION_LIMIT, low, high)
        self._outlets = {(0, 1): self.layers["outlet"]}
        for group in range(sizes.groups):
            own = self._columns(group, sizes.groups)
            self._outlets[group, sizes.groups] = ExactLayer(
                weight[:, own], largest[own], shift[own], ACTIVATION_LIMIT, low[own], high[own]
            )
        self._base_weight = arrays["bases.weight"]
        self._base_shift = arrays["bases.shift"].astype(np.int64)
        self._hidden_bias = arrays["quality.hidden"].astype(np.float64)
        self.z_mean = arrays["quality.z_mean"].astype(np.int32)
        self.z_index = arrays["quality.z_index"].astype(np.uint8)
        self._check_shapes()

    def _check_shapes(self) -> None:
        sizes = self.sizes
        bits = sizes.window * sizes.groups
        expected: list[tuple[Any, tuple[int, ...]]] = [
            (self._base_weight, (sizes.bases, bits, sizes.embed, sizes.hidden)),
            (self._magnitude, (MAGNITUDE_ENTRIES,)),
            (self._base_shift, (sizes.hidden,)),
            (self._hidden_bias, (QUALITIES, sizes.hidden)),
            (self._outlet_bias, (QUALITIES, 2 * sizes.latent)),
            (self.z_mean, (QUALITIES, sizes.z_channels)),
            (self.z_index, (QUALITIES, sizes.z_channels)),
        ]
        products = {
            self.conv1: (9 * sizes.z_channels, self.up1.product.inputs),
            self.conv2: (9 * self.up1.product.outputs // 4, self.up2.product.inputs),
            self.conv3: (9 * self.up2.product.outputs // 4, sizes.hidden),
            self.mask_in: (bits, self.mask_mix.product.inputs),
            self.mask_mix: (self.mask_bias.product.inputs, sizes.bases * bits),
            self.mask_bias: (self.mask_mix.product.inputs, sizes.hidden),
            self.hidden: (sizes.hidden, sizes.hidden),
            self.layers["outlet"]: (sizes.hidden, 2 * sizes.latent),
            **{layer: (2 * sizes.latent // sizes.groups, sizes.embed) for layer in self.embeds},
        }
        fits = all(value.shape == shape for value, shape in expected) and all(
            (layer.product.inputs, layer.product.outputs) == shape for layer, shape in products.items()
        )
        in_range = self._base_shift.min() >= 0 and self._base_shift.max() <= MAX_SHIFT and self.z_index.max() < N_SCALES
        in_range &= self._magnitude.min() >= 0 and self._magnitude.max() <= MAGNITUDE_LIMIT
        if not fits or not in_range:
            raise Corrupt("the tensors of the model file do not fit its configuration; fetch or export it again")

    def proofs(self) -> dict[str, Proof]:
        """Overflow proof of every layer; those of mixed kernels are made when a visibility pattern is first met."""
        return {name: layer.product.proof for name, layer in self.layers.items()}

    def steps(self, schedule: Schedule, shape: tuple[int, int]) -> Iterator[Step]:
        """What is coded together on a latent plane of ``shape`` (h, w): one step per stage."""
        return stage_steps(schedule, shape, self.sizes.radius, self.sizes.latent)

    def _columns(self, group: int, groups: int) -> NDArray[np.int64]:
        size = self.sizes.latent // groups
        own = np.arange(group * size, (group + 1) * size)
        return np.concatenate([own, own + self.sizes.latent])

    def kernel(self, visible: NDArray[np.bool_]) -> MixedKernel:
        """Context kernel of a visibility pattern, cached.

        Args:
            visible: bool (schedule groups, k, k), as in :class:`tadan.schedule.Cell`.

        Raises:
            InvalidInput: the model cannot tell that many channel groups apart, or has another window.
        """
        key = visible.tobytes()
        kernel = self._kernels.get(key)
        if kernel is None:
            kernel = self._mix(visible)
            with self._lock:
                while self._kernels and sum(k.nbytes for k in self._kernels.values()) > MAX_KERNEL_BYTES:
                    self._kernels.pop(next(iter(self._kernels)))
                self._kernels[key] = kernel
        return kernel

    def _mix(self, visible: NDArray[np.bool_]) -> MixedKernel:
        sizes = self.sizes
        side = 2 * sizes.radius + 1
        if visible.shape[1:] != (side, side) or sizes.groups % visible.shape[0]:
            raise InvalidInput(
                f"this model reads a window of {side}x{side} and {sizes.groups} channel groups; a schedule with "
                f"{visible.shape[0]} groups and a window of {visible.shape[1]} does not fit; choose another schedule"
            )
        bits = visible.repeat(sizes.groups // visible.shape[0], axis=0).transpose(1, 2, 0).reshape(1, -1)
        state = self.mask_in(bits.astype(np.float32))
        seen = np.flatnonzero(bits)
        coefficients = self.mask_mix(state).reshape(sizes.bases, -1)[:, seen]
        mixed = np.zeros((len(seen), sizes.embed, sizes.hidden))
        for base in range(sizes.bases):
            mixed += coefficients[base][:, None, None] * self._base_weight[base][seen]
        requantise(mixed, COEFFICIENT_FRACTION, -PRE_LIMIT, PRE_LIMIT)
        window, group = np.divmod(seen, sizes.groups)
        whole = bool((bits.reshape(-1, sizes.groups).sum(axis=1) % sizes.groups == 0).all())
        if whole:
            window = window[:: sizes.groups]
        taps = np.stack(np.divmod(window, side), axis=1) - sizes.radius
        weight = mixed.reshape(-1, sizes.hidden).astype(np.int64)
        product = ExactProduct(weight, EMBED_LIMIT) if len(seen) else None
        return MixedKernel(taps, None if whole else group, product, self.mask_bias(state)[0])

    def hyper(self, z_hat: NDArray[np.int32], quality: int, matmul: MatMul = np.matmul) -> NDArray[np.float64]:
        """h_s plus the bias of the quality.

        Args:
            z_hat: int32 (B, h, w, z_channels), Q6.
            quality: 1..100.
            matmul: backend of the products.

        Returns:
            float64 (B, 4 h, 4 w, hidden), integers in pre-activation units.
        """
        x: Floats = np.clip(z_hat, -Z_LIMIT, Z_LIMIT).astype(np.float32)
        x = conv3(self.conv1, x, matmul)
        x = depth_to_space(pointwise(self.up1, x, matmul), 2)
        x = conv3(self.conv2, x, matmul)
        x = depth_to_space(pointwise(self.up2, x, matmul), 2)
        out = conv3(self.conv3, x, matmul)
        out += self._hidden_bias[quality - 1]
        return out

    def embed(self, y_hat: NDArray[np.int32], group: int, groups: int, matmul: MatMul = np.matmul) -> Floats:
        """y_hat int32 (n, latent / groups), Q6, of schedule group ``group`` -> float32 (n, own groups, embed)."""
        own = self.sizes.groups // groups
        parts = np.split(np.clip(y_hat, -Y_LIMIT, Y_LIMIT), own, axis=1)
        magnitudes = [self._magnitude[np.minimum(np.abs(part), MAGNITUDE_ENTRIES - 1)] for part in parts]
        both = [np.concatenate(pair, axis=1, dtype=np.float64) for pair in zip(parts, magnitudes, strict=True)]
        embedded = [self.embeds[group * own + i](one, matmul) for i, one in enumerate(both)]
        return np.stack(embedded, axis=1).astype(np.float32)

    def parameters(
        self,
        pre: NDArray[np.float64],
        context: Floats | None,
        kernel: MixedKernel,
        quality: int,
        group: int,
        groups: int,
        matmul: MatMul = np.matmul,
    ) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Distribution of the latents of a cell.

        Args:
            pre: float64 (n, hidden), rows of :meth:`hyper`; overwritten.
            context: float32 (n, gathered features), or None when nothing is visible.
            kernel: what :meth:`kernel` returned for the cell's pattern.
            quality: 1..100.
            group: schedule group of the cell.
            groups: number of schedule groups.
            matmul: backend of the products.

        Returns:
            mean int32 (n, latent / groups), Q6; scale index uint8 of the same shape.
        """
        if kernel.product is not None and context is not None:
            pre += requantise(kernel.product(context, matmul), self._base_shift, -PRE_LIMIT, PRE_LIMIT)
        pre += kernel.bias
        hidden = requantise(pre, PRE_EXTRA, 0, ACTIVATION_LIMIT).astype(np.float32)
        hidden = self.hidden(hidden, matmul).astype(np.float32)
        bias = self._outlet_bias[quality - 1]
        if groups > 1:
            bias = bias[self._columns(group, groups)]
        out = self._outlet(group, groups)(hidden, matmul, bias)
        half = out.shape[1] // 2
        return out[:, :half].astype(np.int32), out[:, half:].astype(np.uint8)

    def embed_rows(self, y_hat: NDArray[np.int32]) -> Floats:
        """Latents of whole positions, int32 (n, latent), Q6 -> float32 (n, features)."""
        return self.embed(y_hat, 0, 1).reshape(len(y_hat), -1)

    def parameters_of(
        self,
        pre: NDArray[np.float64],
        context: Floats | None,
        kernel: MixedKernel,
        quality: int,
        y_hat: NDArray[np.int32],
    ) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """:meth:`parameters` of all channels; ``y_hat`` is for designs whose channels see each other."""
        return self.parameters(pre, context, kernel, quality, 0, 1)

    def _outlet(self, group: int, groups: int) -> ExactLayer:
        if (group, groups) not in self._outlets:
            raise InvalidInput(f"this model decodes 1 or {self.sizes.groups} channel groups, not {groups}")
        return self._outlets[group, groups]
