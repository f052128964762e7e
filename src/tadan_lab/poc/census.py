"""Section pictures: what lies in the folder, how good its JPEG files are, and what the encoder would store as it is."""

from __future__ import annotations

import io
import random
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tadan.cli.files import Source, search
from tadan.errors import TadanError, UnreadableInput
from tadan.pictures import PICTURES, PILLOW_ERRORS
from tadan.pictures.folder import open_rgb
from tadan_lab.poc.figures import spread_of
from tadan_lab.poc.plan import Plan, encode_fields

_EDGES = (0.1, 0.5, 1, 2, 4, 8, 16, 32, 64)  # megapixels, of the histogram
_SHOWN = 50  # unreadable files that are named
SMALLEST = 16  # pixels of the shorter side of a picture that is measured


@dataclass(frozen=True)
class Facts:
    """What the header of a file says.

    Attributes:
        name: path below the folder.
        form: format, in Pillow's words.
        mode: in Pillow's words.
        width: pixels, as ``height``.
        bytes: of the file.
        frames: more than one in animations.
        jpeg_quality: estimated, of a JPEG file.
        jpeg_exact: whether its tables are those of that quality.
    """

    name: str
    form: str
    mode: str
    width: int
    height: int
    bytes: int
    frames: int
    jpeg_quality: int | None
    jpeg_exact: bool


def find_pictures(folder: Path) -> list[Source]:
    """Files of a folder and below it that have the suffix of a picture, by name; hidden ones are left out.

    Raises:
        UnreadableInput: there is none.
    """
    if not folder.is_dir():
        raise UnreadableInput(f"{folder} is no folder; name one that holds your pictures")
    found = list(search(folder, PICTURES))
    if not found:
        raise UnreadableInput(f"the folder {folder} holds no picture ({', '.join(sorted(PICTURES))}); name another")
    return found


def read_facts(source: Source) -> Facts:
    """Read the header of a file.

    Raises:
        UnreadableInput: it is no picture.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(source.path) as image:
                tables = getattr(image, "quantization", None) if image.format == "JPEG" else None
                quality, exact = (None, False) if not tables else jpeg_quality(tables[min(tables)])
                frames = int(getattr(image, "n_frames", 1))
                size, form = image.size, image.format or "unknown"
                facts = str(source.relative), form, image.mode, *size, source.path.stat().st_size
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        raise UnreadableInput(f"cannot open {source.path} as a picture: {error}") from error
    return Facts(*facts, frames, quality, exact)


@cache
def _luma_tables() -> np.ndarray[Any, np.dtype[np.int64]]:
    """Luminance tables that libjpeg writes at qualities 1 to 100, int64 (100, 64), in Pillow's order."""
    rows = []
    for quality in range(1, 101):
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
        with Image.open(file) as image:
            rows.append(image.quantization[0])  # type: ignore[attr-defined]
    return np.array(rows, np.int64)


def jpeg_quality(table: Sequence[int]) -> tuple[int, bool]:
    """Quality from 1 to 100 of libjpeg whose luminance table is nearest, and whether it is the same.

    Other encoders (cameras, Photoshop, mozjpeg) have tables of their own: the nearest one is by the mean absolute
    difference of the logarithms of the steps.

    Args:
        table: 64 steps, in Pillow's order.
    """
    steps = np.asarray(table, np.int64)
    known = _luma_tables()
    same = np.flatnonzero((known == steps).all(axis=1))
    if len(same):
        return int(same[-1]) + 1, True
    distance = np.abs(np.log(known) - np.log(np.maximum(steps, 1))).mean(axis=1)
    return int(distance.argmin()) + 1, False


def choose(facts: Sequence[Facts], count: int, seed: int) -> list[Facts]:
    """``count`` pictures at random, the same for a seed, in the order of their names; tiny ones are left out."""
    able = [one for one in facts if min(one.width, one.height) >= SMALLEST]
    if count >= len(able):
        return able
    picked = set(random.Random(seed).sample(range(len(able)), count))
    return [one for place, one in enumerate(able) if place in picked]


def cut(path: Path, megapixels: float) -> Image.Image:
    """The picture as RGB; of a larger one the middle of about so many megapixels, at its own scale.

    Raises:
        UnreadableInput: it cannot be opened.
    """
    image = open_rgb(path)
    side = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
    if side >= 1:
        return image
    width, height = max(1, int(image.width * side)), max(1, int(image.height * side))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def take_census(sources: Sequence[Source]) -> tuple[list[Facts], list[tuple[str, str]]]:
    """Facts of the files that can be opened, and names and reasons of the others."""
    facts, bad = [], []
    for source in sources:
        try:
            facts.append(read_facts(source))
        except TadanError as error:
            bad.append((str(source.relative), str(error)))
    return facts, bad


def measure_pictures(
    plan: Plan,
    folder: Path,
    facts: Sequence[Facts],
    bad: Sequence[tuple[str, str]],
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """The section. A sample is encoded whole files as users would, to see what the encoder stores as it is.

    Pictures of the sample whose pixels turn out to be damaged are counted as unreadable too. ``on_step`` is called for
    every picture of the sample.
    """
    stored: Counter[str] = Counter()
    damaged: list[tuple[str, str]] = []
    from tadan.codec.codec import Codec
    from tadan.codec.info import inspect

    codec = Codec(plan.model, threads=plan.threads)
    for one in choose(facts, plan.sample, plan.seed):
        try:
            data = codec.encode(cut(folder / one.name, plan.megapixels), **encode_fields(plan))
            stored[inspect(data).content] += 1
        except TadanError as error:
            damaged.append((one.name, str(error)))
        on_step()
    unreadable, seen = [*bad, *damaged], sum(stored.values())
    jpegs = [one for one in facts if one.jpeg_quality is not None]
    sizes = [one.width * one.height / 1e6 for one in facts]
    kept = seen - stored["latents"]
    jpeg_pixels = sum(one.width * one.height for one in jpegs)
    return {
        "files": len(facts) + len(bad),
        "readable": len(facts) - len(damaged),
        "unreadable": len(unreadable),
        "unreadable_percent": 100 * len(unreadable) / (len(facts) + len(bad)),
        "unreadable_files": [{"name": name, "reason": reason} for name, reason in unreadable[:_SHOWN]],
        "bytes": sum(one.bytes for one in facts),
        "mean_bytes": sum(one.bytes for one in facts) / max(1, len(facts)),
        "mean_pixels": sum(sizes) * 1e6 / max(1, len(facts)),
        "formats": dict(Counter(one.form for one in facts).most_common()),
        "modes": dict(Counter(one.mode for one in facts).most_common()),
        "animated": sum(one.frames > 1 for one in facts),
        "megapixels": spread_of(sizes),
        "histogram": _histogram(sizes),
        "jpeg": {
            "files": len(jpegs),
            "exact": sum(one.jpeg_exact for one in jpegs),
            "quality": spread_of([float(one.jpeg_quality or 0) for one in jpegs]),
            "bits_per_pixel": 8 * sum(one.bytes for one in jpegs) / max(1, jpeg_pixels),
        },
        "contents": dict(stored),
        "sample": seen,
        "stored_percent": 100 * kept / seen if seen else None,
    }


def _histogram(sizes: Sequence[float]) -> list[dict[str, Any]]:
    edges: list[float | None] = [0.0, *_EDGES, None]
    places = np.searchsorted(_EDGES, sizes, side="right")
    counts = [int(one) for one in np.bincount(places, minlength=len(edges) - 1)]
    rows = [{"from": edges[i], "to": edges[i + 1], "count": count} for i, count in enumerate(counts)]
    while rows and not rows[-1]["count"]:
        rows.pop()
    while rows and not rows[0]["count"]:
        rows.pop(0)
    return rows
