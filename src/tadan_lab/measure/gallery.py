"""Pictures side by side at matched file size: what the curves mean for the eye."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, features

from tadan.pictures.folder import open_rgb
from tadan_lab.measure.crops import detailed_box, match_size
from tadan_lab.measure.curve import Curve, Measurement, curve_points, run_trial
from tadan_lab.measure.rivals import PictureCodec
from tadan_lab.measure.yardsticks import BASIC, Metric

TARGET_BPP = 0.25  # where photographs on the web live, and where codecs still differ to the eye
CROP = 384, 256  # pixels shown one to one, if there are not too many
OVERVIEW = 300  # pixels of the longer side
_EMBEDDED_BYTES = 13e6  # for all crops of a report
_BYTES_PER_PIXEL = 4.0  # of lossless noise in base64; detailed photographs take half of it


@dataclass(frozen=True)
class Panel:
    """One codec on one picture: what was measured on the whole picture, and the crop as a lossless data URI.

    ``size`` is that of the file in bytes, ``values`` are by key of the metric. The original, as it lies on the disk,
    has no figures.
    """

    label: str
    size: int
    crop: str
    quality: int | None = None
    bpp: float | None = None
    values: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Exhibit:
    """One picture: panels of the original, ours, and the rivals at about our size; ``box`` is the crop in pixels."""

    name: str
    width: int
    height: int
    box: tuple[int, int, int, int]
    overview: str
    panels: list[Panel]


def choose_pictures(paths: Sequence[Path], count: int) -> list[Path]:
    """Return ``count`` of the pictures, or all if there are fewer, evenly spread over the folder."""
    if count >= len(paths):
        return list(paths)
    return [paths[(2 * index + 1) * len(paths) // (2 * count)] for index in range(count)]


def middle_quality(curve: Curve) -> int:
    """Return the measured quality whose mean rate is nearest to TARGET_BPP (by ratio)."""
    points = [point for point in curve_points(curve) if isinstance(point.quality, int)]
    nearest = min(points, key=lambda point: abs(math.log(max(point.bpp, 1e-6) / TARGET_BPP)))
    return int(nearest.quality or 0)


def build_gallery(
    ours: PictureCodec,
    rivals: Sequence[PictureCodec],
    paths: Sequence[Path],
    quality: int,
    *,
    metrics: Sequence[Metric] = BASIC,
    on_step: Callable[[], None] = lambda: None,
) -> list[Exhibit]:
    """Code each picture with ``ours`` at ``quality`` and with each rival at the quality nearest in bytes.

    Crops shrink when there are so many that a report would pass about 15 MB. ``on_step`` is called after each codec on
    each picture. Errors of the codecs.
    """
    count = max(1, len(paths) * (2 + len(rivals)))
    scale = min(1.0, math.sqrt(_EMBEDDED_BYTES / (count * CROP[0] * CROP[1] * _BYTES_PER_PIXEL)))
    width, height = max(64, int(CROP[0] * scale)), max(64, int(CROP[1] * scale))
    exhibits = []
    for path in paths:
        image = open_rgb(path)
        box = detailed_box(image, width, height)
        panels = [Panel("original", path.stat().st_size, data_uri(image.crop(box)))]
        target = 0
        for codec in (ours, *rivals):
            trial = run_trial(codec, image, match_size(codec, image, target).quality if target else quality, metrics)
            target = target or len(trial.data)
            panels.append(_panel(codec.name, trial, box))
            on_step()
        exhibits.append(Exhibit(path.name, image.width, image.height, box, _overview(image, box), panels))
    return exhibits


def data_uri(image: Image.Image, quality: int | None = None) -> str:
    """Return ``image`` as a data URI: WebP, lossless without ``quality``; PNG where Pillow lacks WebP."""
    buffer = io.BytesIO()
    kind = "webp" if features.check("webp") else "png"
    if kind == "webp":
        image.save(buffer, format="WEBP", lossless=quality is None, quality=80 if quality is None else quality)
    else:
        image.save(buffer, format="PNG")
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _panel(name: str, trial: Measurement, box: tuple[int, int, int, int]) -> Panel:
    crop = data_uri(trial.decoded.crop(box))
    return Panel(name, len(trial.data), crop, trial.quality, trial.bpp, trial.values)


def _overview(image: Image.Image, box: tuple[int, int, int, int]) -> str:
    """The whole picture, small, with the place of the crop drawn in."""
    ratio = min(1.0, OVERVIEW / max(image.size))
    small = image.resize((max(1, round(image.width * ratio)), max(1, round(image.height * ratio))))
    draw = ImageDraw.Draw(small)
    left, top, right, bottom = (round(edge * ratio) for edge in box)
    right, bottom = max(right - 1, left), max(bottom - 1, top)
    draw.rectangle((left, top, right, bottom), outline="black", width=3)
    draw.rectangle((left, top, right, bottom), outline="white", width=1)
    return data_uri(small, quality=90)
