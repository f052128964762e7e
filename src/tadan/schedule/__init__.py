"""What is decoded when: schedules, visibility, analytic cost. Needs numpy only."""

from tadan.schedule.catalog import ALIASES, get_schedule, schedule_names
from tadan.schedule.parse import parse_schedule
from tadan.schedule.schedule import Cell, PatternSchedule, ScanSchedule, Schedule

__all__ = [
    "ALIASES",
    "Cell",
    "PatternSchedule",
    "ScanSchedule",
    "Schedule",
    "get_schedule",
    "parse_schedule",
    "schedule_names",
]
