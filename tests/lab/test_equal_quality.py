"""Bytes at equal quality, named rates, export for codec-compare: exact where truth is known, silent elsewhere."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tadan_lab.measure import Curve
from tadan_lab.measure.bdrate import unbeaten
from tadan_lab.measure.codec_compare import FOLDER, LIST, batch, write_batches
from tadan_lab.measure.equal import RateCurve, compare_pairs
from tadan_lab.measure.named_points import NAMED_RATES, by_rate, named_points

SCORES = (30.0, 45.0, 60.0, 75.0, 90.0)


def exponential(start, slope):
    """Bytes whose logarithm is linear in the score."""
    return [(score, start * math.exp(slope * score)) for score in SCORES]


@given(st.floats(100, 1e6), st.floats(0.001, 0.1), st.floats(30, 90))
def test_interpolation_is_exact_where_the_logarithm_is_linear(start, slope, score):
    curve = RateCurve.of(exponential(start, slope))
    assert curve.bytes_at(score) == pytest.approx(start * math.exp(slope * score), rel=1e-9)


@pytest.mark.parametrize("score", [29.99, 90.01, -100, math.inf, math.nan])
def test_nothing_is_extrapolated(score):
    assert RateCurve.of(exponential(1000, 0.02)).bytes_at(score) is None


def test_measured_points_come_back_and_bytes_rise_between_them():
    points = [(20.0, 900), (40.0, 1000), (60.0, 5000), (80.0, 5100)]
    curve = RateCurve.of(points)
    for score, size in points:
        assert curve.bytes_at(score) == pytest.approx(size)
    sizes = [curve.bytes_at(20 + one) for one in range(61)]
    assert sizes == sorted(sizes)


def test_points_that_another_one_beats_do_not_count():
    points = [(50.0, 100), (49.0, 120), (70.0, 200), (70.0, 180), (None, 5)]
    assert RateCurve.of(points).points == ((50.0, 100), (70.0, 180))
    assert unbeaten([(1.0, 5.0), (2.0, 4.0)]) == ([(2.0, 4.0)], 1)
    assert RateCurve.of([]).bytes_at(50) is None
    assert RateCurve.of([(50.0, 100)]).bytes_at(50.0) == pytest.approx(100)


def test_settings_are_found_where_scores_are():
    curve = RateCurve.of([(40.0, 100), (80.0, 400)])
    assert curve.knob_at(60.0, {40.0: 20, 80.0: 60}) == 40
    assert curve.knob_at(90.0, {40.0: 20, 80.0: 60}) is None


def test_pairs_are_averaged_as_ratios_and_gaps_are_counted():
    row = compare_pairs("jpeg", 70, [(50, 100, 1000), (200, 100, 3000), None])
    assert (row.pictures, row.left_out) == (2, 1)
    assert row.percent == pytest.approx(0)  # half and double: even, whatever the sizes
    assert (row.best, row.worst) == (pytest.approx(-50), pytest.approx(100))
    assert row.smaller_percent == 50
    assert (row.bpp, row.rival_bpp) == (8 * 250 / 4000, 8 * 200 / 4000)
    none = compare_pairs("jpeg", 70, [None, None])
    assert (none.pictures, none.left_out, none.percent) == (0, 2, None)


def curve(name="one", rows=()):
    rates = [0.1, 0.2, 0.4, 0.8]
    results = {"bpp": rates, "psnr-rgb": [30 + 3 * math.log2(rate / 0.1) for rate in rates]}
    return Curve(name, "words", {"dataset": "set"}, results, list(rows))


def test_named_rates_are_read_off_inside_of_what_was_measured_only():
    found = {(one.source, one.bpp): one.value for one in named_points(curve(), "psnr-rgb")}
    assert set(found) == {(source, rate) for source, rates in NAMED_RATES.items() for rate in rates}
    assert found["CLIC", 0.15] == pytest.approx(30 + 3 * math.log2(1.5))
    assert found["JPEG AI", 0.25] == pytest.approx(30 + 3 * math.log2(2.5))
    assert found["CLIC", 0.075] is None
    assert found["JPEG AI", 1.0] is None
    assert all(one.value is None for one in named_points(curve(), "ssimulacra2"))


def test_a_table_of_named_rates_has_those_that_somebody_meets():
    table = by_rate([*named_points(curve("a"), "psnr-rgb"), *named_points(curve("b"), "psnr-rgb")])
    assert table["codecs"] == ["a", "b"]
    assert [(row["source"], row["bpp"]) for row in table["rows"]] == [
        *(("JPEG AI", rate) for rate in (0.12, 0.25, 0.5, 0.75)),
        *(("CLIC", rate) for rate in (0.15, 0.3)),
    ]


def test_distances_keep_their_sign_at_named_rates():
    falling = Curve("x", "", {}, {"bpp": [0.1, 0.4], "psnr-rgb": [30, 40], "butteraugli-3-norm": [4.0, 2.0]})
    found = {one.bpp: one.value for one in named_points(falling, "butteraugli-3-norm", ["CLIC"])}
    assert found[0.15] is not None
    assert 2 < found[0.3] < found[0.15] < 4


ROW = {
    "picture": "a.png",
    "quality": 5,
    "width": 8,
    "height": 4,
    "bytes": 9,
    "encoding_time": 0.1,
    "decoding_time": 0.2,
}


def test_batches_have_what_the_viewer_reads():
    rows = [{**ROW, "psnr-rgb": 30.0, "ssimulacra2": 70.0}, {**ROW, "psnr-rgb": None, "ssimulacra2": 71.0}]
    content = batch(curve(rows=rows))
    assert len(content["constant_descriptions"]) == len(content["constant_values"])
    assert all(len(one) == 1 for one in [*content["constant_descriptions"], *content["field_descriptions"]])
    names = [next(iter(one)) for one in content["field_descriptions"]]
    known = {"original_name", "width", "height", "quality", "encoded_size", "encoding_time", "decoding_time", "psnr"}
    assert {*known, "ssimulacra2"} == set(names)
    assert content["field_values"] == [["a.png", 8, 4, 5, 9, 0.1, 0.2, 30.0, 70.0]]  # the viewer knows no missing value


def test_batches_are_written_beside_the_list_that_the_viewer_loads(tmp_path):
    names = write_batches([curve("tadan", [{**ROW, "psnr-rgb": 1.0}]), curve("means only")], tmp_path)
    assert names == [f"{FOLDER}/{LIST}", f"{FOLDER}/tadan.json"]
    assert json.loads((tmp_path / FOLDER / LIST).read_text()) == [["tadan.json"]]
    assert json.loads((tmp_path / FOLDER / "tadan.json").read_text())["field_values"]
    assert write_batches([curve()], tmp_path / "none") == []
