"""What the golden streams show: a list that only grows. Photographs come from scikit-image, CC0 or public domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

from tadan.bitstream import PixelMode
from tadan.models import ModelConfig
from tadan.optional import require
from tadan.schedule import PatternSchedule, Schedule, get_schedule, schedule_names

# Stages shared by positions, a period that is not square, more rows than small planes have.
INLINE = PatternSchedule([[0, 2, 4], [3, 1, 2], [4, 0, 5], [1, 5, 3], [2, 3, 0]])
INLINE_GROUPS = PatternSchedule([[[g, 3 - g, g ^ 1], [(g + 2) % 4, g, 3 - g]] for g in range(4)])
LARGEST_WINDOW = 2  # radius up to which the wavefront scan is defined (section 8.3)
#: Corner (row, column) of what is cut out of each photograph.
_CORNERS = {"astronaut": (40, 140), "chelsea": (70, 110), "coffee": (120, 200), "rocket": (90, 280)}
_PHOTOGRAPHS = tuple(_CORNERS)


@dataclass(frozen=True)
class Case:
    """One golden stream to make.

    Attributes:
        name: of its files.
        shows: what it is for.
        picture: name of a photograph, "noise", "squares" or "drawing".
        size: width and height in pixels.
        quality: 1..100.
        schedule: name or pattern; in stored pictures "png", "webp" or "jpeg".
        mode: of the picture.
        metadata: whether it carries an ICC profile, EXIF and XMP.
        tile: side of the tiles in pixels; 0 for one tile.
    """

    name: str
    shows: str
    picture: str
    size: tuple[int, int]
    quality: int
    schedule: str | Schedule
    mode: PixelMode = PixelMode.RGB
    metadata: bool = False
    tile: int = 0


def _named_schedules() -> list[Case]:
    """Every schedule of section 8.3; scans have a stage per latent or diagonal, so their pictures are smaller."""
    sizes = {"raster": (64, 48), "wavefront": (80, 64)}
    return [
        Case(f"schedule-{name}", f"named {name}", _PHOTOGRAPHS[number % 4], sizes.get(name, (96, 80)), 50, name)
        for number, name in enumerate(schedule_names())
    ]


#: Streams of latents, made again for each model.
CASES: Sequence[Case] = (
    *_named_schedules(),
    Case("inline", "inline pattern of 5 x 3, stages shared by positions", "astronaut", (96, 80), 50, INLINE),
    Case("inline-groups", "inline pattern that tells 4 channel groups apart", "chelsea", (96, 80), 50, INLINE_GROUPS),
    *(
        Case(f"quality-{quality}", f"quality {quality}", "coffee", (64, 64), quality, "4x4-opt-4")
        for quality in (1, 10, 75, 100)
    ),
    Case("size-1x1", "one pixel", "rocket", (1, 1), 60, "2x2"),
    Case("size-1x300", "one pixel wide: one column of 19 latents", "astronaut", (1, 300), 60, "4x4-opt-8"),
    Case("size-17x33", "sides just above multiples of 16", "chelsea", (17, 33), 60, "checkerboard"),
    Case("size-128x96", "multiples of 16, two rows and columns of z", "coffee", (128, 96), 60, "4x4"),
    Case("size-200x150", "several patches of every pattern", "chelsea", (200, 150), 40, "4x4-opt-4"),
    Case("mode-l", "greyscale", "rocket", (48, 40), 60, "2x2", PixelMode.L),
    Case("mode-la", "greyscale with alpha", "coffee", (48, 40), 60, "2x2", PixelMode.LA),
    Case("mode-rgba", "colour with alpha", "astronaut", (48, 40), 60, "2x2", PixelMode.RGBA),
    Case("metadata", "ICC, EXIF and XMP sections", "rocket", (40, 32), 60, "hyper", metadata=True),
    Case("tiles", "4 x 3 tiles, cut off at two sides", "chelsea", (200, 136), 60, "4x4-opt-4", tile=64),
    Case(
        "tiles-rgba",
        "2 x 2 tiles with alpha and metadata",
        "coffee",
        (80, 70),
        60,
        INLINE_GROUPS,
        PixelMode.RGBA,
        True,
        64,
    ),
    Case(
        "squares", "escapes in squares of strong colours at the highest quality", "squares", (48, 48), 100, "4x4-opt-4"
    ),
)

#: Pictures stored in another format; no model.
STORED: Sequence[Case] = (
    Case("stored-png", "stored as PNG", "drawing", (60, 40), 75, "png"),
    Case("stored-png-la", "stored as greyscale PNG, with alpha", "drawing", (33, 17), 75, "png", PixelMode.LA),
    Case("stored-png-tiles", "stored as PNG in 2 x 2 tiles", "drawing", (80, 70), 75, "png", tile=64),
    Case("stored-webp", "stored as lossless WebP", "drawing", (60, 40), 75, "webp", metadata=True),
    Case("stored-webp-l", "greyscale stored as lossless WebP", "drawing", (33, 17), 75, "webp", PixelMode.L),
    Case("stored-jpeg", "stored as JPEG", "noise", (40, 24), 20, "jpeg"),
    Case("stored-jpeg-l", "stored as greyscale JPEG", "noise", (33, 17), 20, "jpeg", PixelMode.L),
    Case("stored-jpeg-rgba", "stored as JPEG, with alpha", "chelsea", (40, 24), 20, "jpeg", PixelMode.RGBA),
)


def cases_for(config: ModelConfig) -> list[Case]:
    """:data:`CASES` as far as a model can follow them, and an inline pattern for each other number of groups."""
    allowed = config.schedule_groups
    chosen, met = [], {1}
    for case in CASES:
        schedule = get_schedule(case.schedule)
        if schedule.groups in allowed and (schedule.name != "wavefront" or config.radius <= LARGEST_WINDOW):
            chosen.append(case)
            met |= set() if schedule.name else {schedule.groups}
    for groups in sorted(set(allowed) - met):
        name, shows = f"inline-groups-{groups}", f"inline pattern that tells {groups} channel groups apart"
        chosen.append(Case(name, shows, "astronaut", (72, 56), 50, _in_turn(groups)))
    return chosen


def _in_turn(groups: int) -> PatternSchedule:
    """2 x 3 positions, where each group comes first at some, and shares stages with others everywhere."""
    last = groups - 1
    return PatternSchedule(
        [[[g, last - g, (g + 1) % groups], [(g + 2) % groups, g // 2, last - g // 2]] for g in range(groups)]
    )


def picture_of(case: Case) -> Image.Image:
    """The picture to encode; InvalidInput if it needs scikit-image and that is not installed."""
    width, height = case.size
    if case.picture == "noise":
        rgb = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    elif case.picture == "squares":  # of 16x16 pixels, each sample at one end of its range
        ends = np.random.default_rng(1).integers(0, 2, (-(-height // 16), -(-width // 16), 3))
        rgb = (255 * ends).astype(np.uint8).repeat(16, 0).repeat(16, 1)[:height, :width]
    elif case.picture == "drawing":
        row, col = np.mgrid[:height, :width]
        rgb = np.where((row // 8 + col // 8)[:, :, None] % 2 == 0, (230, 40, 40), (250, 250, 245)).astype(np.uint8)
        rgb[row == col] = (0, 0, 160)
    else:
        data = require("skimage.data", "lab", "Making golden streams")
        row, col = _CORNERS[case.picture]
        rgb = np.asarray(getattr(data, case.picture)())[row : row + height, col : col + width, :3]
    image = Image.fromarray(rgb).convert(case.mode.opaque)
    if case.mode.has_alpha:
        ramp = np.add.outer(np.arange(height) * 5, np.arange(width) * 3) % 256
        image.putalpha(Image.fromarray(ramp.astype(np.uint8)))
    return image


def metadata_of(case: Case) -> dict[str, bytes]:
    """Metadata sections of a case; the time in the profile is set to zero, so that it is the same each time."""
    if not case.metadata:
        return {}
    icc = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    icc[24:36] = bytes(12)
    exif = Image.Exif()
    exif[0x013B] = "Tadan"  # Artist
    return {"icc": bytes(icc), "exif": exif.tobytes(), "xmp": b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'}
