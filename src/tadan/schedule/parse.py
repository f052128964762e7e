"""Schedules as people type them: a name, an alias, or a pattern written out.

``0,2/3,1`` is the 2x2 schedule: commas between the stages of a row, ``/`` between rows. ``;`` separates channel
groups, as in ``0,2/3,1;1,3/0,2``. Spaces around numbers do not matter.
"""

from __future__ import annotations

import re

from tadan.errors import InvalidInput, LimitExceeded
from tadan.schedule.catalog import get_schedule, schedule_names
from tadan.schedule.schedule import MAX_GROUPS, MAX_PERIOD, PatternSchedule, Schedule

#: Longest text of a pattern, in characters: every stage of the largest pattern as "1234, ".
MAX_TEXT = MAX_GROUPS * MAX_PERIOD * MAX_PERIOD * 6

HELP = "rows are separated by '/', channel groups by ';', as in 0,2/3,1"


def parse_schedule(text: str) -> Schedule:
    """Schedule of a name, an alias or an inline pattern.

    A pattern that stands in the catalogue comes back under its name, which takes fewer bytes in a stream.

    Raises:
        InvalidInput: no schedule has that name, or the text is not a pattern.
        LimitExceeded: the pattern has too many rows, columns or groups.
    """
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise LimitExceeded(f"a pattern is written in at most {MAX_TEXT} characters, not {len(text)}")
    if not re.search(r"[,/;]", text) and not text.isdecimal():
        try:
            return get_schedule(text)
        except InvalidInput as error:
            raise InvalidInput(f"{error}; or write a pattern: {HELP}") from None
    groups = [[[_stage(cell) for cell in row.split(",")] for row in group.split("/")] for group in text.split(";")]
    for index, group in enumerate(groups):
        if len(group) != len(groups[0]):
            raise InvalidInput(f"group {index} of the pattern has {len(group)} rows, group 0 has {len(groups[0])}")
        for number, row in enumerate(group):
            if len(row) != len(groups[0][0]):
                raise InvalidInput(
                    f"row {number} of group {index} has {len(row)} stages, the first row has {len(groups[0][0])}"
                )
    parsed = PatternSchedule(groups)
    named = (get_schedule(name) for name in schedule_names())
    return next((schedule for schedule in named if schedule == parsed), parsed)


def _stage(cell: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", cell.strip()):
        raise InvalidInput(f"{cell.strip()[:20]!r} is not a stage (a whole number from 0) in a pattern; {HELP}")
    return int(cell)
