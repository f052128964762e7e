"""Crops of one picture by several codecs at about one file size, on one sheet: what a number cannot show."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tadan_lab.measure.codecs import PictureCodec
from tadan_lab.measure.curve import Trial, run_trial
from tadan_lab.measure.matching import match_size
from tadan_lab.measure.panels import CROP, ZOOM, gradient_energy
from tadan_lab.measure.yardsticks import Metric

FLAT = 1.0  # mean gradient in levels, below which an area shows nothing of interest
_GAP, _LABEL, _FONT = 6, 22, 15

Box = tuple[int, int, int, int]


def telling_boxes(image: Image.Image, side: int = CROP) -> list[Box]:
    """Three squares that do not overlap if there is room: most detail, middling, and the quietest that is not flat.

    Boxes as Pillow takes them, of at most ``side`` pixels; fewer for a picture that has no room for three.
    """
    energy = gradient_energy(image)
    height, width = (min(side, full) for full in energy.shape)
    rows, cols = energy.shape[0] // height, energy.shape[1] // width
    cells = energy[: rows * height, : cols * width].reshape(rows, height, cols, width).mean((1, 3))
    order = [int(one) for one in np.argsort(cells, axis=None) if cells.flat[one] >= FLAT] or [int(cells.argmax())]
    chosen = dict.fromkeys((order[-1], order[len(order) // 2], order[0]))
    return [
        (c * width, r * height, (c + 1) * width, (r + 1) * height) for r, c in (divmod(one, cols) for one in chosen)
    ]


def compare_crops(
    codecs: Sequence[PictureCodec], image: Image.Image, quality: int, metrics: Sequence[Metric]
) -> tuple[Image.Image, list[tuple[str, Trial]]]:
    """Code ``image`` (RGB) with the first codec at ``quality``, with the others at about its file size.

    Returns:
        a sheet, a row for the original and for each codec, a column for each box of :func:`telling_boxes`; codec names
        and what was measured of the whole picture.
    """
    trials: list[tuple[str, Trial]] = []
    for codec in codecs:
        at = match_size(codec, image, len(trials[0][1].data)).quality if trials else quality
        trials.append((codec.name, run_trial(codec, image, at, metrics)))
    rows = [(f"original, {image.width}x{image.height}", image)]
    for name, trial in trials:
        values = ", ".join(f"{metric.heading} {metric.shown(trial.values[metric.key])}" for metric in metrics)
        rows.append(
            (f"{name}, quality {trial.quality}: {trial.bpp:.3f} bpp, {values}".replace("\n", " "), trial.decoded)
        )
    return _sheet(rows, telling_boxes(image)), trials


def to_webp(sheet: Image.Image) -> bytes:
    """A file that adds nothing visible of its own."""
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=92, method=6)
    return buffer.getvalue()


def _sheet(rows: Sequence[tuple[str, Image.Image]], boxes: Sequence[Box]) -> Image.Image:
    width, height = (ZOOM * (boxes[0][2 + axis] - boxes[0][axis]) for axis in (0, 1))
    step = height + _LABEL + _GAP
    sheet = Image.new("RGB", (_GAP + len(boxes) * (width + _GAP), _GAP + len(rows) * step), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT)
    for row, (label, picture) in enumerate(rows):
        draw.text((_GAP, _GAP + row * step), label, fill="black", font=font)
        for column, box in enumerate(boxes):
            crop = picture.crop(box).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(crop, (_GAP + column * (width + _GAP), _GAP + row * step + _LABEL))
    return sheet
