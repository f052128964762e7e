"""The integer twin: from decoded latents to mean and scale index, group after group.

Float side: :mod:`tadan.nn.entropy_model`. Formats: :mod:`tadan.exact.constants`. Everything is
gather + matrix product + shift; no transcendental function, no Winograd, no FFT. Pictures can be decoded alone or in a
batch: rows of a product never influence each other. Per latent position::

    hyper + window -> act -> hidden -----------------+          once per position and schedule group
                                                     v
    late sums -> + late_in.bias[group] -> late_out -(+)-> ReLU -> outlet rows of the group     once per model group

The late sums add, over all channels decoded at the position, products with rows of ``late_in``. They are kept before
their shift, so the order of addition changes nothing and a group costs one rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.core import library
from tadan.entropy.constants import N_SCALES
from tadan.errors import Corrupt, TadanError
from tadan.exact.constants import (
    ACTIVATION_LIMIT,
    COEFFICIENT_LIMIT,
    EMBED_LIMIT,
    MAGNITUDE_ENTRIES,
    MAGNITUDE_LIMIT,
    MASK_LIMIT,
    PRE_EXTRA,
    PRE_LIMIT,
    QUALITIES,
    Y_LIMIT,
    Z_LIMIT,
)
from tadan.exact.linear import (
    MAX_SHIFT,
    ContextKernels,
    ExactLayer,
    ExactProduct,
    Floats,
    MatMul,
    Proof,
    WindowKernel,
    conv3,
    depth_to_space,
    pointwise,
    requantise,
)
from tadan.exact.native import INT32_MAX, MAX_NARROW_SHIFT, CoreTwin, both_biases
from tadan.exact.sizes import TwinSizes
from tadan.exact.steps import Predicted, Step, group_steps
from tadan.schedule import Schedule

Arrays = Mapping[str, NDArray[Any]]

__all__ = ["TwinSizes", "EntropyTwin"]


class EntropyTwin:
    """Integer networks of one model; immutable apart from a cache of mixed kernels, safe to share between threads.

    Args:
        arrays: what :func:`tadan.exact.packing.unpack_exact` makes of the model file.
        sizes: sizes of the networks.

    Raises:
        Corrupt: a tensor is missing or does not fit, or a layer could overflow.
    """

    def __init__(self, arrays: Arrays, sizes: TwinSizes) -> None:
        self.sizes = sizes
        self.layers: dict[str, ExactLayer] = {}
        try:
            self._check_shapes(arrays)
            self._build(arrays)
        except KeyError as error:
            missing = f"exact.{error.args[0]}"
            raise Corrupt(f"the model file lacks the tensor {missing}; fetch or export it again") from None
        except TadanError:
            raise
        except (IndexError, ValueError, TypeError, OverflowError) as error:
            raise Corrupt(
                f"the tensors of the model file do not fit each other ({error}); fetch or export it again"
            ) from error

    def _check_shapes(self, arrays: Arrays) -> None:
        """Shapes are those that the configuration states; inside h_s and the mask net, layers fit each other."""
        sizes = self.sizes
        a1, a2, a3, state = (_outputs(arrays[f"{name}.weight"]) for name in ("conv1", "conv2", "up2", "mask_in"))
        a3, bits = a3 // 4, sizes.window * sizes.groups
        layers = {
            "conv1": (9 * sizes.z_channels, a1),
            "up1": (a1, 4 * a2),
            "conv2": (9 * a2, a2),
            "up2": (a2, 4 * a3),
            "hyper": (a3, sizes.hidden),
            "mask_in": (bits, state),
            "mask_mix": (state, sizes.bases * bits),
            "mask_bias": (state, sizes.hidden),
            "hidden": (sizes.hidden, sizes.hidden),
            **{
                f"embed{g}": (2 * n, e)
                for g, (n, e) in enumerate(zip(sizes.group_sizes, sizes.embed_sizes, strict=True))
            },
        }
        expected: dict[str, tuple[int, ...]] = {
            "magnitude": (MAGNITUDE_ENTRIES,),
            "bases.weight": (sizes.bases, sizes.window, sizes.features, sizes.hidden),
            "bases.shift": (sizes.hidden,),
            "late_in.weight": (2, sizes.latent, sizes.late),
            "late_in.bias": (sizes.groups, sizes.late),
            "late_in.shift": (sizes.late,),
            "late_out.weight": (sizes.groups, sizes.late, sizes.hidden),
            "late_out.shift": (sizes.groups, sizes.hidden),
            "outlet.weight": (sizes.hidden, 2 * sizes.latent),
            "outlet.shift": (2 * sizes.latent,),
            "quality.hidden": (QUALITIES, sizes.hidden),
            "quality.outlet": (QUALITIES, 2 * sizes.latent),
            "quality.z_mean": (QUALITIES, sizes.z_channels),
            "quality.z_index": (QUALITIES, sizes.z_channels),
            **{f"{name}.weight": shape for name, shape in layers.items()},
            **{f"{name}.bias": shape[1:] for name, shape in layers.items()},
        }
        wrong = sorted(name for name, shape in expected.items() if arrays[name].shape != shape)
        if wrong or not a1 * a2 * a3 * state:
            raise Corrupt(
                f"the tensors of the model file do not fit its configuration ({', '.join(wrong) or 'some are empty'}); "
                "fetch or export it again"
            )
        in_range = arrays["quality.z_index"].min() >= 0 and arrays["quality.z_index"].max() < N_SCALES
        in_range &= arrays["magnitude"].min() >= 0 and arrays["magnitude"].max() <= MAGNITUDE_LIMIT
        in_range &= arrays["bases.shift"].min() >= 0 and arrays["bases.shift"].max() <= MAX_SHIFT
        if not in_range:
            raise Corrupt("the model file holds table entries or shifts out of range; fetch or export it again")

    def _build(self, arrays: Arrays) -> None:
        sizes = self.sizes

        def layer(name: str, limit: int, low: int, high: int) -> ExactLayer:
            weight, bias, shift = (arrays[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
            self.layers[name] = ExactLayer(weight, bias, shift, limit, low, high)
            return self.layers[name]

        relu = 0, ACTIVATION_LIMIT
        signed = -PRE_LIMIT, PRE_LIMIT
        self._conv1 = layer("conv1", Z_LIMIT, *relu)
        self._up1 = layer("up1", ACTIVATION_LIMIT, *relu)
        self._conv2 = layer("conv2", ACTIVATION_LIMIT, *relu)
        self._up2 = layer("up2", ACTIVATION_LIMIT, *relu)
        self._hyper = layer("hyper", ACTIVATION_LIMIT, *signed)
        self._hidden_bias = arrays["quality.hidden"].astype(np.float64)
        self._magnitude = arrays["magnitude"].astype(np.float64)
        self._embeds = [layer(f"embed{group}", Y_LIMIT, -EMBED_LIMIT, EMBED_LIMIT) for group in range(sizes.groups)]
        mask_in = layer("mask_in", 1, 0, MASK_LIMIT)
        mask_mix = layer("mask_mix", MASK_LIMIT, -COEFFICIENT_LIMIT, COEFFICIENT_LIMIT)
        mask_bias = layer("mask_bias", MASK_LIMIT, *signed)
        self._base_shift = arrays["bases.shift"].astype(np.int64)
        self.kernel = ContextKernels(arrays["bases.weight"], mask_in, mask_mix, mask_bias, sizes.embed_sizes)
        self._hidden = layer("hidden", ACTIVATION_LIMIT, *signed)
        self._build_late(arrays)
        self._build_outlet(arrays)
        self.z_mean = arrays["quality.z_mean"].astype(np.int32)
        self.z_index = arrays["quality.z_index"].astype(np.uint8)

    def _build_late(self, arrays: Arrays) -> None:
        sizes = self.sizes
        weight, bias, shift = (arrays[f"late_in.{part}"] for part in ("weight", "bias", "shift"))
        largest = bias[np.abs(bias.astype(np.float64)).argmax(axis=0), np.arange(sizes.late)]
        # Proven for all channels together: a sum of any of them is then exact too.
        whole = ExactLayer(weight.reshape(-1, sizes.late), largest, shift, Y_LIMIT, 0, ACTIVATION_LIMIT)
        self.layers["late_in"] = whole
        rows = [weight[:, sizes.channels(group)] for group in range(sizes.groups)]
        self._late_in = [ExactProduct(one.reshape(-1, sizes.late), Y_LIMIT) for one in rows]
        self._late_bias, self._late_shift = bias.astype(np.float64), whole.shift
        none = np.zeros(sizes.hidden, np.int64)
        self._late_out = []
        for group, (out, out_shift) in enumerate(zip(arrays["late_out.weight"], arrays["late_out.shift"], strict=True)):
            one = ExactLayer(out, none, out_shift, ACTIVATION_LIMIT, -PRE_LIMIT, PRE_LIMIT)
            self.layers[f"late_out{group}"] = one
            self._late_out.append(one)

    def _build_outlet(self, arrays: Arrays) -> None:
        sizes = self.sizes
        weight, shift = arrays["outlet.weight"], arrays["outlet.shift"]
        largest = np.abs(arrays["quality.outlet"].astype(np.int64)).max(axis=0)  # each call brings its quality's row
        self._outlets, self._outlet_bias = [], []
        self._core_biases: dict[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.int32]]] = {}
        for group in range(sizes.groups):
            own = np.arange(2 * sizes.latent).reshape(2, -1)[:, sizes.channels(group)].ravel()
            is_mean = own < sizes.latent
            low, high = np.where(is_mean, -Y_LIMIT, 0), np.where(is_mean, Y_LIMIT, N_SCALES - 1)
            one = ExactLayer(weight[:, own], largest[own], shift[own], ACTIVATION_LIMIT, low, high)
            self.layers[f"outlet{group}"] = one
            self._outlets.append(one)
            self._outlet_bias.append(arrays["quality.outlet"][:, own].astype(np.float64))

    @cached_property
    def core(self) -> CoreTwin | None:
        """The same in the core; None if there is none, or if a layer cannot be exact there."""
        names = ("hidden", "embed", "late_in", "late_out", "outlet")
        # Two terms of at most PRE_LIMIT are added to hyper, whose bias by quality may be anything of 32 bits.
        fits = np.abs(self._hidden_bias).max() <= INT32_MAX // 2 and self._base_shift.max() <= MAX_NARROW_SHIFT
        if not fits or library() is None or any(one is None for name in names for one in self.core_layers(name)):
            return None
        return CoreTwin(self)

    def core_layers(self, name: str) -> list[Any]:
        """Layers of a name in the core, one for each group."""
        if name == "hidden":
            return [self._hidden.core]
        if name == "late_in":
            return [one.core for one in self._late_in]
        return [one.core for one in {"embed": self._embeds, "late_out": self._late_out, "outlet": self._outlets}[name]]

    def core_vectors(self) -> tuple[NDArray[Any], ...]:
        """Shifts of the window and of the late sums, their biases by group with half a unit, and log magnitudes."""
        return (
            np.ascontiguousarray(self._base_shift, np.int32),
            np.ascontiguousarray(self._late_shift, np.int64),
            np.ascontiguousarray(self._late_bias.astype(np.int64) + (1 << self._late_shift >> 1)),
            np.ascontiguousarray(self._magnitude, np.int16),
        )

    def outlet_bias(self, quality: int, group: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Row of a quality as the core takes it, made once."""
        if (quality, group) not in self._core_biases:
            row = self._outlet_bias[group][quality - 1]
            self._core_biases[quality, group] = both_biases(row, len(row))
        return self._core_biases[quality, group]

    def proofs(self) -> dict[str, Proof]:
        """Overflow proof of every layer; those of mixed kernels are made when a visibility pattern is first met."""
        return {name: layer.product.proof for name, layer in self.layers.items()}

    def steps(self, schedule: Schedule, shape: tuple[int, int]) -> Iterator[Step]:
        """What is coded together on a latent plane of ``shape`` (h, w): one step per stage and model group.

        Raises:
            InvalidInput: the schedule's groups do not divide the model's.
        """
        return group_steps(schedule, shape, self.sizes.radius, self.sizes.group_sizes)

    def hyper(self, z_hat: NDArray[np.int32], quality: int, matmul: MatMul = np.matmul) -> NDArray[Any]:
        """h_s plus the bias of the quality.

        Args:
            z_hat: int32 (B, h, w, z_channels), Q6.
            quality: 1..100.
            matmul: backend of the products.

        Returns:
            (B, 4 h, 4 w, hidden), integers in pre-activation units: int32 where the core computes them, else float64.
        """
        x: Floats = np.clip(z_hat, -Z_LIMIT, Z_LIMIT).astype(np.float32)
        x = conv3(self._conv1, x, matmul)
        x = depth_to_space(pointwise(self._up1, x, matmul), 2)
        x = conv3(self._conv2, x, matmul)
        x = depth_to_space(pointwise(self._up2, x, matmul), 2)
        layer = self._hyper if self.core is None else self._hyper.integers  # whose sum with the bias fits 32 bits
        out = layer(x.reshape(-1, x.shape[-1]), matmul).reshape(*x.shape[:3], -1)
        out += self._hidden_bias[quality - 1].astype(out.dtype)
        return out

    def read(self, y_hat: NDArray[np.int32]) -> NDArray[np.float64]:
        """Values, then log magnitudes, as :meth:`embed` and :meth:`late` take them.

        Args:
            y_hat: int32 (n, channels of a model group), Q6.
        """
        values = np.clip(y_hat, -Y_LIMIT, Y_LIMIT)
        magnitudes = self._magnitude[np.minimum(np.abs(values), MAGNITUDE_ENTRIES - 1)]
        return np.concatenate([values, magnitudes], axis=1, dtype=np.float64)

    def embed(self, values: NDArray[np.float64], group: int, matmul: MatMul = np.matmul) -> Floats:
        """What windows see of a model group: rows of :meth:`read` -> float32 (n, features of the group)."""
        return self._embeds[group](values, matmul).astype(np.float32)

    def late(self, values: NDArray[np.float64], group: int, matmul: MatMul = np.matmul) -> NDArray[np.float64]:
        """What later groups of the same position see of a model group, to be added to the position's sums.

        Args:
            values: rows of :meth:`read`.
            group: model group that they belong to.
            matmul: backend of the products.

        Returns:
            float64 (n, late), integers before the shift.
        """
        return self._late_in[group](values, matmul)

    def activate(
        self, pre: NDArray[Any], context: Floats | None, kernel: WindowKernel, matmul: MatMul = np.matmul
    ) -> NDArray[np.float32]:
        """Input of the hidden layer at the positions of a cell.

        Args:
            pre: (n, hidden), rows of :meth:`hyper`.
            context: float32 (n, gathered values), or None when nothing is visible.
            kernel: what :attr:`kernel` returned for the cell's pattern.
            matmul: backend of the products.

        Returns:
            float32 (n, hidden), activations.
        """
        total = pre + kernel.bias
        if kernel.product is not None and context is not None:
            total += requantise(kernel.product(context, matmul), self._base_shift, -PRE_LIMIT, PRE_LIMIT)
        return requantise(total, PRE_EXTRA, 0, ACTIVATION_LIMIT).astype(np.float32)

    def hidden(self, activations: NDArray[np.float32], matmul: MatMul = np.matmul) -> NDArray[np.float64]:
        """Hidden layer without its ReLU, which the late term of each group precedes: float64 (n, hidden)."""
        return self._hidden(activations, matmul)

    def parameters(
        self,
        hidden: NDArray[np.float64],
        late: NDArray[np.float64],
        quality: int,
        group: int,
        matmul: MatMul = np.matmul,
    ) -> Predicted:
        """Distribution of the latents of a model group.

        Args:
            hidden: float64 (n, hidden), rows of :meth:`hidden`.
            late: float64 (n, late), sums of :meth:`late` over what is decoded at each position; overwritten.
            quality: 1..100.
            group: model group.
            matmul: backend of the products.

        Returns:
            mean int32 (n, channels of the group), Q6; scale index uint8 of the same shape.
        """
        late += self._late_bias[group]
        learned = requantise(late, self._late_shift, 0, ACTIVATION_LIMIT).astype(np.float32)
        pre = self._late_out[group](learned, matmul)
        pre += hidden
        activations = requantise(pre, PRE_EXTRA, 0, ACTIVATION_LIMIT).astype(np.float32)
        out = self._outlets[group](activations, matmul, self._outlet_bias[group][quality - 1])
        half = out.shape[1] // 2
        return out[:, :half].astype(np.int32), out[:, half:].astype(np.uint8)

    def embed_rows(self, y_hat: NDArray[np.int32]) -> Floats:
        """Latents of whole positions, int32 (n, latent), Q6 -> float32 (n, features)."""
        each = range(self.sizes.groups)
        return np.concatenate([self.embed(self.read(y_hat[:, self.sizes.channels(g)]), g) for g in each], axis=1)

    def parameters_of(
        self,
        pre: NDArray[np.float64],
        context: Floats | None,
        kernel: WindowKernel,
        quality: int,
        y_hat: NDArray[np.int32],
    ) -> Predicted:
        """Distribution of all latents of positions whose channels one stage decodes; for measurements.

        Args:
            pre, context, kernel: as of :meth:`activate`.
            quality: 1..100.
            y_hat: int32 (n, latent), Q6: the latents themselves, of which each group sees the lower ones.

        Returns:
            mean int32 (n, latent), Q6; scale index uint8 of the same shape.
        """
        hidden = self.hidden(self.activate(pre, context, kernel))
        sums, pairs = np.zeros((len(pre), self.sizes.late)), []
        for group in range(self.sizes.groups):
            pairs.append(self.parameters(hidden, sums.copy(), quality, group))
            sums += self.late(self.read(y_hat[:, self.sizes.channels(group)]), group)
        means, indices = zip(*pairs, strict=True)
        return np.concatenate(means, axis=1), np.concatenate(indices, axis=1)


def _outputs(weight: NDArray[Any]) -> int:
    return weight.shape[-1] if weight.ndim else 0
