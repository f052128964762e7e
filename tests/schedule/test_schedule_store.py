"""Schedules that the user named: files, names, what damaged ones do, and that streams never need them."""

import json
import os
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

import tadan
from codec_examples import CODEC
from photo_examples import photo
from schedule_examples import patterns
from tadan.bitstream import read_stream
from tadan.cli.main import app
from tadan.errors import Corrupt, InvalidInput, LimitExceeded, TadanError, UnsupportedVersion, UnwritableOutput
from tadan.schedule import (
    ALIASES,
    PatternSchedule,
    get_schedule,
    parse_schedule,
    save_schedule,
    schedule_names,
    stored_names,
    stored_schedule,
)
from tadan.schedule.store import MAX_BYTES, store_folder
from tadan_lab.measure.bench import measure_speed

MINE = PatternSchedule([[0, 1], [1, 1]])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty store of its own for every test; it is created with the first schedule."""
    monkeypatch.setenv("TADAN_SCHEDULES", str(tmp_path / "schedules"))
    return tmp_path / "schedules"


def write(folder, text, name="mine"):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.output
    return result


# --- keeping ----------------------------------------------------------------------------------------------------------


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(patterns())
def test_schedules_come_back(schedule):
    path = save_schedule("mine", schedule, {"pictures": 3})
    assert stored_names() == ("mine",)
    assert parse_schedule("mine") == stored_schedule("mine") == schedule
    content = json.loads(path.read_text())
    assert (content["format"], content["name"], content["about"]) == (1, "mine", {"pictures": 3})


def test_saving_again_replaces(folder):
    save_schedule("mine", get_schedule("2x2"), {})
    save_schedule("mine", MINE, {})
    assert stored_schedule("mine") == MINE
    assert stored_schedule("mine").name == "mine"
    assert [path.name for path in folder.iterdir()] == ["mine.json"]


def test_patterns_of_the_catalogue_come_back_as_its_objects():
    save_schedule("mine", PatternSchedule([[0, 2], [3, 1]], name="other"), {})
    assert stored_schedule("mine") is get_schedule("2x2")


def test_an_empty_store_holds_nothing(folder, monkeypatch):
    assert stored_names() == ()
    assert stored_schedule("mine") is None
    monkeypatch.delenv("TADAN_SCHEDULES")
    monkeypatch.setenv("HOME", str(folder.parent))
    assert store_folder().is_relative_to(folder.parent) or os.name == "nt"


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*schedule_names(), *ALIASES])
def test_names_of_the_catalogue_keep_their_meaning(name, folder):
    with pytest.raises(InvalidInput, match=r"take another name|cannot name a schedule"):
        save_schedule(name, MINE, {})
    write(folder, '{"format": 1, "name": "x", "pattern": [[0, 1], [1, 1]], "about": {}}', name)
    assert parse_schedule(name) is get_schedule(name)


@pytest.mark.parametrize("name", ["", "A", "2x", "-a", "a_b", "a.b", "../a", "a/b", "ä", "a\n", "a" * 41, "a b"])
def test_names_that_are_refused(name, folder):
    with pytest.raises(InvalidInput, match="1 to 40 of a-z"):
        save_schedule(name, MINE, {})
    assert stored_schedule(name) is None
    assert not folder.exists()


def test_names_of_other_files_are_not_listed(folder):
    save_schedule("b", MINE, {})
    save_schedule("a" * 40, MINE, {})
    for name in ("Upper", "2x2-mine", "a b"):
        write(folder, "{}", name)
    (folder / "note.txt").write_text("")
    assert stored_names() == ("a" * 40, "b")


def test_unknown_names_list_the_stored_ones():
    with pytest.raises(InvalidInput, match=r"no schedule 'their'.*4x4.*wavefront; or write"):
        parse_schedule("their")
    save_schedule("mine", MINE, {})
    with pytest.raises(InvalidInput, match=r"no schedule 'their'.*wavefront; stored on this machine: mine; or write"):
        parse_schedule("their")


# --- damage -----------------------------------------------------------------------------------------------------------

GOOD = {"format": 1, "name": "mine", "pattern": [[0, 1], [1, 1]], "about": {}}
DEEP = b'{"format": 1, "name": "mine", "about": {}, "pattern": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"{",
        b"null",
        b"[]",
        b"{}",
        DEEP,
        b" " * (MAX_BYTES + 1),
        json.dumps(GOOD | {"about": {"x": "y" * MAX_BYTES}}).encode(),
        b'{"format": 1, "name": "mine", "about": {}, "pattern": [[' + b"9" * 5000 + b"]]}",
        *(
            json.dumps(GOOD | change).encode()
            for change in (
                {"format": True},
                {"format": "1"},
                {"format": 0},
                {"name": 1},
                {"about": []},
                {"pattern": None},
                {"pattern": {}},
                {"pattern": "0,1/1,1"},
                {"pattern": []},
                {"pattern": [[]]},
                {"pattern": [0, 1]},
                {"pattern": [[0, 1], [1]]},
                {"pattern": [[0, True]]},
                {"pattern": [[0, 1.0]]},
                {"pattern": [[0, float("nan")]]},
                {"pattern": [[0, 2]]},
                {"pattern": [[0, -1]]},
                {"pattern": [[0, 2**70]]},
                {"pattern": [list(range(17))]},
                {"pattern": [[["0"]]]},
                {"pattern": [[[[0]]]]},
            )
        ),
    ],
)
def test_damaged_files_are_named_with_the_next_step(content, folder):
    path = write(folder, content)
    with pytest.raises(Corrupt, match=r"does not hold a schedule .*delete it, or run tadan schedule optimize") as error:
        parse_schedule("mine")
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 600


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 80), st.binary(max_size=3))
def test_any_change_to_a_file_is_a_schedule_or_an_error_of_ours(folder, at, new):
    good = json.dumps(GOOD).encode()
    write(folder, good[:at] + new + good[at + len(new) :])
    try:
        outcome = stored_schedule("mine")
    except TadanError as error:
        outcome = str(error)
    assert isinstance(outcome, PatternSchedule) or "mine.json" in outcome


def test_files_of_a_later_format(folder):
    write(folder, json.dumps(GOOD | {"format": 2, "pattern": "anything"}))
    with pytest.raises(UnsupportedVersion, match="format 2, from a newer tadan"):
        parse_schedule("mine")


def test_a_folder_of_that_name_is_no_schedule(folder):
    (folder / "mine.json").mkdir(parents=True)
    assert stored_schedule("mine") is None


def test_what_cannot_be_written_leaves_the_old(folder, tmp_path, monkeypatch):
    save_schedule("mine", MINE, {})
    with pytest.raises(LimitExceeded, match="shorten"):
        save_schedule("mine", get_schedule("2x2"), {"note": "x" * MAX_BYTES})
    assert stored_schedule("mine") == MINE
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TADAN_SCHEDULES", str(tmp_path / "file"))
    with pytest.raises(UnwritableOutput, match="TADAN_SCHEDULES"):
        save_schedule("mine", MINE, {})
    assert stored_names() == ()


# --- use --------------------------------------------------------------------------------------------------------------


def test_streams_hold_the_pattern_and_decode_without_the_store(folder):
    save_schedule("mine", MINE, {})
    data = CODEC.encode(photo(), quality=30, schedule="mine")
    assert read_stream(data).header.schedule.name is None
    assert tadan.inspect(data).schedule == "0,1/1,1"
    pixels = CODEC.decode(data).tobytes()
    (folder / "mine.json").unlink()
    assert CODEC.decode(data).tobytes() == pixels
    assert data == CODEC.encode(photo(), quality=30, schedule="0,1/1,1")


def test_a_pattern_of_the_catalogue_travels_by_name():
    save_schedule("mine", PatternSchedule([[0, 1], [1, 0]]), {})
    assert tadan.inspect(CODEC.encode(photo(), quality=30, schedule="mine")).schedule == "checkerboard"


def test_list_and_show_know_stored_schedules(folder):
    assert "stored" not in run("schedule", "list").stdout
    save_schedule("mine", MINE, {})
    write(folder, "damaged", "broken")
    result = run("schedule", "list")
    assert re.search(r"wavefront.*mine +│ stored +│ +2 ", result.stdout, re.DOTALL)
    assert "broken.json does not hold a schedule" in result.stderr
    shown = run("schedule", "show", "mine", "--size", 2).stdout
    assert "mine" in shown
    assert "0  1" in shown
    assert "broken.json" in run("schedule", "show", "broken", code=2).stderr


def test_speed_is_measured_for_stored_and_written_out_schedules(tmp_path):
    save_schedule("mine", MINE, {})
    Image.fromarray(photo(height=32, width=48)).save(tmp_path / "photo.png")
    run(
        *("lab", "speed", tmp_path / "photo.png", "--repeat", 1, "--threads", 1, "--out", tmp_path / "speed.json"),
        *("--schedules", "mine,checkerboard", "--pattern", "0,2/2,1", "--pattern", "0"),
    )
    rows = json.loads((tmp_path / "speed.json").read_text())["rows"]
    assert [(row["schedule"], row["stages"]) for row in rows] == [
        ("mine", 2),
        ("checkerboard", 2),
        ("0,2/2,1", 3),
        ("0", 1),
    ]
    assert "no schedule 'their'" in run("lab", "speed", tmp_path / "photo.png", "--schedules", "their", code=2).stderr
    assert "no schedule to time" in run("lab", "speed", tmp_path / "photo.png", "--schedules", ",", code=2).stderr


def test_speed_rows_name_schedules_that_are_objects():
    image = Image.fromarray(photo(height=32, width=48))
    rows = measure_speed(image, [MINE, get_schedule("hyper"), PatternSchedule([[0, 1]], "x")], 30, 1, 1)
    assert [row.schedule for row in rows] == ["0,1/1,1", "hyper", "x"]
