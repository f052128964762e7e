"""Schedules between the header of a stream and the networks."""

from __future__ import annotations

from typing import Any

from tadan.bitstream import ScheduleField
from tadan.errors import InvalidInput, UnsupportedVersion
from tadan.models import Model
from tadan.schedule import PatternSchedule, Schedule, get_schedule, schedule_names


def schedule_field(schedule: Schedule) -> ScheduleField:
    """What the header says of a schedule: its name in the catalogue, or its pattern.

    Raises:
        InvalidInput: it is neither.
    """
    if schedule.name is not None and schedule.name in schedule_names() and get_schedule(schedule.name) == schedule:
        return ScheduleField(name=schedule.name)
    if not isinstance(schedule, PatternSchedule):
        raise InvalidInput(f"the schedule {schedule!r} is neither in the catalogue nor a pattern; it cannot be written")
    rows: Any = schedule.pattern.tolist()
    return ScheduleField(pattern=tuple(tuple(tuple(row) for row in group) for group in rows))


def schedule_of(field: ScheduleField, model: Model) -> Schedule:
    """Inverse of :func:`schedule_field`.

    Raises:
        UnsupportedVersion: this version or this model cannot run it.
    """
    if field.pattern is not None:
        schedule: Schedule = PatternSchedule(field.pattern)
    elif field.name in schedule_names():
        schedule = get_schedule(field.name)
    else:
        raise UnsupportedVersion(
            f"the stream uses the schedule {field.name!r}, which this version does not know; "
            "run: pip install --upgrade tadan"
        )
    allowed = model.config.schedule_groups
    if schedule.groups not in allowed:
        raise UnsupportedVersion(
            f"the stream tells {schedule.groups} channel groups apart, its model {', '.join(map(str, allowed))}; "
            "encode the picture again with another schedule"
        )
    return schedule
