"""A differentiable likeness of Butteraugli, for training.

Source: ``butteraugli.cc`` of libjxl 0.7 (Alakuijala et al.), whose constants these are. Kept are its colour space, the
four frequency bands, the two masks and the norms; its line filters of 16 directions are two here, across and down, and
the differences of signs, small clamps and the erosion of the mask are left out. docs/experiments.md tells how near
it comes.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tadan.nn.visual import blur, linear, usual_rate

INTENSITY = 80.0  # of white, in candela a square metre
MIX = ((0.299565503, 0.633730878, 0.077705618), (0.221586911, 0.693913880, 0.098731359), (0.02, 0.02, 0.204801290))
BIAS = (1.755748364, 1.755748364, 12.226454707)
SIGMA_ADAPT, SIGMA_LOW, SIGMA_HIGH, SIGMA_ULTRA, SIGMA_MASK = 1.2, 7.15593339443, 3.22489901262, 1.56416327805, 2.7
REACH = 2.25  # radius of a blur in sigmas
LOW_SCALES, Y_TO_B = (33.832837186, 14.458268101, 49.879846514), -0.362267051518
SUPPRESS, SUPPRESS_Y = 0.653020556257, 46.0
HIGH_Y, ULTRA_Y = 2.155, 2.69313763794
LOW_WEIGHTS = (29.2353797994, 0.844626970982, 0.703646627719)
MIDDLE_WEIGHTS = (2150.0, 10.6195433239, 16.2176043152)
HIGH_WEIGHTS = (400.0, 1.50815703118)
#: Of the line filters on x and y of a band: weight, value beside which a difference counts half, factor.
LINES_ULTRA = ((173.5, 5.0, 0.399058), (1.10039032555, 71.7800275169, 0.399058))
LINES_HIGH = ((6923.99476109, 8051.15833247, 0.611612574), (18.7237414387, 4498534.45232, 0.611612574))
LINES_MIDDLE = ((8246.75321353, 1009002.70582, 0.611612574), (37.0819870399, 130262059.556, 0.611612574))
LINE, SPAN = 9, 8.5  # samples of a line; what their sum is divided by
MASK_X, MASK_Y = 2.5, 0.4
MASK_MUL, MASK_BIAS = 6.19424080439, 12.61050594197
MASK_ERROR = 10.0
GLOBAL_SCALE = 1 / (17.83 * 0.790799174037379)
AC_MASK, DC_MASK = (0.829591754942, 0.451936922203, 2.5485944793), (0.20025578522, 3.87449418804, 0.505054525019)
NORMS = (3, 6, 12)
HALF_WEIGHT, HALF_SHARE = 0.5, 0.3  # of the differences at half the size; of that, what the others lose
SMALLEST = 32  # samples a side, at which half the size is still looked at

#: Along the curves of codecs the distance falls like rate**-FALL, and is 1.3 at one bit per pixel. At this price a
#: share of it is worth as much of the rate as one of SSIMULACRA2 is at its own (tadan.nn.visual.POINT).
FALL, WORTH = 0.6, 0.94


class Bands(NamedTuple):
    """Of pictures: low (B, 3, H, W), middle (B, 3, H, W), high and ultra high (B, 2, H, W), activity (B, H, W)."""

    low: Tensor
    middle: Tensor
    high: Tensor
    ultra: Tensor
    activity: Tensor


def butteraugli(picture: Tensor, shown: Tensor) -> Tensor:
    """Distance that rises with Butteraugli's 3-norm, float32 (B,), 0 for equal pictures; differentiable in ``shown``.

    Args:
        picture: float32 (B, H, W, 3) in 0..1, sRGB.
        shown: of the same shape, clipped here.
    """
    with torch.autocast(picture.device.type, enabled=False):
        ours, theirs = (linear(x.float()).permute(0, 3, 1, 2) * INTENSITY for x in (picture, shown))
        differences = _map(ours, theirs)
        if min(ours.shape[2:]) >= SMALLEST:
            half = _map(F.avg_pool2d(ours, 2), F.avg_pool2d(theirs, 2))
            whole = half.repeat_interleave(2, 1).repeat_interleave(2, 2)
            height, width = differences.shape[1:]
            whole = F.pad(whole, (0, width - whole.shape[2], 0, height - whole.shape[1]), mode="replicate")
            differences = differences * (1 - HALF_SHARE * HALF_WEIGHT) + HALF_WEIGHT * whole
        total = differences.new_zeros(len(differences))
        peak = differences.detach().amax((1, 2)).clamp_min(1e-6)
        for norm in NORMS:
            share = (differences / peak[:, None, None]) ** norm
            total = total + peak * (share.mean((1, 2)) + 1e-20) ** (1 / norm)
        return total / len(NORMS)


def price_of_a_unit(quality: Tensor) -> Tensor:
    """Bits per pixel that one unit of the distance is worth: quality (B,) in 1..100, on the CPU -> float32 (B,)."""
    return WORTH * usual_rate(quality) ** (1 + FALL)


def _map(ours: Tensor, theirs: Tensor) -> Tensor:
    """Differences of every pixel, (B, 3, H, W) twice in linear light -> (B, H, W)."""
    with torch.no_grad():
        a = _bands(_xyb(ours))
    b = _bands(_xyb(theirs))
    ac = _weighted(a.high - b.high, HIGH_WEIGHTS) + _weighted(a.middle - b.middle, MIDDLE_WEIGHTS)
    for own, other, lines in (
        (a.ultra, b.ultra, LINES_ULTRA),
        (a.high, b.high, LINES_HIGH),
        (a.middle[:, :2], b.middle[:, :2], LINES_MIDDLE),
    ):
        ac = ac + _along_lines(own, other, lines)
    ac = ac + MASK_ERROR * (a.activity - b.activity).square()
    dc = _weighted(a.low - b.low, LOW_WEIGHTS)
    return (ac * _mask(a.activity, AC_MASK) + dc * _mask(a.activity, DC_MASK) + 1e-8).sqrt() - 1e-4


def _xyb(light: Tensor) -> Tensor:
    adapted = _mixed(_blur(light, SIGMA_ADAPT))
    sensitivity = (19.245013259875 * (adapted + 9.97106357693).log() - 23.1604623981) / adapted
    seen = _mixed(light) * sensitivity
    red, green, blue = seen.unbind(1)
    return torch.stack([red - green, red + green, blue], 1)


def _mixed(light: Tensor) -> Tensor:
    matrix, bias = light.new_tensor(MIX), light.new_tensor(BIAS)
    return torch.einsum("ij,bjhw->bihw", matrix, light) + bias[:, None, None]


def _bands(xyb: Tensor) -> Bands:
    low = _blur(xyb, SIGMA_LOW)
    rest = xyb - low
    middle = _blur(rest, SIGMA_HIGH)
    high = (rest - middle)[:, :2]
    x, y = high.unbind(1)
    x = x * (SUPPRESS + (1 - SUPPRESS) * SUPPRESS_Y / (y.square() + SUPPRESS_Y))
    high = torch.stack([x, y], 1)
    smooth = _blur(high, SIGMA_ULTRA)
    ultra = (high - smooth) * xyb.new_tensor((1.0, ULTRA_Y))[:, None, None]
    high = smooth * xyb.new_tensor((1.0, HIGH_Y))[:, None, None]
    colour, brightness = ((ultra + high) * xyb.new_tensor((MASK_X, MASK_Y))[:, None, None]).unbind(1)
    edges = (colour.square() + brightness.square() + 1e-6).sqrt()
    activity = _blur((MASK_MUL * edges + MASK_MUL * MASK_BIAS).sqrt() - math.sqrt(MASK_MUL * MASK_BIAS), SIGMA_MASK)
    x, y, blue = low.unbind(1)
    scaled = [x * LOW_SCALES[0], y * LOW_SCALES[1], (blue + Y_TO_B * y) * LOW_SCALES[2]]
    return Bands(torch.stack(scaled, 1), middle, high, ultra, activity)


def _weighted(difference: Tensor, weights: tuple[float, ...]) -> Tensor:
    return (difference.square() * difference.new_tensor(weights)[:, None, None]).sum(1)


def _along_lines(a: Tensor, b: Tensor, lines: tuple[tuple[float, float, float], ...]) -> Tensor:
    """Squared sums of differences along lines, of the channels x and y: (B, 2, H, W) twice -> (B, H, W)."""
    weight, norm, factor = (a.new_tensor(column)[:, None, None] for column in zip(*lines, strict=True))
    scale = factor * (0.5 * weight).sqrt() / SPAN * norm / (norm + 0.5 * (a.abs() + b.abs()))
    difference = (a - b) * scale
    rows, columns = (_line(side).to(a) for side in difference.shape[2:])
    down, across = rows @ difference, difference @ columns.T
    return (4 * (down.square() + across.square()) + 8 * LINE * difference.square()).sum(1)


def _mask(activity: Tensor, constants: tuple[float, float, float]) -> Tensor:
    offset, scaler, mul = constants
    return (GLOBAL_SCALE * (1 + mul / (scaler * activity + offset))).square()


def _blur(x: Tensor, sigma: float) -> Tensor:
    return blur(x, sigma, max(1, int(REACH * sigma)), whole=True)


@lru_cache(maxsize=16)
def _line(size: int) -> Tensor:
    distance = np.abs(np.arange(size)[:, None] - np.arange(size))
    return torch.from_numpy((distance <= LINE // 2).astype(np.float32))
