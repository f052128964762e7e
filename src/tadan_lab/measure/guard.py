"""The limits beyond which the encoder compares with other formats (:mod:`tadan.codec.fallback`), from photographs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tadan.bitstream import read_stream
from tadan.codec.codec import Codec
from tadan.codec.fallback import guard_limits, lossless_estimate
from tadan.latents.coder import Y_STRIDE
from tadan.models.config import quality_lambda
from tadan.pictures.folder import open_rgb

QUALITIES = (1, 5, 20, 40, 60, 80, 100)
SIDE = 512  # pixels of a crop
UNUSUAL = 0.01  # share of photographs that may take more bits than the limit
MARGIN = 0.8  # of the least lossless file that any photograph promises


@dataclass(frozen=True)
class GuardRow:
    """What photographs take at one quality, and where the limits of the encoder stand.

    Attributes:
        channels: 1 (grey) or 3.
        quality: 1..100.
        lambda_: weight of the quality.
        most_bpp: bits per pixel of whole blocks that all but :data:`UNUSUAL` of the crops stay within.
        least_lossless: :data:`MARGIN` of the least estimated bytes of a PNG per byte of the stream.
        limit_bpp: the encoder's, like ``most_bpp``.
        limit_lossless: the encoder's, like ``least_lossless``.
        flagged: crops beyond either limit of the encoder.
    """

    channels: int
    quality: int
    lambda_: float
    most_bpp: float
    least_lossless: float
    limit_bpp: float
    limit_lossless: float
    flagged: int


def measure_guard(
    paths: Sequence[Path],
    model: str | None,
    threads: int | None,
    on_encode: Callable[[], None] = lambda: None,
) -> list[GuardRow]:
    """Encode the middle of every picture, in colour and grey, at effort 0 and :data:`QUALITIES`.

    ``on_encode`` is called after each of ``2 * len(QUALITIES) * len(paths)`` encodes. Errors of the codec.
    """
    codec = Codec(model, threads=threads)
    taken: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for path in paths:
        colour = _middle(open_rgb(path))
        for picture in (colour, colour.convert("L")):
            pixels = np.asarray(picture)
            blocks = -(-picture.height // Y_STRIDE) * -(-picture.width // Y_STRIDE)
            estimate = lossless_estimate(pixels)
            for quality in QUALITIES:
                with warnings.catch_warnings():  # that another format is better; here it is what is measured
                    warnings.simplefilter("ignore", UserWarning)
                    stream = read_stream(codec.encode(picture, quality=quality, effort=0, fallback=False))
                size = sum(len(tile.payload) for tile in stream.tiles)
                key = (1 if pixels.ndim == 2 else 3, quality)
                taken.setdefault(key, []).append((8 * size / (Y_STRIDE**2 * blocks), estimate / size))
                on_encode()
    config = codec.model.config
    return [
        _row(channels, quality, quality_lambda(config, quality), found)
        for (channels, quality), found in sorted(taken.items())
    ]


def _middle(picture: Image.Image) -> Image.Image:
    width, height = (min(SIDE, side) for side in picture.size)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _row(channels: int, quality: int, weight: float, found: Sequence[tuple[float, float]]) -> GuardRow:
    rates, ratios = np.array(found).T
    limit_bpp, limit_lossless = guard_limits(2 if channels == 1 else 3, weight)
    return GuardRow(
        channels,
        quality,
        round(weight, 5),
        round(float(np.sort(rates)[-1 - int(UNUSUAL * len(rates))]), 3),
        round(MARGIN * float(ratios.min()), 2),
        round(limit_bpp, 3),
        round(limit_lossless, 2),
        int(((rates > limit_bpp) | (ratios < limit_lossless)).sum()),
    )


def guard_document(rows: Sequence[GuardRow], pictures: int, model_id: str) -> dict[str, Any]:
    """What `tadan lab guard --out` writes."""
    return {"model": model_id, "pictures": pictures, "side": SIDE, "effort": 0, "rows": [asdict(row) for row in rows]}
