"""Levels of encoder effort; apart from :mod:`tadan.codec.effort`, as the command line needs them without numpy."""

STEPS = (0, 1, 2, 3, 4, 6, 9, 13, 18, 25)  # trials of each effort
EFFORT_MIN, EFFORT_MAX, DEFAULT_EFFORT = 0, len(STEPS) - 1, 3
