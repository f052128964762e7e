"""Colours of stages; knows nothing of terminals."""

from __future__ import annotations

import numpy as np

#: Dark violet to yellow in equal steps of lightness: sRGB of matplotlib's viridis colour map at 0, 1/8, .., 1.
_RAMP = np.array(
    [
        (68, 1, 84),
        (71, 45, 123),
        (59, 82, 139),
        (44, 114, 142),
        (33, 145, 140),
        (40, 174, 128),
        (94, 201, 98),
        (173, 220, 48),
        (253, 231, 37),
    ],
    dtype=np.float64,
)


def stage_colour(stage: int, stages: int) -> tuple[int, int, int]:
    """Colour of a stage out of ``stages``: sRGB 0..255, the later the lighter."""
    position = stage / max(stages - 1, 1) * (len(_RAMP) - 1)
    red, green, blue = (round(float(np.interp(position, np.arange(len(_RAMP)), channel))) for channel in _RAMP.T)
    return red, green, blue


def dark(colour: tuple[int, int, int]) -> bool:
    """Whether white text reads better than black on this sRGB colour (luma of ITU-R BT.601)."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue < 128
