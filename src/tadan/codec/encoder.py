"""One picture to coded tiles: analysis with a margin around each tile, search, entropy coding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tadan.bitstream import Tile
from tadan.bitstream.constants import TILE_MULTIPLE
from tadan.codec.effort import Scene, refine
from tadan.codec.parallel import Workers
from tadan.codec.tiling import Box, on_latents, window
from tadan.codec.transforms import Transforms
from tadan.latents.coder import Y_STRIDE, LatentCoder, Latents
from tadan.models import ModelConfig
from tadan.pictures.reading import Planes, pack_alpha


@dataclass(frozen=True)
class Coded:
    """A tile as it is written, what the decoder will have of it, and the ideal code length of its latents."""

    tile: Tile
    latents: Latents | None
    bits: float


@dataclass(frozen=True)
class TileEncoder:
    """Encodes the tiles of one picture.

    Attributes:
        coder: of its quality and schedule.
        transforms: of the coder's model.
        steps: of the search for latents that cost less; 0: none.
        tune: error that the search lowers.
    """

    coder: LatentCoder
    transforms: Transforms
    steps: int
    tune: str

    def encode_all(self, planes: Planes, boxes: Sequence[Box], workers: Workers) -> list[Coded]:
        """Encode every tile. Latents are kept of a single one only, as a large picture has a lot of them."""

        def one(box: Box) -> Coded:
            coded = self.encode(planes, box)
            return coded if len(boxes) == 1 else replace(coded, latents=None)

        return workers.map(one, boxes)

    def encode(self, planes: Planes, box: Box) -> Coded:
        """Encode the tile of ``planes`` that ``box`` covers."""
        config, quality = self.coder.model.config, self.coder.quality
        height, width = planes.rgb.shape[:2]
        seen = window(box, analysis_margin(config), width, height)
        analysed = self.transforms.latents_of(planes.rgb[seen.rows_cols], quality)
        own = on_latents(seen.inner)
        rows, cols = analysed.shape[:2]
        near = window(own, config.reach, cols, rows)
        y = np.ascontiguousarray(analysed[near.rows_cols][near.inside])
        z = self.transforms.hyper_of(y)
        scene = Scene(_pixels_under(planes.rgb[seen.rows_cols], near.outer), analysed[near.rows_cols], near, self.tune)
        trial = refine(self.coder, self.transforms, scene, (y, z), self.steps)
        payload, latents, bits = self.coder.write(trial, z)
        alpha = None
        if planes.alpha is not None:
            left, top, w, h = box
            alpha = pack_alpha(planes.alpha[top : top + h, left : left + w])
        return Coded(Tile(latents.checksum(), payload, alpha), latents, bits)


def analysis_margin(config: ModelConfig) -> int:
    """Pixels around a tile that g_a sees, a multiple of 64: its latents then are those of the whole picture.

    The search also looks at the latents around them that g_s mixes; those may lack some of their own surroundings.
    """
    needed = max(config.analysis_reach, config.stride * config.reach)
    return -(-needed // TILE_MULTIPLE) * TILE_MULTIPLE


def _pixels_under(rgb: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """The part of a picture that a box of latents covers, as far as the picture goes."""
    x, y, w, h = (Y_STRIDE * value for value in box)
    return rgb[y : y + h, x : x + w]
