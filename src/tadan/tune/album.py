"""The user's pictures: a sample that stands for them, and the part of each that is coded again and again."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tadan.errors import UnreadableInput
from tadan.pictures import PILLOW_ERRORS
from tadan.pictures.folder import list_pictures
from tadan.pictures.reading import read_picture

SAMPLE = 12  # pictures
MOST_LOOKED_AT = 2000  # whose sizes are read; of larger folders that many are drawn
LEAST_SIDE = 64  # pixels; icons say nothing about settings
Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class SamplePicture:
    """A picture of the sample.

    Attributes:
        path: of it.
        size: width and height.
        max_pixels: that may be read.
    """

    path: Path
    size: Size
    max_pixels: int

    def part(self, pixels: int, seed: int = 0) -> NDArray[np.uint8]:
        """uint8 (h, w, 3): about so many pixels out of it, in its own shape; all of it if it is not larger.

        The place is drawn once for each picture and seed. Sides are multiples of 16 where something is cut off.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of depths and frames, which the encoder tells of
            rgb = read_picture(self.path, self.max_pixels, strip=True).rgb
        height, width = rgb.shape[:2]
        scale = (pixels / (height * width)) ** 0.5
        if scale >= 1:
            return rgb
        h, w = (max(LEAST_SIDE, min(side, 16 * round(side * scale / 16))) for side in (height, width))
        h, w = min(h, height), min(w, width)
        rng = np.random.default_rng([seed, height, width])
        top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        return rgb[top : top + h, left : left + w].copy()


@dataclass(frozen=True)
class Album:
    """Pictures of a folder.

    Attributes:
        folder: as given.
        count: pictures in it.
        looked_at: those whose sizes were read.
        largest: size of the one with the most pixels.
        sample: drawn evenly over the sizes.
        unread: names of those that could not be opened.
    """

    folder: Path
    count: int
    looked_at: int
    largest: Size
    sample: tuple[SamplePicture, ...]
    unread: tuple[str, ...] = ()


def open_album(folder: str | PathLike[str], count: int = SAMPLE, seed: int = 0, max_pixels: int = 178_956_970) -> Album:
    """Look at the pictures directly inside a folder and draw a sample.

    Args:
        folder: of pictures, or one picture.
        count: pictures of the sample, at most.
        seed: of the draw.
        max_pixels: larger pictures are left out.

    Raises:
        UnreadableInput: there is no picture that can be read.
    """
    paths = list_pictures(folder)
    rng = np.random.default_rng(seed)
    looked = paths
    if len(paths) > MOST_LOOKED_AT:
        looked = [paths[at] for at in sorted(rng.choice(len(paths), MOST_LOOKED_AT, replace=False))]
    known: list[tuple[Path, Size]] = []
    unread = []
    for path in looked:
        try:
            with Image.open(path) as image:
                size = _upright(image)
        except (*PILLOW_ERRORS, Image.DecompressionBombError):
            unread.append(path.name)
            continue
        if min(size) >= LEAST_SIDE and size[0] * size[1] <= max_pixels:
            known.append((path, size))
    if not known:
        raise UnreadableInput(
            f"no picture in {folder} can be read and has {LEAST_SIDE} pixels a side; name another folder"
        )
    known.sort(key=lambda one: (one[1][0] * one[1][1], _shuffled(one[0].name, seed)))
    chosen = [known[at] for at in _spread(len(known), count)]
    order = rng.permutation(len(chosen))
    drawn = (SamplePicture(chosen[at][0], chosen[at][1], max_pixels) for at in order)
    sample = tuple(one for one in drawn if _whole(one.path, unread))
    if not sample:
        raise UnreadableInput(f"the pictures in {folder} are damaged: {', '.join(unread[:3])}; name another folder")
    return Album(Path(folder), len(paths), len(known), known[-1][1], sample, tuple(unread))


def _whole(path: Path, unread: list[str]) -> bool:
    """Whether all pixels can be read; else it is noted."""
    try:
        with Image.open(path) as image:
            image.load()
    except (*PILLOW_ERRORS, Image.DecompressionBombError):
        unread.append(path.name)
        return False
    return True


def _upright(image: Image.Image) -> Size:
    """Width and height as they are coded."""
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return (image.height, image.width) if turned else (image.width, image.height)


def _shuffled(name: str, seed: int) -> bytes:
    """An order without a meaning among pictures of one size, the same each time."""
    return hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogateescape")).digest()


def _spread(total: int, count: int) -> Sequence[int]:
    """``count`` of ``total`` positions, in the middles of equal shares."""
    if total <= count:
        return range(total)
    return [int((2 * at + 1) * total / (2 * count)) for at in range(count)]
