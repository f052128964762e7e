"""Hyperprior, context and parameter networks: from z and the latents seen so far to a mean and a scale per latent.

::

    y*gain --h_a--> z --round--> z_hat --h_s--> hyper ----+
                                                          v
    latents of earlier stages --embed--> window --ctx--> (+) -> ReLU -> layer -> ReLU -> layer -> mean, log scale
    visibility pattern --mask net--> mixing of base kernels, bias ^        ^ quality: a bias here and at the output

The context networks themselves, any-schedule and specialised, stand in :mod:`tadan.nn.context`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tadan.entropy.constants import SCALE_MAX, SCALE_MIN
from tadan.models.config import ModelConfig
from tadan.models.renderer_config import RendererConfig
from tadan.nn.by_quality import ByQuality
from tadan.nn.context import AnyScheduleContext, SpecialisedContext
from tadan.nn.transforms import Conv, depth_to_space, space_to_depth
from tadan.schedule import Schedule


class Parameters(NamedTuple):
    """Predicted distribution of latents: both (..., latent); scale is the standard deviation in quantisation steps."""

    mean: Tensor
    log_scale: Tensor


class _Bounded(torch.autograd.Function):
    """Clip whose gradient lets values outside come back in (as LowerBound of tensorflow/compression)."""

    @staticmethod
    def forward(ctx: object, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        ctx.bounds = low, high  # type: ignore[attr-defined]
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        low, high = ctx.bounds  # type: ignore[attr-defined]
        keep = ((x >= low) | (grad < 0)) & ((x <= high) | (grad > 0))
        return grad * keep, None, None


def bound_log_scale(log_scale: Tensor) -> Tensor:
    """Clip to the range of the scale table, natural logarithms."""
    return _Bounded.apply(log_scale, math.log(SCALE_MIN), math.log(SCALE_MAX))


def gaussian_bits(residual: Tensor, log_scale: Tensor) -> Tensor:
    """Bits of each residual under a discretised Gaussian: -log2(Phi((r+.5)/s) - Phi((r-.5)/s)), float32.

    A floor of about 2^-16 / (1 + |r|) stands for the escape code of the real tables and keeps gradients alive.
    """
    residual = residual.float().abs()
    inverse = torch.exp(-log_scale.float()) * math.sqrt(0.5)
    upper = torch.special.erfc((residual - 0.5) * inverse)
    lower = torch.special.erfc((residual + 0.5) * inverse)
    return -torch.log2(0.5 * (upper - lower) + 2.0**-16 / (1 + residual))


class HyperAnalysis(nn.Module):
    """h_a: y in quantisation steps -> z at a quarter of its resolution; encoder only."""

    def __init__(self, config: ModelConfig | RendererConfig) -> None:
        super().__init__()
        self.first = nn.Linear(config.latent, 192)
        self.first_spatial = Conv(192, 192, 3, groups=192)
        self.second = nn.Linear(4 * 192, 192)
        self.second_spatial = Conv(192, 192, 3, groups=192)
        self.third = nn.Linear(4 * 192, config.z_channels)

    def forward(self, y: Tensor) -> Tensor:
        """(B, 4 h, 4 w, latent) -> (B, h, w, z_channels)."""
        x = space_to_depth(torch.relu(self.first_spatial(self.first(y))), 2)
        x = space_to_depth(torch.relu(self.second_spatial(self.second(x))), 2)
        return self.third(x)


class HyperSynthesis(nn.Module):
    """h_s: z_hat -> what the parameter network adds to the context, at the resolution of y. Has an integer twin."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        first, second, third = config.hyper_widths
        self.conv1 = Conv(config.z_channels, first)
        self.up1 = nn.Linear(first, 4 * second)
        self.conv2 = Conv(second, second)
        self.up2 = nn.Linear(second, 4 * third)
        self.conv3 = Conv(third, config.hidden)

    def forward(self, z_hat: Tensor) -> Tensor:
        """(B, h, w, z_channels) -> (B, 4 h, 4 w, hidden)."""
        x = torch.relu(self.conv1(z_hat))
        x = torch.relu(depth_to_space(self.up1(x), 2))
        x = torch.relu(self.conv2(x))
        x = torch.relu(depth_to_space(self.up2(x), 2))
        return self.conv3(x)


class EntropyModel(nn.Module):
    """Everything between y and its probabilities; the float side of :mod:`tadan.exact`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.h_a = HyperAnalysis(config)
        self.h_s = HyperSynthesis(config)
        self.context: AnyScheduleContext | SpecialisedContext = AnyScheduleContext(config)
        self.hidden_bias = ByQuality(config.knots, config.hidden)
        self.layer = nn.Linear(config.hidden, config.hidden)
        self.outlet = nn.Linear(config.hidden, 2 * config.latent)
        self.outlet_bias = ByQuality(config.knots, 2 * config.latent)
        self.z_mean = ByQuality(config.knots, config.z_channels)
        self.z_log_scale = ByQuality(config.knots, config.z_channels)
        with torch.no_grad():
            self.outlet.weight.mul_(0.1)
            self.outlet.bias.zero_()

    def parameters_at(self, hyper: Tensor, context: Tensor, quality: Tensor) -> Parameters:
        """Pointwise part: (B, ..., hidden) twice, quality (B,) -> mean and log scale, float32."""
        hidden = torch.relu(hyper + context + self.hidden_bias(quality))
        hidden = torch.relu(self.layer(hidden))
        out = self.outlet(hidden).float() + self.outlet_bias(quality)
        mean, log_scale = out.chunk(2, dim=-1)
        return Parameters(mean, bound_log_scale(log_scale))

    def parameters_for(self, y_seen: Tensor, z_hat: Tensor, schedule: Schedule, quality: Tensor) -> Parameters:
        """Mean and log scale of every latent when ``y_seen`` is known wherever the schedule shows it.

        Args:
            y_seen: (B, h, w, latent).
            z_hat: (B, ceil(h/4), ceil(w/4), z_channels).
            schedule: decoding order.
            quality: (B,).
        """
        hyper = self.h_s(z_hat)[:, : y_seen.shape[1], : y_seen.shape[2]]
        means, log_scales = [], []
        for group in range(schedule.groups):
            predicted = self.parameters_at(hyper, self.context(y_seen, schedule, group), quality)
            means.append(predicted.mean.chunk(schedule.groups, dim=-1)[group])
            log_scales.append(predicted.log_scale.chunk(schedule.groups, dim=-1)[group])
        return Parameters(torch.cat(means, -1), torch.cat(log_scales, -1))
