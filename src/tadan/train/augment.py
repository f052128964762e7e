"""Changes to crops that make few photographs more: other scales, other exposures. Flips stand in ``data.py``.

Both follow from a random generator alone, so that a run that goes on sees what it would have seen.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

LARGEST_FACTOR = 2.0  # crops are cut at most this much larger than they end up
EXPOSURE_STOPS = 1.0  # darker by at most one stop, brighter by at most half of one
GAMMA = 2.2  # sRGB, roughly


def draw_factor(size: int, smallest: int, share: float, rng: np.random.Generator) -> int:
    """Pixels a side that the crops of a batch are cut at, before they are shrunk to ``size``.

    Args:
        size: pixels a side in the end.
        smallest: shorter side of the smallest picture; the result never exceeds it.
        share: of the batches that are shrunk, 0..1.
        rng: always asked for two numbers, so that what follows does not depend on ``share``.
    """
    chance, position = rng.random(2)
    if chance >= share:
        return size
    largest = min(LARGEST_FACTOR, smallest / size)
    return int(size * largest**position)


def shrink(pictures: Tensor, size: int) -> Tensor:
    """(B, H, W, 3) in 0..1 -> (B, size, size, 3), area-weighted as photographs are made smaller."""
    if pictures.shape[1] == size:
        return pictures
    planes = pictures.permute(0, 3, 1, 2)
    small = F.interpolate(planes, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return small.permute(0, 2, 3, 1).contiguous()


def draw_gains(count: int, share: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Factors of sRGB values, float32 (count,): a ``share`` of them as of another exposure, the rest 1."""
    stops = rng.uniform(-EXPOSURE_STOPS, EXPOSURE_STOPS / 2, count)
    chosen = rng.random(count) < share
    return np.where(chosen, 2.0 ** (stops / GAMMA), 1.0).astype(np.float32)


def expose(pictures: Tensor, gains: NDArray[np.float32]) -> Tensor:
    """Pictures (B, H, W, 3) in 0..1 times their gains (B,), clipped at 1 as a sensor clips."""
    if (gains == 1).all():
        return pictures
    return (pictures * torch.from_numpy(gains).to(pictures)[:, None, None, None]).clamp_max(1.0)
