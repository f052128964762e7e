"""Where decoded tiles are put together: the pixels of a region."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tadan.bitstream import Header
from tadan.codec.tiling import Box, overlap
from tadan.pictures.reading import Planes, to_image, unpack_alpha

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
        if self._alpha is not None and alpha is not None:
            self._put(self._alpha, box, unpack_alpha(alpha, box[2], box[3]))

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
