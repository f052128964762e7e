"""Pictures unlike photographs, drawn here: what a photo codec is given by mistake."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from photo_examples import photo

WIDTH, HEIGHT = 160, 120


def _screenshot():
    image = Image.new("RGB", (WIDTH, HEIGHT), (250, 250, 252))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, WIDTH, 14), fill=(40, 90, 160))
    draw.text((4, 2), "Settings", fill="white")
    for line, y in enumerate(range(18, HEIGHT - 8, 11)):
        draw.text(
            (4, y), f"{line}: brown foxes jump {line * 37}", fill=(170, 30, 30) if line % 4 == 0 else (20, 20, 20)
        )
    return np.asarray(image)


def _line_art():
    image = Image.new("L", (WIDTH, HEIGHT), 255)
    draw = ImageDraw.Draw(image)
    for n in range(0, WIDTH, 9):
        draw.line((n, 0, WIDTH - 2 * n, HEIGHT), fill=0)
        draw.ellipse((n, n // 2, n + 30, n // 2 + 26), outline=0)
    return np.asarray(image)


def _mixed():
    page = _screenshot().copy()
    page[30:110, 60:156] = photo("astronaut")
    return page


@cache
def unusual():
    """Name -> uint8 array, (H, W) or (H, W, 3)."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return {
        "screenshot": _screenshot(),
        "noise": rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8),
        "grey noise": np.clip(rng.normal(128, 40, (HEIGHT, WIDTH)), 0, 255).astype(np.uint8),
        "flat": np.full((HEIGHT, WIDTH, 3), (200, 30, 90), np.uint8),
        "checker": ((x + y) % 2 * 255).astype(np.uint8),
        "stripes": np.repeat((x % 2 * 255).astype(np.uint8)[:, :, None], 3, 2),
        "line art": _line_art(),
        "gradient": np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, (x + y) % 256], -1).astype(np.uint8),
        "mixed": _mixed(),
        "dither": np.where(rng.random((HEIGHT, WIDTH)) < x / WIDTH, 255, 0).astype(np.uint8),
        "1x1": np.full((1, 1, 3), 77, np.uint8),
        "17x3": photo("coffee", 3, 17),
        "3x17 noise": rng.integers(0, 256, (17, 3, 3), np.uint8),
    }
