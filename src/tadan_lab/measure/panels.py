"""Drawing the same crop of several pictures side by side, labelled."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CROP = 160  # pixels of the picture shown in each panel
ZOOM = 2
_MARGIN = 8
_LABEL = 44  # height of the two lines of text under a panel
_FONT_SIZE = 15


def side_by_side(panels: Sequence[tuple[str, str, Image.Image]]) -> Image.Image:
    """Return one row of panels: (first line, second line, RGB picture), all pictures of one size.

    Every panel shows the same square of at most 160 pixels, magnified twice without smoothing: where the first picture
    has the most detail.
    """
    box = detailed_box(panels[0][2])
    width, height = (box[2] - box[0]) * ZOOM, (box[3] - box[1]) * ZOOM
    column = max(width, 200)
    sheet = Image.new("RGB", (_MARGIN + len(panels) * (column + _MARGIN), height + 2 * _MARGIN + _LABEL), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_SIZE)
    for index, (first, second, picture) in enumerate(panels):
        left = _MARGIN + index * (column + _MARGIN)
        crop = picture.convert("RGB").crop(box).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(crop, (left, _MARGIN))
        draw.text((left, _MARGIN + height + 4), first, fill="black", font=font)
        draw.text((left, _MARGIN + height + 4 + _LABEL // 2), second, fill="black", font=font)
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
