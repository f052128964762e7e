"""The float entropy model and the tensors of its integer twin: both ways of a tensor stand together.

A *part* is some layers of the network under the formats of their activations. It stores them as integers for the file
and loads them from there, exactly up to the rounding of the weights. The file has ``exact.*``, the integers
(:mod:`tadan.exact.packing`), and ``format.*``, the fraction bits: not needed to decode, but to get the floats back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tadan.entropy import N_SCALES, SCALE_MIN, scale_values
from tadan.errors import InvalidInput
from tadan.exact.constants import (
    COEFFICIENT_FRACTION,
    LATENT_FRACTION,
    MAGNITUDE_ENTRIES,
    MAGNITUDE_FRACTION,
    PRE_EXTRA,
)
from tadan.exact.convert import INT32_MAX, by_quality, to_integer
from tadan.exact.packing import pack_exact
from tadan.models import Model
from tadan.models.config import QUALITY_MAX
from tadan.nn.entropy_model import EntropyModel
from tadan.nn.layers import ByQuality
from tadan.nn.model import TadanModel
from tadan.train.calibration import Formats, formats_of

if TYPE_CHECKING:
    from tadan.train.export import WeightBits

Arrays = dict[str, NDArray[Any]]
Stored = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float64]
LOG_STEP = math.log(float(scale_values()[1]) / float(scale_values()[0]))
_VALUE_FRACTIONS = LATENT_FRACTION, MAGNITUDE_FRACTION  # of a latent and of its log magnitude


@torch.no_grad()
def entropy_tensors(model: TadanModel, maxima: Mapping[str, Floats], bits: WeightBits) -> Arrays:
    """``exact.*`` and ``format.*`` of a model file.

    Args:
        model: float model.
        maxima: what :func:`tadan.train.calibration.calibrate` gave.
        bits: widths of the integer weights; those of ``late_in`` are ``embed``, those of ``late_out`` ``hidden``.

    Raises:
        InvalidInput: the weights do not fit the formats.
    """
    k, out = formats_of(maxima), Arrays()
    for part in _parts(model.entropy.folded(), k):
        out |= part.store(bits)
    steps = np.arange(MAGNITUDE_ENTRIES) / 2**LATENT_FRACTION
    out["magnitude"] = np.rint(np.log1p(steps) * 2**MAGNITUDE_FRACTION).astype(np.int16)
    formats = {f"format.{name}": value.astype(np.int8) for name, value in k.items()}
    return {f"exact.{name}": value for name, value in pack_exact(out).items()} | formats


@torch.no_grad()
def fill_entropy(model_file: Model, network: TadanModel) -> None:
    """Set every layer of ``network.entropy`` but h_a; computes the same up to the rounding of the stored weights.

    Args:
        model_file: where the tensors are.
        network: float model of the same configuration.

    Raises:
        InvalidInput: the file was exported without its activation formats.
    """
    if "format.late" not in model_file.tensors:
        raise InvalidInput(f"model {model_file.name} holds no activation formats; export it again with this version")
    k = {name[7:]: v.astype(np.int64) for name, v in model_file.tensors.items() if name.startswith("format.")}
    arrays = dict(model_file.exact_arrays())
    for name in ("hidden", "outlet", "z_mean"):  # knots as they are stored, not the rows of 100 qualities
        arrays[f"quality.{name}"] = model_file.tensors[f"exact.quality.{name}"]
    network.entropy.context.spread.fill_(1.0)  # the weights are those of plain values
    for part in _parts(network.entropy, k):
        part.load(arrays)


class _Part(Protocol):
    def store(self, bits: WeightBits) -> Arrays: ...

    def load(self, arrays: Stored) -> None: ...


def _parts(entropy: EntropyModel, k: Formats) -> list[_Part]:
    h_s, widths = entropy.h_s, entropy.config.hyper_widths
    up1, up2 = k["up1"][: widths[1]], k["up2"][: widths[2]]
    k_pre, k_hidden = k["pre"] + PRE_EXTRA, k["hidden"] + PRE_EXTRA
    return [
        _Layer("conv1", h_s.conv1, LATENT_FRACTION, k["conv1"], "hyper"),
        _Layer("up1", h_s.up1, k["conv1"], k["up1"], "hyper"),
        _Layer("conv2", h_s.conv2, np.tile(up1, 9), k["conv2"], "hyper"),
        _Layer("up2", h_s.up2, k["conv2"], k["up2"], "hyper"),
        _Layer("hyper", h_s.outlet, up2, k_pre, "hyper"),
        _Layer("hidden", entropy.layer, k["pre"], k_hidden, "hidden"),
        _Layer("mask_in", entropy.context.mask_in, 0, COEFFICIENT_FRACTION, "mask"),
        _Embeddings(entropy, k["embed"]),
        _Window(entropy, k["embed"], k_pre),
        _Late(entropy, k["late"], k_hidden),
        _Outlet(entropy, k["hidden"]),
        _ByQualityRows(entropy, k_pre),
    ]


@dataclass(frozen=True)
class _Layer:
    """A linear layer or a 3x3 convolution, whose inputs the twin orders (row, column, channel)."""

    name: str
    layer: nn.Linear | nn.Conv2d
    k_in: NDArray[np.int64] | int
    k_out: NDArray[np.int64] | int
    bits: str

    def store(self, bits: WeightBits) -> Arrays:
        weight = as_array(self.layer.weight)
        rows = weight.T if weight.ndim == 2 else weight.transpose(2, 3, 1, 0).reshape(-1, len(weight))
        width = getattr(bits, self.bits)
        return to_integer(rows, as_array(self.layer.bias), self.k_in, self.k_out, width).arrays(self.name)

    def load(self, arrays: Stored) -> None:
        rows, unit = _floats(arrays, self.name, self.k_in, self.k_out)
        if isinstance(self.layer, nn.Conv2d):
            _copy(self.layer.weight, rows.reshape(3, 3, -1, rows.shape[1]).transpose(3, 2, 0, 1))
        else:
            _copy(self.layer.weight, rows.T)
        if self.layer.bias is not None:
            _copy(self.layer.bias, arrays[f"{self.name}.bias"] * unit)


@dataclass(frozen=True)
class _Embeddings:
    """What the window sees of each channel group: values and log magnitudes."""

    entropy: EntropyModel
    k_embed: NDArray[np.int64]

    def _each(self) -> list[tuple[str, Tensor, NDArray[np.int64], NDArray[np.int64]]]:
        context = self.entropy.context
        formats = np.split(self.k_embed, np.cumsum(self.entropy.config.embed_sizes)[:-1])
        pairs = zip(context.embed_weights, formats, strict=True)
        return [(f"embed{g}", w, np.repeat(_VALUE_FRACTIONS, w.shape[1]), k) for g, (w, k) in enumerate(pairs)]

    def store(self, bits: WeightBits) -> Arrays:
        out = Arrays()
        for (name, _, k_in, k_out), embedding in zip(self._each(), self.entropy.context.embeddings, strict=True):
            rows = as_array(embedding.flatten(0, 1))
            out |= to_integer(rows, np.zeros(rows.shape[1]), k_in, k_out, bits.embed).arrays(name)
        return out

    def load(self, arrays: Stored) -> None:
        for name, target, k_in, k_out in self._each():
            _copy(target, _floats(arrays, name, k_in, k_out)[0].reshape(target.shape))


@dataclass(frozen=True)
class _Window:
    """Base kernels, and the outlet of the network that mixes them; their bias joins that of the pattern."""

    entropy: EntropyModel
    k_embed: NDArray[np.int64]
    k_pre: NDArray[np.int64]

    def store(self, bits: WeightBits) -> Arrays:
        config, context = self.entropy.config, self.entropy.context
        k_in = np.tile(self.k_embed, config.bases * config.window)
        bases = to_integer(as_array(context.bases.weight).T, np.zeros(config.hidden), k_in, self.k_pre, bits.bases)
        weight, bias = as_array(context.mask_out.weight).T, as_array(context.mask_out.bias)
        cut, fraction = config.bases * config.visibility_bits, COEFFICIENT_FRACTION
        mix = to_integer(weight[:, :cut], bias[:cut], fraction, fraction, bits.mask)
        shifted = bias[cut:] + as_array(context.bases.bias)
        plus = to_integer(weight[:, cut:], shifted, fraction, self.k_pre, bits.mask)
        shape = config.bases, config.window, -1, config.hidden
        kernels: Arrays = {"bases.weight": bases.weight.reshape(shape), "bases.shift": bases.shift}
        return kernels | mix.arrays("mask_mix") | plus.arrays("mask_bias")

    def load(self, arrays: Stored) -> None:
        config, context = self.entropy.config, self.entropy.context
        k_in = np.tile(self.k_embed, (config.bases, config.window, 1))
        bases, _ = _floats(arrays, "bases", k_in, self.k_pre)
        _copy(context.bases.weight, bases.reshape(-1, config.hidden).T)
        context.bases.bias.zero_()
        mix, mix_unit = _floats(arrays, "mask_mix", COEFFICIENT_FRACTION, COEFFICIENT_FRACTION)
        plus, plus_unit = _floats(arrays, "mask_bias", COEFFICIENT_FRACTION, self.k_pre)
        biases = arrays["mask_mix.bias"] * mix_unit, arrays["mask_bias.bias"] * plus_unit
        _copy(context.mask_out.weight, np.concatenate([mix, plus], axis=1).T)
        _copy(context.mask_out.bias, np.concatenate(biases))


@dataclass(frozen=True)
class _Late:
    """What a group learns at its own position from the groups before it."""

    entropy: EntropyModel
    k_late: NDArray[np.int64]
    k_out: NDArray[np.int64]

    def store(self, bits: WeightBits) -> Arrays:
        config = self.entropy.config
        rows = as_array(self.entropy.late_in).reshape(-1, config.late)
        k_in = np.repeat(_VALUE_FRACTIONS, config.latent)
        into = to_integer(rows, as_array(self.entropy.late_bias), k_in, self.k_late, bits.embed)  # a bias a group
        zero = np.zeros(config.hidden)
        outs = [to_integer(w, zero, self.k_late, self.k_out, bits.hidden) for w in as_array(self.entropy.late_out)]
        return {
            "late_in.weight": into.weight.reshape(2, config.latent, config.late),
            "late_in.bias": into.bias,
            "late_in.shift": into.shift,
            "late_out.weight": np.stack([one.weight for one in outs]),
            "late_out.shift": np.stack([one.shift for one in outs]),
        }

    def load(self, arrays: Stored) -> None:
        k_in = np.repeat(np.array(_VALUE_FRACTIONS)[:, None], self.entropy.config.latent, axis=1)
        weight, unit = _floats(arrays, "late_in", k_in, self.k_late)
        _copy(self.entropy.late_weights, weight)
        _copy(self.entropy.late_bias, arrays["late_in.bias"] * unit)
        unit = np.ldexp(1.0, -(self.k_out + arrays["late_out.shift"]))
        _copy(self.entropy.late_out, arrays["late_out.weight"] * unit[:, None] * np.ldexp(1.0, self.k_late)[:, None])


@dataclass(frozen=True)
class _Outlet:
    """Mean and log scale of every latent; the twin counts log scales in steps of the scale table."""

    entropy: EntropyModel
    k_in: NDArray[np.int64]

    def _units(self) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Of every output: what a unit of the twin is worth, where its count begins, its fraction bits."""
        latent = self.entropy.config.latent
        is_mean = np.arange(2 * latent) < latent
        start, k_out = np.where(is_mean, 0.0, math.log(SCALE_MIN)), np.where(is_mean, LATENT_FRACTION, 0)
        return np.where(is_mean, 1.0, LOG_STEP), start, k_out

    def store(self, bits: WeightBits) -> Arrays:
        outlet, (worth, start, k_out) = self.entropy.outlet, self._units()
        knots = (as_array(self.entropy.outlet_bias.values) + as_array(outlet.bias) - start) * (1 / worth)
        layer = to_integer(as_array(outlet.weight).T * (1 / worth), knots, self.k_in, k_out, bits.outlet, INT32_MAX)
        bias = layer.bias.astype(np.int32)
        return {"outlet.weight": layer.weight, "outlet.shift": layer.shift, "quality.outlet": bias}

    def load(self, arrays: Stored) -> None:
        worth, start, k_out = self._units()
        weight, unit = _floats(arrays, "outlet", self.k_in, k_out)
        _copy(self.entropy.outlet.weight, (weight * worth).T)
        self.entropy.outlet.bias.zero_()
        _copy(self.entropy.outlet_bias.values, arrays["quality.outlet"] * unit * worth + start)


@dataclass(frozen=True)
class _ByQualityRows:
    """The bias of the hidden input, and the distribution of z."""

    entropy: EntropyModel
    k_pre: NDArray[np.int64]

    def store(self, bits: WeightBits) -> Arrays:
        z_log_scale = by_quality(as_array(self.entropy.z_log_scale.values), QUALITY_MAX)
        z_index = np.clip(np.rint((z_log_scale - math.log(SCALE_MIN)) / LOG_STEP), 0, N_SCALES - 1)
        return {
            "quality.hidden": _as_int32(np.rint(as_array(self.entropy.hidden_bias.values) * np.ldexp(1.0, self.k_pre))),
            "quality.z_mean": _as_int32(np.rint(as_array(self.entropy.z_mean.values) * 2**LATENT_FRACTION)),
            "quality.z_index": z_index.astype(np.uint8),
        }

    def load(self, arrays: Stored) -> None:
        _copy(self.entropy.hidden_bias.values, arrays["quality.hidden"] * np.ldexp(1.0, -self.k_pre))
        _copy(self.entropy.z_mean.values, arrays["quality.z_mean"] * 2.0**-LATENT_FRACTION)
        set_knots(self.entropy.z_log_scale, arrays["quality.z_index"] * LOG_STEP + math.log(SCALE_MIN))


def set_knots(by: ByQuality, rows: Floats) -> None:
    """Set the knots whose interpolation is nearest to the rows of all qualities."""
    interpolation = by_quality(np.eye(by.values.shape[0]), QUALITY_MAX)
    _copy(by.values, np.linalg.lstsq(interpolation, rows, rcond=None)[0])


def as_array(value: Tensor | None) -> Floats:
    """Weights as float64, on the CPU.

    Raises:
        InvalidInput: the layer has none, a convolution without bias.
    """
    if value is None:
        raise InvalidInput("a layer of the network to export has no bias; build the network with this version")
    return value.detach().double().cpu().numpy()


def _floats(arrays: Stored, name: str, k_in: Any, k_out: Any) -> tuple[Floats, Floats]:
    """Weight (inputs, outputs), and what a unit of the sums is worth (outputs,)."""
    unit = np.ldexp(1.0, -(np.asarray(k_out) + arrays[f"{name}.shift"]))
    return arrays[f"{name}.weight"] * unit * np.ldexp(1.0, np.asarray(k_in))[..., None], unit


def _as_int32(rows: Floats) -> NDArray[np.int32]:
    if not np.isfinite(rows).all() or np.abs(rows).max() > INT32_MAX:
        raise InvalidInput("a bias of the network to export does not fit 32 bits; train it again")
    return rows.astype(np.int32)


def _copy(target: Tensor, values: NDArray[np.floating[Any]]) -> None:
    target.copy_(torch.from_numpy(np.ascontiguousarray(values)))
