"""Schedules in text: parsing, drawing, and the commands that show them."""

import contextlib
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from model_examples import exported_bytes
from schedule_examples import patterns
from tadan.cli.schedule import app, coloured
from tadan.errors import InvalidInput, LimitExceeded, TadanError
from tadan.schedule import ALIASES, get_schedule, parse_schedule, schedule_names
from tadan.schedule.text import dark, stage_colour

runner = CliRunner()

# --- parsing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*schedule_names(), *ALIASES])
def test_names_and_aliases(name):
    assert parse_schedule(name) is get_schedule(name)


@given(patterns())
def test_patterns_survive_being_written(schedule):
    text = ";".join("/".join(",".join(map(str, row)) for row in group) for group in schedule.pattern.tolist())
    assert parse_schedule(text) == schedule
    assert parse_schedule(f" {text.replace(',', ' , ')} ") == schedule


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("0", "hyper"),
        ("0,1/1,0", "checkerboard"),
        ("0,2/3,1", "2x2"),
        ("0,2/3,1;1,3/0,2;2,0/1,3;3,1/2,0", "2x2-rotated"),
    ],
)
def test_patterns_of_the_catalogue_get_their_name(text, name):
    assert parse_schedule(text) is get_schedule(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5x5", r"no schedule '5x5'.*checkerboard.*or write a pattern"),
        ("", "no schedule ''"),
        ("0,2/1", "row 1 of group 0 has 1 stages, the first row has 2"),
        ("0,1;0,1/2,3", "group 1 of the pattern has 2 rows, group 0 has 1"),
        ("0,1/", "'' is not a stage"),
        ("0,1.5", "'1.5' is not a stage"),
        ("0,-1", "'-1' is not a stage"),
        ("0,1_0", "'1_0' is not a stage"),
        ("0,１", "is not a stage"),
        ("٣", "is not a stage"),
        ("a,b", "'a' is not a stage"),
        ("0,99999", "is not a stage"),
        ("0,2", "stage 1 does not occur"),
        ("1", "stage 0 does not occur"),
    ],
)
def test_bad_text(text, message):
    with pytest.raises(InvalidInput, match=message):
        parse_schedule(text)


def test_limits_of_text():
    for text in (",".join(map(str, range(17))), "0,1," * 100_000):
        with pytest.raises(LimitExceeded, match="at most"):
            parse_schedule(text)


@given(st.text(alphabet="0123456789,/; x", max_size=30))
def test_any_text_is_a_schedule_or_an_error_of_ours(text):
    with contextlib.suppress(TadanError):
        parse_schedule(text).stage_count(4, 4)


# --- drawing --------------------------------------------------------------------------------------------------------


def test_later_stages_are_lighter():
    for count in (1, 2, 16, 1536):
        colours = [stage_colour(stage, count) for stage in range(count)]
        light = [0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in colours]
        assert all(later >= earlier - 1 for earlier, later in pairwise(light)), "rounding aside"
        assert count == 1 or light[-1] > light[0] + 150
        assert all(0 <= channel <= 255 for colour in colours for channel in colour)
    assert dark(stage_colour(0, 16))
    assert not dark(stage_colour(15, 16))


def test_coloured_grid_holds_the_numbers():
    text = coloured([[0, 2], [3, 10]], 11)
    assert text.plain == "  0   2 \n  3  10 "
    assert len({span.style for span in text.spans}) == 4


# --- commands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*schedule_names(), "best", "0,1;1,0"])
def test_show(name):
    result = runner.invoke(app, ["show", name, "--size", "6"])
    assert result.exit_code == 0, result.output
    assert "kMAC/pixel" in result.output


def test_show_draws_absolute_positions_of_scans():
    result = runner.invoke(app, ["show", "raster", "--size", "4"])
    assert " 12  13  14  15 " in result.output
    assert "1536" in result.output


def test_show_refuses_bad_names_and_windows():
    assert isinstance(runner.invoke(app, ["show", "5x5"]).exception, InvalidInput)
    assert isinstance(runner.invoke(app, ["show", "wavefront", "--radius", "3"]).exception, InvalidInput)
    assert isinstance(runner.invoke(app, ["show", "0;1;2"]).exception, InvalidInput)


@pytest.fixture(scope="module")
def six_groups(tmp_path_factory):
    """Path of a model with six channel groups."""
    path = tmp_path_factory.mktemp("model") / "six.safetensors"
    path.write_bytes(exported_bytes(group_sizes=(1, 2, 3, 4, 3, 3), embed_sizes=(1,) * 6))
    return str(path)


@pytest.mark.parametrize("grouped", [False, True])
def test_list_names_every_schedule(grouped, six_groups):
    result = runner.invoke(app, ["list", *(["--model", six_groups] if grouped else [])])
    assert result.exit_code == 0, result.output
    for name in (*schedule_names(), *ALIASES):
        assert name in result.output
    assert bool(re.search(r"raster .* 1536 .* 9216 ", result.output)) == grouped
    assert bool(re.search(r"2x2-rotated .* - .* 4 .* - ", result.output)) == grouped


def test_show_counts_the_steps_of_channel_groups(six_groups):
    result = runner.invoke(app, ["show", "0,1/1,0;1,2/0,2", "--model", six_groups])
    assert result.exit_code == 0, result.output
    assert re.search(r"steps that wait in turn +15,", result.output), "of three groups in 2 stages, and three in 3"
    assert "late 0." in result.output
    shares = [float(share) for share in re.findall(r"│ +\d │ +([\d.]+)% │", result.output)]
    assert (len(shares), sum(shares)) == (3, pytest.approx(100, abs=0.1))
    refused = runner.invoke(app, ["show", "2x2-rotated", "--model", six_groups]).exception
    assert isinstance(refused, InvalidInput)
