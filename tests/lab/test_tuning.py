"""The checks of tune: errors are against what ran, and nothing that trying everything finds is hidden."""

import json

import pytest
from PIL import Image

from cli_examples import fails, run
from machine_examples import machine
from photo_examples import photo
from tadan.models import load_model
from tadan_lab.measure.tuning import Prediction, error_summary


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning")
    (folder / "album").mkdir()
    for name in ("chelsea", "coffee", "rocket"):
        Image.fromarray(photo(name, 96, 112)).save(folder / "album" / f"{name}.png")
    machine(2, model_id=load_model().id_hex).save(folder / "m.toml")
    return folder


def test_predictions_stand_beside_runs(place):
    out = place / "predict.json"
    arguments = ["--schedules", "hyper", "--efforts", "0,1", "--thread-counts", "1,2", "--repeat", 1, "--limit", 1]
    shown = run("lab", "predict", place / "album", "--machine", place / "m.toml", *arguments, "--out", out).stdout
    assert "processor seconds, 1 threads, encode" in shown
    document = json.loads(out.read_text())
    rows = document["rows"]
    assert [(row["effort"], row["threads"]) for row in rows] == [(0, 1), (1, 1), (0, 2), (1, 2)]
    assert all(row["encode"] > 0 and row["encode_predicted"] > 0 and row["decode_cpu"] > 0 for row in rows)
    assert set(document["summary"]["processor"]) == {"1"}
    assert set(document["summary"]["paced"]) == {"1", "2"}


def test_errors_are_relative_to_what_ran():
    row = Prediction("a", 8, 8, "hyper", 0, None, 1, False, 2.0, 1.0, 1.1, 4.0, 2.0, 1.0, 2.0)
    assert row.error("encode", "processor") == pytest.approx(0.1)
    assert row.error("decode", "wall") == pytest.approx(-0.75)
    assert row.error("decode", "paced") == pytest.approx(-0.5)
    summary = error_summary([row], "processor")
    assert summary["decode"] == {"median_absolute": 0.5, "largest_absolute": 0.5, "median": -0.5}
    stored = Prediction(**{**row.to_dict(), "stored": True})
    assert error_summary([stored], "wall") == {}


def test_regret_is_what_the_choice_loses(place):
    out = place / "regret.json"
    arguments = ["--schedules", "hyper 4x4-opt-4", "--efforts", "0,1", "--sample", 3, "--threads", 1]
    run(
        *("lab", "regret", place / "album", "--machine", place / "m.toml", *arguments, "--out", out),
        *("--target", "bytes, encode<5s", "--target", "speed, bytes<+50%"),
    )
    rows = json.loads(out.read_text())["rows"]
    assert [row["target"] for row in rows] == ["bytes, encode<5s", "speed, bytes<+50%"]
    for row in rows:
        assert 0 <= row["regret"] < 1
        assert row["files"] <= row["files_of_all"]
        assert (row["regret"] < 1e-9) or row["chosen"] != row["best"]
    fails("lab", "regret", place / "album", "--machine", place / "m.toml", "--target", "beauty", message="one goal")
