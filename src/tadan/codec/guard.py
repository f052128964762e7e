"""Is this picture unlike the photographs that the model knows? A cheap question, asked after every encode.

A wrong yes costs time only: :mod:`tadan.codec.fallback` then compares the result with PNG, WebP and JPEG. The limits
come from training photographs; docs/fallback.md says how they were measured.
"""

from __future__ import annotations

import zlib

import numpy as np

from tadan.codec.stored import Pixels

_LAMBDAS = (0.0008, 0.00104, 0.00275, 0.0101, 0.0371, 0.136, 0.5)
# Two limits by lambda, for (H, W) and (H, W, 3), from 200 crops of 512x512 of training photographs and the first
# model `photo`. Bits per coded pixel (whole 16x16 blocks): all but 2 of the crops take less; noise takes more.
_MOST_BPP = {2: (0.22, 0.26, 0.59, 1.13, 1.96, 2.99, 4.12), 3: (0.24, 0.28, 0.60, 1.23, 2.16, 3.31, 4.52)}
# Estimated bytes of a PNG per byte of the stream: 0.8 of the least of any crop; screens and drawings stay below.
_LEAST_LOSSLESS = {2: (13.8, 11.6, 6.2, 3.1, 1.7, 1.1, 0.8), 3: (32.0, 27.0, 14.0, 6.9, 3.8, 2.5, 1.8)}
_STRIP_ROWS = 8
_STRIP_STEP = 256  # one strip for that many rows, at least two


def is_unusual(pixels: Pixels, coded_bytes: int, weight: float) -> bool:
    """Say whether ``pixels``, coded in ``coded_bytes`` at a lambda of ``weight``, should be compared with others."""
    height, width = pixels.shape[:2]
    blocks = -(-height // 16) * -(-width // 16)
    at, known = np.log(weight), np.log(_LAMBDAS)
    if 8 * coded_bytes > np.interp(at, known, _MOST_BPP[pixels.ndim]) * 256 * blocks:
        return True
    return lossless_estimate(pixels) < float(np.interp(at, known, _LEAST_LOSSLESS[pixels.ndim])) * coded_bytes


def lossless_estimate(pixels: Pixels) -> float:
    """Rough bytes of a PNG, from a few strips of rows, deflated as they are or as differences."""
    height = len(pixels)
    count = min(max(2, height // _STRIP_STEP), -(-height // _STRIP_ROWS))
    starts = np.linspace(0, max(0, height - _STRIP_ROWS), count, dtype=int)
    sampled, deflated = 0, 0
    for start in starts:
        strip = pixels[start : start + _STRIP_ROWS]
        change = strip.copy()
        change[1:] -= strip[:-1]  # modulo 256, as PNG's filters
        change[:, 1:] -= change[:, :-1].copy()
        deflated += min(len(zlib.compress(part.tobytes(), 1)) for part in (strip, change))
        sampled += len(strip)
    return deflated * height / sampled
