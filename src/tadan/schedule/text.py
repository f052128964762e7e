"""Schedules as people type them: a name, an alias, the name of a stored schedule, or a pattern written out.

``0,2/3,1`` is the 2x2 schedule: commas between the stages of a row, ``/`` between rows. ``;`` separates channel
groups, as in ``0,2/3,1;1,3/0,2``. Spaces around numbers do not matter. And the colours that stages are drawn in.
"""

from __future__ import annotations

import re

import numpy as np

from tadan.errors import InvalidInput, LimitExceeded
from tadan.schedule.catalog import catalogued, get_schedule
from tadan.schedule.schedule import MAX_GROUPS, MAX_PERIOD, PatternSchedule, Schedule
from tadan.schedule.store import stored_names, stored_schedule

#: Longest text of a pattern, in characters: every stage of the largest pattern as "1234, ".
MAX_TEXT = MAX_GROUPS * MAX_PERIOD * MAX_PERIOD * 6

HELP = "rows are separated by '/', channel groups by ';', as in 0,2/3,1"


def parse_schedule(text: str) -> Schedule:
    """Schedule of a name, an alias or an inline pattern.

    Names are looked up in the catalogue first, then among the schedules that the user stored. A pattern that stands
    in the catalogue comes back under its name there, which takes fewer bytes in a stream.

    Raises:
        InvalidInput: no schedule has that name, or the text is not a pattern.
        Corrupt, UnsupportedVersion, UnreadableInput: see :func:`tadan.schedule.store.stored_schedule`.
        LimitExceeded: the pattern has too many rows, columns or groups.
    """
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise LimitExceeded(f"a pattern is written in at most {MAX_TEXT} characters, not {len(text)}")
    if not re.search(r"[,/;]", text) and not text.isdecimal():
        return _named(text)
    groups = [[[_stage(cell) for cell in row.split(",")] for row in group.split("/")] for group in text.split(";")]
    for index, group in enumerate(groups):
        if len(group) != len(groups[0]):
            raise InvalidInput(f"group {index} of the pattern has {len(group)} rows, group 0 has {len(groups[0])}")
        for number, row in enumerate(group):
            if len(row) != len(groups[0][0]):
                raise InvalidInput(
                    f"row {number} of group {index} has {len(row)} stages, the first row has {len(groups[0][0])}"
                )
    return catalogued(PatternSchedule(groups))


def _named(name: str) -> Schedule:
    try:
        return get_schedule(name)
    except InvalidInput as error:
        unknown = str(error)
    stored = stored_schedule(name)
    if stored is None:
        own = stored_names()
        yours = f"; stored on this machine: {', '.join(own)}" if own else ""
        raise InvalidInput(f"{unknown}{yours}; or write a pattern: {HELP}")
    return stored


def _stage(cell: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", cell.strip()):
        raise InvalidInput(f"{cell.strip()[:20]!r} is not a stage (a whole number from 0) in a pattern; {HELP}")
    return int(cell)


#: Dark violet to yellow in equal steps of lightness: sRGB of matplotlib's viridis colour map at 0, 1/8, .., 1.
_RAMP = np.array(
    [
        (68, 1, 84),
        (71, 45, 123),
        (59, 82, 139),
        (44, 114, 142),
        (33, 145, 140),
        (40, 174, 128),
        (94, 201, 98),
        (173, 220, 48),
        (253, 231, 37),
    ],
    dtype=np.float64,
)


def stage_colour(stage: int, stages: int) -> tuple[int, int, int]:
    """Colour of a stage out of ``stages``: sRGB 0..255, the later the lighter."""
    position = stage / max(stages - 1, 1) * (len(_RAMP) - 1)
    red, green, blue = (round(float(np.interp(position, np.arange(len(_RAMP)), channel))) for channel in _RAMP.T)
    return red, green, blue


def dark(colour: tuple[int, int, int]) -> bool:
    """Whether white text reads better than black on this sRGB colour (luma of ITU-R BT.601)."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue < 128
