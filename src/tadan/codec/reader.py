"""A file to a picture, to parts of it, or to what is known of it; the header is parsed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tadan.bitstream import LATENTS, Container, Header, Tile, recover
from tadan.codec import jpeg_file
from tadan.codec.decoder import TileDecoder, shown, tiles_for
from tadan.codec.engine import DECODE_BYTES, Engine
from tadan.codec.parallel import Workers
from tadan.codec.reduced import Reduction, averaged, outward
from tadan.codec.salvage import Rescue, Salvaged
from tadan.codec.stored import Pixels, stored_picture
from tadan.codec.tiling import Box, Canvas, check_region, lines
from tadan.errors import InvalidInput
from tadan.latents.coder import Latents
from tadan.pictures.reading import unpack_alpha

#: number of a tile -> its y_hat, int32 (h, w, latent), Q6; None if it is lost
LatentsOf = Callable[[int], NDArray[np.int32] | None]


@dataclass(frozen=True)
class Verification:
    """Result of :meth:`tadan.Codec.verify`: checksum (hex) of the decoded latents of each tile, and counts.

    ``content``: "latents", or "png", "webp", "jpeg" or "jpeg-file" if the picture is stored in that format; the
    checksums are then those of its pixels, or of the bytes of a JPEG.
    """

    tiles: tuple[str, ...]
    sections: int
    file_bytes: int
    content: str = LATENTS


class Reader:
    """One file, opened; see the methods of :class:`tadan.Codec` for what they give and raise."""

    def __init__(self, engine: Engine, data: bytes) -> None:
        self._engine = engine
        self._container = Container(data, engine.limits)
        self.header = self._container.header
        self._boxes = list(self.header.tile_boxes())
        self._decoder = engine.decoder(self.header)

    def decode(self, region: Sequence[int] | None, stages: int | None, reduce: int = 1) -> Image.Image:
        """The picture or a region of it, from all stages or the first ones, as it is or smaller."""
        header, decoder = self.header, self._decoder
        box: Box = (0, 0, header.width, header.height)
        if region is not None:
            box = check_region(region, header.width, header.height)
        if reduce > 1:
            return self._reduced(outward(box, reduce, header), stages, reduce)
        needed = tiles_for(header, None if decoder is None else decoder.model, box)
        metadata = self._container.metadata()
        tiles = self._container.tiles(None if region is None else needed)
        canvas = Canvas(header, box)
        for number, tile in tiles.items():
            canvas.put_alpha(self._boxes[number], tile.alpha)
        if decoder is None:
            for number, tile in tiles.items():
                rgb, inside = self._stored(number, tile)
                canvas.put(self._boxes[number], rgb)
                metadata.update(inside)
        else:
            for part, rgb in pixels(self._engine, decoder, box, needed, self._latents_of(decoder, tiles, stages)):
                canvas.put(part, rgb)
        return canvas.image(metadata)

    def original(self) -> bytes:
        """The JPEG file that was kept byte for byte."""
        self._container.metadata()
        return jpeg_file.original(self.header, self._container.tiles()[0])

    def _stored(self, number: int, tile: Tile) -> tuple[Pixels, Mapping[str, bytes]]:
        _, _, width, height = self._boxes[number]
        return stored_picture(self.header, tile, width, height)

    def _latents_of(
        self, decoder: TileDecoder, tiles: Mapping[int, Tile], stages: int | None
    ) -> Callable[[int], NDArray[np.int32]]:
        def latents(number: int) -> NDArray[np.int32]:
            if stages is None:
                return decoder.latents(tiles[number], self._boxes[number]).y_hat
            return decoder.first_stages(tiles[number], self._boxes[number], stages)[0].y_hat

        return latents

    def _reduced(self, region: Box, stages: int | None, factor: int) -> Image.Image:
        decoder = self._decoder
        reduction = None if decoder is None else Reduction(self._engine, decoder, region, factor)
        if decoder is None or reduction is None or not reduction.worthwhile:
            return averaged(self.decode(region, stages), factor)
        whole = region == (0, 0, self.header.width, self.header.height)
        metadata = self._container.metadata()
        tiles = self._container.tiles(None if whole else tiles_for(self.header, None, region))
        return reduction.image(metadata, tiles, self._latents_of(decoder, tiles, stages))

    def latents(self) -> list[Latents]:
        """Latents of every tile, checked."""
        decoder = self._decoder
        if decoder is None:
            form = self.header.content.upper()
            raise InvalidInput(f"the picture is stored as {form} and has no latents; encode it without fallback")
        tiles = self._container.tiles().values()
        with self._workers() as workers:
            return workers.map(lambda pair: decoder.latents(*pair), zip(tiles, self._boxes, strict=True))

    def verify(self) -> Verification:
        """Check every checksum, those of decoded latents included."""
        metadata, tiles = self._container.metadata(), self._container.tiles()
        with self._workers() as workers:
            checksums = workers.map(self._checked, tiles.items())
        sections = len(tiles) + len(metadata)
        return Verification(tuple(checksums), sections, len(self._container.data), self.header.content)

    def _checked(self, numbered: tuple[int, Tile]) -> str:
        number, tile = numbered
        box = self._boxes[number]
        if self._decoder is None:
            self._stored(number, tile)
        else:
            self._decoder.latents(tile, box)
        if tile.alpha is not None:
            unpack_alpha(tile.alpha, box[2], box[3])
        return f"{tile.content_crc:08x}"

    def _workers(self) -> AbstractContextManager[Workers]:
        return self._engine.workers(self._boxes, DECODE_BYTES).open()


def salvage(engine: Engine, data: bytes) -> Salvaged:
    """What is left of a damaged file, see :meth:`tadan.Codec.salvage`."""
    found = recover(data, engine.limits)
    header: Header = found.header
    decoder, whole = engine.decoder(header), (0, 0, header.width, header.height)
    canvas = Canvas(header, whole)
    rescue = Rescue(found, decoder, canvas)
    if decoder is not None:
        for box, rgb in pixels(engine, decoder, whole, set(range(header.tile_count)), rescue.latents):
            canvas.put(box, rgb)
    return rescue.result()


def pixels(
    engine: Engine, decoder: TileDecoder, region: Box, needed: set[int], latents: LatentsOf
) -> Iterator[tuple[Box, NDArray[np.uint8]]]:
    """Pixels of a region from latents that are decoded line by line of tiles, while earlier lines are shown."""
    header = decoder.header
    boxes = [box for number, box in enumerate(header.tile_boxes()) if number in needed]
    order = list(lines(header, needed))
    with engine.workers(boxes, DECODE_BYTES).open() as workers:
        arriving = (dict(zip(line, workers.map(latents, line), strict=True)) for line in order)
        transforms = engine.transforms(decoder.model, workers.inner)
        yield from shown(header, transforms, region, order, arriving, workers)
