"""What the encoder's search lowers and in which steps; training repeats both (:mod:`tadan.codec.effort`).

The error is squared levels, or the same weighed by what the eye sees of it: a quadratic form for every cell of 4x4
pixels, diagonal in three colour axes, so that the search's model of J stays as it is. For the eye a squared level
counts the less, the more activity is around the cell, as texture hides errors; less so at high qualities, where no
error is large. The law is fitted to the slope of what ``photo`` is trained for (docs/experiments.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tadan.errors import InvalidInput
from tadan.models.config import TUNES

CURVATURE_FLOOR = 5.0  # bits per squared step; below, g_s is about to ignore the channel and its curvature says little
FIRST_SIZE = 0.18  # of a Newton step of the diagonal model; at 0.3 first trials overshoot at low qualities
RATE_FORCE = 1.35  # above 1, as a latent that costs less also makes its neighbours cheaper
FORCE_LIMIT = 12.0  # bits per step; a stray gradient must not throw a latent across several symbols


CELL = 4  # pixels a side

# XYB of sRGB levels is nearly linear. With weights 0.3, 1, 0.1 of squared X, Y, B its differences around a grey are
# diagonal in these orthonormal axes (rows, over R, G, B), for all greys (Jacobian of XYB as in SSIMULACRA2).
AXES = np.array([[0.2461, 0.9671, 0.0643], [0.9592, -0.2526, 0.1268], [-0.1389, -0.0305, 0.9898]])
AXES = AXES.astype(np.float16).astype(np.float64)  # as graphs store them

# A row for each axis: what a squared level counts where the variance of Y is BUSY; the variance below which the eye
# does not see better; the power by which the one falls towards the other. The first power is for quality 0, and
# FLATTER less for every quality.
BUSY = 0.03
LAWS = np.array([[0.40, 1.5e-4, 0.62], [0.26, 1e-3, 0.33], [0.22, 1.5e-4, 0.17]])
FLATTER = 0.0037

# Y of XYB: mean of the cube roots of two mixtures of linear light.
_MIX = np.array([[0.30, 0.622, 0.078], [0.23, 0.692, 0.078]], np.float32)
_BIAS = np.float32(0.0037930732552754493)


def check_tune(tune: str) -> str:
    """``tune`` itself; raises InvalidInput if it is none of :data:`~tadan.models.config.TUNES`."""
    if tune not in TUNES:
        raise InvalidInput(f"tune is one of {', '.join(TUNES)}, not {tune!r}")
    return tune


def plain_weights(height: int, width: int) -> NDArray[np.float32]:
    """Weights of squared error: ones, float32 (ceil(height / 4), ceil(width / 4), 3)."""
    return np.ones((-(-height // CELL), -(-width // CELL), 3), np.float32)


def error_weights(rgb: NDArray[np.uint8], tune: str, quality: float) -> NDArray[np.float32]:
    """How much a squared level along each of :data:`AXES` counts in every cell, against one of plain squared error.

    Args:
        rgb: uint8 (H, W, 3), the picture to reach; continued by its last rows and columns to whole cells.
        tune: "eye", or "psnr" for squared error.
        quality: 1..100.

    Returns:
        float32 (ceil(H / 4), ceil(W / 4), 3).

    Raises:
        InvalidInput: there is no such ``tune``.
    """
    if check_tune(tune) == "psnr":
        return plain_weights(*rgb.shape[:2])
    busy, quiet, power = LAWS.T.astype(np.float32)
    power -= np.float32(FLATTER * quality) * np.array([1, 0, 0], np.float32)
    activity = _activity(_cells(_brightness(rgb)))[..., None]
    return np.asarray(busy * ((activity + quiet) / np.float32(BUSY)) ** -power, np.float32)


def _brightness(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    levels = np.arange(256) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4).astype(np.float32)
    red, green, blue = (linear[rgb[:, :, channel]] for channel in range(3))
    third = np.float32(1 / 3)  # by logarithms, as cbrt takes five times as long
    first, second = (np.exp(third * np.log(mix[0] * red + mix[1] * green + mix[2] * blue + _BIAS)) for mix in _MIX)
    return np.asarray((first + second) / np.float32(2))


def _cells(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) -> (rows, 4, columns, 4)."""
    padded = np.pad(plane, [(0, -side % CELL) for side in plane.shape], mode="edge")
    return padded.reshape(padded.shape[0] // CELL, CELL, -1, CELL)


def _activity(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Variance under a window of about 12x12 pixels around each cell."""
    mean = _smooth(cells.mean((1, 3)))
    # Differences to a mean nearby are small, so that float32 is exact enough.
    offset = cells - mean[:, None, :, None]
    return np.maximum(_smooth(np.square(offset).mean((1, 3))) - np.square(_smooth(offset.mean((1, 3)))), 0)


def _smooth(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights 1, 2, 1 along both axes, borders continued."""
    wide = np.pad(plane, 1, mode="edge")
    wide = (wide[:-2] + 2 * wide[1:-1] + wide[2:]) / np.float32(4)
    smooth: NDArray[np.float32] = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) / np.float32(4)
    return smooth
