"""Metrics as data: what curves, BD-rates, tables, plots and the verb make of them."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data as photographs
from typer.testing import CliRunner

from evaluate_examples import save_crops, stand_in
from tadan.cli.main import app
from tadan.errors import InvalidInput
from tadan_lab.measure import Curve, available_rivals, bd_rate, load_curve, run_curve, save_curve
from tadan_lab.measure.bdrate import compare
from tadan_lab.measure.curve import curve_points
from tadan_lab.measure.plots import _draw, rd_svg
from tadan_lab.measure.report import comparison_line, comparisons_json
from tadan_lab.measure.session import spread
from tadan_lab.measure.yardsticks import METRICS, PSNR, SSIMULACRA2, Metric, choose_metrics, metrics_of

JPEG = available_rivals(threads=1)["jpeg"]
BPP = [0.1, 0.25, 0.5, 1.0, 1.8]
DECIBELS = [27.0, 30.5, 33.2, 36.4, 39.5]
DISTANCES = [5.1, 3.6, 2.2, 1.4, 0.8]
SCORES = [-20.5, 5.0, 33.0, 60.0, 80.0]


def curve(name, bpp=BPP, **columns):
    results = {"bpp": bpp, "psnr-rgb": DECIBELS, **{key.replace("_", "-"): values for key, values in columns.items()}}
    return Curve(name, "", {}, results)


ANCHOR = curve("anchor", butteraugli_3_norm=DISTANCES, ssimulacra2=SCORES)
CHEAPER = replace(ANCHOR, name="cheaper", results={**ANCHOR.results, "bpp": [0.8 * bpp for bpp in BPP]})


# choosing


def test_metrics_are_chosen_by_name_and_psnr_is_always_there():
    assert [metric.name for metric in choose_metrics("ssimulacra2 MS-SSIM,ms-ssim")[0]] == [
        "psnr",
        "ms-ssim",
        "ssimulacra2",
    ]
    for names in ("vmaf", "psnr,vmaf", "", " , "):
        with pytest.raises(InvalidInput, match="choose from psnr, ms-ssim, ssimulacra2, butteraugli, cvvdp"):
            choose_metrics(names)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_every_metric_says_what_it_is(metric: Metric):
    assert metric.title
    assert metric.heading
    assert metric.axis
    assert metric.shown(None) == metric.shown(math.nan) == "-"
    assert metric.shown(math.inf) == "lossless"
    better, worse = (0.1, 0.5) if metric.lower_is_better else (0.5, 0.1)
    assert metric.rising(better) > metric.rising(worse)


@given(points=st.lists(st.integers(0, 100), min_size=1, max_size=15, unique=True).map(sorted), count=st.integers(1, 20))
def test_points_are_spread_from_the_first_to_the_last(points, count):
    chosen = spread(points, count)
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(points)
    assert len(chosen) == min(count, len(points))
    if len(chosen) > 1:
        assert (chosen[0], chosen[-1]) == (points[0], points[-1])
    assert spread(points, None) == points


# curves


def test_a_curve_has_a_column_for_each_metric(tmp_path):
    folder = save_crops(tmp_path / "crops")
    measured = run_curve(JPEG, folder, [20, 50, 90], metrics=[SSIMULACRA2])
    save_curve(measured, tmp_path / "jpeg.json")
    assert load_curve(tmp_path / "jpeg.json") == measured
    assert "ms-ssim-rgb" not in measured.results
    assert measured.results["ssimulacra2"] == sorted(measured.results["ssimulacra2"])
    rows = [row["ssimulacra2"] for row in measured.pictures if row["quality"] == 50]
    assert measured.results["ssimulacra2"][1] == pytest.approx(sum(rows) / 2, abs=1e-5)
    assert metrics_of([measured]) == [PSNR, SSIMULACRA2]


def test_a_picture_that_is_too_small_counts_in_no_mean(tmp_path):
    Image.fromarray(photographs.coffee()[:7, :40]).save(tmp_path / "tiny.png")
    alone = run_curve(JPEG, tmp_path, [50], metrics=[SSIMULACRA2])
    assert alone.pictures[0]["ssimulacra2"] is None
    assert "ssimulacra2" not in alone.results
    Image.fromarray(photographs.coffee()[:64, :64]).save(tmp_path / "larger.png")
    both = run_curve(JPEG, tmp_path, [50], metrics=[SSIMULACRA2])
    assert both.results["ssimulacra2"] == [both.pictures[0]["ssimulacra2"]]


def test_curves_without_the_new_columns_still_load(tmp_path):
    old = {"name": "old", "results": {"bpp": BPP, "psnr-rgb": DECIBELS, "ms-ssim-rgb": [0.9, 0.95, 0.97, 0.98, 0.99]}}
    row = {"picture": "a.png", "quality": 5, "bpp": 0.1, "psnr-rgb": 27.0, "ms-ssim-rgb": 0.9}
    (tmp_path / "old.json").write_text(json.dumps({**old, "pictures": [row]}))
    loaded = load_curve(tmp_path / "old.json")
    assert [point.values["ssimulacra2"] for point in curve_points(loaded)] == [None] * 5
    [comparison] = compare(CHEAPER, [loaded])
    assert "old has no SSIMULACRA2" in comparison.values["ssimulacra2"]
    assert comparison.values["psnr-rgb"].percent == pytest.approx(-20)
    assert list(compare(loaded, [CHEAPER])[0].values) == ["psnr-rgb", "ms-ssim-rgb"]


# BD-rate


@pytest.mark.parametrize("metric", ["psnr-rgb", "ssimulacra2", "butteraugli-3-norm"])
def test_fewer_bits_are_negative_whichever_direction_is_better(metric):
    assert bd_rate(ANCHOR, CHEAPER, metric=metric).percent == pytest.approx(-20, abs=1e-9)
    assert bd_rate(CHEAPER, ANCHOR, metric=metric).percent == pytest.approx(25, abs=1e-9)


def test_a_better_distance_is_fewer_bits():
    nearer = curve("nearer", butteraugli_3_norm=[0.9 * value for value in DISTANCES])
    value = bd_rate(ANCHOR, nearer, metric="butteraugli-3-norm")
    assert value.percent < -5
    assert (value.low, value.high, value.unit) == (0.8, pytest.approx(0.9 * 5.1), "")
    assert str(value).endswith("(0.8 to 4.6, 87% of both)")


def test_points_that_nobody_would_choose_are_left_out_and_counted():
    bump = replace(
        ANCHOR,
        results={
            "bpp": [*BPP, 1.2, 2.5],
            "psnr-rgb": [*DECIBELS, 30.0, 39.4],
            "butteraugli-3-norm": [*DISTANCES, 4.0, 0.9],
        },
    )
    for metric in ("psnr-rgb", "butteraugli-3-norm"):
        value = bd_rate(ANCHOR, bump, metric=metric)
        assert value.percent == pytest.approx(0, abs=1e-9)
        assert value.left_out == 2
        assert "2 point(s) left out" in str(value)
    assert bd_rate(ANCHOR, CHEAPER).left_out == 0


def test_a_metric_that_gets_worse_with_bits_gives_words_instead_of_a_number():
    backwards = curve("backwards", butteraugli_3_norm=DISTANCES[::-1])
    with pytest.raises(InvalidInput, match=r"1 useful point.*4 more, Butteraugli does not get better with more bits"):
        bd_rate(ANCHOR, backwards, metric="butteraugli-3-norm")
    far = curve("far", butteraugli_3_norm=[value + 10 for value in DISTANCES])
    with pytest.raises(InvalidInput, match=r"far reaches 10\.8 to 15\.1, anchor 0\.8 to 5\.1; .*Butteraugli overlaps"):
        bd_rate(ANCHOR, far, metric="butteraugli-3-norm")
    [comparison] = compare(CHEAPER, [backwards])
    rows = json.loads(comparisons_json(CHEAPER, [comparison]))["bd_rates"]
    assert [row["percent"] is None for row in rows] == [False, True, True]
    assert "by Butteraugli: No BD-rate: backwards" in comparison_line(CHEAPER, comparison)


# plots


@pytest.mark.parametrize("count", range(1, 6))
def test_there_is_a_panel_for_each_metric(count):
    columns = {key: DISTANCES for key in list(METRICS)[:count]}
    shown = Curve("shown", "", {}, {"bpp": BPP, **columns})
    assert rd_svg([shown, curve("psnr only")], "").count('<g id="axes_') == count


def test_better_is_up():
    figure = __import__("matplotlib.figure").figure.Figure()
    _draw(figure, [ANCHOR], "", [(0, 0, 0)] * 20)
    inverted = {axes.get_ylabel().split(",")[0]: axes.yaxis_inverted() for axes in figure.axes}
    assert inverted == {"PSNR": False, "SSIMULACRA2": False, "Butteraugli": True}


# rivals and the verb


@pytest.mark.parametrize("name", ["avif", "avif-444"])
def test_avif_tuned_for_the_eye_differs_from_avif_tuned_for_psnr(name):
    rivals = available_rivals(threads=1)
    if name not in rivals:
        pytest.skip("this Pillow has no AVIF")
    image = Image.fromarray(photographs.coffee()[100:228, 200:328])
    assert rivals[name].encode(image, 50) != rivals[f"{name}-psnr"].encode(image, 50)
    assert "'tune': 'psnr'" in rivals[f"{name}-psnr"].description


def test_the_verb_measures_what_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("tadan_lab.measure.TadanCodec", stand_in)
    folder = save_crops(tmp_path / "crops")

    def run(*line):
        return CliRunner().invoke(app, ["lab", "eval", *map(str, line)])

    options = ("--against", "jpeg", "--points", 4, "--pictures", 1, "--out", tmp_path / "r")
    shown = run(folder, "--metrics", "psnr,ssimulacra2", *options)
    assert shown.exit_code == 0, shown.output
    assert "by SSIMULACRA2: " in shown.output
    assert "MS-SSIM" not in shown.output
    ours, rival = (load_curve(tmp_path / "r" / f"{name}.json") for name in ("tadan", "jpeg"))
    assert len(rival.meta["quality"]) == 4
    assert [metric.name for metric in metrics_of([ours])] == ["psnr", "ssimulacra2"]
    page = (tmp_path / "r" / "report.html").read_text()
    assert page.count("At equal SSIMULACRA2") == page.count("At equal PSNR") == 1
    assert "SSIMULACRA2 <data value=" in page.split('class="panels"')[1]
    redraw = ("--from", tmp_path / "r" / "jpeg.json")
    assert "--metrics has no effect" in run(*redraw, "--metrics", "psnr").output
    assert "choose from psnr" in run(folder, "--metrics", "vmaf").output
