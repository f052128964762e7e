"""From the trained float entropy model to the tensors of its integer twin."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tadan.entropy import N_SCALES, SCALE_MIN, scale_values
from tadan.errors import InvalidInput
from tadan.exact.constants import (
    ACTIVATION_LIMIT,
    COEFFICIENT_FRACTION,
    EMBED_LIMIT,
    LATENT_FRACTION,
    MAGNITUDE_ENTRIES,
    MAGNITUDE_FRACTION,
    PRE_EXTRA,
)
from tadan.exact.convert import INT32_MAX, by_quality, fractions_for, to_integer
from tadan.exact.packing import pack_exact
from tadan.models.config import QUALITY_MAX
from tadan.nn.entropy_model import EntropyModel
from tadan.nn.layers import depth_to_space
from tadan.nn.model import TadanModel
from tadan.schedule import get_schedule

if TYPE_CHECKING:
    from tadan.train.export import WeightBits

Arrays = dict[str, NDArray[Any]]
Formats = dict[str, NDArray[np.int64]]
Note = Callable[[str, Tensor], Tensor]
SCHEDULES = ("checkerboard", "2x2", "4x4", "raster", "hyper", "2x2-rotated")
QUALITIES = (1, 10, 25, 40, 55, 70, 85, 100)
LOG_STEP = math.log(float(scale_values()[1]) / float(scale_values()[0]))


@torch.no_grad()
def calibrate(model: TadanModel, pictures: Sequence[Tensor]) -> dict[str, NDArray[np.float64]]:
    """Largest activation of every channel that the integer twin stores, over qualities and schedules.

    Args:
        model: float model.
        pictures: (B, H, W, 3) in 0..1, H and W multiples of 64; never evaluation pictures.
    """
    entropy = _folded(model)
    seen: dict[str, NDArray[np.float64]] = {}

    def note(name: str, value: Tensor) -> Tensor:
        largest = value.abs().flatten(0, -2).amax(0).double().numpy()
        seen[name] = np.maximum(seen.get(name, 0.0), largest)
        return value

    for batch in pictures:
        for value in QUALITIES:
            quality = torch.full((len(batch),), float(value))
            y, z = model.analyse(batch, quality)
            z_mean = entropy.z_mean(quality)
            hyper = _noted_hyper(entropy, torch.round(z - z_mean) + z_mean, note)
            _note_stages(entropy, torch.round(y), hyper + entropy.hidden_bias(quality), note)
    return seen


def _noted_hyper(entropy: EntropyModel, z_hat: Tensor, note: Note) -> Tensor:
    h_s = entropy.h_s
    x = note("conv1", torch.relu(h_s.conv1(z_hat)))
    x = depth_to_space(note("up1", torch.relu(h_s.up1(x))), 2)
    x = note("conv2", torch.relu(h_s.conv2(x)))
    return h_s.outlet(depth_to_space(note("up2", torch.relu(h_s.up2(x))), 2))


def _note_stages(entropy: EntropyModel, y: Tensor, hyper: Tensor, note: Note) -> None:
    groups = entropy.config.groups
    note("embed", entropy.context.embedding(y))
    for schedule in (one for one in map(get_schedule, SCHEDULES) if groups % one.groups == 0):
        late = entropy.late_activations(y, schedule)
        note("late", late)
        terms = entropy.late_terms(y, schedule)
        for group in range(schedule.groups):
            hidden = entropy.layer(note("pre", torch.relu(hyper + entropy.context(y, schedule, group))))
            for term in terms.chunk(schedule.groups)[group]:
                note("hidden", torch.relu(hidden + term))


def entropy_tensors(model: TadanModel, maxima: Mapping[str, NDArray[np.float64]], bits: WeightBits) -> Arrays:
    """``exact.*``, the integer networks as a file stores them (:mod:`tadan.exact.packing`), and ``format.*``.

    The latter are the fraction bits of the activations: not needed to decode, but to get the float weights back.

    Args:
        model: float model.
        maxima: what :func:`calibrate` gave.
        bits: widths of the integer weights; those of ``late_in`` are ``embed``, those of ``late_out`` ``hidden``.

    Raises:
        InvalidInput: the weights do not fit the formats.
    """
    entropy = _folded(model)
    k = {name: fractions_for(maxima[name], ACTIVATION_LIMIT) for name in ("conv1", "conv2", "pre", "late", "hidden")}
    for name in ("up1", "up2"):  # depth_to_space follows: the four parts of a channel share one format
        four = np.asarray(maxima[name]).reshape(4, -1).max(0)
        k[name] = np.tile(fractions_for(four, ACTIVATION_LIMIT), 4)
    k["embed"] = fractions_for(maxima["embed"], EMBED_LIMIT)
    out = _hyper(entropy, k, bits) | _context(entropy, k, bits) | _late(entropy, k, bits)
    layer = entropy.layer
    k_hidden = k["hidden"] + PRE_EXTRA
    out |= to_integer(as_array(layer.weight).T, as_array(layer.bias), k["pre"], k_hidden, bits.hidden).arrays("hidden")
    out |= _outlet(entropy, k["hidden"], bits) | _by_quality(entropy, k["pre"] + PRE_EXTRA)
    formats = {f"format.{name}": value.astype(np.int8) for name, value in k.items()}
    return {f"exact.{name}": value for name, value in pack_exact(out).items()} | formats


def _hyper(entropy: EntropyModel, k: Formats, bits: WeightBits) -> Arrays:
    h_s, config, out = entropy.h_s, entropy.config, Arrays()
    up1, up2 = k["up1"][: config.hyper_widths[1]], k["up2"][: config.hyper_widths[2]]
    for name, conv, before in (("conv1", h_s.conv1, LATENT_FRACTION), ("conv2", h_s.conv2, np.tile(up1, 9))):
        weight = as_array(conv.weight).transpose(2, 3, 1, 0).reshape(-1, conv.out_channels)
        out |= to_integer(weight, as_array(conv.bias), before, k[name], bits.hyper).arrays(name)
    for name, layer, k_in, k_out in (
        ("up1", h_s.up1, k["conv1"], k["up1"]),
        ("up2", h_s.up2, k["conv2"], k["up2"]),
        ("hyper", h_s.outlet, up2, k["pre"] + PRE_EXTRA),
    ):
        out |= to_integer(as_array(layer.weight).T, as_array(layer.bias), k_in, k_out, bits.hyper).arrays(name)
    return out


def _context(entropy: EntropyModel, k: Formats, bits: WeightBits) -> Arrays:
    config, context, out = entropy.config, entropy.context, Arrays()
    k_pre, each = k["pre"] + PRE_EXTRA, np.split(k["embed"], np.cumsum(config.embed_sizes)[:-1])
    for group, (embedding, k_embed) in enumerate(zip(context.embeddings, each, strict=True)):
        _, size, width = embedding.shape
        k_in = np.repeat([LATENT_FRACTION, MAGNITUDE_FRACTION], size)
        rows = as_array(embedding).reshape(2 * size, width)
        out |= to_integer(rows, np.zeros(width), k_in, k_embed, bits.embed).arrays(f"embed{group}")
    steps = np.arange(MAGNITUDE_ENTRIES) / 2**LATENT_FRACTION
    out["magnitude"] = np.rint(np.log1p(steps) * 2**MAGNITUDE_FRACTION).astype(np.int16)
    bases = as_array(context.bases.weight).T
    k_in = np.tile(k["embed"], config.bases * config.window)
    integer = to_integer(bases, np.zeros(config.hidden), k_in, k_pre, bits.bases)
    out["bases.weight"] = integer.weight.reshape(config.bases, config.window, -1, config.hidden)
    out["bases.shift"] = integer.shift
    weight, bias = as_array(context.mask_in.weight).T, as_array(context.mask_in.bias)
    first = to_integer(weight, bias, 0, COEFFICIENT_FRACTION, bits.mask)
    cut = config.bases * config.visibility_bits
    weight, bias = as_array(context.mask_out.weight).T, as_array(context.mask_out.bias)
    mix = to_integer(weight[:, :cut], bias[:cut], COEFFICIENT_FRACTION, COEFFICIENT_FRACTION, bits.mask)
    shifted = bias[cut:] + as_array(context.bases.bias)
    plus = to_integer(weight[:, cut:], shifted, COEFFICIENT_FRACTION, k_pre, bits.mask)
    return out | first.arrays("mask_in") | mix.arrays("mask_mix") | plus.arrays("mask_bias")


def _late(entropy: EntropyModel, k: Formats, bits: WeightBits) -> Arrays:
    config = entropy.config
    rows = as_array(entropy.late_in).reshape(-1, config.late)
    k_in = np.repeat([LATENT_FRACTION, MAGNITUDE_FRACTION], config.latent)
    into = to_integer(rows, as_array(entropy.late_bias), k_in, k["late"], bits.embed)  # a bias for every group
    zero = np.zeros(config.hidden)
    k_out = k["hidden"] + PRE_EXTRA
    outs = [to_integer(one, zero, k["late"], k_out, bits.hidden) for one in as_array(entropy.late_out)]
    return {
        "late_in.weight": into.weight.reshape(2, config.latent, config.late),
        "late_in.bias": into.bias,
        "late_in.shift": into.shift,
        "late_out.weight": np.stack([one.weight for one in outs]),
        "late_out.shift": np.stack([one.shift for one in outs]),
    }


def _outlet(entropy: EntropyModel, k_hidden: NDArray[np.int64], bits: WeightBits) -> Arrays:
    latent = entropy.config.latent
    is_mean = np.arange(2 * latent) < latent
    unit = np.where(is_mean, 1.0, 1 / LOG_STEP)  # log scale -> steps of the scale table
    start, k_out = np.where(is_mean, 0.0, math.log(SCALE_MIN)), np.where(is_mean, LATENT_FRACTION, 0)
    outlet = entropy.outlet
    knots = (as_array(entropy.outlet_bias.values) + as_array(outlet.bias) - start) * unit
    layer = to_integer(as_array(outlet.weight).T * unit, knots, k_hidden, k_out, bits.outlet, INT32_MAX)
    return {"outlet.weight": layer.weight, "outlet.shift": layer.shift, "quality.outlet": layer.bias.astype(np.int32)}


def _by_quality(entropy: EntropyModel, k_pre: NDArray[np.int64]) -> Arrays:
    hidden = as_array(entropy.hidden_bias.values) * np.ldexp(1.0, k_pre)
    z_mean = as_array(entropy.z_mean.values) * 2**LATENT_FRACTION
    z_log_scale = by_quality(as_array(entropy.z_log_scale.values), QUALITY_MAX)
    z_index = np.clip(np.rint((z_log_scale - math.log(SCALE_MIN)) / LOG_STEP), 0, N_SCALES - 1)
    return {
        "quality.hidden": as_int32(np.rint(hidden)),
        "quality.z_mean": as_int32(np.rint(z_mean)),
        "quality.z_index": z_index.astype(np.uint8),
    }


def as_array(value: Tensor | None) -> NDArray[np.float64]:
    """Weights as float64, on the CPU.

    Raises:
        InvalidInput: the layer has none, a convolution without bias.
    """
    if value is None:
        raise InvalidInput("a layer of the network to export has no bias; build the network with this version")
    return value.detach().double().cpu().numpy()


def as_int32(rows: NDArray[np.float64]) -> NDArray[np.int32]:
    """Whole numbers as they are stored.

    Raises:
        InvalidInput: one is not finite or does not fit.
    """
    if not np.isfinite(rows).all() or np.abs(rows).max() > INT32_MAX:
        raise InvalidInput("a bias of the network to export does not fit 32 bits; train it again")
    return rows.astype(np.int32)


def _folded(model: TadanModel) -> EntropyModel:
    """A copy of the entropy model that reads plain latents, the spread of training moved into its weights."""
    entropy = copy.deepcopy(model.entropy)
    entropy.fold_spread()
    if entropy.config.groups == 1:  # nobody reads them, and so no activation gives them a format
        with torch.no_grad():
            entropy.late_weights.zero_()
    return entropy
