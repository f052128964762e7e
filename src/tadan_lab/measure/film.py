"""Frames of a decoding as pictures: photograph left, map of its latents right, captions below; and as one file."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tadan.errors import InvalidInput
from tadan.latents.coder import Y_STRIDE
from tadan.schedule.text import stage_colour
from tadan_lab.measure.animate import Frame

BACKGROUND = (18, 20, 24)
INK = (235, 235, 235)
WAITING = (44, 46, 52)  # a latent that is not decoded yet
SECONDS = 0.35  # per frame
LAST_SECONDS = 2.5
FONT_SIZE = 15
_MARGIN = 10
_CAPTION = 24  # height of the line of text below the panels
_COLOURS = 256  # of a GIF

#: Pillow's name and options of each kind of animation.
FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    ".gif": ("GIF", {"optimize": True}),
    ".png": ("PNG", {"optimize": True}),
    ".webp": ("WEBP", {"quality": 85, "method": 4}),
}


def film_format(path: Path) -> str:
    """Suffix that chooses the format, a key of FORMATS; InvalidInput if ``path`` has another."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise InvalidInput(f"no animation is written as {suffix or path.name!r}; use {', '.join(FORMATS)}")
    return suffix


def latent_map(frame: Frame, cell: int) -> Image.Image:
    """Draw the latent plane as squares of ``cell`` pixels: RGB, (w * cell, h * cell).

    A decoded latent has the colour of its stage, a waiting one is dark grey. The channel groups of a position share
    its square: in rows of up to ceil(sqrt(groups)).
    """
    groups, height, width = frame.stage_map.shape
    image = Image.new("RGB", (width * cell, height * cell), BACKGROUND)
    draw = ImageDraw.Draw(image)
    across = math.ceil(math.sqrt(groups))
    down = -(-groups // across)
    gap = 1 if cell >= 4 * across else 0
    colours = [stage_colour(stage, frame.stages) for stage in range(frame.stages)]
    decoded = frame.decoded
    for group, row, col in np.ndindex(groups, height, width):
        part_row, part_col = divmod(group, across)
        left, right = (col * cell + cell * part // across for part in (part_col, part_col + 1))
        top, bottom = (row * cell + cell * part // down for part in (part_row, part_row + 1))
        colour = colours[frame.stage_map[group, row, col]] if decoded[group, row, col] else WAITING
        draw.rectangle((left, top, max(right - 1 - gap, left), max(bottom - 1 - gap, top)), fill=colour)
    return image


def draw_frames(frames: Sequence[Frame], name: str) -> list[Image.Image]:
    """Return one RGB picture a frame, all of one size; ``name`` is that of the schedule.

    The map has the scale of the photograph, so that every square stands where its pixels do.
    """
    font = ImageFont.load_default(FONT_SIZE)
    captions = [_captions(frame, name) for frame in frames]
    height, width = frames[0].picture.shape[:2]
    longest = max(font.getlength(caption) for pair in captions for caption in pair)
    column = max(width, math.ceil(longest)) + _MARGIN
    baseline = 2 * _MARGIN + height + FONT_SIZE - 4
    images = []
    for frame, pair in zip(frames, captions, strict=True):
        image = Image.new("RGB", (_MARGIN + 2 * column, height + 2 * _MARGIN + _CAPTION), BACKGROUND)
        draw = ImageDraw.Draw(image)
        squares = latent_map(frame, Y_STRIDE).crop((0, 0, width, height))  # the plane may reach beyond the picture
        panels = Image.fromarray(frame.picture), squares
        for index, (panel, caption) in enumerate(zip(panels, pair, strict=True)):
            left = _MARGIN + index * column
            image.paste(panel, (left, _MARGIN))
            draw.text((left, baseline), caption, fill=INK, font=font, anchor="ls")
        images.append(image)
    return images


def _captions(frame: Frame, name: str) -> tuple[str, str]:
    share = frame.bytes_read / frame.file_bytes
    return (
        f"PSNR {frame.psnr:.2f} dB, {share:.0%} of {frame.file_bytes:,} bytes",
        f"{name}: stage {frame.stage} of {frame.stages}, {frame.decoded.mean():.0%} of the latents",
    )


def film(images: Sequence[Image.Image], suffix: str) -> bytes:
    """Encode pictures of one size as an endless animation that rests on its last frame.

    Args:
        images: RGB.
        suffix: a key of FORMATS.

    Raises:
        InvalidInput: this Pillow cannot write the format, or not at this size.
    """
    kind, options = FORMATS[suffix]
    frames = _with_shared_palette(images) if suffix == ".gif" else list(images)
    milliseconds = [round(1000 * SECONDS)] * (len(frames) - 1) + [round(1000 * LAST_SECONDS)]
    buffer = io.BytesIO()
    try:
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, **options)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(f"{kind} cannot hold this animation ({error}); choose another extension") from error
    return buffer.getvalue()


def _with_shared_palette(images: Sequence[Image.Image]) -> list[Image.Image]:
    """Mode P with one palette for all, so that what stands still costs nothing."""
    sample = np.concatenate([np.asarray(image) for image in (images[len(images) // 2], images[-1])])
    palette = Image.fromarray(sample).quantize(_COLOURS)
    return [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]


def contact_sheet(images: Sequence[Image.Image]) -> bytes:
    """Put pictures of one size into a grid that is about square, row by row: PNG."""
    width, height = images[0].size
    cols = min(len(images), max(1, round(math.sqrt(len(images) * height / width))))
    sheet = Image.new("RGB", (cols * width, -(-len(images) // cols) * height), BACKGROUND)
    for index, image in enumerate(images):
        sheet.paste(image, (index % cols * width, index // cols * height))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
