"""Does a higher quality always give more bytes and more dB? The judge, and `tadan lab monotone`."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from evaluate_examples import save_crops, stand_in
from tadan.cli.main import app
from tadan_lab.measure import available_rivals, psnr
from tadan_lab.measure.metrics import IDENTICAL_DB
from tadan_lab.measure.monotone import check_monotone, monotone_row, monotone_summary

JPEG = available_rivals(threads=1)["jpeg"]


def test_falls_and_standstills_are_named_by_the_higher_quality():
    row = monotone_row("a", [1, 5, 10, 15], [100, 90, 90, 200], [30.0, 31.0, 30.5, 30.5])
    assert row.bytes_not_rising == [5, 10]
    assert row.psnr_not_rising == [10, 15]
    assert (row.largest_bytes_fall_percent, row.largest_psnr_fall_db) == (10.0, 0.5)


def test_a_lossless_picture_cannot_rise():
    row = monotone_row("a", [1, 2, 3], [10, 11, 12], [40.0, IDENTICAL_DB, IDENTICAL_DB])
    assert row.psnr_not_rising == []


@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 99)), min_size=1, max_size=20))
def test_rising_is_what_sorted_and_different_means(points):
    sizes, decibels = [size for size, _ in points], [value for _, value in points]
    row = monotone_row("a", list(range(len(points))), sizes, decibels)
    assert (row.bytes_not_rising == []) == (sizes == sorted(set(sizes)))
    assert (row.psnr_not_rising == []) == (decibels == sorted(set(decibels)))
    assert (row.largest_bytes_fall_percent > 0) <= (row.bytes_not_rising != [])
    assert monotone_summary([row])["largest_psnr_fall_db"] >= 0


def test_what_is_reported_was_measured(tmp_path):
    folder = save_crops(tmp_path / "crops")
    trials = []
    [row] = check_monotone(JPEG, [folder / "a.png"], [60, 20, 95], lambda: trials.append(1))
    image = Image.open(folder / "a.png").convert("RGB")
    files = [JPEG.encode(image, quality) for quality in (20, 60, 95)]
    assert row.bytes == [len(data) for data in files]
    assert row.psnr == pytest.approx([psnr(image, JPEG.decode(data)) for data in files], abs=1e-6)
    assert (row.bytes_not_rising, row.psnr_not_rising, len(trials)) == ([], [], 3)


def test_the_verb_writes_what_it_prints(tmp_path, monkeypatch):
    monkeypatch.setattr("tadan_lab.measure.TadanCodec", stand_in)
    monkeypatch.setattr(sys, "argv", ["tadan"])
    folder = save_crops(tmp_path / "crops")
    line = ["lab", "monotone", str(folder), "--step", "40", "--limit", "1", "--out", f"{tmp_path}/m.json"]
    shown = CliRunner().invoke(app, line)
    assert shown.exit_code == 0, shown.output
    document = json.loads((tmp_path / "m.json").read_text())
    [row] = document["rows"]
    assert row["qualities"] == [0, 40, 80, 100]  # of the stand-in; Tadan's begin at 1
    assert document["summary"]["mean_psnr_at_100"] == row["psnr"][-1]
    assert f"mean psnr at 100: {row['psnr'][-1]}" in shown.output
