"""SSIMULACRA2: how far a decoded picture is from its original for the eye.

The package ``ssimulacra2`` with the blur of the reference, https://github.com/cloudinary/ssimulacra2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.errors import InvalidInput
from tadan.optional import require

SSIMULACRA2_SMALLEST = 8  # pixels of the shorter side, as in the reference
_SCALES = 6
# Impulse response of the reference's recursive Gaussian of sigma 1.5, from the middle outwards (CreateRecursiveGaussian
# of libjxl's gauss_blur.cc). The package's own blur has other borders: 1 to 7 points less at scores below 30.
_HALF_TAPS = (0.26462111, 0.21292859, 0.10933537, 0.03601111, 0.00941437)
_TAPS = np.array([*_HALF_TAPS[:0:-1], *_HALF_TAPS])


def ssimulacra2(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """SSIMULACRA2 of sRGB pictures: 100 for identical ones, 70 "high quality", below 0 for the worst.

    Pictures of 112 pixels or less on the shorter side use fewer than six scales, as in the reference, with the weights
    of other scales: do not compare such numbers with others.

    Args:
        original: uint8 (H, W, 3).
        decoded: of the same shape.

    Raises:
        InvalidInput: a side is below 8 pixels.
        MissingPackage: the package is not installed.
    """
    if min(original.shape[:2]) < SSIMULACRA2_SMALLEST:
        height, width = original.shape[:2]
        least = f"{SSIMULACRA2_SMALLEST}x{SSIMULACRA2_SMALLEST}"
        raise InvalidInput(f"SSIMULACRA2 needs at least {least} pixels, got {width}x{height}.")
    package = require("ssimulacra2.ssimulacra2", "lab", "SSIMULACRA2")
    linear = package.srgb_to_linear(np.arange(256))
    linear_a, linear_b = linear[original], linear[decoded]
    scales = package.Msssim()
    for scale in range(_SCALES):
        if min(linear_a.shape[:2]) < SSIMULACRA2_SMALLEST:  # of the scale before, so that the last may be smaller
            break
        if scale:
            linear_a, linear_b = package.downsample(linear_a, 2, 2), package.downsample(linear_b, 2, 2)
        x, y = (package.make_positive_xyb(package.linear_rgb_to_xyb(one)) for one in (linear_a, linear_b))
        mean_x, mean_y = _blur(x), _blur(y)
        maps = package.MsssimScale()
        maps.avg_ssim = package.ssim_map(mean_x, mean_y, _blur(x * x), _blur(y * y), _blur(x * y))
        maps.avg_edgediff = package.edge_diff_map(x, mean_x, y, mean_y)
        scales.scales.append(maps)
    return float(scales.score())


def _blur(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Filter (H, W, C) with the Gaussian along H and W; outside the picture there are zeros."""
    filters: Any = require("scipy.ndimage", "lab", "SSIMULACRA2")
    rows = filters.correlate1d(planes, _TAPS, axis=0, mode="constant")
    blurred: NDArray[np.float64] = filters.correlate1d(rows, _TAPS, axis=1, mode="constant")
    return blurred
