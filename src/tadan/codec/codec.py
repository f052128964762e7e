"""The codec: pictures to ``.tdn`` bytes and back."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tadan.bitstream import (
    LATENTS,
    Header,
    Limits,
    Stream,
    Tile,
    read_header,
    read_stream,
    read_tiles,
    recover,
    write_stream,
)
from tadan.codec.canvas import Canvas
from tadan.codec.decoder import Source, TileDecoder, paint, tiles_for
from tadan.codec.encoder import Coded, TileEncoder
from tadan.codec.fallback import better_form
from tadan.codec.options import EncodeFields, EncodeOptions, whole_number
from tadan.codec.parallel import MEMORY, Workers
from tadan.codec.salvage import Rescue, Salvaged
from tadan.codec.stored import stored_pixels, tile_of
from tadan.codec.tiling import Box, check_region, tile_size
from tadan.codec.transforms import Transforms
from tadan.errors import InvalidInput, LimitExceeded
from tadan.latents.coder import CodedStep, LatentCoder, Latents
from tadan.latents.schedule_field import schedule_field
from tadan.models import Model, find_model, load_model
from tadan.models.config import quality_lambda
from tadan.pictures.reading import Picture, Planes, pack_alpha, read_picture, unpack_alpha

# Memory in bytes per pixel: of a tile with its margin in work, and of a picture with what is kept of its latents.
DECODE_BYTES = 240
ENCODE_BYTES = 290
SEARCH_BYTES = 560
PICTURE_BYTES = 5


@dataclass(frozen=True)
class Verification:
    """Result of :meth:`Codec.verify`: checksum (hex) of the decoded latents of each tile, and counts.

    ``content``: "latents", or "png", "webp" or "jpeg" if the picture is stored in that format; the checksums are then
    those of its pixels, or of the bytes of a JPEG.
    """

    tiles: tuple[str, ...]
    sections: int
    file_bytes: int
    content: str = LATENTS


@dataclass(frozen=True)
class Encoded:
    """A coded picture with what the encoder knows about it.

    Attributes:
        data: the file.
        estimated_bits: ideal code length of all latents, or length of a stored picture; a lower bound of 8 * len(data).
        content: "latents", or "png", "webp" or "jpeg" if the picture is stored in that format.
    """

    data: bytes
    estimated_bits: float
    content: str = LATENTS


class Codec:
    """Encoder and decoder; reusable, safe to share between threads.

    Args:
        model: name or path of the model to encode with, and to try first when decoding; None for the bundled one.
        threads: threads of the networks and matrix products; None for all cores. Results do not depend on it.
        limits: sizes above which streams and pictures are refused.
        memory: bytes that the process should stay below; it bounds how many tiles are worked on at a time. The pixels
            of the picture and the work on one tile are always needed.
    """

    def __init__(
        self,
        model: str | Path | Model | None = None,
        *,
        threads: int | None = None,
        limits: Limits = Limits(),  # noqa: B008 (immutable)
        memory: int = MEMORY,
    ) -> None:
        if threads is not None:
            threads = whole_number("threads", threads, 1, _MANY)
        if not isinstance(limits, Limits):
            raise InvalidInput(f"limits is a tadan.Limits, not {limits!r}; leave it out for the default ones")
        self._named = model
        self.threads, self.memory = threads, whole_number("memory", memory, 0, 2**63)
        self.limits = limits
        self._transforms: dict[tuple[bytes, int], Transforms] = {}
        self._lock = threading.Lock()

    @property
    def model(self) -> Model:
        """The model that :meth:`encode` uses."""
        return self._named if isinstance(self._named, Model) else load_model(self._named)

    def encode(self, image: Picture, **options: Unpack[EncodeFields]) -> bytes:
        """Encode a picture.

        Args:
            image: Pillow image, uint8 or uint16 array of shape (H, W) or (H, W, 1..4), or path (docs/pictures.md).
            **options: fields of :class:`~tadan.codec.options.EncodeOptions`: quality, schedule, effort, tile, strip,
                tune, fallback, lossless, verify.

        Raises:
            InvalidInput: an option out of range, or a picture that cannot be converted.
            UnreadableInput: a path that is not a readable picture.
            LimitExceeded: the picture has more pixels than ``limits`` allow.
            ModelMissing: the model named does not exist, or its file holds the decoder alone.
        """
        return self.encode_picture(image, EncodeOptions(**options)).data

    def encode_picture(self, image: Picture, options: EncodeOptions) -> Encoded:
        """As :meth:`encode`, with what the encoder knows about the file."""
        quality, steps, plan = options.quality, options.trials, options.order
        model = self.model
        tune = model.tune if options.tune is None else options.tune
        model.check_encoder()
        planes = read_picture(image, self.limits.max_pixels, options.strip)
        metadata = sum(map(len, planes.metadata.values()))
        if metadata > self.limits.max_metadata_bytes:
            raise LimitExceeded(
                f"the picture carries {metadata:,} bytes of metadata, above the limit of "
                f"{self.limits.max_metadata_bytes:,}; remove some or raise Limits.max_metadata_bytes"
            )
        height, width = planes.rgb.shape[:2]
        side = tile_size(options.tile, width, height)
        header = Header(width, height, planes.mode, quality, model.id, schedule_field(plan), side)
        if header.tile_count > self.limits.max_tiles:
            raise LimitExceeded(f"tiles of {side} pixels make {header.tile_count} of them; choose larger ones")
        if header.tile_pixels > self.limits.max_tile_pixels:
            raise LimitExceeded(f"a tile of {header.tile_pixels} pixels is too large for readers; choose smaller ones")
        cells = 0 if header.schedule is None else header.schedule.cells
        if cells > self.limits.max_pattern_cells:
            raise LimitExceeded(f"a schedule pattern of {cells} cells is too large for readers; choose a smaller one")
        boxes = list(header.tile_boxes())
        with self._workers(boxes, SEARCH_BYTES if steps else ENCODE_BYTES).open() as workers:
            transforms = self._transforms_of(model, workers.inner)
            encoder = TileEncoder(LatentCoder(model, quality, plan), transforms, steps, tune)
            coded = encoder.encode_all(planes, boxes, workers)
        stream = Stream(header, dict(planes.metadata), tuple(one.tile for one in coded))
        stored = self._stored_instead(planes, stream, coded, insist=not options.fallback)
        bits = sum(one.bits for one in coded)
        if stored is not None:
            form, payload = stored
            alpha = None if planes.alpha is None else pack_alpha(planes.alpha)
            header = replace(header, model_id=None, schedule=None, tile_size=0, content=form)
            stream = replace(stream, header=header, tiles=(tile_of(form, payload, planes.rgb, alpha),))
            bits = 8.0 * len(payload)
        data = write_stream(stream)
        if options.verify:
            self.verify(data)
        return Encoded(data, bits, header.content)

    def decode(self, data: bytes, *, region: Sequence[int] | None = None, stages: int | None = None) -> Image.Image:
        """Decode a stream to a Pillow image of the mode that was encoded; metadata is in ``info``.

        Args:
            data: a whole ``.tdn`` file.
            region: x, y, width, height in pixels: only this part is decoded, from the tiles that it needs; damage in
                others does not matter.
            stages: a preview from the first stages of y (0: from z alone); all other latents take their predicted
                means. Stored pictures have no stages and are shown whole.

        Raises:
            NotOurFile, Truncated, Corrupt, UnsupportedVersion, ModelMissing, LimitExceeded: as their names say.
            InvalidInput: the region has no pixel of the picture, or ``stages`` is negative.
        """
        if stages is not None:
            stages = whole_number("stages", stages, 0, _MANY)
        header = read_header(data, self.limits)
        box = (0, 0, header.width, header.height)
        if region is not None:
            box = check_region(region, header.width, header.height)
        decoder = self._decoder(header)
        wanted = None if region is None else tiles_for(header, None if decoder is None else decoder.model, box)
        header, metadata, tiles = read_tiles(data, self.limits, wanted)
        canvas, boxes = Canvas(header, box), list(header.tile_boxes())
        for number, tile in tiles.items():
            canvas.put_alpha(boxes[number], tile.alpha)
        if decoder is None:
            for number, tile in tiles.items():
                canvas.put(boxes[number], stored_pixels(header, tile, *boxes[number][2:]))
            return canvas.image(metadata)

        def source(number: int) -> NDArray[np.int32]:
            if stages is None:
                return decoder.latents(tiles[number], boxes[number]).y_hat
            return decoder.first_stages(tiles[number], boxes[number], stages)[0].y_hat

        self._paint(decoder, canvas, source)
        return canvas.image(metadata)

    def salvage(self, data: bytes) -> Salvaged:
        """Decode what is left of a damaged or truncated file.

        Tiles whose latents are proven right are shown, and the tile in which a truncated file ends as far as its stages
        arrived. Of all others nothing is known and nothing shown but grey.

        Raises:
            NotOurFile, Truncated, Corrupt, UnsupportedVersion, ModelMissing, LimitExceeded: not even the header can be
                read.
        """
        found = recover(data, self.limits)
        header = found.header
        decoder = self._decoder(header)
        canvas = Canvas(header, (0, 0, header.width, header.height))
        rescue = Rescue(found, decoder, canvas)
        if decoder is not None:
            self._paint(decoder, canvas, rescue.latents)
        return rescue.result()

    def decode_latents(self, data: bytes) -> list[Latents]:
        """Decode the latents of every tile and check them; no pixels are made. Raises as :meth:`decode`.

        Raises:
            InvalidInput: the picture is stored in another format and has no latents.
        """
        stream = read_stream(data, self.limits)
        decoder, boxes = self._decoder(stream.header), list(stream.header.tile_boxes())
        if decoder is None:
            form = stream.header.content.upper()
            raise InvalidInput(f"the picture is stored as {form} and has no latents; encode it without fallback")
        with self._workers(boxes, DECODE_BYTES).open() as workers:
            return workers.map(lambda pair: decoder.latents(*pair), zip(stream.tiles, boxes, strict=True))

    def verify(self, data: bytes) -> Verification:
        """Check every checksum of a stream, those of the decoded latents included. Raises as :meth:`decode`."""
        stream = read_stream(data, self.limits)
        header, boxes = stream.header, list(stream.header.tile_boxes())
        decoder = self._decoder(header)

        def check(pair: tuple[Tile, Box]) -> str:
            tile, box = pair
            if decoder is None:
                stored_pixels(header, tile, *box[2:])
            else:
                decoder.latents(tile, box)
            if tile.alpha is not None:
                unpack_alpha(tile.alpha, box[2], box[3])
            return f"{tile.content_crc:08x}"

        with self._workers(boxes, DECODE_BYTES).open() as workers:
            checksums = workers.map(check, zip(stream.tiles, boxes, strict=True))
        return Verification(tuple(checksums), len(stream.tiles) + len(stream.metadata), len(data), header.content)

    def _stored_instead(
        self, planes: Planes, stream: Stream, coded: Sequence[Coded], insist: bool
    ) -> tuple[str, bytes] | None:
        """Format and file to write instead of the latents, if the picture is better stored."""
        grey, header = planes.mode.startswith("L"), stream.header

        def decoded() -> NDArray[np.uint8]:
            canvas = Canvas(replace(header, mode=header.mode.removesuffix("A")), (0, 0, header.width, header.height))
            decoder, boxes = TileDecoder(header, self.model), list(header.tile_boxes())

            def source(number: int) -> NDArray[np.int32]:
                held = coded[number].latents
                return held.y_hat if held is not None else decoder.latents(coded[number].tile, boxes[number]).y_hat

            self._paint(decoder, canvas, source)
            return np.asarray(canvas.image({}))

        weight = quality_lambda(self.model.config, header.quality)
        pixels = planes.rgb[:, :, 0] if grey else planes.rgb
        payload = b"".join(tile.payload for tile in stream.tiles)
        return better_form(pixels, payload, decoded, weight, insist)

    def _paint(self, decoder: TileDecoder, canvas: Canvas, source: Source) -> None:
        """Show the region of ``canvas`` from the latents that ``source`` gives."""
        header = decoder.header
        needed = tiles_for(header, decoder.model, canvas.region)
        boxes = [box for number, box in enumerate(header.tile_boxes()) if number in needed]
        with self._workers(boxes, DECODE_BYTES).open() as workers:
            transforms = self._transforms_of(decoder.model, workers.inner)
            paint(header, transforms, canvas.region, needed, source, workers, canvas.put)

    def _workers(self, boxes: Sequence[Box], pixel_bytes: int) -> Workers:
        areas = [box[2] * box[3] for box in boxes]
        return Workers(self.threads, len(boxes), pixel_bytes * max(areas), PICTURE_BYTES * sum(areas), self.memory)

    def _decoder(self, header: Header) -> TileDecoder | None:
        """Decoder of the latents; None if there are none."""
        if header.model_id is None:
            return None
        named = self._named is not None and self.model.id == header.model_id
        return TileDecoder(header, self.model if named else find_model(header.model_id))

    def _transforms_of(self, model: Model, threads: int) -> Transforms:
        with self._lock:
            key = model.id, threads
            if key not in self._transforms:
                self._transforms[key] = Transforms(model, threads)
            return self._transforms[key]


def file_symbols(data: bytes, model: Model, limits: Limits = Limits()) -> Iterator[CodedStep]:  # noqa: B008 (immutable)
    """What the tiles of a file code, for statistics: of each tile z, then every step of y.

    Args:
        data: a file that holds latents.
        model: that it was made with.
        limits: sizes above which it is refused.

    Raises:
        NotOurFile, Truncated, Corrupt, UnsupportedVersion, LimitExceeded: as their names say.
    """
    stream = read_stream(data, limits)
    decoder = TileDecoder(stream.header, model)
    for tile, box in zip(stream.tiles, stream.header.tile_boxes(), strict=True):
        yield from decoder.symbols(tile, box)


_MANY = 2**31


@cache
def _default() -> Codec:
    return Codec()


def encode(image: Picture, **options: Unpack[EncodeFields]) -> bytes:
    """Encode with the bundled model; see :meth:`Codec.encode`."""
    return _default().encode(image, **options)


def decode(data: bytes, *, region: Sequence[int] | None = None, stages: int | None = None) -> Image.Image:
    """Decode a stream; see :meth:`Codec.decode`."""
    return _default().decode(data, region=region, stages=stages)


def salvage(data: bytes) -> Salvaged:
    """Decode what is left of a damaged or truncated stream; see :meth:`Codec.salvage`."""
    return _default().salvage(data)
