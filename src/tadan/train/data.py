"""Training pictures in memory, on the host or on the GPU, and random crops of them.

All pixels stand in one flat tensor, so that a batch is one indexing operation on whatever device holds them, whether or
not the pictures have one size::

    flat    uint8 (pixels of all pictures, 3)
    picture p, row r, column c  ->  flat[offset[p] + r * width[p] + c]

Other scales and exposures of a crop make few photographs more. Both follow from a random generator alone, so that a run
that goes on sees what it would have seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from tadan.errors import InvalidInput

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
HELD_OUT = 24  # pictures at the end of a long list that are never trained on
MEMORY = 8_000_000_000  # bytes of decoded pictures
GPU_SHARE = 0.5  # of its free memory that pictures may take; training needs the rest

Note = Callable[[str], None]


def silent(note: str) -> None:
    """Default of every ``note`` argument."""


@dataclass(frozen=True)
class Draw:
    """Which crops a batch consists of, each array (B,): position, then flip in the row, then transpose."""

    size: int
    picture: NDArray[np.int64]
    row: NDArray[np.int64]
    col: NDArray[np.int64]
    flipped: NDArray[np.bool_]
    transposed: NDArray[np.bool_]

    def part(self, index: int, count: int) -> Draw:
        """The ``index``-th run of ``count`` crops: what one of several processes takes."""
        cut = slice(index * count, (index + 1) * count)
        names = ("picture", "row", "col", "flipped", "transposed")
        return replace(self, **{name: getattr(self, name)[cut] for name in names})


def draw_crops(shapes: Sequence[tuple[int, int]], batch: int, size: int, rng: np.random.Generator) -> Draw:
    """Random crops of pictures with the given heights and widths, each at least ``size``."""
    rows = np.empty((batch, 5), np.int64)
    for index in range(batch):
        number = int(rng.integers(len(shapes)))
        height, width = shapes[number]
        place = rng.integers(height - size + 1), rng.integers(width - size + 1)
        rows[index] = number, *place, rng.integers(2), rng.integers(2)
    picture, row, col, flipped, transposed = rows.T
    return Draw(size, picture, row, col, flipped.astype(bool), transposed.astype(bool))


def crops(pictures: Sequence[NDArray[np.uint8]], batch: int, size: int, rng: np.random.Generator) -> Tensor:
    """Random crops, each flipped and transposed at random: float32 (batch, size, size, 3) in 0..1.

    The plain way to cut a :class:`Draw`; :meth:`Pictures.cut` gives the same pixels on any device.
    """
    draw = draw_crops([picture.shape[:2] for picture in pictures], batch, size, rng)
    out = np.empty((batch, size, size, 3), np.uint8)
    for index in range(batch):
        row, col = draw.row[index], draw.col[index]
        crop = pictures[draw.picture[index]][row : row + size, col : col + size]
        if draw.flipped[index]:
            crop = crop[:, ::-1]
        if draw.transposed[index]:
            crop = crop.transpose(1, 0, 2)
        out[index] = crop
    return torch.from_numpy(out).float() / 255


@dataclass(frozen=True)
class Pictures:
    """Pictures in one flat tensor.

    Attributes:
        flat: uint8 (N, 3), pixels of all pictures row by row.
        shapes: height and width of each.
        offsets: int64, index of the first pixel of each.
    """

    flat: Tensor
    shapes: list[tuple[int, int]]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.shapes)

    def arrays(self) -> list[NDArray[np.uint8]]:
        """Views uint8 (H, W, 3) of pictures on the host."""
        pixels = self.flat.numpy()
        pairs = zip(self.shapes, self.offsets.tolist(), strict=True)
        return [pixels[first : first + h * w].reshape(h, w, 3) for (h, w), first in pairs]

    def split(self, last: int) -> tuple[Pictures, Pictures]:
        """All but the ``last`` pictures, and these; both share the pixels."""
        cut = len(self) - last
        first = replace(self, shapes=self.shapes[:cut], offsets=self.offsets[:cut])
        return first, replace(self, shapes=self.shapes[cut:], offsets=self.offsets[cut:])

    def to(self, device: torch.device, note: Note = silent) -> Pictures:
        """Pictures in the memory of ``device``; where they stand, with a note, if it has too little."""
        room = GPU_SHARE * free_memory(device)
        if self.flat.nbytes > room:
            note(
                f"{self.flat.nbytes / 1e9:.1f} GB of pictures stay in host memory: {device} has {room / 1e9:.1f} GB "
                "for them; batches are cut on the CPU"
            )
            return self
        return replace(self, flat=self.flat.to(device))

    def cut(self, draw: Draw, device: torch.device) -> Tensor:
        """Crops of a draw, cut where the pictures are: float32 (B, size, size, 3) in 0..1 on ``device``."""
        home, size = self.flat.device, draw.size
        widths = np.array([width for _, width in self.shapes], np.int64)[draw.picture]
        corners = self.offsets[draw.picture] + draw.row * widths + draw.col
        plan = torch.from_numpy(np.stack([corners, widths, draw.flipped, draw.transposed])).to(home)
        corner, width, flipped, transposed = plan[:, :, None, None]
        line = torch.arange(size, device=home)
        i, j = line[:, None], line[None, :]
        down, across = torch.where(transposed > 0, j, i), torch.where(transposed > 0, i, j)
        across = torch.where(flipped > 0, size - 1 - across, across)
        pixels = self.flat[corner + down * width + across]
        if home.type == "cpu" and device.type == "cuda":
            pixels = pixels.pin_memory()
        return pixels.to(device, non_blocking=True).float() / 255


def free_memory(device: torch.device) -> float:
    """Bytes of a GPU that nothing uses; the host's are bounded when pictures are loaded."""
    return float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else np.inf


def held_out_count(pictures: int) -> int:
    """How many pictures at the end of a list are never trained on: a tenth, one at least, :data:`HELD_OUT` at most."""
    return max(1, min(HELD_OUT, pictures // 10))


def load(folder: Path, minimum: int, memory: float = MEMORY, note: Note = silent) -> Pictures:
    """Decode all pictures below ``folder`` in the order of their paths.

    Args:
        folder: searched recursively for :data:`SUFFIXES`.
        minimum: pixels a side; smaller pictures are dropped with a note.
        memory: bytes of decoded pixels; pictures beyond are left out with a note.
        note: told what was left out.

    Raises:
        InvalidInput: a picture cannot be read, or none can be used.
    """
    paths: list[Path] = []
    shapes: list[tuple[int, int]] = []
    small = total = 0
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    for number, path in enumerate(found):
        height, width = _shape(path)
        if min(height, width) < minimum:
            small += 1
            continue
        if total + 3 * height * width > memory:
            note(
                f"{len(paths)} pictures fill the memory limit of {memory / 1e9:g} GB; {len(found) - number} more below "
                f"{folder} are left out (--set memory_gb=N takes more)"
            )
            break
        paths.append(path)
        shapes.append((height, width))
        total += 3 * height * width
    if small:
        note(f"{small} pictures below {folder} are smaller than the crops of {minimum} pixels and are left out")
    if not paths:
        raise InvalidInput(f"no pictures of at least {minimum} pixels a side below {folder}; add some larger ones")
    ends = np.cumsum([height * width for height, width in shapes])
    flat = torch.empty((int(ends[-1]), 3), dtype=torch.uint8)
    pictures = Pictures(flat, shapes, np.concatenate([[0], ends[:-1]]).astype(np.int64))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # Pillow decodes without the interpreter lock
        for _ in pool.map(_decode, paths, pictures.arrays()):
            pass
    return pictures


def load_pictures(folder: Path, minimum: int) -> list[NDArray[np.uint8]]:
    """All pictures below ``folder`` of at least ``minimum`` pixels a side, uint8 (H, W, 3), in order of their paths.

    Raises:
        InvalidInput: there is none, or one cannot be read.
    """
    return load(folder, minimum).arrays()


def _shape(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _decode(path: Path, out: NDArray[np.uint8]) -> None:
    try:
        with Image.open(path) as image:
            out[:] = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InvalidInput:
    return InvalidInput(f"cannot read training picture {path}: {error}; remove it and start again")


LARGEST_FACTOR = 2.0  # crops are cut at most this much larger than they end up
EXPOSURE_STOPS = 1.0  # darker by at most one stop, brighter by at most half of one
GAMMA = 2.2  # sRGB, roughly


def draw_factor(size: int, smallest: int, share: float, rng: np.random.Generator) -> int:
    """Pixels a side that the crops of a batch are cut at, before they are shrunk to ``size``.

    Args:
        size: pixels a side in the end.
        smallest: shorter side of the smallest picture; the result never exceeds it.
        share: of the batches that are shrunk, 0..1.
        rng: always asked for two numbers, so that what follows does not depend on ``share``.
    """
    chance, position = rng.random(2)
    if chance >= share:
        return size
    largest = min(LARGEST_FACTOR, smallest / size)
    return int(size * largest**position)


def shrink(pictures: Tensor, size: int) -> Tensor:
    """(B, H, W, 3) in 0..1 -> (B, size, size, 3), area-weighted as photographs are made smaller."""
    if pictures.shape[1] == size:
        return pictures
    planes = pictures.permute(0, 3, 1, 2)
    small = F.interpolate(planes, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return small.permute(0, 2, 3, 1).contiguous()


def draw_gains(count: int, share: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Factors of sRGB values, float32 (count,): a ``share`` of them as of another exposure, the rest 1."""
    stops = rng.uniform(-EXPOSURE_STOPS, EXPOSURE_STOPS / 2, count)
    chosen = rng.random(count) < share
    return np.where(chosen, 2.0 ** (stops / GAMMA), 1.0).astype(np.float32)


def expose(pictures: Tensor, gains: NDArray[np.float32]) -> Tensor:
    """Pictures (B, H, W, 3) in 0..1 times their gains (B,), clipped at 1 as a sensor clips."""
    if (gains == 1).all():
        return pictures
    return (pictures * torch.from_numpy(gains).to(pictures)[:, None, None, None]).clamp_max(1.0)
