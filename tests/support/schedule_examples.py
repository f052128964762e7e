"""Schedules and a brute-force reference that the tests of schedules share."""

import numpy as np
from hypothesis import strategies as st

from tadan.schedule import PatternSchedule, get_schedule, schedule_names

CATALOG = [get_schedule(name) for name in schedule_names()]


@st.composite
def patterns(draw):
    """Random patterns: 1 to 3 groups, 1 to 5 rows and columns, positions may share a stage."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)))
    size = int(np.prod(shape))
    stages = draw(st.lists(st.integers(0, size - 1), min_size=size, max_size=size))
    _, contiguous = np.unique(stages, return_inverse=True)
    return PatternSchedule(contiguous.reshape(shape))


schedules = st.one_of(st.sampled_from(CATALOG), patterns())
planes = st.tuples(st.integers(1, 17), st.integers(1, 33))


def earlier_neighbours(schedule, height, width, radius):
    """Which neighbours have a smaller stage, from the stage map of a larger plane alone.

    The plane stands inside a larger one with a margin that is a multiple of the period, so no neighbour is missing.
    Returns bool (groups, height, width, groups, k, k), as Schedule.visibility does.
    """
    rows, cols = schedule.period
    top, left = rows * -(-radius // rows), cols * -(-radius // cols)
    stages = schedule.stage_map(height + 2 * top, width + 2 * left)
    own = stages[:, top : top + height, left : left + width]
    k = 2 * radius + 1
    seen = np.empty((*own.shape, schedule.groups, k, k), dtype=bool)
    for group, dy, dx in np.ndindex(schedule.groups, k, k):
        row, col = top + dy - radius, left + dx - radius
        seen[..., group, dy, dx] = stages[group, row : row + height, col : col + width] < own
    return seen
