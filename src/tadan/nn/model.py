"""The whole float model as it is trained: transforms, quality gains, entropy model, rate and distortion."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tadan.models.config import QUALITY_MAX, QUALITY_MIN, ModelConfig, quality_lambda
from tadan.nn.blocks import STRIDE
from tadan.nn.butteraugli import butteraugli
from tadan.nn.entropy_model import EntropyModel, bound_log_scale, round_through, rounded_bits
from tadan.nn.layers import ByQuality
from tadan.nn.transforms import Analysis, Synthesis
from tadan.nn.visual import unseen
from tadan.schedule import Schedule

LAMBDA_REFERENCE = 0.013  # where the gain is 1 at the start


class Coded(NamedTuple):
    """Latents as a decoder has them, float32 (B, h, w, latent), and their bits per pixel, y and z, float32 (B,)."""

    y_hat: Tensor
    y_bpp: Tensor
    z_bpp: Tensor


class Losses(NamedTuple):
    """Per picture, float32 (B,): bits of y and z per pixel, squared error on the 0..1 range, what is seen of it.

    ``unseen`` is :func:`tadan.nn.visual.unseen`, ``distance`` :func:`tadan.nn.butteraugli.butteraugli`, each None where
    it was not asked for. ``taught`` is the squared error against what a teacher shows of the same latents, None without
    one.
    """

    y_bpp: Tensor
    z_bpp: Tensor
    mse: Tensor
    unseen: Tensor | None = None
    distance: Tensor | None = None
    taught: Tensor | None = None


def lambdas(config: ModelConfig, quality: Tensor) -> Tensor:
    """:func:`~tadan.models.config.quality_lambda` of every picture, float32 (B,), without waiting for the device."""
    position = (quality.double() - QUALITY_MIN) / (QUALITY_MAX - QUALITY_MIN)
    return (config.lambda_min * (config.lambda_max / config.lambda_min) ** position).float()


class TadanModel(nn.Module):
    """Float model of a configuration.

    ``quality`` is a float tensor (B,) in 1..100. Latents are channels last.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.g_a, self.g_s, self.entropy = Analysis(config), Synthesis(config), EntropyModel(config)
        self.log_gain = ByQuality(config.knots, config.latent)
        self.log_inverse_gain = ByQuality(config.knots, config.latent)

    @torch.no_grad()
    def set_start(self, deviation: Tensor) -> None:
        """Set gains and output biases from the deviation of each latent at gain 1 (see :mod:`tadan.nn.klt`)."""
        self.entropy.set_spread(deviation)
        qualities = torch.linspace(1, 100, self.config.knots)
        for knot, quality in enumerate(qualities.tolist()):
            gain = 0.5 * math.log(quality_lambda(self.config, quality) / LAMBDA_REFERENCE)
            self.log_gain.values[knot] = gain
            self.log_inverse_gain.values[knot] = -gain
            scale = torch.log(deviation * 0.7) + gain
            self.entropy.outlet_bias.values[knot, self.config.latent :] = scale.clamp(math.log(0.11), math.log(100))
            self.entropy.z_log_scale.values[knot] = 0.0

    def analyse(self, picture: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Picture (B, H, W, 3) in 0..1, H and W multiples of 64 -> y in quantisation steps, z."""
        y = self.g_a(picture, quality).float() * torch.exp(self.log_gain(quality))
        return y, self.entropy.h_a(y).float()

    def synthesise(self, y_hat: Tensor, quality: Tensor) -> Tensor:
        """y_hat (B, h, w, latent) in quantisation steps -> picture (B, 16 h, 16 w, 3), not clipped."""
        return self.g_s(y_hat * torch.exp(self.log_inverse_gain(quality)), quality).float()

    def forward(
        self,
        picture: Tensor,
        quality: Tensor,
        schedule: Schedule,
        eye: bool = False,
    ) -> Losses:
        """:meth:`losses` of the latents that g_a and h_a give."""
        return self.losses(picture, quality, schedule, self.analyse(picture, quality), eye)

    def round_z(self, z: Tensor, quality: Tensor) -> Tensor:
        """z_hat, like z, with the gradient of the identity."""
        mean = self.entropy.z_mean(quality)
        return round_through(z - mean) + mean

    def losses(
        self,
        picture: Tensor,
        quality: Tensor,
        schedule: Schedule,
        latents: tuple[Tensor, Tensor],
        eye: bool = False,
        near: bool = False,
    ) -> Losses:
        """Rate and distortion of a batch: :meth:`coded`, then :meth:`compare`."""
        return self.compare(picture, quality, self.coded(quality, schedule, latents), eye, near)

    def coded(self, quality: Tensor, schedule: Schedule, latents: tuple[Tensor, Tensor]) -> Coded:
        """What a decoder gets of latents y and z, those of :meth:`analyse` or moved since, and its rate.

        Latents are rounded around the predicted mean, straight-through, and what is predicted is predicted from them:
        what the codec spends, up to the coder's overhead and one pass of mean refinement. The slope of the rate is
        that of :func:`~tadan.nn.entropy_model.rounded_bits`.
        """
        y, z = latents
        z_log_scale = bound_log_scale(self.entropy.z_log_scale(quality))
        z_bits = rounded_bits(z - self.entropy.z_mean(quality), z_log_scale, z.requires_grad)
        z_hat = self.round_z(z, quality)
        with torch.no_grad():  # a first mean, to round around
            mean = self.entropy.parameters_for(torch.round(y), z_hat, schedule, quality).mean
        predicted = self.entropy.parameters_for(round_through(y - mean) + mean, z_hat, schedule, quality)
        offset = y - predicted.mean
        pixels = y.shape[1] * y.shape[2] * STRIDE**2
        return Coded(
            round_through(offset) + predicted.mean,
            rounded_bits(offset, predicted.log_scale, y.requires_grad).sum((1, 2, 3)) / pixels,
            z_bits.sum((1, 2, 3)) / pixels,
        )

    def compare(
        self,
        picture: Tensor,
        quality: Tensor,
        coded: Coded,
        eye: bool = False,
        near: bool = False,
        wanted: Tensor | None = None,
    ) -> Losses:
        """What g_s shows of coded latents beside the picture, (B, H, W, 3).

        ``eye`` asks for what is seen of the error, ``near`` for the distance, ``wanted`` (of the same shape) for the
        error against what a teacher shows.
        """
        shown = self.synthesise(coded.y_hat, quality)
        return Losses(
            coded.y_bpp,
            coded.z_bpp,
            (shown - picture).square().mean((1, 2, 3)),
            unseen(picture, shown) if eye else None,
            butteraugli(picture, shown) if near else None,
            None if wanted is None else (shown - wanted).square().mean((1, 2, 3)),
        )
