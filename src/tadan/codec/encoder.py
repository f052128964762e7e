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
from tadan.exact.linear import MatMul
from tadan.latents.coder import Y_STRIDE, Latents, Observer, code_latents
from tadan.models import Model, ModelConfig
from tadan.pictures.reading import Planes, pack_alpha
from tadan.schedule import Schedule


@dataclass(frozen=True)
class Job:
    """What all tiles of a picture share. Attributes as of :class:`~tadan.codec.codec.Codec` and its ``encode``."""

    model: Model
    transforms: Transforms
    quality: int
    schedule: Schedule
    steps: int
    tune: str
    matmul: MatMul
    observe: Observer | None


@dataclass(frozen=True)
class Coded:
    """A tile as it is written, what the decoder will have of it, and the ideal code length of its latents."""

    tile: Tile
    latents: Latents | None
    bits: float


def encode_tiles(job: Job, planes: Planes, boxes: Sequence[Box], workers: Workers, keep: bool) -> list[Coded]:
    """Encode every tile; results are without latents unless ``keep``, as a large picture has a lot of them."""

    def one(box: Box) -> Coded:
        coded = encode_tile(job, planes, box)
        return coded if keep else replace(coded, latents=None)

    # Statistics are told the stages in order.
    return [one(box) for box in boxes] if job.observe is not None else workers.map(one, boxes)


def encode_tile(job: Job, planes: Planes, box: Box) -> Coded:
    """Encode the tile of ``planes`` that ``box`` covers."""
    height, width = planes.rgb.shape[:2]
    seen = window(box, analysis_margin(job.model.config), width, height)
    analysed = job.transforms.latents_of(planes.rgb[seen.rows_cols], job.quality)
    own = on_latents(seen.inner)
    rows, cols = analysed.shape[:2]
    near = window(own, job.model.config.reach, cols, rows)
    y = np.ascontiguousarray(analysed[near.rows_cols][near.inside])
    z = job.transforms.hyper_of(y)
    scene = Scene(_pixels_under(planes.rgb[seen.rows_cols], near.outer), analysed[near.rows_cols], near, job.tune)
    trial = refine(job.model, job.transforms, scene, (y, z), job.quality, job.schedule, job.steps, job.matmul)
    payload, latents, bits = code_latents(job.model, trial, z, job.quality, job.schedule, job.observe)
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
