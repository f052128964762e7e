"""Geometry of tiles: how large, in which order, what a tile needs of its surroundings, and where its pixels go.

Tiles are independent where bits are concerned; only the transforms look across their borders. g_s is applied to the
latents of the whole picture, tile by tile with a margin of the neighbours' latents, so that no seams can show; g_a and
the search of the encoder see the same margin of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tadan.bitstream import Header
from tadan.bitstream.fields import TILE_MULTIPLE
from tadan.errors import InvalidInput
from tadan.latents.coder import Y_STRIDE
from tadan.pictures.reading import Planes, to_image, unpack_alpha

WHOLE = 0  # tile size of a picture that is one tile
TILE_SIDE = 960  # smaller ones cost bits at their borders, larger ones memory (docs/tiles.md)
HUGE_TILE_SIDE = 768  # where the picture itself takes much of the memory
WHOLE_PIXELS = 3 * 2**19  # up to here one tile
HUGE_PIXELS = 2**25  # from here HUGE_TILE_SIDE

Box = tuple[int, int, int, int]  # x, y, width, height


@dataclass(frozen=True)
class Window:
    """A box and its margin inside a plane, in positions of that plane.

    Attributes:
        outer: box with its margin, cut off at the borders of the plane.
        inner: the box relative to ``outer``.
    """

    outer: Box
    inner: Box

    @property
    def rows_cols(self) -> tuple[slice, slice]:
        """Index of ``outer`` in the plane."""
        return _slices(self.outer)

    @property
    def inside(self) -> tuple[slice, slice]:
        """Index of ``inner`` in an array of ``outer``."""
        return _slices(self.inner)


def window(box: Box, margin: int, width: int, height: int) -> Window:
    """``box`` with ``margin`` on all sides, as far as a plane of ``width`` x ``height`` goes."""
    x, y, w, h = box
    left, top = max(0, x - margin), max(0, y - margin)
    right, bottom = min(width, x + w + margin), min(height, y + h + margin)
    return Window((left, top, right - left, bottom - top), (x - left, y - top, w, h))


def _slices(box: Box) -> tuple[slice, slice]:
    x, y, w, h = box
    return slice(y, y + h), slice(x, x + w)


def overlap(a: Box, b: Box) -> Box | None:
    """What two boxes have in common, if anything."""
    left, top = max(a[0], b[0]), max(a[1], b[1])
    right, bottom = min(a[0] + a[2], b[0] + b[2]), min(a[1] + a[3], b[1] + b[3])
    return (left, top, right - left, bottom - top) if left < right and top < bottom else None


def pieces(box: Box, side: int) -> Iterator[Box]:
    """``box``, cut into boxes of at most ``side`` x ``side``."""
    left, top, width, height = box
    for y in range(0, height, side):
        for x in range(0, width, side):
            yield left + x, top + y, min(side, width - x), min(side, height - y)


def on_latents(box: Box) -> Box:
    """Smallest box of y positions that covers a box of pixels."""
    x, y, w, h = box
    left, top = x // Y_STRIDE, y // Y_STRIDE
    return left, top, -(-(x + w) // Y_STRIDE) - left, -(-(y + h) // Y_STRIDE) - top


def check_region(region: Sequence[int], width: int, height: int) -> Box:
    """Region (x, y, width, height) of a picture, cut off at its right and bottom.

    Raises:
        InvalidInput: not four whole numbers, or nothing of the picture is in it.
    """
    if len(region) != 4 or not all(isinstance(value, Integral) for value in region):
        raise InvalidInput(f"a region is x,y,width,height in whole pixels, not {region!r}")
    x, y, w, h = map(int, region)
    common = overlap((x, y, w, h), (0, 0, width, height)) if min(x, y) >= 0 and min(w, h) > 0 else None
    if common is None:
        raise InvalidInput(
            f"the region {x},{y},{w},{h} (x,y,width,height) has no pixel of a picture of {width}x{height}; "
            "choose one inside it"
        )
    return common


def lines(header: Header, wanted: set[int]) -> Iterator[list[int]]:
    """Numbers of the ``wanted`` tiles along the shorter side of the grid: few lines of latents are held in memory."""
    rows, cols = header.tile_grid
    grid = [[row * cols + col for col in range(cols)] for row in range(rows)]
    for line in grid if cols <= rows else map(list, zip(*grid, strict=True)):
        chosen = [number for number in line if number in wanted]
        if chosen:
            yield chosen


def tile_size(wanted: int | None, width: int, height: int) -> int:
    """Tile size of :class:`~tadan.bitstream.Header` for a picture of ``width`` x ``height`` pixels.

    By itself (``wanted`` None) a small picture is one tile; tiles of others have at most :data:`TILE_SIDE` or
    :data:`HUGE_TILE_SIDE` pixels a side, and no more than a grid of so many needs.
    ``wanted`` is otherwise 0 or a multiple of 64, as :class:`~tadan.codec.options.EncodeOptions` has checked.
    """
    if wanted is None:
        if width * height <= WHOLE_PIXELS:
            return WHOLE
        most = TILE_SIDE if width * height < HUGE_PIXELS else HUGE_TILE_SIDE
        side = max(-(-length // -(-length // most)) for length in (width, height))
        return -(-side // TILE_MULTIPLE) * TILE_MULTIPLE
    return WHOLE if wanted >= max(width, height) else wanted


LOST = 128  # every sample of what nothing is known of


class Canvas:
    """Pixels of the part ``region`` of a picture; different tiles may be put from different threads."""

    def __init__(self, header: Header, region: Box) -> None:
        self.region = region
        self._mode = header.mode
        _, _, width, height = region
        self._rgb = np.full((height, width, 3), LOST, np.uint8)
        self._alpha = np.full((height, width), 255, np.uint8) if header.has_alpha else None

    def put(self, box: Box, rgb: NDArray[np.uint8]) -> None:
        """Set a box of the picture, uint8 (height, width, 3); what lies outside the region is dropped."""
        self._put(self._rgb, box, rgb)

    def put_alpha(self, box: Box, alpha: bytes | None) -> None:
        """Set a box from its PNG stream, if the picture has alpha.

        Raises:
            Corrupt: it is no grey PNG of the size of the box.
        """
        if alpha is not None:
            self.put_opacity(box, unpack_alpha(alpha, box[2], box[3]))

    def put_opacity(self, box: Box, alpha: NDArray[np.uint8]) -> None:
        """Set a box, uint8 (height, width), if the picture has alpha."""
        if self._alpha is not None:
            self._put(self._alpha, box, alpha)

    def image(self, metadata: Mapping[str, bytes]) -> Image.Image:
        """All of it."""
        return to_image(Planes(self._rgb, self._mode, self._alpha, metadata))

    def _put(self, target: NDArray[np.uint8], box: Box, values: NDArray[np.uint8]) -> None:
        common = overlap(box, self.region)
        if common is None:
            return
        x, y, width, height = common
        top, left = y - self.region[1], x - self.region[0]
        from_top, from_left = y - box[1], x - box[0]
        target[top : top + height, left : left + width] = values[
            from_top : from_top + height, from_left : from_left + width
        ]
