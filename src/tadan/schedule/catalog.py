"""Schedules by name. A name in the catalogue means the same decoding order for ever: streams refer to it."""

from __future__ import annotations

import numpy as np

from tadan.errors import InvalidInput
from tadan.schedule.schedule import PatternSchedule, ScanSchedule, Schedule

# Quincunx order: the second position lies diagonally between the anchors, so that the last two see all four
# direct neighbours, as the second half of a checkerboard does.
_2X2 = [[0, 2], [3, 1]]

# 3x3: a diagonal first (no two of its members are neighbours), then the two others.
_3X3 = [[0, 3, 6], [7, 1, 4], [5, 8, 2]]

# github.com/lin-toto/lic-multistage-spatial-context, compressai/models/waseda_multistage.py, published with the paper.
_4X4_PUBLISHED = [[0, 2, 5, 4], [1, 7, 11, 8], [6, 12, 13, 10], [3, 14, 15, 9]]

# 8 stages for 16 positions: (i, j) and (i + 2, j + 2) share one, so the pairs form a quincunx lattice.
_4X4_HALF = [[0, 4, 2, 6], [7, 1, 5, 3], [2, 6, 0, 4], [5, 3, 7, 1]]

# Found by tadan.schedule.optimize for the model "photo" (docs/study.md): least rate in 4, 8 and 16 stages.
_4X4_OPT_4 = [[0, 3, 1, 3], [3, 2, 3, 2], [1, 3, 1, 3], [3, 2, 3, 2]]
_4X4_OPT_8 = [[0, 5, 2, 5], [7, 4, 6, 3], [2, 5, 1, 5], [7, 3, 6, 4]]
_4X4_OPT_16 = [[0, 10, 2, 7], [9, 4, 13, 5], [1, 11, 3, 12], [14, 8, 15, 6]]


def _build() -> dict[str, Schedule]:
    raster = np.arange(16).reshape(4, 4)
    quincunx = np.array(_2X2)
    patterns: dict[str, object] = {
        "hyper": [[0]],
        "checkerboard": [[0, 1], [1, 0]],
        "2x2": _2X2,
        "2x2-raster": [[0, 1], [2, 3]],
        "3x3": _3X3,
        "3x3-raster": raster[:3, :3] - np.arange(3)[:, None],
        "4x4": _4X4_PUBLISHED,
        "4x4-raster": raster,
        "4x4-8": _4X4_HALF,
        "4x4-opt-4": _4X4_OPT_4,
        "4x4-opt-8": _4X4_OPT_8,
        "4x4-opt-16": _4X4_OPT_16,
        # DCVC's four-step model: every stage decodes another quarter of the channels at each position.
        "2x2-rotated": np.stack([(quincunx + group) % 4 for group in range(4)]),
    }
    catalog: dict[str, Schedule] = {
        name: PatternSchedule(np.asarray(pattern), name=name) for name, pattern in patterns.items()
    }
    catalog["raster"] = ScanSchedule(name="raster")
    catalog["wavefront"] = ScanSchedule(slope=3, name="wavefront")
    return catalog


_CATALOG = _build()

#: What the encoder's choices stand for; resolved before anything is written, so they may change between releases.
#: docs/study.md has the evidence for the present ones. That of "fast" takes fewer bytes written out than a name would.
ALIASES: dict[str, Schedule] = {
    "fast": PatternSchedule([[0, 1], [1, 1]]),
    "balanced": _CATALOG["4x4-opt-4"],
    "best": _CATALOG["4x4-opt-8"],
}


def schedule_names() -> tuple[str, ...]:
    """All names in the catalogue, aliases left out."""
    return tuple(_CATALOG)


def catalogued(pattern: PatternSchedule) -> PatternSchedule:
    """The catalogue's schedule of the same pattern, whose name takes fewer bytes in a stream, or ``pattern`` itself."""
    listed = (schedule for schedule in _CATALOG.values() if isinstance(schedule, PatternSchedule))
    return next((schedule for schedule in listed if schedule == pattern), pattern)


def get_schedule(schedule: str | Schedule) -> Schedule:
    """Return the schedule of a name or alias; a Schedule is passed through.

    Raises:
        InvalidInput: no schedule has that name.
    """
    if isinstance(schedule, Schedule):
        return schedule
    found = ALIASES.get(schedule) or _CATALOG.get(schedule)
    if found is None:
        choices = ", ".join([*ALIASES, *_CATALOG])
        raise InvalidInput(f"there is no schedule {schedule!r}; choose one of: {choices}")
    return found
