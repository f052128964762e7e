"""Rivals, curves, the demo and the two verbs, on photographs that scikit-image ships."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data as photographs
from typer.testing import CliRunner

from evaluate_examples import save_crops, stand_in
from tadan.errors import Corrupt, InvalidInput, MissingPackage, UnreadableInput
from tadan.files import make_folder
from tadan.optional import parse_qualities, require
from tadan.pictures.folder import open_rgb
from tadan_lab.cli.pictures import demo
from tadan_lab.measure import (
    available_rivals,
    load_curve,
    match_size,
    missing_rivals,
    psnr,
    rivals,
    run_curve,
    save_curve,
)
from tadan_lab.measure.crops import detailed_box
from tadan_lab.measure.curve import TIME_KEYS
from tadan_lab.measure.demo import default_photograph, run_demo
from tadan_lab.measure.rivals import choose_rivals

CAT = photographs.chelsea()  # (300, 451, 3)
RIVALS = available_rivals(threads=1)
JPEG = RIVALS["jpeg"]


@pytest.mark.parametrize("name", sorted(RIVALS))
def test_every_rival_codes_any_size(name: str) -> None:
    codec = RIVALS[name]
    for width, height in ((1, 1), (3, 2), (65, 33)):
        image = Image.fromarray(CAT[100 : 100 + height, 150 : 150 + width])
        decoded = codec.decode(codec.encode(image, codec.points[-1]))
        assert (decoded.mode, decoded.size) == ("RGB", image.size)
    assert set(codec.points) <= set(codec.qualities)
    assert psnr(image, decoded) > 25


def test_rivals_refuse_bad_input() -> None:
    with pytest.raises(InvalidInput, match="1 to 100"):
        JPEG.encode(Image.fromarray(CAT), 0)
    with pytest.raises(Corrupt, match="cannot decode"):
        JPEG.decode(b"not a picture")
    with pytest.raises(InvalidInput, match="choose from jpeg"):
        choose_rivals("jpeg,gif")
    assert [codec.name for codec in choose_rivals("webp, jpeg,webp")[0]] == ["webp", "jpeg"]
    assert choose_rivals("none") == ([], [])


def test_other_packages_add_rivals(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = replace(RIVALS["webp"], name="mine")
    point = SimpleNamespace(load=lambda: lambda threads: [replace(mine, description=f"{threads} threads")])
    monkeypatch.setattr(rivals, "entry_points", lambda group: [point] if group == "tadan.rivals" else [])
    (chosen,), _ = choose_rivals("mine", threads=3)
    assert (chosen.name, chosen.description) == ("mine", "3 threads")


def test_a_rival_that_is_not_installed_is_skipped_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # the import then fails
    assert "pip install pillow-heif" in missing_rivals()["heic"]
    chosen, skipped = choose_rivals("heic,jpeg")
    assert [codec.name for codec in chosen] == ["jpeg"]
    assert skipped == ["heic skipped: not installed; run: pip install pillow-heif"]


@settings(max_examples=25, deadline=None)
@given(target=st.integers(1, 60_000), name=st.sampled_from(["jpeg", "webp"]))
def test_match_size_finds_the_nearest_file(target: int, name: str) -> None:
    found = match_size(RIVALS[name], Image.fromarray(CAT[:96, :128]), target)
    nearest = min(abs(size - target) for size in SIZES[name])
    assert abs(len(found.data) - target) <= nearest + 0.02 * target  # the size of a file is not strictly monotone


SIZES = {
    name: [len(RIVALS[name].encode(Image.fromarray(CAT[:96, :128]), quality)) for quality in RIVALS[name].qualities]
    for name in ("jpeg", "webp")
}


def test_match_size_refuses_a_size_of_nothing() -> None:
    with pytest.raises(InvalidInput, match="positive"):
        match_size(JPEG, Image.fromarray(CAT), 0)


# curves


@pytest.fixture
def two_crops(tmp_path: Path) -> Path:
    return save_crops(tmp_path / "crops")


def test_a_curve_has_the_schema_of_the_anchors(two_crops: Path, tmp_path: Path) -> None:
    trials = 0

    def count() -> None:
        nonlocal trials
        trials += 1

    measured = run_curve(JPEG, two_crops, [80, 20, 50], on_trial=count)
    save_curve(measured, tmp_path / "jpeg.json")
    document = json.loads((tmp_path / "jpeg.json").read_text())
    assert trials == 6
    assert set(document) == {"name", "description", "meta", "results", "pictures"}
    assert document["meta"]["quality"] == [20, 50, 80]
    assert document["meta"]["pictures_with_fewer_ms_ssim_scales"] == 1
    assert set(document["results"]) == {"bpp", "psnr-rgb", "ms-ssim-rgb", *TIME_KEYS}
    assert all(len(values) == 3 for values in document["results"].values())
    for key in ("bpp", "psnr-rgb", "ms-ssim-rgb"):
        assert document["results"][key] == sorted(document["results"][key])
    first = document["pictures"][0]
    image = Image.open(two_crops / "a.png")
    assert (first["picture"], first["quality"], first["bytes"]) == ("a.png", 20, len(JPEG.encode(image, 20)))
    assert first["bpp"] == pytest.approx(8 * first["bytes"] / (96 * 64), abs=1e-6)
    means = [row["psnr-rgb"] for row in document["pictures"] if row["quality"] == 50]
    assert document["results"]["psnr-rgb"][1] == pytest.approx(sum(means) / 2, abs=1e-5)
    assert load_curve(tmp_path / "jpeg.json") == measured


def test_flat_and_tiny_pictures_leave_valid_json(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9), "black").save(tmp_path / "black.png")
    measured = run_curve(JPEG, tmp_path, [50])
    save_curve(measured, tmp_path / "curve.json")
    assert "NaN" not in (tmp_path / "curve.json").read_text()
    assert measured.pictures[0]["psnr-rgb"] is None
    assert measured.results["psnr-rgb"] == [100.0]
    assert "ms-ssim-rgb" not in measured.results


def test_curves_refuse_bad_input(two_crops: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="0"):
        run_curve(JPEG, two_crops, [0, 50])
    with pytest.raises(UnreadableInput, match="No pictures"):
        run_curve(JPEG, make_folder(tmp_path / "empty"), [50])
    with pytest.raises(UnreadableInput, match="Cannot read the folder"):
        run_curve(JPEG, tmp_path / "missing", [50])
    with pytest.raises(UnreadableInput, match="as a picture"):
        open_rgb(two_crops / "notes.txt")
    good = '"results": {"bpp": [1], "psnr-rgb": [30]}'
    broken = ('{"results": 3}', '{"results": {"bpp": [1], "psnr-rgb": []}}', '{"results": {"bpp": [], "psnr-rgb": []}}')
    for text in (
        "",
        "[]",
        *broken,
        f'{{{good}, "meta": "x"}}',
        f'{{{good}, "pictures": ["a.png"]}}',
        "[" * 10**5,
        "\xff",
    ):
        (tmp_path / "bad.json").write_text(text, encoding="latin-1")
        with pytest.raises(UnreadableInput, match=r"bad\.json"):
            load_curve(tmp_path / "bad.json")
    with pytest.raises(UnreadableInput, match="Cannot read"):
        load_curve(tmp_path / "missing.json")


# demo and verbs


def test_the_demo_writes_what_it_measured(tmp_path: Path) -> None:
    image = default_photograph()
    result = run_demo(RIVALS["webp"], [JPEG], image, [60, 20], tmp_path / "out", name="cat")
    assert [(row.at, row.codec) for row in result.rows] == [(20, "webp"), (20, "jpeg"), (60, "webp"), (60, "jpeg")]
    for ours, rival in zip(result.rows[0::2], result.rows[1::2], strict=True):
        assert len(rival.trial.data) == pytest.approx(len(ours.trial.data), rel=0.05)
    assert (tmp_path / "out" / "cat-q20-webp.webp").read_bytes() == result.rows[0].trial.data
    decoded = np.asarray(Image.open(tmp_path / "out" / "cat-q20-webp.png"))
    assert psnr(np.asarray(image), decoded) == result.rows[0].trial.values["psnr-rgb"]
    assert all(path.is_file() for path in result.files)
    assert len(result.files) == len(list((tmp_path / "out").iterdir())) == 10


def test_the_most_detailed_square_lies_inside() -> None:
    picture = np.full((50, 70, 3), 128, np.uint8)
    picture[30:40, 50:60] = np.random.default_rng(1).integers(0, 255, (10, 10, 3))
    left, top, right, bottom = detailed_box(Image.fromarray(picture), 20)
    assert (right - left, bottom - top) == (20, 20)
    assert left <= 50
    assert right >= 60
    assert top <= 30
    assert bottom >= 40
    assert detailed_box(Image.fromarray(picture), 100) == (0, 0, 70, 50)


def test_the_verb_demo(two_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tadan_lab.measure.TadanCodec", stand_in)
    monkeypatch.setenv("COLUMNS", "100")
    app = typer.Typer()
    app.command()(demo)
    shown = CliRunner().invoke(app, [str(two_crops / "b.png"), "--out", f"{tmp_path}/d", "--qualities", "40"])
    assert shown.exit_code == 0, shown.output
    assert "b-side-by-side.png" in shown.output


def test_qualities_are_read_strictly() -> None:
    assert parse_qualities("70, 20,20 45", range(1, 101)) == [20, 45, 70]
    for text in ("", "x", "0", "101", "1.5"):
        with pytest.raises(InvalidInput, match="Qualities"):
            parse_qualities(text, range(1, 101))


def test_a_missing_extra_names_the_command() -> None:
    with pytest.raises(MissingPackage, match=r'pip install "tadan\[lab\]"'):
        require("no_such_module_anywhere", "lab", "The plot")


def test_importing_evaluate_loads_no_optional_package() -> None:
    words = "matplotlib", "skimage", "scipy", "ssimulacra2", "bjontegaard", "rich", "torch", "onnxruntime"
    code = (
        "import sys, tadan_lab.measure, tadan_lab.cli.pictures, tadan_lab.cli.eval; "
        f"print([m for m in {words} if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() in ("[]", "['rich']")  # typer may load rich
