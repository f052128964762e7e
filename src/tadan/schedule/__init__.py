"""What is decoded when: schedules, visibility, analytic cost, search of orders. Needs numpy only."""

from tadan.schedule.catalog import ALIASES, catalogued, get_schedule, schedule_names
from tadan.schedule.schedule import Cell, PatternSchedule, ScanSchedule, Schedule
from tadan.schedule.store import save_schedule, stored_names, stored_schedule
from tadan.schedule.text import parse_schedule

__all__ = [
    "ALIASES",
    "Cell",
    "PatternSchedule",
    "ScanSchedule",
    "Schedule",
    "catalogued",
    "get_schedule",
    "parse_schedule",
    "save_schedule",
    "schedule_names",
    "stored_names",
    "stored_schedule",
]
