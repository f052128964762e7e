"""What `tadan lab eval` leaves behind: the page, the plots and the numbers, from measured and from saved curves."""

import base64
import io
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs
from typer.testing import CliRunner

from evaluate_examples import save_crops, stand_in
from tadan.cli.main import app
from tadan.errors import InvalidInput
from tadan_lab.measure import Curve, TadanCodec, available_rivals, load_curve, psnr, save_curve
from tadan_lab.measure.bdrate import compare
from tadan_lab.measure.curve import curve_file, curve_points
from tadan_lab.measure.gallery import TARGET_BPP, build_gallery, choose_pictures, middle_quality
from tadan_lab.measure.plots import rd_plot, rd_svg
from tadan_lab.measure.report import html_report

JPEG = available_rivals(threads=1)["jpeg"]
VOID = {"meta", "img", "br"}
HOSTILE = "<script>alert(1)<b>&\"'$x$\x1b[31m.png"
GIVEN = Curve(
    "_given $a$",
    "",
    {"dataset": "<i>elsewhere"},
    {"bpp": [0.1, 0.25, 0.5, 1.0, 1.8], "psnr-rgb": [27.0, 30.5, 33.2, 36.4, 39.5]},
)


class Page(HTMLParser):
    """Checks that tags balance, and collects attributes, text, and the numbers of every table."""

    def __init__(self, source):
        super().__init__()
        self.open, self.attributes, self.text, self.values, self.tables = [], [], [], [], []
        self.tags = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "table":
            self.tables.append([])
        if tag == "data":
            self.tables[-1].append(float(dict(attrs)["value"])) if "table" in self.open else None
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text.append(data)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder as `tadan lab eval` leaves it, of two crops of which one has a hostile name."""
    root = tmp_path_factory.mktemp("eval")
    save_crops(root / "crops", ("a.png", HOSTILE))
    save_curve(GIVEN, root / "given.json")
    line = [
        "lab",
        "eval",
        root / "crops",
        "--qualities",
        "1,5,20,50,80,95",
        "--against",
        "jpeg",
        "--schedule",
        "0,2/3,1",
    ]
    shown = run(
        *line,
        "--anchor",
        root / "given.json",
        "--out",
        root / "r",
        "--pictures",
        2,
        "--metrics",
        "psnr,ms-ssim,ssimulacra2",
    )
    return root / "r", shown


def run(*line, code=0):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tadan_lab.measure.TadanCodec", stand_in)
        patch.setattr(sys, "argv", ["tadan", *map(str, line)])
        shown = CliRunner().invoke(app, [str(word) for word in line])
    assert shown.exit_code == code, shown.output
    return shown.output


def test_the_verb_leaves_report_plots_and_curves(results):
    folder, shown = results
    names = {
        "report.html",
        "rate-distortion.svg",
        "rate-distortion.png",
        "bd-rates.json",
        "jpeg.json",
        "named-points.json",
        "codec-compare",
    }
    assert {path.name for path in folder.iterdir()} == {*names, "tadan-0,2-3,1.json"}
    assert "BD-rate of tadan-0,2/3,1 against jpeg: -" in shown
    assert "by MS-SSIM: -" in shown
    assert "_given $a$ (given: <i>elsewhere): " in shown
    meta = load_curve(folder / "tadan-0,2-3,1.json").meta
    assert meta["command"].startswith("tadan lab eval ")
    assert {"tadan", "python", "processor", "model"} <= set(meta["measured"])


def test_the_page_needs_nothing_from_outside(results):
    source = (results[0] / "report.html").read_text()
    page = Page(source)
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "action", "srcset", "poster", "data"):
            assert value.startswith(("data:image/", "#")), (name, value[:80])
    for address in re.findall(r"url\(([^)]*)\)", source):
        assert address.startswith("#")
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert "@import" not in source
    addresses = set(re.findall(r"https?://[^\s\"'<]+", source))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not fetched
    assert "default-src 'none'" in dict(page.attributes)["content"] or "default-src 'none'" in source


def test_the_page_escapes_what_files_are_called(results):
    source = (results[0] / "report.html").read_text()
    page = Page(source)
    assert page.tags.count("script") == 1
    assert "i" not in page.tags
    assert any(HOSTILE.replace("\x1b", "\\x1b") == text for text in page.text)
    assert "\x1b" not in source
    surrogate = replace(GIVEN, name="undecodable \udcff", description="two\nlines", meta={})
    written = html_report(
        [GIVEN, surrogate], compare(GIVEN, [surrogate]), rd_svg([GIVEN, surrogate], "\udcff"), [], "x"
    )
    assert b"undecodable \\udcff" in written


def test_the_numbers_of_the_page_are_those_of_the_files(results):
    folder, _ = results
    page = Page((folder / "report.html").read_text())
    bd_rates, *named, means = page.tables
    document = json.loads((folder / "bd-rates.json").read_text())
    assert bd_rates == [row["percent"] for row in document["bd_rates"] if row["percent"] is not None]
    assert len(bd_rates) == 4
    expected = []
    for curve in (load_curve(folder / "tadan-0,2-3,1.json"), load_curve(folder / "jpeg.json"), GIVEN):
        for point in curve_points(curve):
            row = (point.bpp, *point.values.values(), point.encode_s, point.decode_s)
            expected += [value for value in row if value is not None]
    assert means == expected
    met = [row for row in json.loads((folder / "named-points.json").read_text()) if row["value"] is not None]
    rates = {(row["metric"], row["source"], row["bpp"]) for row in met}
    assert sorted(value for table in named for value in table) == sorted(
        [row["value"] for row in met] + [bpp for *_, bpp in rates]
    )
    assert {row["source"] for row in met} == {"JPEG AI", "CLIC"}


def test_saved_curves_redraw_the_same_plot(results, tmp_path):
    folder, _ = results
    saved = ["--from", folder / "tadan-0,2-3,1.json", "--from", folder / "jpeg.json"]
    run("lab", "eval", *saved, "--anchor", folder.parent / "given.json", "--out", tmp_path)
    for name in ("rate-distortion.svg", "bd-rates.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html",
        "rate-distortion.svg",
        "rate-distortion.png",
        "bd-rates.json",
        "named-points.json",
        "codec-compare",
    }
    source = (tmp_path / "report.html").read_text()
    assert "<img" not in source
    assert "--qualities 1,5,20,50,80,95" in source  # how the curve was measured, beside how the page was made


def test_plots_take_curves_of_any_kind(monkeypatch):
    one = Curve("one", "", {}, {"bpp": [0.3], "psnr-rgb": [31.0]})
    odd = Curve("$\\frac{", "", {}, {"bpp": [0.0, float("nan"), 0.2], "psnr-rgb": [30.0, 31.0, float("inf")]})
    svg = rd_svg([one, odd], "a $title")
    monkeypatch.setitem(__import__("matplotlib").rcParams, "lines.linewidth", 9)  # a user's own style
    assert rd_svg([one, odd], "a $title") == svg
    assert "<metadata" not in svg
    assert Image.open(io.BytesIO(rd_plot([one], ""))).format == "PNG"


def test_options_that_contradict_each_other_are_refused(results, tmp_path):
    folder, _ = results
    saved = ("--from", folder / "jpeg.json", "--out", tmp_path / "none")
    assert "give a folder" in run("lab", "eval", code=2)
    assert "leave out one" in run("lab", "eval", folder, *saved, code=2)
    assert "--qualities has no effect" in run("lab", "eval", *saved, "-q", "5", code=2)
    assert "--effort has no effect" in run("lab", "eval", *saved, "--effort", "5", code=2)
    assert not (tmp_path / "none").exists()


# pictures


def test_the_gallery_shows_what_the_files_hold(tmp_path):
    folder = save_crops(tmp_path / "crops")
    [exhibit] = build_gallery(stand_in(), [JPEG], [folder / "b.png"], 20)
    original, ours, rival = exhibit.panels
    image = Image.open(folder / "b.png").convert("RGB")
    assert np.array_equal(pixels(original.crop), np.asarray(image.crop(exhibit.box)))
    data = JPEG.encode(image, rival.quality)
    assert rival.size == len(data)
    assert rival.values["psnr-rgb"] == psnr(image, JPEG.decode(data))
    assert np.array_equal(pixels(rival.crop), np.asarray(JPEG.decode(data).crop(exhibit.box)))
    assert rival.size == pytest.approx(ours.size, rel=0.1)
    assert original.size == (folder / "b.png").stat().st_size


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


@pytest.mark.slow
def test_many_crops_stay_within_the_size_of_a_page(tmp_path):
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)).save(path)
    exhibits = build_gallery(JPEG, [JPEG], [path] * 20, 50)
    assert sum(len(panel.crop) for exhibit in exhibits for panel in exhibit.panels) < 15e6
    assert exhibits[0].box[2] - exhibits[0].box[0] < 384


def test_pictures_and_quality_are_chosen_from_the_middle():
    paths = [Path(f"{index:02}") for index in range(24)]
    assert [path.name for path in choose_pictures(paths, 4)] == ["03", "09", "15", "21"]
    assert choose_pictures(paths, 0) == []
    assert choose_pictures(paths, 99) == paths
    for count in range(25):
        assert len(set(choose_pictures(paths, count))) == count
    results = {"bpp": [0.1, TARGET_BPP * 1.1, 1.0], "psnr-rgb": [27.0, 30.0, 36.0]}
    assert middle_quality(Curve("x", "", {"quality": [10, 25, 60]}, results)) == 25


@pytest.mark.parametrize(("width", "height"), [(1, 1), (9, 300), (700, 12)])
def test_a_page_shows_pictures_of_any_size(tmp_path, width, height):
    path = tmp_path / "a.png"
    Image.fromarray(photographs.coffee()).resize((width, height)).save(path)
    exhibits = build_gallery(JPEG, [], [path], 30)
    Page(html_report([GIVEN], [], rd_svg([GIVEN], ""), exhibits, "x").decode())


# names


def test_file_names_of_curves_are_safe_everywhere():
    assert curve_file("tadan") == "tadan.json"
    assert curve_file("tadan-0,2/3,1") == "tadan-0,2-3,1.json"
    for name in ("../../etc/passwd", "a\\b:c*?\n", "", ".hidden", "\udcff", "é" * 300):
        assert re.fullmatch(r"[A-Za-z0-9,_-][A-Za-z0-9.,_-]{0,99}\.json", curve_file(name)), name
    long = ["tadan-" + "0,1/2,3;" * 100 + end for end in "ab"]
    assert curve_file(long[0]) != curve_file(long[1])


def test_effort_reaches_the_encoder_and_the_name():
    calls = []

    class Recorder:
        def encode(self, image, **options):
            calls.append(options)
            return b""

    for effort in (None, 0, 7):
        codec = TadanCodec(schedule="best", effort=effort)
        codec._codec = Recorder()
        codec.encode(Image.new("RGB", (8, 8)), quality=40)
    assert calls[0] == {"quality": 40, "schedule": "best"}
    assert calls[1] == {"quality": 40, "schedule": "best", "effort": 0}
    assert codec.name == "tadan-best-effort-7"
    assert "effort=7" in TadanCodec(effort=7).description
    for effort in (-1, 10):
        with pytest.raises(InvalidInput, match="0 to 9"):
            TadanCodec(effort=effort)
