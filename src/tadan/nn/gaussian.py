"""Distributions of latents as the float networks predict them: discretised Gaussians, and their ideal code lengths."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tadan.entropy.constants import SCALE_MAX, SCALE_MIN


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
