"""`tadan lab scale`: mosaics, processes that are measured one by one, and what is said about their figures."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from codec_examples import CODEC
from evaluate_examples import save_crops
from photo_examples import photo
from tadan import launch
from tadan.cli.main import app
from tadan.errors import InvalidInput
from tadan.process import Cost, run_tadan
from tadan_lab.measure import scale
from tadan_lab.measure.scale import ScaleRow, exponents, limit_line, mosaic_size, scale_plot, scale_svg, write_mosaic


@pytest.fixture
def crops(tmp_path):
    return save_crops(tmp_path / "crops")


def run(*line):
    shown = CliRunner().invoke(app, ["lab", "scale", *map(str, line)])
    return shown.exit_code, shown.output


def row(megapixels, seconds=1.0, peak=100 * 2**20, effort=None):
    cost = Cost(seconds, seconds, peak)
    return ScaleRow(round(megapixels * 1e3), 1000, effort, 0, 1, False, 1000, cost, cost, cost)


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("megapixels", [1e-6, 0.1, 0.3, 3, 100])
def test_sizes_are_nearly_square(megapixels):
    width, height = mosaic_size(megapixels)
    assert abs(width - height) <= 1
    assert width * height == pytest.approx(1e6 * megapixels, rel=0.01)


def test_a_mosaic_is_made_of_the_photographs(crops, tmp_path):
    paths = [crops / "a.png", crops / "b.png"]
    first, second = (np.asarray(Image.open(path)) for path in paths)
    write_mosaic(tmp_path / "m.ppm", paths, 500, 600)
    mosaic = np.asarray(Image.open(tmp_path / "m.ppm"))
    assert mosaic.shape == (600, 500, 3)
    np.testing.assert_array_equal(mosaic[:64, :96], first)
    np.testing.assert_array_equal(mosaic[64:128, :96], first[::-1])
    np.testing.assert_array_equal(mosaic[:200, 96:296], second)
    np.testing.assert_array_equal(mosaic[:64, 296:392], first[:, ::-1])  # the second round starts at row 512 = 8 * 64
    colours = {tuple(colour) for picture in (first, second) for colour in picture.reshape(-1, 3)}
    assert {tuple(colour) for colour in mosaic.reshape(-1, 3)} <= colours


def test_a_mosaic_is_never_whole_in_memory(crops, tmp_path):
    tracemalloc.start()
    write_mosaic(tmp_path / "m.ppm", [crops / "b.png"], 1500, 6000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "m.ppm").stat().st_size > 27e6 > 3 * peak


# --- processes --------------------------------------------------------------------------------------------------------


def test_memory_of_the_measuring_process_does_not_count():
    ballast = np.ones(2**25)  # 256 MB
    cost = run_tadan(["--version"])
    assert 2**22 < cost.peak_bytes < 2**27 < ballast.nbytes
    assert cost.cpu_seconds > 0
    assert cost.seconds > 0


def test_what_a_process_says_is_the_error():
    with pytest.raises(InvalidInput, match=r"(?s)tadan decode failed with exit code 2: .*absent\.tdn"):
        run_tadan(["decode", "absent.tdn"])


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_process_is_reported(capfd, monkeypatch):
    launch.main(["sh", "-c", "kill -9 $$"])
    assert json.loads(capfd.readouterr().out)["code"] == -9
    killed = type("Done", (), {"returncode": 0, "stderr": b"", "stdout": b'{"code": -9}'})
    monkeypatch.setattr("subprocess.run", lambda *_, **__: killed)
    with pytest.raises(InvalidInput, match="killed by SIGKILL; did memory run out"):
        run_tadan(["encode"])


def test_a_system_without_wait4_measures_seconds(capfd, monkeypatch):
    monkeypatch.delattr(os, "wait4", raising=False)
    launch.main(["sh", "-c", "exit 3"])
    cost = json.loads(capfd.readouterr().out)
    assert (cost["code"], cost["cpu_seconds"], cost["peak_bytes"]) == (3, None, None)
    assert "not measured" in limit_line([row(1, peak=None)], 1024)


# --- figures ----------------------------------------------------------------------------------------------------------


def test_exponents_are_fitted_from_a_megapixel_on():
    rows = [row(0.1, 5), *(row(size, 0.2 * size**1.3) for size in (1, 3, 10))]
    assert exponents(rows) == pytest.approx({"encode": 1.3, "decode": 1.3})
    assert exponents(rows[:2]) == {"encode": None, "decode": None}
    assert exponents([row(2), row(2)])["encode"] is None


def test_the_limit_is_judged_by_the_largest():
    rows = [row(1), row(10, peak=2000 * 2**20), row(20, peak=1500 * 2**20)]
    assert limit_line(rows, 2000).startswith("PASS: peak memory stays within 2000 MB (at most 2000 MB, at 10 mega")
    assert limit_line(rows, 1024).startswith("FAIL: peak memory is above 1024 MB at 10, 20 megapixels")


def test_equal_figures_give_equal_plots():
    rows = [row(size, size, effort=effort) for effort in (0, 3) for size in (1, 4)] + [row(9, peak=None, effort=3)]
    svg = scale_svg(rows, 1024, "a $title")
    assert svg == scale_svg(rows, 1024, "a $title")
    assert scale_plot(rows[:1], 1024, "").startswith(b"\x89PNG")


# --- the verb ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_verb_measures_what_it_prints(crops, tmp_path):
    out, plot = tmp_path / "s.json", tmp_path / "s.png"
    code, shown = run(crops, "--megapixels", "0.02", "--efforts", "0", "--threads", 1, "--out", out, "--plot", plot)
    assert code == 0, shown
    document = json.loads(out.read_text())
    [one] = document["rows"]
    assert (one["width"], one["height"], one["effort"], one["tiles"]) == (141, 142, 0, 1)
    assert one["bpp"] == pytest.approx(8 * one["bytes"] / (141 * 142))
    assert all(one[part]["seconds"] > 0 for part in ("encode", "decode", "region"))
    assert document["photographs"] == ["a.png", "b.png"]
    assert document["limit"] in shown
    assert document["limit"].startswith("PASS") or not hasattr(os, "wait4")
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in plot.with_suffix(".svg").read_text()


def test_rows_before_a_failure_are_kept(crops, tmp_path, monkeypatch):
    def stand_in(arguments):
        if arguments[0] == "encode":
            if Image.open(arguments[1]).width > 60:
                raise InvalidInput("memory ran out")
            with open(arguments[2], "wb") as file:
                file.write(CODEC.encode(photo(height=16, width=16)))
        return Cost(0.5, 0.4, 2**20)

    monkeypatch.setattr(scale, "run_tadan", stand_in)
    code, shown = run(crops, "--megapixels", "0.0025,0.01", "--out", tmp_path / "s.json")
    assert code == 2
    assert "memory ran out" in shown
    [one] = json.loads((tmp_path / "s.json").read_text())["rows"]
    assert one["width"] == 50


@pytest.mark.parametrize(
    "line",
    [
        *(["--megapixels", sizes] for sizes in ("x", "", "0", "-1", "nan", "inf", "1e-9", "200", "1,big")),
        *(["--efforts", efforts] for efforts in ("10", "fast", "")),
        ["--plot", "figure.jpg"],
        ["--threads", "0"],
        ["--limit-mb", "0"],
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_refused(crops, line):
    code, shown = run(crops, *line)
    assert (code, "Traceback" in shown) == (2, False)


def test_a_folder_without_photographs_is_refused(tmp_path):
    assert run(tmp_path)[0] == run(tmp_path / "absent")[0] == 2
