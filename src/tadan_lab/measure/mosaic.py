"""Large pictures made of photographs, written strip by strip: no more than one row of photographs is in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from tadan.errors import InvalidInput
from tadan.files import write_atomically
from tadan.pictures.folder import open_rgb

ROW_HEIGHT = 512  # pixels of a row of photographs


def mosaic_size(megapixels: float) -> tuple[int, int]:
    """Width and height, nearly equal, of a picture of ``megapixels`` million pixels.

    Raises:
        InvalidInput: that is not a pixel.
    """
    pixels = 1e6 * megapixels
    if not 1 <= pixels < math.inf:
        raise InvalidInput(f"a picture of {megapixels:g} megapixels cannot be made; give a size such as 0.1 or 10")
    width = max(1, round(math.sqrt(pixels)))
    return width, max(1, round(pixels / width))


def write_mosaic(path: Path, photographs: Sequence[Path], width: int, height: int) -> None:
    """Write a mosaic of photographs at their own scale as binary PPM (P6).

    In rows of 512 pixels the photographs follow one another, round after round. Every round shows the next 512 rows of
    each, from its end upwards again; every second round is mirrored.

    Raises:
        UnreadableInput: a photograph cannot be opened.
        InvalidInput: there is none.
        UnwritableOutput: the disk is full.
    """
    if not photographs:
        raise InvalidInput("a mosaic needs a photograph; none is given")

    def fill(file: IO[bytes]) -> None:
        file.write(b"P6\n%d %d\n255\n" % (width, height))
        for strip in _strips(photographs, width, height):
            file.write(strip.data)

    write_atomically(path, fill)


def _strips(photographs: Sequence[Path], width: int, height: int) -> Iterator[NDArray[np.uint8]]:
    """Rows of the mosaic from above, uint8 (up to 512, width, 3)."""
    used = 0
    for top in range(0, height, ROW_HEIGHT):
        strip = np.empty((min(ROW_HEIGHT, height - top), width, 3), np.uint8)
        left = 0
        while left < width:
            around, number = divmod(used, len(photographs))
            cell = _cell(photographs[number], around, len(strip))[:, : width - left]
            strip[:, left : left + cell.shape[1]] = cell
            left += cell.shape[1]
            used += 1
        yield strip


def _cell(photograph: Path, around: int, height: int) -> NDArray[np.uint8]:
    """What a round shows of a photograph, uint8 (height, its width, 3)."""
    pixels = np.asarray(open_rgb(photograph))
    rows = (around * ROW_HEIGHT + np.arange(height)) % (2 * len(pixels))
    chosen = pixels[np.minimum(rows, 2 * len(pixels) - 1 - rows)]
    return chosen[:, ::-1] if around % 2 else chosen
