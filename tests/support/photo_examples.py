"""Crops of real photographs, and the distance between pictures, for the tests that need the whole codec."""

from functools import cache

import numpy as np
import skimage.data

#: Corners (row, column) at which something is to be seen.
CORNERS = {"astronaut": (60, 180), "chelsea": (90, 160), "coffee": (140, 230), "rocket": (100, 270)}
SIZE = 80, 96


@cache
def _photograph(name):
    return np.asarray(getattr(skimage.data, name)())


def photo(name="astronaut", height=SIZE[0], width=SIZE[1]):
    """uint8 (height, width, 3), read-only view."""
    row, col = CORNERS[name]
    crop = _photograph(name)[row : row + height, col : col + width, :3]
    assert crop.shape == (height, width, 3)
    return crop


def psnr(a, b):
    """dB, over all channels of two pictures or arrays."""
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return 10 * np.log10(255**2 / max(np.mean(difference**2), 1e-9))
