"""The real codec under the schedules of a study: bytes, PSNR and decode times of the model as it is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from tadan.codec.codec import Codec
from tadan.pictures.folder import open_rgb
from tadan_lab.measure.bench import measure_speed
from tadan_lab.measure.metrics import psnr

LISTED = ("hyper", "checkerboard", "2x2", "3x3", "4x4", "wavefront")
TIMED = (*LISTED, "raster")
STAGES = (2, 3, 4, 8, 16)  # of the best 4x4 schedules that are compared with the listed ones in bytes
TIMED_QUALITY = 50


def found_patterns(orders: Mapping[str, Any], stages: Sequence[int]) -> dict[str, str]:
    """Inline patterns of the best 4x4 schedules by name, ``best-K``."""
    return {f"best-{count}": orders["4x4"]["schedules"][f"best-{count}"]["pattern"] for count in stages}


def coded_rates(
    model: str | None, pictures: Sequence[Path], qualities: Sequence[int], schedules: Mapping[str, str]
) -> dict[str, Any]:
    """Whole files under each schedule: mean bits per pixel and RGB PSNR (dB) over the pictures, by quality.

    Args:
        model: name or path; None for the bundled one.
        pictures: evaluation pictures.
        qualities: 1..100 each.
        schedules: what ``tadan encode --schedule`` takes, by the name to report.
    """
    codec = Codec(model)
    out: dict[str, Any] = {name: {"schedule": text, "bpp": [], "psnr": []} for name, text in schedules.items()}
    images = [open_rgb(path) for path in pictures]
    for quality in qualities:
        for name, text in schedules.items():
            files = [codec.encode(image, quality=quality, schedule=text) for image in images]
            rates = [8 * len(data) / (image.width * image.height) for data, image in zip(files, images, strict=True)]
            shown = [
                psnr(np.asarray(image), np.asarray(codec.decode(data)))
                for data, image in zip(files, images, strict=True)
            ]
            out[name]["bpp"].append(round(fmean(rates), 6))
            out[name]["psnr"].append(round(fmean(shown), 4))
    return {"qualities": list(qualities), "schedules": out}


def timed(model: str | None, picture: Path, frontier: Sequence[str], repeat: int) -> dict[str, Any]:
    """Decode times of the listed schedules and of patterns, in turn in one process; medians of ``repeat`` rounds."""
    image = open_rgb(picture)
    rows = measure_speed(image, [*TIMED, *frontier], TIMED_QUALITY, repeat, None, model)
    facts = {"picture": picture.name, "width": image.width, "height": image.height, "quality": TIMED_QUALITY}
    return {**facts, "repeat": repeat, "rows": [row.to_dict() for row in rows]}
