"""From the trained float entropy model of the first design to the tensors of its integer twin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from tadan.models.config import QUALITY_MAX
from tadan.nn.context import AnyScheduleContext
from tadan.nn.entropy_model import EntropyModel
from tadan.nn.model import TadanModel
from tadan.nn.transforms import depth_to_space
from tadan.schedule import get_schedule

if TYPE_CHECKING:
    from tadan.train.export import WeightBits

Arrays = dict[str, NDArray[Any]]
CALIBRATION_SCHEDULES = ("checkerboard", "2x2", "4x4", "raster", "hyper", "2x2-rotated")
CALIBRATION_QUALITIES = (1, 10, 25, 40, 55, 70, 85, 100)
LOG_STEP = math.log(float(scale_values()[1]) / float(scale_values()[0]))


@torch.no_grad()
def calibrate_first(model: TadanModel, pictures: Sequence[Tensor]) -> dict[str, NDArray[np.float64]]:
    """Largest activation of every channel that the integer twin stores, over qualities and schedules.

    Args:
        model: float model.
        pictures: (B, H, W, 3) in 0..1, H and W multiples of 64; never evaluation pictures.
    """
    entropy = _entropy_of(model)
    seen: dict[str, NDArray[np.float64]] = {}

    def note(name: str, value: Tensor) -> Tensor:
        largest = value.abs().flatten(0, -2).amax(0).double().numpy()
        seen[name] = np.maximum(seen.get(name, 0.0), largest)
        return value

    for batch in pictures:
        for value in CALIBRATION_QUALITIES:
            quality = torch.full((len(batch),), float(value))
            y, z = model.analyse(batch, quality)
            z_mean = entropy.z_mean(quality)
            h_s = entropy.h_s
            x = note("conv1", torch.relu(h_s.conv1(torch.round(z - z_mean) + z_mean)))
            x = depth_to_space(note("up1", torch.relu(h_s.up1(x))), 2)
            x = note("conv2", torch.relu(h_s.conv2(x)))
            x = depth_to_space(note("up2", torch.relu(h_s.up2(x))), 2)
            hyper = h_s.conv3(x)
            seen_y = torch.round(y)
            note("embed", entropy.context.embedding(seen_y).flatten(3))
            for name in CALIBRATION_SCHEDULES:
                schedule = get_schedule(name)
                for group in range(schedule.groups):
                    context = entropy.context(seen_y, schedule, group)
                    hidden = note("pre", torch.relu(hyper + context + entropy.hidden_bias(quality)))
                    note("hidden", torch.relu(entropy.layer(hidden)))
    return seen


def first_tensors(model: TadanModel, maxima: Mapping[str, NDArray[np.float64]], bits: WeightBits) -> Arrays:
    """``exact.*``, the tensors that :class:`tadan.exact.network.EntropyTwin` reads, and ``format.*``.

    The latter are the fraction bits of the activations: not needed to decode, but to get the float weights back.
    """
    entropy = _entropy_of(model)
    config = entropy.config
    out: Arrays = {}
    k = {name: fractions_for(maxima[name], ACTIVATION_LIMIT) for name in ("conv1", "conv2", "pre", "hidden")}
    for name in ("up1", "up2"):  # depth_to_space follows: the four parts of a channel share one format
        four = np.asarray(maxima[name]).reshape(4, -1).max(0)
        k[name] = np.tile(fractions_for(four, ACTIVATION_LIMIT), 4)
    k_pre = k["pre"] + PRE_EXTRA
    h_s = entropy.h_s
    for name, before, after in (
        ("conv1", LATENT_FRACTION, k["conv1"]),
        ("conv2", np.tile(k["up1"][: config.hyper_widths[1]], 9), k["conv2"]),
        ("conv3", np.tile(k["up2"][: config.hyper_widths[2]], 9), k_pre),
    ):
        conv = getattr(h_s, name)
        weight = _array(conv.weight).transpose(2, 3, 1, 0).reshape(-1, conv.out_channels)
        out |= to_integer(weight, _array(conv.bias), before, after, bits.hyper).arrays(name)
    for name, before in (("up1", k["conv1"]), ("up2", k["conv2"])):
        up = getattr(h_s, name)
        out |= to_integer(_array(up.weight).T, _array(up.bias), before, k[name], bits.hyper).arrays(name)
    out |= _context(model, maxima, k_pre, bits)
    layer = entropy.layer
    out |= to_integer(_array(layer.weight).T, _array(layer.bias), k["pre"], k["hidden"], bits.hidden).arrays("hidden")
    k_embed = fractions_for(maxima["embed"], EMBED_LIMIT)
    out |= _outlet(model, k["hidden"], bits) | _by_quality(model, k_pre)
    formats = {f"format.{name}": value.astype(np.int8) for name, value in {**k, "embed": k_embed}.items()}
    return {f"exact.{name}": value for name, value in out.items()} | formats


def _context(
    model: TadanModel, maxima: Mapping[str, NDArray[np.float64]], k_pre: NDArray[np.int64], bits: WeightBits
) -> Arrays:
    config, context = _entropy_of(model).config, model.entropy.context
    if not isinstance(context, AnyScheduleContext):
        raise InvalidInput("only the any-schedule context network has an integer twin; train without specialise")
    k_embed = fractions_for(maxima["embed"], EMBED_LIMIT).reshape(config.groups, config.embed)
    out: Arrays = {}
    weights = np.concatenate([_array(context.embed), _array(context.embed_magnitude)], axis=1)
    k_in = np.repeat([LATENT_FRACTION, MAGNITUDE_FRACTION], config.latent // config.groups)
    for group, weight in enumerate(weights):
        out |= to_integer(weight, np.zeros(config.embed), k_in, k_embed[group], bits.embed).arrays(f"embed{group}")
    steps = np.arange(MAGNITUDE_ENTRIES) / 2**LATENT_FRACTION
    out["magnitude"] = np.rint(np.log1p(steps) * 2**MAGNITUDE_FRACTION).astype(np.int16)
    shape = (config.hidden, config.bases, config.visibility_bits, config.embed)
    bases = _array(context.bases.weight).reshape(shape).transpose(1, 2, 3, 0)
    k_in = np.tile(k_embed.ravel(), config.bases * config.window)
    integer = to_integer(bases.reshape(-1, config.hidden), np.zeros(config.hidden), k_in, k_pre, bits.bases)
    out["bases.weight"] = integer.weight.reshape(bases.shape)
    out["bases.shift"] = integer.shift
    first = to_integer(
        _array(context.mask_in.weight).T, _array(context.mask_in.bias), 0, COEFFICIENT_FRACTION, bits.mask
    )
    cut = config.bases * config.visibility_bits
    weight, bias = _array(context.mask_out.weight).T, _array(context.mask_out.bias)
    mix = to_integer(weight[:, :cut], bias[:cut], COEFFICIENT_FRACTION, COEFFICIENT_FRACTION, bits.mask)
    shifted = bias[cut:] + _array(context.bases.bias)
    plus = to_integer(weight[:, cut:], shifted, COEFFICIENT_FRACTION, k_pre, bits.mask)
    return out | first.arrays("mask_in") | mix.arrays("mask_mix") | plus.arrays("mask_bias")


def _outlet(model: TadanModel, k_hidden: NDArray[np.int64], bits: WeightBits) -> Arrays:
    latent = model.config.latent
    unit = np.where(np.arange(2 * latent) < latent, 1.0, 1 / LOG_STEP)  # log scale -> steps of the scale table
    start = np.where(np.arange(2 * latent) < latent, 0.0, math.log(SCALE_MIN))
    k_out = np.where(np.arange(2 * latent) < latent, LATENT_FRACTION, 0)
    outlet = model.entropy.outlet
    rows = (by_quality(_array(model.entropy.outlet_bias.values), QUALITY_MAX) + _array(outlet.bias) - start) * unit
    layer = to_integer(_array(outlet.weight).T * unit, rows, k_hidden, k_out, bits.outlet, INT32_MAX)
    return {"outlet.weight": layer.weight, "outlet.shift": layer.shift, "quality.outlet": layer.bias.astype(np.int32)}


def _by_quality(model: TadanModel, k_pre: NDArray[np.int64]) -> Arrays:
    entropy = _entropy_of(model)
    hidden = by_quality(_array(entropy.hidden_bias.values), QUALITY_MAX) * np.ldexp(1.0, k_pre)
    z_mean = by_quality(_array(entropy.z_mean.values), QUALITY_MAX) * 2**LATENT_FRACTION
    z_log_scale = by_quality(_array(entropy.z_log_scale.values), QUALITY_MAX)
    z_index = np.clip(np.rint((z_log_scale - math.log(SCALE_MIN)) / LOG_STEP), 0, N_SCALES - 1)
    return {
        "quality.hidden": _int32(np.rint(hidden)),
        "quality.z_mean": _int32(np.rint(z_mean)),
        "quality.z_index": z_index.astype(np.uint8),
    }


def _entropy_of(model: TadanModel) -> EntropyModel:
    if not isinstance(model.entropy, EntropyModel):
        raise InvalidInput("this export is for models of the first design; use group_tensors for the design renderer")
    return model.entropy


def _array(value: Tensor) -> NDArray[np.float64]:
    return value.detach().double().numpy()


def _int32(rows: NDArray[np.float64]) -> NDArray[np.int32]:
    if not np.isfinite(rows).all() or np.abs(rows).max() > INT32_MAX:
        raise InvalidInput("a bias of the network to export does not fit 32 bits; train it again")
    return rows.astype(np.int32)
