"""The same crops of one picture by several codecs at about one file size: what a number cannot show."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tadan.errors import InvalidInput
from tadan_lab.measure.curve import Measurement, run_trial
from tadan_lab.measure.rivals import PictureCodec
from tadan_lab.measure.yardsticks import Metric

CROP = 160  # pixels of the picture shown in each panel
ZOOM = 2
_MARGIN = 8
_PANEL_TEXT = 44  # height of the two lines of text under a panel
_PANEL_FONT = 15
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


@dataclass(frozen=True)
class Place:
    """A square of :data:`CROP` pixels a side to look at: stem of the picture's file name, and its left upper corner."""

    stem: str
    left: int
    top: int

    @classmethod
    def parse(cls, text: str) -> Place:
        """Of ``STEM:X,Y``.

        Raises:
            InvalidInput: it is written otherwise.
        """
        stem, colon, corner = text.rpartition(":")
        numbers = corner.split(",")
        if not (stem and colon and len(numbers) == 2 and all(number.strip().isdecimal() for number in numbers)):
            raise InvalidInput(f"a place is written STEM:X,Y, such as kodim08:600,240, not {text!r}")
        return cls(stem, int(numbers[0]), int(numbers[1]))

    def box(self, image: Image.Image) -> Box:
        """The square in ``image``, moved inside it where it is not.

        Raises:
            InvalidInput: the corner is outside.
        """
        if self.left >= image.width or self.top >= image.height:
            raise InvalidInput(
                f"{self.left},{self.top} is not in {self.stem}, which has {image.width}x{image.height} pixels"
            )
        left, top = (max(0, min(at, full - CROP)) for at, full in ((self.left, image.width), (self.top, image.height)))
        return left, top, min(left + CROP, image.width), min(top + CROP, image.height)


def compare_crops(
    codecs: Sequence[PictureCodec],
    image: Image.Image,
    quality: int,
    metrics: Sequence[Metric],
    place: Place | None = None,
) -> tuple[Image.Image, list[tuple[str, Measurement]]]:
    """Code ``image`` (RGB) with the first codec at ``quality``, with the others at about its file size.

    Returns:
        a sheet, a row for the original and for each codec, a column for each box of :func:`telling_boxes`; of a
        ``place``, one row of it alone; codec names and what was measured of the whole picture.
    """
    trials: list[tuple[str, Measurement]] = []
    for codec in codecs:
        at = match_size(codec, image, len(trials[0][1].data)).quality if trials else quality
        trials.append((codec.name, run_trial(codec, image, at, metrics)))
    if place is not None:
        panels = [("original", f"{image.width}x{image.height}", image)]
        told = metrics[1:] or metrics  # all do not fit below a panel, and PSNR says the least
        for name, trial in trials:
            values = ", ".join(f"{metric.heading} {metric.shown(trial.values[metric.key])}" for metric in told)
            panels.append((f"{name} {trial.quality}: {trial.bpp:.3f} bpp", values.replace("\n", " "), trial.decoded))
        return side_by_side(panels, place.box(image)), trials
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


def side_by_side(panels: Sequence[tuple[str, str, Image.Image]], box: Box | None = None) -> Image.Image:
    """Return one row of panels: (first line, second line, RGB picture), all pictures of one size.

    Every panel shows the same ``box``, magnified twice without smoothing; None: the square of at most 160 pixels where
    the first picture has the most detail.
    """
    box = box or detailed_box(panels[0][2])
    width, height = (box[2] - box[0]) * ZOOM, (box[3] - box[1]) * ZOOM
    column = max(width, 200)
    sheet = Image.new("RGB", (_MARGIN + len(panels) * (column + _MARGIN), height + 2 * _MARGIN + _PANEL_TEXT), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_PANEL_FONT)
    for index, (first, second, picture) in enumerate(panels):
        left = _MARGIN + index * (column + _MARGIN)
        crop = picture.convert("RGB").crop(box).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(crop, (left, _MARGIN))
        draw.text((left, _MARGIN + height + 4), first, fill="black", font=font)
        draw.text((left, _MARGIN + height + 4 + _PANEL_TEXT // 2), second, fill="black", font=font)
    return sheet


def detailed_box(image: Image.Image, side: int = CROP, height: int | None = None) -> tuple[int, int, int, int]:
    """Return (left, top, right, bottom) of the box with the most gradient energy.

    It is ``side`` pixels wide and ``height`` (None: as many) high, or less where the picture is smaller.
    """
    energy = gradient_energy(image)
    height, width = min(height or side, energy.shape[0]), min(side, energy.shape[1])
    sums = np.pad(energy.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    boxes = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(np.argmax(boxes)), boxes.shape)
    return int(left), int(top), int(left) + width, int(top) + height


def gradient_energy(image: Image.Image) -> NDArray[np.float64]:
    """How much the grey value of every pixel differs from its left and upper neighbours, in levels: (H, W)."""
    grey = np.asarray(image.convert("L"), dtype=np.float64)
    energy = np.zeros_like(grey)
    energy[:, 1:] += np.abs(np.diff(grey, axis=1))
    energy[1:, :] += np.abs(np.diff(grey, axis=0))
    return energy


@dataclass(frozen=True)
class Match:
    """A quality and the file that it gives."""

    quality: int
    data: bytes


def match_size(codec: PictureCodec, image: Image.Image, target_bytes: int) -> Match:
    """Return the quality of ``codec`` whose file of ``image`` is nearest to ``target_bytes``, with that file.

    Bisection: about 7 encodings, and exact as long as the size does not fall when the quality rises; where a codec
    breaks that by a few bytes, the nearest file met on the way. InvalidInput if the target is not positive.
    """
    if target_bytes <= 0:
        raise InvalidInput(f"The wanted size must be positive, got {target_bytes} bytes.")
    met: list[Match] = []
    low, high = 0, len(codec.qualities)  # the first quality that reaches the target has an index in [low, high]
    while low < high:
        middle = (low + high) // 2
        match = _encoded(codec, image, codec.qualities[middle])
        met.append(match)
        if len(match.data) < target_bytes:
            low = middle + 1
        else:
            high = middle
    return min(met, key=lambda match: abs(len(match.data) - target_bytes))


def _encoded(codec: PictureCodec, image: Image.Image, quality: int) -> Match:
    return Match(quality, codec.encode(image, quality))
