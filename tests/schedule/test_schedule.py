"""Properties of every schedule: each latent once, each sees what is decoded before it and nothing else."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schedule_examples import CATALOG, earlier_neighbours, patterns, planes, schedules
from tadan.errors import InvalidInput, LimitExceeded
from tadan.schedule import ALIASES, PatternSchedule, ScanSchedule, get_schedule, schedule_names
from tadan.schedule import schedule as schedule_module

relaxed = settings(deadline=None, max_examples=60)

# --- what is decoded when -------------------------------------------------------------------------------------------


@relaxed
@given(schedules, planes)
@example(get_schedule("4x4"), (1, 1))
@example(get_schedule("2x2-rotated"), (17, 33))
def test_every_latent_is_decoded_once_and_in_its_stage(schedule, plane):
    stages = schedule.stage_map(*plane).reshape(schedule.groups, -1)
    times = np.zeros_like(stages)
    plan = schedule.plan(*plane, radius=2)
    present = np.unique(stages)
    assert len(plan) == len(present) == schedule.stage_count(*plane)
    for stage, cells in zip(present, plan, strict=True):
        for cell in cells:
            assert np.all(np.diff(cell.positions) > 0)
            assert np.all(stages[cell.group, cell.positions] == stage)
            times[cell.group, cell.positions] += 1
    assert np.all(times == 1)


@relaxed
@given(schedules, planes, st.integers(0, 2))
def test_plan_shows_exactly_what_is_decoded_earlier(schedule, plane, radius):
    seen = earlier_neighbours(schedule, *plane, radius)
    assert np.array_equal(schedule.visibility(*plane, radius), seen)
    for stage in schedule.plan(*plane, radius):
        for cell in stage:
            row, col = np.divmod(cell.positions, plane[1])
            assert np.all(seen[cell.group, row, col] == cell.visible)


@relaxed
@given(patterns(), st.integers(3, 7))
@example(get_schedule("2x2"), 5)
@example(get_schedule("checkerboard"), 7)
def test_window_larger_than_the_patch(schedule, radius):
    """The paper's public code repeats the pattern once only, which is wrong for these."""
    assert np.array_equal(schedule.visibility(3, 4, radius), earlier_neighbours(schedule, 3, 4, radius))


@relaxed
@given(schedules, planes)
def test_seen_latents_on_the_plane_are_already_decoded(schedule, plane):
    """Walk the plan as a decoder does."""
    height, width, radius = *plane, 2
    decoded = np.zeros((schedule.groups, height + 2 * radius, width + 2 * radius), dtype=bool)
    inside = np.pad(np.ones(plane, dtype=bool), radius)
    for stage in schedule.plan(*plane, radius):
        for cell in stage:
            assert not cell.visible[cell.group, radius, radius]
            for row, col in zip(*np.divmod(cell.positions, width), strict=True):
                window = np.s_[row : row + 2 * radius + 1, col : col + 2 * radius + 1]
                assert not np.any(cell.visible & inside[window] & ~decoded[:, *window])
        for cell in stage:
            row, col = np.divmod(cell.positions, width)
            decoded[cell.group, row + radius, col + radius] = True


def test_published_order_and_drawing_in_the_docstring():
    assert get_schedule("4x4").stage_map(4, 4)[0].tolist() == [
        [0, 2, 5, 4],
        [1, 7, 11, 8],
        [6, 12, 13, 10],
        [3, 14, 15, 9],
    ]
    assert get_schedule("raster").stage_map(2, 4)[0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert get_schedule("wavefront").stage_map(2, 4)[0].tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]]


def test_last_stages_of_a_quincunx_see_all_direct_neighbours():
    for row, col in (0, 1), (1, 0):
        seen = get_schedule("2x2").visible(0, row, col, 1)[0]
        assert seen[0, 1]
        assert seen[2, 1]
        assert seen[1, 0]
        assert seen[1, 2]


# --- scans ----------------------------------------------------------------------------------------------------------


@given(planes)
def test_wavefront_sees_what_raster_sees_in_fewer_stages(plane):
    height, width = plane
    raster, wavefront = get_schedule("raster"), get_schedule("wavefront")
    assert np.array_equal(raster.visibility(*plane, 2), wavefront.visibility(*plane, 2))
    assert raster.stage_count(*plane) == height * width
    # On planes narrower than the slope some diagonals hold no latent.
    expected = width + 3 * (height - 1) if width >= 3 else width * height
    assert wavefront.stage_count(*plane) == expected


@given(st.integers(1, 6), planes)
def test_wavefront_of_any_slope_shows_nothing_too_early(slope, plane):
    schedule = ScanSchedule(slope)
    for radius in range(slope):
        assert np.all(schedule.visibility(*plane, radius) <= earlier_neighbours(schedule, *plane, radius))
    with pytest.raises(InvalidInput, match="wavefront of slope"):
        schedule.plan(*plane, slope)


def test_scan_schedules_refuse_bad_slopes():
    for slope in (-1, 2.0, "3"):
        with pytest.raises(InvalidInput, match="slope"):
            ScanSchedule(slope)


# --- stages, names, equality ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("hyper", 1),
        ("checkerboard", 2),
        ("2x2", 4),
        ("3x3", 9),
        ("4x4", 16),
        ("4x4-8", 8),
        ("4x4-opt-4", 4),
        ("2x2-rotated", 4),
    ],
)
def test_stage_count_does_not_depend_on_the_size(name, stages):
    schedule = get_schedule(name)
    assert schedule.stage_count(4, 4) == schedule.stage_count(32, 48) == stages


def test_stages_without_latents_are_left_out():
    schedule = get_schedule("4x4")
    assert schedule.stage_count(1, 1) == len(schedule.plan(1, 1, 2)) == 1
    assert [int(stage[0].positions[0]) for stage in schedule.plan(1, 4, 2)] == [0, 1, 3, 2]


def test_names_and_aliases():
    for name in schedule_names():
        assert get_schedule(name).name == name
    for alias, schedule in ALIASES.items():
        assert alias not in schedule_names()
        assert get_schedule(alias) is schedule
        assert schedule.name is None or get_schedule(schedule.name) is schedule
    own = PatternSchedule([[0, 1]])
    assert get_schedule(own) is own
    with pytest.raises(InvalidInput, match=r"no schedule '5x5'.*fast.*checkerboard.*wavefront"):
        get_schedule("5x5")


def test_schedules_of_the_catalogue_differ():
    assert len({*CATALOG}) == len(CATALOG)


def test_equality_and_hash_go_by_content():
    one, other = PatternSchedule([[0, 2], [3, 1]]), PatternSchedule(np.array([[[0, 2], [3, 1]]], np.uint8), name="x")
    assert one == other == get_schedule("2x2")
    assert hash(one) == hash(other) == hash(get_schedule("2x2"))
    assert one != get_schedule("2x2-raster")
    assert PatternSchedule([[0, 1]]) != PatternSchedule([[0], [1]])
    assert ScanSchedule() == get_schedule("raster") != get_schedule("wavefront")
    assert hash(ScanSchedule(3)) == hash(get_schedule("wavefront"))
    assert one != "2x2"


@given(patterns())
def test_repr_builds_an_equal_schedule(schedule):
    assert eval(repr(schedule)) == schedule


def test_schedules_cannot_be_changed_through_their_arrays():
    pattern = np.array([[0, 1], [1, 0]])
    schedule = PatternSchedule(pattern)
    pattern[0, 0] = 1
    assert schedule == get_schedule("checkerboard")
    cell = schedule.plan(4, 4, 2)[0][0]
    for array in (schedule.pattern, cell.positions, cell.visible):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ([[0, 2]], "stage 1 does not occur"),
        ([[1, 2]], "stage 0 does not occur"),
        ([[-1, 0]], "stage 0 does not occur, -1 does"),
        ([[0, 10**15]], "stage 1 does not occur"),
        (np.array([[0, 2**64 - 1]], np.uint64), "stage 1 does not occur"),
        ([[0, 10**30]], "integers only"),
        ([[0.0, 1.0]], "integers only"),
        ([[0, 1.5]], "integers only"),
        (np.array([[0, 1]], np.float32), "integers only"),
        ([[float("nan")]], "integers only"),
        ([[False, True]], "integers only"),
        ([["0", "1"]], "integers only"),
        ([[None]], "integers only"),
        ([[0, 1], [2]], "rectangle"),
        ([], "shape"),
        ([[]], "shape"),
        ([0, 1], "shape"),
        (0, "shape"),
        ([[[[0]]]], "shape"),
    ],
)
def test_bad_patterns_are_refused(pattern, message):
    with pytest.raises(InvalidInput, match=message):
        PatternSchedule(pattern)


@pytest.mark.parametrize("shape", [(17, 1), (1, 17), (17, 1, 1)])
def test_limits_of_patterns(shape):
    with pytest.raises(LimitExceeded, match="at most 16"):
        PatternSchedule(np.zeros(shape, int))


def test_largest_pattern():
    order = np.random.default_rng(0).permutation(16**3).reshape(16, 16, 16)
    schedule = PatternSchedule(order)
    assert schedule.stage_count(16, 16) == 16**3


@pytest.mark.parametrize("name", schedule_names())
@pytest.mark.parametrize(("height", "width", "radius"), [(0, 4, 2), (4, 0, 2), (-1, 4, 2), (4, 4, -1)])
def test_planes_without_latents_are_refused(name, height, width, radius):
    schedule = get_schedule(name)
    for call in (schedule.plan, schedule.visibility):
        with pytest.raises(InvalidInput, match="latent plane"):
            call(height, width, radius)


def test_needs_no_torch():
    code = "import sys, tadan.models.macs, tadan.schedule.text; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_plans_that_are_kept_stay_within_their_bytes(monkeypatch):
    """Every size of picture has plans of its own: a server that meets hostile sizes must not keep them all."""
    monkeypatch.setattr(schedule_module, "MAX_PLAN_BYTES", 2**20)
    plans = schedule_module._Plans()
    first = plans.get(get_schedule("raster"), 20, 30, 2)
    assert plans.get(get_schedule("raster"), 20, 30, 2) is first
    for width in range(1, 40):
        plans.get(get_schedule("raster"), 30, width, 2)
        assert plans._bytes <= 2**20
    assert plans.get(get_schedule("raster"), 20, 30, 2) is not first  # it had to make room
    held = plans._bytes
    plans.get(get_schedule("raster"), 80, 80, 2)  # larger than all that may be kept
    assert plans._bytes == held
