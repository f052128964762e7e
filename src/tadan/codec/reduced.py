"""Large pictures made smaller straight from their latents, without g_s for most of them.

What a cell of 4x4 pixels or more shows on average is nearly linear in the latents of its position: g_s spends its work
on what is finer. So a few parts of the picture are shown in full, a linear map is fitted to the means of their cells,
and all other positions go through that map. It differs from the mean of the full picture by less than the picture from
its original (docs/tiles.md). Entropy decoding is all that is left to do, and every checksum is compared as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tadan.bitstream import Header, Tile
from tadan.codec.decoder import TileDecoder
from tadan.codec.engine import DECODE_BYTES, Engine
from tadan.codec.options import FACTORS
from tadan.codec.tiling import Box, Canvas, lines, overlap
from tadan.codec.transforms import Transforms, scaled_rows
from tadan.latents.coder import Y_STRIDE
from tadan.pictures.reading import unpack_alpha

EXACT_PIXELS = 2**22  # up to here everything is shown in full and averaged
_SAMPLES = 4  # tiles that the map is fitted to, at least
_SIDE = 40  # positions a side of what is shown of each, at most
_SMALLEST = 8  # at least
_POSITIONS = 3200  # to fit to: ten for each latent of a position
_RIDGE = 1e-6  # of the mean square of the latents


def factor_for(width: int, height: int, size: tuple[int | None, int | None], cover: bool = False) -> int:
    """The largest factor that leaves a picture at least as large as it is wanted.

    Args:
        width: of the picture, in pixels.
        height: of the picture.
        size: width and height, None: any.
        cover: whether both are wanted; else the picture is to fit into them, in its shape.
    """
    ratios = [side / most for side, most in zip((width, height), size, strict=True) if most]
    allowed = (min if cover else max)(ratios, default=1.0)
    return max(factor for factor in FACTORS if factor <= max(1.0, allowed))


def outward(region: Box, factor: int, header: Header) -> Box:
    """A region with its borders moved outward to multiples of ``factor``, as far as the picture goes."""
    left, top = (value // factor * factor for value in region[:2])
    right = min(header.width, -(-(region[0] + region[2]) // factor) * factor)
    bottom = min(header.height, -(-(region[1] + region[3]) // factor) * factor)
    return left, top, right - left, bottom - top


def averaged(image: Image.Image, factor: int) -> Image.Image:
    """The means of cells of ``factor`` x ``factor`` pixels, metadata kept."""
    small = image.reduce(factor)
    small.info = image.info
    return small


@dataclass(frozen=True)
class Reduction:
    """A picture, or a region of it, made ``factor`` times smaller.

    Attributes:
        engine: threads and networks.
        decoder: of the latents of the file.
        region: in pixels, as of :func:`outward`.
        factor: one of :data:`FACTORS`.
    """

    engine: Engine
    decoder: TileDecoder
    region: Box
    factor: int

    @cached_property
    def _boxes(self) -> list[Box]:
        return list(self.decoder.header.tile_boxes())

    @cached_property
    def _inside(self) -> list[int]:
        return [number for number, box in enumerate(self._boxes) if overlap(box, self.region)]

    @cached_property
    def _samples(self) -> list[int]:
        """Tiles that the map is fitted to, evenly spread; none if there are too few positions in them."""
        margin = 2 * self.decoder.model.config.reach
        found, positions = [], []
        for number in self._inside:
            sides = [min(side // Y_STRIDE - margin, _SIDE) for side in self._boxes[number][2:]]
            if min(sides) >= _SMALLEST:
                found.append(number)
                positions.append(sides[0] * sides[1])
        if sum(positions) < _POSITIONS:
            return []
        count = min(len(found), max(_SAMPLES, -(-_POSITIONS // min(positions))))
        return [found[place] for place in np.linspace(0, len(found) - 1, count, dtype=int)]

    @property
    def worthwhile(self) -> bool:
        """Whether there is so much to show that the map saves work, in tiles that it can be fitted to."""
        return self.region[2] * self.region[3] > EXACT_PIXELS and bool(self._samples)

    def image(
        self, metadata: Mapping[str, bytes], tiles: Mapping[int, Tile], latents: Callable[[int], NDArray[np.int32]]
    ) -> Image.Image:
        """All of it; the size is that of the region by ``factor``, rounded up. Raises as the decoding of latents.

        Args:
            metadata: of the file.
            tiles: all that the region lies in, by number.
            latents: number of a tile -> its y_hat, int32 (h, w, latent), Q6.
        """
        header, factor, boxes = self.decoder.header, self.factor, self._boxes
        canvas = Canvas(header, _divided(self.region, factor))
        with self.engine.workers([boxes[number] for number in self._inside], DECODE_BYTES).open() as workers:
            transforms = self.engine.transforms(self.decoder.model, workers.inner)
            held = dict(zip(self._samples, workers.map(latents, self._samples), strict=True))
            weights = self._fitted(transforms, list(held.values()))

            def show(number: int) -> None:
                y_hat, box = held.pop(number, None), boxes[number]
                y_hat = latents(number) if y_hat is None else y_hat
                place = _divided(box, factor)
                cells = self._cells(transforms, y_hat, weights)
                canvas.put(place, cells[: place[3], : place[2]])
                alpha = tiles[number].alpha
                if alpha is not None:
                    opacity = Image.fromarray(unpack_alpha(alpha, box[2], box[3])).reduce(factor)
                    canvas.put_opacity(place, np.asarray(opacity))

            for line in lines(header, set(self._inside)):
                workers.map(show, line)
        return canvas.image(metadata)

    def _fitted(self, transforms: Transforms, samples: list[NDArray[np.int32]]) -> NDArray[np.float32]:
        """The map: float32 (latent + 1, 3 n²), from latents and 1 to the n² cells of a position, row by row."""
        rows, shown, reach = [], [], transforms.model.config.reach
        for sample in samples:
            h, w = (min(side - 2 * reach, _SIDE) for side in sample.shape[:2])
            top, left = ((side - part) // 2 for side, part in zip(sample.shape[:2], (h, w), strict=True))
            seen = np.ascontiguousarray(sample[top - reach : top + h + reach, left - reach : left + w + reach])
            picture = transforms.synthesise(seen, self.decoder.header.quality, (reach, reach, w, h))
            n = Y_STRIDE // self.factor
            cells = picture.reshape(h, n, self.factor, w, n, self.factor, 3).mean((2, 5), dtype=np.float32)
            shown.append(cells.transpose(0, 2, 1, 3, 4).reshape(h * w, -1))
            rows.append(self._inputs(transforms, seen[reach : reach + h, reach : reach + w]))
        a, b = (np.concatenate(part).astype(np.float64) for part in (rows, shown))
        square = a.T @ a
        square += np.eye(len(square)) * (_RIDGE * np.trace(square) / len(square))
        return np.linalg.solve(square, a.T @ b).astype(np.float32)

    def _inputs(self, transforms: Transforms, y_hat: NDArray[np.int32]) -> NDArray[np.float32]:
        y = scaled_rows(transforms.model, y_hat, self.decoder.header.quality).reshape(-1, y_hat.shape[2])
        return np.concatenate([y, np.ones((len(y), 1), np.float32)], axis=1)

    def _cells(
        self, transforms: Transforms, y_hat: NDArray[np.int32], weights: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """Cells of a tile, uint8 (n h, n w, 3)."""
        (h, w), n = y_hat.shape[:2], Y_STRIDE // self.factor
        means = (self._inputs(transforms, y_hat) @ weights).reshape(h, w, n, n, 3).transpose(0, 2, 1, 3, 4)
        return np.clip(np.rint(means), 0, 255).astype(np.uint8).reshape(n * h, n * w, 3)


def _divided(box: Box, factor: int) -> Box:
    """A box whose left and top are multiples of ``factor``, in cells; sizes are rounded up."""
    x, y, w, h = box
    return x // factor, y // factor, -(-w // factor), -(-h // factor)
