"""Tiles to one picture: latents tile by tile, pixels with a margin of the neighbours' latents, so no seams show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tadan.bitstream import Header, Tile
from tadan.codec.parallel import Workers
from tadan.codec.tiling import Box, on_latents, overlap, pieces, window
from tadan.codec.transforms import Transforms
from tadan.errors import Corrupt, InvalidInput
from tadan.exact.linear import MatMul
from tadan.latents.coder import Y_STRIDE, CodedStep, LatentCoder, Latents, plane_shape
from tadan.latents.schedule_field import schedule_of
from tadan.models import Model

PIECE = 1024  # pixels a side of what g_s shows at a time, whatever the size of the tile


def coder_of(header: Header, model: Model, matmul: MatMul = np.matmul) -> LatentCoder:
    """Coder of the latents of a file.

    Raises:
        UnsupportedVersion: this version or this model cannot run its schedule.
        InvalidInput: the file has no latents.
    """
    if header.schedule is None:
        form = header.content.upper()
        raise InvalidInput(f"the picture is stored as {form} and has no latents; encode it without fallback")
    return LatentCoder(model, header.quality, schedule_of(header.schedule, model), matmul)


@dataclass(frozen=True)
class TileDecoder:
    """Decodes the latents of the tiles of one file."""

    header: Header
    model: Model
    matmul: MatMul = np.matmul

    def shape(self, box: Box) -> tuple[int, int]:
        """(h, w) of the latent plane of a tile."""
        return plane_shape(box[2], box[3], Y_STRIDE)

    @cached_property
    def coder(self) -> LatentCoder:
        """Of the file; UnsupportedVersion if this version or this model cannot run its schedule."""
        return coder_of(self.header, self.model, self.matmul)

    def latents(self, tile: Tile, box: Box) -> Latents:
        """All latents of a tile, checked.

        Raises:
            Corrupt: they are not those that were encoded.
        """
        [latents] = self.coder.decode([tile.payload], self.shape(box))
        if latents.checksum() != tile.content_crc:
            raise Corrupt(
                "the decoded latents do not match their checksum: the file was damaged, or this machine computes "
                "wrongly (please report it); nothing was written"
            )
        return latents

    def first_stages(self, tile: Tile, box: Box, stages: int | None) -> tuple[Latents, int]:
        """Latents of the first ``stages`` stages (None: all that arrived), the others predicted; how many there were.

        See :meth:`~tadan.latents.coder.LatentCoder.decode_prefix`.
        """
        return self.coder.decode_prefix(tile.payload, self.shape(box), stages)

    def symbols(self, tile: Tile, box: Box) -> list[CodedStep]:
        """What a tile codes, step after step; see :meth:`~tadan.latents.coder.LatentCoder.symbols_of`."""
        return self.coder.symbols_of(tile.payload, self.shape(box))

    def stage_count(self, box: Box) -> int:
        """Stages of y in a tile; small tiles may lack some of the schedule's."""
        return len(self.coder.schedule.plan(*self.shape(box), self.model.config.radius))


def tiles_for(header: Header, model: Model | None, region: Box) -> set[int]:
    """Numbers of the tiles that the pixels of a region depend on; ``model`` is None for stored pictures."""
    margin = 0 if model is None else model.config.reach * Y_STRIDE
    near = window(region, margin, header.width, header.height).outer
    return {number for number, box in enumerate(header.tile_boxes()) if overlap(box, near)}


def shown(
    header: Header,
    transforms: Transforms,
    region: Box,
    order: Sequence[Sequence[int]],
    latents: Iterable[Mapping[int, NDArray[np.int32] | None]],
    workers: Workers,
) -> Iterator[tuple[Box, NDArray[np.uint8]]]:
    """Pixels of a region, box by box, as soon as the latents around them are there.

    Args:
        header: of the file.
        transforms: of its model.
        region: in pixels.
        order: numbers of the tiles that it depends on, line by line (:func:`~tadan.codec.tiling.lines`).
        latents: for each line the y_hat of its tiles, int32 (h, w, latent), Q6; None for one that is lost.
        workers: threads to show a line with.

    Yields:
        box of pixels, and uint8 (height, width, 3).
    """
    boxes = list(header.tile_boxes())
    plane = _Latents(header, transforms, boxes)

    def pieces_of(number: int) -> list[tuple[Box, NDArray[np.uint8]]]:
        part = overlap(boxes[number], region)
        if part is None or plane.held[number] is None:  # of lost tiles nothing is shown
            return []
        return [(piece, plane.pixels(piece, number)) for piece in pieces(part, PIECE)]

    ahead, arriving = plane.neighbours, iter(latents)
    for at in range(len(order) + ahead):
        plane.held.update(next(arriving) if at < len(order) else {})
        if at >= ahead:
            each = workers.in_turn if transforms.in_core else workers.map
            for ready in each(pieces_of, order[at - ahead]):
                yield from ready
        for number in order[at - 2 * ahead] if at >= 2 * ahead else []:
            del plane.held[number]


class _Latents:
    """Latents of the tiles at hand, and pixels from them."""

    def __init__(self, header: Header, transforms: Transforms, boxes: list[Box]) -> None:
        self._header, self._transforms, self._boxes = header, transforms, boxes
        self._reach = transforms.model.config.reach
        #: Tiles in each direction that the pixels of one depend on: 1, but for small tiles of a model of far reach.
        self.neighbours = -(-self._reach * Y_STRIDE // header.tile_size) if header.tile_size else 1
        _, _, self._width, self._height = on_latents((0, 0, header.width, header.height))
        self.held: dict[int, NDArray[np.int32] | None] = {}

    def pixels(self, part: Box, number: int) -> NDArray[np.uint8]:
        """uint8 (height, width, 3) of a box inside tile ``number``, whose neighbours are held, too."""
        near = window(on_latents(part), self._reach, self._width, self._height)
        x, y, w, h = near.outer
        around = self._around(number)
        if len(around) == 1 and (own := around[number]) is not None and own.shape[:2] == (h, w):
            y_hat = own
        else:
            y_hat = self._continued(around[number], on_latents(self._boxes[number]), near.outer)
            for neighbour, latents in around.items():
                self._copy(latents, on_latents(self._boxes[neighbour]), y_hat, near.outer)
        shown = self._transforms.synthesise(y_hat, self._header.quality, near.inner)
        top, left = part[1] - Y_STRIDE * (y + near.inner[1]), part[0] - Y_STRIDE * (x + near.inner[0])
        return shown[top : top + part[3], left : left + part[2]]

    def _around(self, number: int) -> Mapping[int, NDArray[np.int32] | None]:
        rows, cols = self._header.tile_grid
        row, col = divmod(number, cols)
        near = [
            r * cols + c
            for r in range(max(0, row - self.neighbours), min(rows, row + self.neighbours + 1))
            for c in range(max(0, col - self.neighbours), min(cols, col + self.neighbours + 1))
        ]
        return {other: self.held[other] for other in near if other in self.held}

    def _continued(self, own: NDArray[np.int32] | None, box: Box, outer: Box) -> NDArray[np.int32]:
        """Latents of ``outer`` as they are where every neighbour is lost: those of the tile, continued by its last."""
        x, y, w, h = outer
        if own is None:
            return np.zeros((h, w, self._transforms.model.config.latent), np.int32)
        rows = np.clip(np.arange(y, y + h) - box[1], 0, box[3] - 1)
        cols = np.clip(np.arange(x, x + w) - box[0], 0, box[2] - 1)
        return own[rows[:, None], cols]

    @staticmethod
    def _copy(latents: NDArray[np.int32] | None, box: Box, target: NDArray[np.int32], outer: Box) -> None:
        common = overlap(box, outer)
        if latents is None or common is None:
            return
        x, y, w, h = common
        rows, cols = y - box[1], x - box[0]
        to_rows, to_cols = y - outer[1], x - outer[0]
        target[to_rows : to_rows + h, to_cols : to_cols + w] = latents[rows : rows + h, cols : cols + w]
