"""Hyperprior, context and parameter networks: from z and the latents seen so far to a mean and a scale per latent.

::

    y*gain --h_a--> z --round--> z_hat --h_s--> hyper ----+
                                                          v
    latents of earlier stages --embed--> window --ctx--> (+) -> ReLU -> layer -> ReLU -> layer -> mean, log scale
    visibility pattern --mask net--> mixing of base kernels, bias ^        ^ quality: a bias here and at the output

The *any-schedule* context network reads the visibility pattern of a position (which neighbours, of which channel
group, are decoded before it) and mixes ``bases`` base kernels with one coefficient per neighbour and group. It
therefore runs under every schedule with one set of weights. The *specialised* network has one kernel per pattern
position, as in the paper.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadan.entropy.constants import SCALE_MAX, SCALE_MIN
from tadan.errors import InvalidInput
from tadan.models.config import QUALITY_MAX, QUALITY_MIN, ModelConfig
from tadan.nn.transforms import Conv, depth_to_space, space_to_depth


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


class ByQuality(nn.Module):
    """A vector for each quality, interpolated linearly between learned knots."""

    def __init__(self, knots: int, size: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(knots, size))

    def forward(self, quality: Tensor) -> Tensor:
        """quality float (B,) in 1..100 -> (B, 1, 1, size)."""
        knots = self.values.shape[0]
        position = (quality - QUALITY_MIN) / (QUALITY_MAX - QUALITY_MIN) * (knots - 1)
        weights = (1 - (position[:, None] - torch.arange(knots, device=position.device)).abs()).clamp_min(0)
        return (weights @ self.values.float())[:, None, None]


class HyperAnalysis(nn.Module):
    """h_a: y in quantisation steps -> z at a quarter of its resolution; encoder only."""

    def __init__(self, config: ModelConfig) -> None:
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


class _WindowContext(nn.Module):
    """What both context networks share: the embedding of a latent and the window of embeddings around a position."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        group = config.latent // config.groups
        self.embed = nn.Parameter(torch.randn(config.groups, group, config.embed) / math.sqrt(group))

    def embedding(self, y_hat: Tensor) -> Tensor:
        """(B, h, w, latent) -> (B, h, w, groups, embed), linear within each channel group."""
        b, h, w, _ = y_hat.shape
        with torch.autocast(y_hat.device.type, enabled=False):
            return torch.einsum("bhwgc,gce->bhwge", y_hat.float().reshape(b, h, w, self.config.groups, -1), self.embed)

    def windows(self, embedded: Tensor) -> Tensor:
        """(B, h, w, groups, embed) -> (B, h, w, window * groups, embed), zero outside the plane."""
        r = self.config.radius
        _, h, w, _, _ = embedded.shape
        padded = F.pad(embedded.flatten(3), (0, 0, r, r, r, r))
        shifted = [padded[:, i : i + h, j : j + w] for i in range(2 * r + 1) for j in range(2 * r + 1)]
        return torch.stack(shifted, dim=3).unflatten(-1, (self.config.groups, -1)).flatten(3, 4)


class AnyScheduleContext(_WindowContext):
    """Masked window product whose kernel is mixed from base kernels by the visibility pattern."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        features = config.visibility_bits * config.embed
        self.bases = nn.Linear(config.bases * features, config.hidden)
        self.mask_in = nn.Linear(config.visibility_bits, config.mask_hidden)
        self.mask_out = nn.Linear(config.mask_hidden, config.bases * config.visibility_bits + config.hidden)
        with torch.no_grad():
            self.bases.weight.mul_(2.0)
            self.mask_out.weight.mul_(0.3)
            self.mask_out.bias.zero_()
            self.mask_out.bias[: config.visibility_bits] = 1.0

    def mixing(self, visible: Tensor) -> tuple[Tensor, Tensor]:
        """visible (..., window * groups) in {0, 1} -> masked coefficients (..., bases, window * groups), bias."""
        out = self.mask_out(torch.relu(self.mask_in(visible)))
        cut = self.config.bases * self.config.visibility_bits
        coefficients = out[..., :cut].unflatten(-1, (self.config.bases, -1)) * visible[..., None, :]
        return coefficients, out[..., cut:]

    def forward(self, y_hat: Tensor, visible: Tensor) -> Tensor:
        """Context term of every position.

        Args:
            y_hat: (B, h, w, latent) latents in quantisation steps.
            visible: (B, h, w, window * groups) in {0, 1}, ordered (window row, window col, group).

        Returns:
            (B, h, w, hidden)
        """
        windows = self.windows(self.embedding(y_hat))
        coefficients, bias = self.mixing(visible)
        mixed = windows[..., None, :, :] * coefficients[..., None]
        return self.bases(mixed.flatten(3)) + bias


class SpecialisedContext(_WindowContext):
    """One kernel per visibility pattern of one schedule, as in the paper: the reference for the study.

    A drop-in for :class:`AnyScheduleContext` that runs under its own schedule only; it has no integer twin.

    Args:
        config: sizes.
        patterns: bool (P, window * groups), the different visibility patterns of the schedule (n * n for n x n
            multistage), see :func:`tadan.train.data.visibility_input`.
    """

    patterns: Tensor

    def __init__(self, config: ModelConfig, patterns: Tensor) -> None:
        super().__init__(config)
        features = config.visibility_bits * config.embed
        self.register_buffer("patterns", patterns.bool(), persistent=False)
        self.kernels = nn.Parameter(torch.randn(len(patterns), features, config.hidden) / math.sqrt(features))
        self.bias = nn.Parameter(torch.zeros(len(patterns), config.hidden))

    def forward(self, y_hat: Tensor, visible: Tensor) -> Tensor:
        """As :meth:`AnyScheduleContext.forward`.

        Raises:
            InvalidInput: ``visible`` holds a pattern of another schedule.
        """
        windows = self.windows(self.embedding(y_hat))
        seen = (windows * visible[..., None]).flatten(3)
        same = (visible.bool()[..., None, :] == self.patterns).all(-1)
        if not bool(same.any(-1).all()):
            raise InvalidInput(
                "a specialised context network runs under its own schedule only; use the any-schedule one"
            )
        which = same.int().argmax(-1).expand(seen.shape[:3])
        out = seen.new_zeros(*seen.shape[:3], self.bias.shape[1])
        for index, (kernel, bias) in enumerate(zip(self.kernels, self.bias, strict=True)):
            here = which == index
            out[here] = (seen[here] @ kernel + bias).to(out.dtype)
        return out


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
