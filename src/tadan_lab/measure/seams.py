"""What the borders of tiles look like: error near them and away from them, and steps across them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tadan_lab.measure.metrics import IDENTICAL_DB, PEAK

NEAR = 8  # pixels on either side of a border that count as near it


@dataclass(frozen=True)
class Borders:
    """Inner borders of a grid of tiles of ``side`` pixels (0: one tile, no border) in a picture."""

    side: int
    width: int
    height: int

    @property
    def columns(self) -> list[int]:
        """x of the first pixel right of each vertical border."""
        return list(range(self.side, self.width, self.side)) if self.side else []

    @property
    def rows(self) -> list[int]:
        """y of the first pixel below each horizontal border."""
        return list(range(self.side, self.height, self.side)) if self.side else []

    def near(self) -> NDArray[np.bool_]:
        """Which pixels are at most 8 from a border, bool (height, width)."""
        mask = np.zeros((self.height, self.width), np.bool_)
        for x in self.columns:
            mask[:, max(0, x - NEAR) : x + NEAR] = True
        for y in self.rows:
            mask[max(0, y - NEAR) : y + NEAR] = True
        return mask


def local_psnr(original: NDArray[np.uint8], decoded: NDArray[np.uint8], where: NDArray[np.bool_]) -> float | None:
    """PSNR in dB of pictures (H, W, C) at the pixels of a mask (H, W); 100 if they are identical, None without any."""
    if not where.any():
        return None
    difference = original[where].astype(np.int32) - decoded[where]
    error = float(np.mean(np.square(difference), dtype=np.float64))
    return IDENTICAL_DB if error == 0 else min(IDENTICAL_DB, 10 * math.log10(PEAK**2 / error))


def blockiness(picture: NDArray[np.uint8], borders: Borders) -> float | None:
    """Mean absolute step across the borders minus that of the columns and rows beside them, in levels of 255.

    About 0 where borders do not show. ``picture``: (H, W, C). None if there is no border.
    """
    planes = [(picture, borders.columns), (picture.swapaxes(0, 1), borders.rows)]
    excess = [_excess(plane, at) for plane, places in planes for at in places]
    return float(np.mean(excess)) if excess else None


def _excess(plane: NDArray[np.uint8], at: int) -> float:
    """Step from column ``at - 1`` to ``at``, minus the mean of the steps before and after it, as far as there are."""
    beside = [_step(plane, other) for other in (at - 1, at + 1) if 0 < other < plane.shape[1]]
    return _step(plane, at) - float(np.mean(beside))


def _step(plane: NDArray[np.uint8], at: int) -> float:
    return float(np.mean(np.abs(plane[:, at].astype(np.int32) - plane[:, at - 1])))
