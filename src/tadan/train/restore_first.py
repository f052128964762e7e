"""From a model file of the first design back to its float networks; the order of its graphs is that of its layers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from tadan.entropy import SCALE_MIN
from tadan.errors import InvalidInput
from tadan.exact.constants import COEFFICIENT_FRACTION, LATENT_FRACTION, MAGNITUDE_FRACTION, PRE_EXTRA
from tadan.models import Model, ModelConfig
from tadan.nn.context import AnyScheduleContext
from tadan.nn.entropy_model import EntropyModel
from tadan.nn.model import TadanModel
from tadan.train.export_first import LOG_STEP
from tadan.train.restore_groups import set_knots

Floats = NDArray[np.float64]


@torch.no_grad()
def fill_first(model: Model, network: TadanModel) -> None:
    """Set the transforms and the entropy model of ``network``, its gains aside.

    Raises:
        InvalidInput: the file was exported without the formats of its activations.
    """
    for part, graph in ((network.g_a, "g_a"), (network.entropy.h_a, "h_a"), (network.g_s, "g_s")):
        _fill_from_graph(part, model.graph(graph))
    _Entropy(model, network).fill()


def _fill_from_graph(part: nn.Module, data: bytes) -> None:
    graph = onnx.load_from_string(data).graph
    stored = {one.name.removesuffix("_half"): numpy_helper.to_array(one) for one in graph.initializer}
    convolutions = iter([node.input[1:] for node in graph.node if node.op_type == "Conv"])
    for layer in _layers(part):
        weight_name, bias_name = next(convolutions)
        weight = stored[weight_name].astype(np.float32)
        if isinstance(layer, nn.Linear):  # strided or 1x1: (out, in, rows, cols) -> (out, rows * cols * in)
            weight = weight.transpose(0, 2, 3, 1).reshape(layer.weight.shape)
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        if layer.bias is not None:
            layer.bias.copy_(torch.from_numpy(stored[bias_name].astype(np.float32)))


def _layers(part: nn.Module) -> Iterator[nn.Linear | nn.Conv2d]:
    """Layers in the order of their definition, which is the order of the graphs."""
    return (layer for layer in part.modules() if isinstance(layer, nn.Linear | nn.Conv2d))


class _Entropy:
    """Integer tensors back to float layers."""

    def __init__(self, model: Model, network: TadanModel) -> None:
        self._arrays = {name[6:]: value for name, value in model.tensors.items() if name.startswith("exact.")}
        if "format.embed" not in model.tensors:
            raise InvalidInput(f"model {model.name} holds no activation formats; export it again with this version")
        self._entropy, self._config = cast(EntropyModel, network.entropy), cast(ModelConfig, model.config)
        self._k = {n[7:]: v.astype(np.int64) for n, v in model.tensors.items() if n.startswith("format.")}

    def fill(self) -> None:
        """Set every layer of the entropy model."""
        k, entropy, config = self._k, self._entropy, self._config
        k_pre = k["pre"] + PRE_EXTRA
        up1, up2 = k["up1"][: config.hyper_widths[1]], k["up2"][: config.hyper_widths[2]]
        self._conv(entropy.h_s.conv1, "conv1", LATENT_FRACTION, k["conv1"])
        self._linear(entropy.h_s.up1, "up1", k["conv1"], k["up1"])
        self._conv(entropy.h_s.conv2, "conv2", np.tile(up1, 9), k["conv2"])
        self._linear(entropy.h_s.up2, "up2", k["conv2"], k["up2"])
        self._conv(entropy.h_s.conv3, "conv3", np.tile(up2, 9), k_pre)
        self._linear(entropy.layer, "hidden", k["pre"], k["hidden"])
        self._context(k_pre)
        self._outlet()
        set_knots(entropy.hidden_bias, self._arrays["quality.hidden"] * np.ldexp(1.0, -k_pre))
        set_knots(entropy.z_mean, self._arrays["quality.z_mean"] * 2.0**-LATENT_FRACTION)
        set_knots(entropy.z_log_scale, self._arrays["quality.z_index"] * LOG_STEP + math.log(SCALE_MIN))

    def _float(self, name: str, k_in: Any, k_out: Any) -> tuple[Floats, Floats]:
        unit = np.ldexp(1.0, -(np.asarray(k_out) + self._arrays[f"{name}.shift"]))
        weight = self._arrays[f"{name}.weight"] * unit * np.ldexp(1.0, np.asarray(k_in))[..., None]
        return weight, self._arrays[f"{name}.bias"] * unit

    def _linear(self, layer: nn.Linear, name: str, k_in: Any, k_out: Any) -> None:
        weight, bias = self._float(name, k_in, k_out)
        layer.weight.copy_(torch.from_numpy(weight.T))
        layer.bias.copy_(torch.from_numpy(bias))

    def _conv(self, layer: nn.Conv2d, name: str, k_in: Any, k_out: Any) -> None:
        weight, bias = self._float(name, k_in, k_out)
        spatial = weight.reshape(3, 3, -1, weight.shape[1]).transpose(3, 2, 0, 1)
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(spatial)))
        if layer.bias is not None:
            layer.bias.copy_(torch.from_numpy(bias))

    def _context(self, k_pre: NDArray[np.int64]) -> None:
        context, config = self._entropy.context, self._config
        if not isinstance(context, AnyScheduleContext):
            raise InvalidInput("only the any-schedule context network can be restored")
        k_embed = self._k["embed"].reshape(config.groups, config.embed)
        formats = np.repeat([LATENT_FRACTION, MAGNITUDE_FRACTION], config.latent // config.groups)
        for group in range(config.groups):
            weight, _ = self._float(f"embed{group}", formats, k_embed[group])
            values, magnitudes = np.split(weight, 2)
            context.embed[group].copy_(torch.from_numpy(values))
            context.embed_magnitude[group].copy_(torch.from_numpy(magnitudes))
        unit = np.ldexp(1.0, -(k_pre + self._arrays["bases.shift"]))
        k_in = np.tile(k_embed, (config.window, 1))
        bases = self._arrays["bases.weight"] * unit * np.ldexp(1.0, k_in)[None, :, :, None]
        context.bases.weight.copy_(torch.from_numpy(bases.transpose(3, 0, 1, 2).reshape(config.hidden, -1).copy()))
        context.bases.bias.zero_()  # its bias was folded into that of the visibility pattern
        self._linear(context.mask_in, "mask_in", 0, COEFFICIENT_FRACTION)
        mix = self._float("mask_mix", COEFFICIENT_FRACTION, COEFFICIENT_FRACTION)
        plus = self._float("mask_bias", COEFFICIENT_FRACTION, k_pre)
        context.mask_out.weight.copy_(torch.from_numpy(np.concatenate([mix[0], plus[0]], axis=1).T.copy()))
        context.mask_out.bias.copy_(torch.from_numpy(np.concatenate([mix[1], plus[1]])))

    def _outlet(self) -> None:
        entropy, latent = self._entropy, self._config.latent
        is_mean = np.arange(2 * latent) < latent
        step = np.where(is_mean, 1.0, LOG_STEP)
        unit = step * np.ldexp(1.0, -(np.where(is_mean, LATENT_FRACTION, 0) + self._arrays["outlet.shift"]))
        weight = self._arrays["outlet.weight"] * unit * np.ldexp(1.0, self._k["hidden"])[:, None]
        entropy.outlet.weight.copy_(torch.from_numpy(weight.T.copy()))
        entropy.outlet.bias.zero_()
        start = np.where(is_mean, 0.0, math.log(SCALE_MIN))
        set_knots(entropy.outlet_bias, self._arrays["quality.outlet"] * unit + start)
