"""What the eye sees as a term of the training loss: a differentiable SSIMULACRA2.

Source: the metric of libjxl (Sneyers 2022, github.com/cloudinary/ssimulacra2); its constants come from the package
``ssimulacra2``. Structure and edges are compared in XYB over scales; weights below :data:`NEGLIGIBLE` are left out.
Blurs are products with banded matrices: on a CPU a depthwise convolution of three channels is ten times slower.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tadan.errors import InvalidInput

SIGMA, RADIUS = 1.5, 4  # of the blur, in samples
C2 = 0.0009
NEGLIGIBLE = 0.1
SCALES = 6
SMALLEST = 8  # samples a side of the smallest scale
SMOOTH = 1e-4  # rounds the fourth root off at 0, where its slope has no bound
#: 100 - score = 10 * (2.326... * d - ...)^0.627... in the reference; training leaves out the two small powers of d,
#: whose slope nearly vanishes for poor pictures.
FACTOR, SQUARE, CUBE = 2.326765642916932, -0.020884521182843837, 6.248496625763138e-05
POWER, SUM_FACTOR = 0.6276336467831387, 0.9562382616834844

#: What a point of the score is worth, as a share of a file: about what AVIF's encoder pays (docs/experiments.md).
POINT = 0.026
#: Bits per pixel that each quality stood for when that was settled (docs/results/kodak/tadan.json).
RATES = {
    1: 0.027, 5: 0.034, 10: 0.046, 15: 0.064, 20: 0.086, 30: 0.154, 40: 0.270, 50: 0.447, 60: 0.704, 70: 1.056,
    80: 1.502, 90: 2.048, 100: 2.704,
}  # fmt: skip


def usual_rate(quality: Tensor) -> Tensor:
    """Bits per pixel that a quality stands for (:data:`RATES`): (B,) in 1..100, on the CPU -> float32 (B,)."""
    log_rate = np.interp(quality.double().numpy(), list(RATES), np.log(list(RATES.values())))
    return torch.from_numpy(np.exp(log_rate)).float()


def price_of_a_point(quality: Tensor) -> Tensor:
    """Bits per pixel that one point of the score is worth: quality (B,) in 1..100, on the CPU -> float32 (B,)."""
    return POINT * usual_rate(quality)


def unseen(picture: Tensor, shown: Tensor) -> Tensor:
    """Training loss of what is seen: 100 minus a score that rises with SSIMULACRA2, differentiable in ``shown``.

    Args:
        picture: float32 (B, H, W, 3) in 0..1, sRGB.
        shown: of the same shape, clipped here.

    Returns:
        float32 (B,), 0 for equal pictures.
    """
    return 10 * (FACTOR * distance(picture, shown)).clamp_min(1e-3) ** POWER


def score(picture: Tensor, shown: Tensor) -> Tensor:
    """SSIMULACRA2 within a point of the reference, (B,): 100 for equal pictures, below 0 for very poor ones."""
    raw = distance(picture, shown)
    return 100 - 10 * (FACTOR * raw + SQUARE * raw**2 + CUBE * raw**3).clamp_min(0) ** POWER


def distance(picture: Tensor, shown: Tensor) -> Tensor:
    """Weighted sum of all differences, float32 (B,); arguments as of :func:`unseen`."""
    with torch.autocast(picture.device.type, enabled=False):
        ours, theirs = linear(picture.float()).permute(0, 3, 1, 2), linear(shown.float()).permute(0, 3, 1, 2)
        total = ours.new_zeros(len(ours))
        for number in range(SCALES):
            if number:
                if min(ours.shape[2:]) < 2 * SMALLEST:
                    break
                ours, theirs = F.avg_pool2d(ours, 2), F.avg_pool2d(theirs, 2)
            total = total + _scale(positive_xyb(ours), positive_xyb(theirs), _weights()[:, number])
    return total * SUM_FACTOR


def _scale(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """Share of one scale: pictures (B, 3, H, W), weights (channel, norm, map) -> (B,)."""
    channels = [c for c in range(3) if bool(weights[c].any())]
    if not channels:
        return a.new_zeros(len(a))
    a, b, weights = a[:, channels], b[:, channels], weights[channels].to(a)
    mean_a, mean_b, aa, bb, ab = (blur(x) for x in (a, b, a * a, b * b, a * b))
    structure = 2 * (ab - mean_a * mean_b) + C2
    contrast = (aa - mean_a * mean_a) + (bb - mean_b * mean_b) + C2
    unlike = (1 - (1 - (mean_a - mean_b) ** 2) * structure / contrast.clamp_min(C2 / 10)).clamp_min(0)
    edges = (1 + (b - mean_b).abs()) / (1 + (a - mean_a).abs()) - 1
    total = a.new_zeros(len(a))
    for number, differences in enumerate((unlike, edges.clamp_min(0), (-edges).clamp_min(0))):
        plain, fourth = weights[:, 0, number], weights[:, 1, number]
        if bool(plain.any()):
            total = total + differences.mean((2, 3)) @ plain
        if bool(fourth.any()):
            total = total + (((differences**4).mean((2, 3)) + SMOOTH**4) ** 0.25 - SMOOTH) @ fourth
    return total


def linear(srgb: Tensor) -> Tensor:
    """sRGB in 0..1, clipped -> linear light."""
    srgb = srgb.clamp(0, 1)
    curved = ((srgb + 0.055) / 1.055).clamp_min(1e-6) ** 2.4
    return torch.where(srgb <= 0.04045, srgb / 12.92, curved)


def positive_xyb(light: Tensor) -> Tensor:
    """Linear light (B, 3, H, W) -> XYB shifted and scaled to positive values as the metric wants them."""
    matrix, bias = _opsin()
    mixed = torch.einsum("ij,bjhw->bihw", matrix.to(light), light) + bias
    root = mixed.clamp_min(1e-6) ** (1 / 3) - bias ** (1 / 3)
    first, second, third = root.unbind(1)
    luma = 0.5 * (first + second)
    return torch.stack([7 * (first - second) + 0.42, luma + 0.01, third - luma + 0.55], 1)


def blur(x: Tensor, sigma: float = SIGMA, radius: int = RADIUS, whole: bool = False) -> Tensor:
    """Gaussian blur of (..., H, W): zeros beyond the borders as in the reference, or weights made ``whole`` there."""
    rows, columns = (_banded(side, sigma, radius, whole).to(x) for side in x.shape[-2:])
    return rows @ x @ columns.T


@lru_cache(maxsize=128)
def _banded(size: int, sigma: float, radius: int, whole: bool) -> Tensor:
    distance = np.abs(np.arange(size)[:, None] - np.arange(size))
    matrix = np.where(distance <= radius, np.exp(-0.5 * (distance / sigma) ** 2), 0.0)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2).sum()
    return torch.from_numpy(matrix / (matrix.sum(1, keepdims=True) if whole else taps)).float()


@lru_cache(maxsize=1)
def _weights() -> Tensor:
    """Float32 (channel, scale, norm, map); norms: mean, fourth power; maps: structure, edges added, edges lost."""
    given = torch.from_numpy(np.asarray(_package().weights)).float().reshape(3, SCALES, 2, 3)
    return torch.where(given < NEGLIGIBLE, 0.0, given)


@lru_cache(maxsize=1)
def _opsin() -> tuple[Tensor, float]:
    matrix = torch.from_numpy(np.asarray(_package().kOpsinAbsorbanceMatrix)).float().reshape(3, 3)
    return matrix, float(_package().kB0)


def _package() -> Any:
    try:
        from ssimulacra2 import ssimulacra2
    except ImportError as error:
        raise InvalidInput('training for the eye needs one more package; run: pip install "tadan[train]"') from error
    return ssimulacra2
