"""`tadan decode` of parts: regions, previews, and what is left of damaged files; `tadan encode --tile`."""

import json

import numpy as np
import pytest
from PIL import Image

from cli_examples import command, fails, run
from codec_examples import CODEC
from photo_examples import photo

PICTURE = photo("coffee", 100, 140)
TILED = CODEC.encode(PICTURE, quality=50, tile=64, effort=0)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.tdn"
    path.write_bytes(TILED)
    return path


@pytest.fixture
def damaged(tmp_path):
    path = tmp_path / "damaged.tdn"
    path.write_bytes(TILED[:-30] + bytes(30))
    return path


def test_tiles(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "in.png")
    run("encode", tmp_path / "in.png", "--tile", 64, "-e", 0)
    assert json.loads(run("info", tmp_path / "in.tdn", "--json").stdout)["tile_count"] == 6
    fails("encode", tmp_path / "in.png", "--tile", 65, message="multiple of 64")


def test_a_region(file, tmp_path):
    out = tmp_path / "part.png"
    assert "60 x 30 RGB" in run("decode", file, out, "--region", "50,40,60,30").stdout
    np.testing.assert_array_equal(np.asarray(Image.open(out)), np.asarray(CODEC.decode(TILED, region=(50, 40, 60, 30))))


@pytest.mark.parametrize("region", ["1,2,3", "a,b,c,d", "500,0,5,5", "1;2;3;4", "-5,0,9,9"])
def test_regions_that_are_none(file, region):
    fails("decode", file, "-o", file.with_suffix(".png"), f"--region={region}", message="region")
    assert not file.with_suffix(".png").exists()


def test_a_preview(file, tmp_path):
    run("decode", file, tmp_path / "early.png", "--preview", 1)
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "early.png")), np.asarray(CODEC.decode(TILED, stages=1))
    )


def test_salvage(damaged, tmp_path):
    out = tmp_path / "left.png"
    fails("decode", damaged, out, message="--salvage")
    assert not out.exists()
    result = run("decode", damaged, out, "--salvage", code=1)
    assert "5 of 6 tiles intact; 1 of 6 tiles lost" in result.stdout
    np.testing.assert_array_equal(np.asarray(Image.open(out)), np.asarray(CODEC.salvage(damaged.read_bytes()).image))


def test_salvage_of_whole_and_hopeless_files(file, tmp_path):
    run("decode", file, tmp_path / "a.png", "--salvage")
    (tmp_path / "b.tdn").write_bytes(TILED[:20])
    fails("decode", tmp_path / "b.tdn", "--salvage", message="ends")


def test_the_report_is_json(damaged, file, tmp_path):
    result = run("decode", file, damaged, "--salvage", "--json", "--out-dir", tmp_path / "out", code=1)
    whole, broken = map(json.loads, result.stdout.splitlines())
    assert (whole["whole"], whole["lost"], whole["file"]) == (True, 0, str(file))
    assert (broken["whole"], broken["intact"], broken["lost"]) == (False, 5, 1)
    assert [tile["state"] for tile in broken["tiles"]] == ["intact"] * 5 + ["lost"]
    assert (tmp_path / "out" / "damaged.png").exists()


@pytest.mark.parametrize("options", [["--salvage", "--preview", 1], ["--salvage", "--region", "0,0,5,5"], ["--json"]])
def test_options_that_contradict_each_other(file, options):
    fails("decode", file, *options, message="--salvage")


def test_a_preview_from_a_pipe(file):
    result = command("decode", "-", "-", "--preview", 2, stdin=file.open("rb"))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(b"\x89PNG")
