"""From the integer tensors of a model file back to its float entropy model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tadan.entropy import SCALE_MIN
from tadan.errors import InvalidInput
from tadan.exact.constants import COEFFICIENT_FRACTION, LATENT_FRACTION, MAGNITUDE_FRACTION, PRE_EXTRA
from tadan.exact.convert import by_quality
from tadan.models import Model
from tadan.models.config import QUALITY_MAX
from tadan.nn.entropy_model import EntropyModel
from tadan.nn.layers import ByQuality
from tadan.nn.model import TadanModel
from tadan.train.export_entropy import LOG_STEP

Floats = NDArray[np.float64]


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
    _Groups(model_file, network.entropy).fill()


class _Groups:
    """Integer tensors back to float layers."""

    def __init__(self, model: Model, entropy: EntropyModel) -> None:
        self._arrays = model.exact_arrays()
        self._knots = {name: model.tensors[f"exact.quality.{name}"] for name in ("hidden", "outlet", "z_mean")}
        self._k = {n[7:]: v.astype(np.int64) for n, v in model.tensors.items() if n.startswith("format.")}
        self._entropy, self._config = entropy, entropy.config

    def fill(self) -> None:
        """Set every layer."""
        k, entropy, config = self._k, self._entropy, self._config
        k_pre, h_s = k["pre"] + PRE_EXTRA, entropy.h_s
        up1, up2 = k["up1"][: config.hyper_widths[1]], k["up2"][: config.hyper_widths[2]]
        self._conv(h_s.conv1, "conv1", LATENT_FRACTION, k["conv1"])
        self._linear(h_s.up1, "up1", k["conv1"], k["up1"])
        self._conv(h_s.conv2, "conv2", np.tile(up1, 9), k["conv2"])
        self._linear(h_s.up2, "up2", k["conv2"], k["up2"])
        self._linear(h_s.outlet, "hyper", up2, k_pre)
        self._linear(entropy.layer, "hidden", k["pre"], k["hidden"] + PRE_EXTRA)
        entropy.context.spread.fill_(1.0)  # the weights are those of plain values
        self._context(k_pre)
        self._late()
        self._outlet()
        _copy(entropy.hidden_bias.values, self._knots["hidden"] * np.ldexp(1.0, -k_pre))
        _copy(entropy.z_mean.values, self._knots["z_mean"] * 2.0**-LATENT_FRACTION)
        set_knots(entropy.z_log_scale, self._arrays["quality.z_index"] * LOG_STEP + math.log(SCALE_MIN))

    def _weight(self, name: str, k_in: Any, k_out: Any) -> tuple[Floats, Floats]:
        """Weight (inputs, outputs), and what a unit of the sums is worth (outputs,)."""
        unit = np.ldexp(1.0, -(np.asarray(k_out) + self._arrays[f"{name}.shift"]))
        return self._arrays[f"{name}.weight"] * unit * np.ldexp(1.0, np.asarray(k_in))[..., None], unit

    def _linear(self, layer: nn.Linear, name: str, k_in: Any, k_out: Any) -> None:
        weight, unit = self._weight(name, k_in, k_out)
        _copy(layer.weight, weight.T)
        _copy(layer.bias, self._arrays[f"{name}.bias"] * unit)

    def _conv(self, layer: nn.Conv2d, name: str, k_in: Any, k_out: Any) -> None:
        weight, unit = self._weight(name, k_in, k_out)
        _copy(layer.weight, weight.reshape(3, 3, -1, weight.shape[1]).transpose(3, 2, 0, 1))
        if layer.bias is not None:
            _copy(layer.bias, self._arrays[f"{name}.bias"] * unit)

    def _context(self, k_pre: NDArray[np.int64]) -> None:
        context, config = self._entropy.context, self._config
        each = np.split(self._k["embed"], np.cumsum(config.embed_sizes)[:-1])
        for group, (target, k_embed) in enumerate(zip(context.embed_weights, each, strict=True)):
            k_in = np.repeat([LATENT_FRACTION, MAGNITUDE_FRACTION], target.shape[1])
            _copy(target, self._weight(f"embed{group}", k_in, k_embed)[0].reshape(target.shape))
        k_in = np.tile(self._k["embed"], (config.bases, config.window, 1))
        bases, _ = self._weight("bases", k_in, k_pre)
        _copy(context.bases.weight, bases.reshape(-1, config.hidden).T)
        context.bases.bias.zero_()  # its bias was folded into that of the visibility pattern
        self._linear(context.mask_in, "mask_in", 0, COEFFICIENT_FRACTION)
        mix, mix_unit = self._weight("mask_mix", COEFFICIENT_FRACTION, COEFFICIENT_FRACTION)
        plus, plus_unit = self._weight("mask_bias", COEFFICIENT_FRACTION, k_pre)
        biases = self._arrays["mask_mix.bias"] * mix_unit, self._arrays["mask_bias.bias"] * plus_unit
        _copy(context.mask_out.weight, np.concatenate([mix, plus], axis=1).T)
        _copy(context.mask_out.bias, np.concatenate(biases))

    def _late(self) -> None:
        entropy, k_late = self._entropy, self._k["late"]
        k_in = np.repeat([[LATENT_FRACTION], [MAGNITUDE_FRACTION]], self._config.latent, axis=1)
        weight, unit = self._weight("late_in", k_in, k_late)
        _copy(entropy.late_weights, weight)
        _copy(entropy.late_bias, self._arrays["late_in.bias"] * unit)
        unit = np.ldexp(1.0, -(self._k["hidden"] + PRE_EXTRA + self._arrays["late_out.shift"]))
        _copy(entropy.late_out, self._arrays["late_out.weight"] * unit[:, None] * np.ldexp(1.0, k_late)[:, None])

    def _outlet(self) -> None:
        entropy, latent = self._entropy, self._config.latent
        is_mean = np.arange(2 * latent) < latent
        weight, unit = self._weight("outlet", self._k["hidden"], np.where(is_mean, LATENT_FRACTION, 0))
        step = np.where(is_mean, 1.0, LOG_STEP)
        _copy(entropy.outlet.weight, (weight * step).T)
        entropy.outlet.bias.zero_()
        knots = self._knots["outlet"] * unit * step
        _copy(entropy.outlet_bias.values, knots + np.where(is_mean, 0.0, math.log(SCALE_MIN)))


def set_knots(by: ByQuality, rows: Floats) -> None:
    """Set the knots whose interpolation is nearest to the rows of all qualities."""
    interpolation = by_quality(np.eye(by.values.shape[0]), QUALITY_MAX)
    _copy(by.values, np.linalg.lstsq(interpolation, rows, rcond=None)[0])


def _copy(target: Tensor, values: NDArray[np.floating[Any]]) -> None:
    target.copy_(torch.from_numpy(np.ascontiguousarray(values)))
