"""A picture to a file: planes, header, tiles of latents, and whether a common format serves the picture better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tadan.bitstream import LATENTS, Header, Limits, Stream, Tile, write_stream
from tadan.bitstream.fields import TILE_MULTIPLE
from tadan.codec.decoder import TileDecoder
from tadan.codec.effort import Scene, refine
from tadan.codec.engine import ENCODE_BYTES, SEARCH_BYTES, Engine
from tadan.codec.fallback import Candidate, better_form, smallest_lossless
from tadan.codec.options import EncodeOptions
from tadan.codec.parallel import Workers
from tadan.codec.reader import pixels
from tadan.codec.stored import Pixels, tile_of
from tadan.codec.tiling import Box, Canvas, on_latents, tile_size, window
from tadan.codec.transforms import Transforms
from tadan.errors import LimitExceeded
from tadan.latents.coder import Y_STRIDE, LatentCoder, Latents
from tadan.latents.schedule_field import schedule_field
from tadan.models import Model, ModelConfig
from tadan.models.config import quality_lambda
from tadan.pictures.reading import Picture, Planes, pack_alpha, read_picture
from tadan.pictures.samples import fill_hidden

TOGETHER_PIXELS = 2**22  # up to here g_a sees a picture of several tiles at once, in 40 bytes a pixel
STORED_SIDE = 4096  # pixels of the tiles of large stored pictures: as many as readers take by default


@dataclass(frozen=True)
class Encoded:
    """A coded picture with what the encoder knows about it.

    Attributes:
        data: the file.
        estimated_bits: ideal code length of all latents, or length of a stored picture; a lower bound of 8 * len(data).
        content: "latents", or "png", "webp", "jpeg" or "jpeg-file" if the picture is stored in that format.
    """

    data: bytes
    estimated_bits: float
    content: str = LATENTS


def write_picture(engine: Engine, image: Picture, options: EncodeOptions) -> Encoded:
    """Encode a picture; see :meth:`tadan.Codec.encode`, which also says what is raised."""
    model = None if options.lossless else engine.model
    if model is not None:
        model.check_encoder()
    planes = read_picture(image, engine.limits.max_pixels, options.strip)
    _check_metadata(planes, engine.limits)
    if planes.alpha is not None and not (options.keep_hidden or options.lossless):
        fill_hidden(planes.rgb, planes.alpha)
    if model is None:
        return _stored(planes, options.quality, smallest_lossless(_pixels(planes)), engine.limits)
    header = _planned(planes, options, model, engine.limits)
    coded = _coded_tiles(engine, model, planes, header, options)
    instead = _better_stored(engine, model, planes, header, coded, options)
    if instead is not None:
        return _stored(planes, options.quality, instead, engine.limits)
    data = write_stream(Stream(header, dict(planes.metadata), tuple(one.tile for one in coded)))
    return Encoded(data, sum(one.bits for one in coded))


def _check_metadata(planes: Planes, limits: Limits) -> None:
    size, most = sum(map(len, planes.metadata.values())), limits.max_metadata_bytes
    if size > most:
        what = f"the picture carries {size:,} bytes of metadata, above the limit of {most:,}; strip it"
        raise LimitExceeded(what, "max_metadata_bytes", size, most)


def _planned(planes: Planes, options: EncodeOptions, model: Model, limits: Limits) -> Header:
    """Header of a file of latents that readers with these limits accept."""
    height, width = planes.rgb.shape[:2]
    side = tile_size(options.tile, width, height)
    field = schedule_field(options.order)
    header = Header(width, height, planes.mode, options.quality, model.id, field, side)
    if header.tile_count > limits.max_tiles:
        raise LimitExceeded(f"tiles of {side} pixels make {header.tile_count} of them; choose larger ones")
    if header.tile_pixels > limits.max_tile_pixels:
        raise LimitExceeded(f"a tile of {header.tile_pixels} pixels is too large for readers; choose smaller ones")
    if field.cells > limits.max_pattern_cells:
        raise LimitExceeded(f"a schedule pattern of {field.cells} cells is too large for readers; choose a smaller one")
    return header


def _coded_tiles(
    engine: Engine, model: Model, planes: Planes, header: Header, options: EncodeOptions
) -> Sequence[Coded]:
    boxes = list(header.tile_boxes())
    tune = model.tune if options.tune is None else options.tune
    with engine.workers(boxes, SEARCH_BYTES if options.trials else ENCODE_BYTES).open() as workers:
        coder = LatentCoder(model, options.quality, options.order)
        encoder = TileEncoder(coder, engine.transforms(model, workers.inner), options.trials, tune)
        return encoder.encode_all(planes, boxes, workers)


def _better_stored(
    engine: Engine, model: Model, planes: Planes, header: Header, coded: Sequence[Coded], options: EncodeOptions
) -> Candidate | None:
    """What to write instead of the latents, if the picture is better stored."""
    payload = b"".join(one.tile.payload for one in coded)
    weight = quality_lambda(model.config, options.quality)

    def decoded() -> NDArray[np.uint8]:
        return _decoded(engine, model, header, coded)

    return better_form(_pixels(planes), payload, decoded, weight, insist=not options.fallback)


def _decoded(engine: Engine, model: Model, header: Header, coded: Sequence[Coded]) -> NDArray[np.uint8]:
    """What the coded tiles will be shown as, without alpha."""
    region = 0, 0, header.width, header.height
    canvas = Canvas(replace(header, mode=header.mode.opaque), region)
    decoder, boxes = TileDecoder(header, model), list(header.tile_boxes())

    def latents(number: int) -> NDArray[np.int32]:
        held = coded[number].latents
        return held.y_hat if held is not None else decoder.latents(coded[number].tile, boxes[number]).y_hat

    for box, rgb in pixels(engine, decoder, region, set(range(len(boxes))), latents):
        canvas.put(box, rgb)
    return np.asarray(canvas.image({}))


def _stored(planes: Planes, quality: int, chosen: Candidate, limits: Limits) -> Encoded:
    """The picture as a complete file of another format, or as several where readers refuse so large a tile."""
    height, width = planes.rgb.shape[:2]
    form, whole, pixels = chosen.form or "", chosen.payload, _pixels(planes)
    side = 0 if width * height <= limits.max_tile_pixels else _stored_side(limits)
    header = Header(width, height, planes.mode, quality, None, None, side, form)
    tiles = []
    for left, top, w, h in header.tile_boxes():
        part = slice(top, top + h), slice(left, left + w)
        payload = whole if side == 0 or chosen.again is None else chosen.again(np.ascontiguousarray(pixels[part]))
        alpha = None if planes.alpha is None else pack_alpha(planes.alpha[part])
        tiles.append(tile_of(form, payload, planes.rgb[part], alpha))
    bits = 8.0 * sum(len(tile.payload) for tile in tiles)
    return Encoded(write_stream(Stream(header, dict(planes.metadata), tuple(tiles))), bits, form)


def _stored_side(limits: Limits) -> int:
    """Side of the tiles of a stored picture that is too large for one."""
    allowed = math.isqrt(limits.max_tile_pixels) // TILE_MULTIPLE * TILE_MULTIPLE
    if not allowed:
        raise LimitExceeded(f"readers with tiles of at most {limits.max_tile_pixels} pixels cannot have this picture")
    return min(STORED_SIDE, allowed)


def _pixels(planes: Planes) -> Pixels:
    """Samples as other formats take them: (H, W) of grey pictures."""
    return planes.rgb[:, :, 0] if planes.mode.is_grey else planes.rgb


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

        height, width = planes.rgb.shape[:2]
        whole: NDArray[np.float32] | None = None
        if self.transforms.in_core and len(boxes) > 1 and width * height <= TOGETHER_PIXELS:
            [whole] = workers.in_turn(lambda rgb: self.transforms.latents_of(rgb, self.coder.quality), [planes.rgb])

        def one(box: Box) -> Coded:
            coded = self.encode(planes, box, whole)
            return coded if len(boxes) == 1 else replace(coded, latents=None)

        return workers.map(one, boxes)

    def encode(self, planes: Planes, box: Box, whole: NDArray[np.float32] | None = None) -> Coded:
        """Encode the tile of ``planes`` that ``box`` covers; ``whole``: y of the whole picture, if it is known."""
        config, quality, rgb = self.coder.model.config, self.coder.quality, planes.rgb
        analysed, own = whole, on_latents(box)
        if analysed is None:
            seen = window(box, analysis_margin(config), rgb.shape[1], rgb.shape[0])
            rgb, own = rgb[seen.rows_cols], on_latents(seen.inner)
            analysed = self.transforms.latents_of(rgb, quality)
        near = window(own, config.reach, analysed.shape[1], analysed.shape[0])
        y = np.ascontiguousarray(analysed[near.rows_cols][near.inside])
        z = self.transforms.hyper_of(y)
        scene = Scene(_pixels_under(rgb, near.outer), analysed[near.rows_cols], near, self.tune)
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
