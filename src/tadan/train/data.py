"""Training pictures in memory, random crops of them, and the schedules that a batch is trained under."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from tadan.errors import InvalidInput
from tadan.schedule import PatternSchedule, Schedule, get_schedule

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}

#: Share of the batches trained under each schedule; the rest (to 1) are random patterns of 2x2 to 4x4 positions.
MIXTURE = {
    "checkerboard": 0.14,
    "4x4-opt-4": 0.20,
    "4x4-opt-8": 0.12,
    "2x2": 0.10,
    "4x4": 0.08,
    "raster": 0.09,
    "hyper": 0.05,
    "2x2-rotated": 0.05,
}


def load_pictures(folder: Path, minimum: int) -> list[NDArray[np.uint8]]:
    """All pictures below ``folder`` of at least ``minimum`` pixels a side, uint8 (H, W, 3), in order of their paths.

    Raises:
        InvalidInput: there is none.
    """
    pictures = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise InvalidInput(f"cannot read training picture {path}: {error}; remove it and start again") from error
        if min(pixels.shape[:2]) >= minimum:
            pictures.append(pixels)
    if not pictures:
        raise InvalidInput(f"no pictures of at least {minimum} pixels a side below {folder}")
    return pictures


def crops(pictures: list[NDArray[np.uint8]], batch: int, size: int, rng: np.random.Generator) -> Tensor:
    """Random crops, each flipped and transposed at random: float32 (batch, size, size, 3) in 0..1."""
    out = np.empty((batch, size, size, 3), np.uint8)
    for index in range(batch):
        picture = pictures[rng.integers(len(pictures))]
        row = rng.integers(picture.shape[0] - size + 1)
        col = rng.integers(picture.shape[1] - size + 1)
        crop = picture[row : row + size, col : col + size]
        if rng.integers(2):
            crop = crop[:, ::-1]
        if rng.integers(2):
            crop = crop.transpose(1, 0, 2)
        out[index] = crop
    return torch.from_numpy(out).float() / 255


def draw_schedule(rng: np.random.Generator) -> Schedule:
    """A schedule of :data:`MIXTURE`, or a random pattern in which several positions may share a stage."""
    names = list(MIXTURE)
    chances = np.array([*MIXTURE.values(), 1 - sum(MIXTURE.values())])
    choice = rng.choice(len(chances), p=chances / chances.sum())
    if choice < len(names):
        return get_schedule(names[choice])
    size = int(rng.integers(2, 5))
    stages = int(rng.integers(2, size * size + 1))
    pattern = np.concatenate([np.arange(stages), rng.integers(stages, size=size * size - stages)])
    return PatternSchedule(rng.permutation(pattern).reshape(size, size))
