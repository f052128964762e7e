"""`tadan lab tiles`: figures at borders of tiles, and the comparison with one tile."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from codec_examples import CODEC
from photo_examples import photo
from tadan.cli.main import app
from tadan_lab.measure import psnr
from tadan_lab.measure.tiles import Borders, TilesRow, blockiness, local_psnr, summarise_tiles

RAMP = np.repeat(np.arange(0, 160, 2, np.uint8)[None, :, None], 70, 0).repeat(3, 2)  # (70, 80, 3), steps of 2


def run(*line):
    shown = CliRunner().invoke(app, ["lab", "tiles", *map(str, line)])
    return shown.exit_code, shown.output


def test_borders_are_inside_the_picture():
    borders = Borders(64, 193, 64)
    assert (borders.columns, borders.rows) == ([64, 128, 192], [])
    near = borders.near()
    assert near.shape == (64, 193)
    assert np.flatnonzero(near[5]).tolist() == [*range(56, 72), *range(120, 136), *range(184, 193)]
    assert not Borders(0, 500, 500).near().any()


def test_a_step_at_the_border_shows():
    borders = Borders(64, 80, 70)
    assert blockiness(RAMP, borders) == 0
    stepped = RAMP.copy()
    stepped[:, 64:] += 5
    assert blockiness(stepped, borders) == pytest.approx(5 / 2)  # mean of a column that shows and a row that does not
    stepped[64:] += 4
    assert blockiness(stepped, borders) == pytest.approx((5 + 4) / 2)
    assert blockiness(stepped, Borders(0, 80, 70)) is None
    assert blockiness(RAMP[:, :65], Borders(64, 65, 64)) == 0  # nothing to the right of the step


def test_local_psnr_is_that_of_the_places():
    other, mask = RAMP.copy(), np.zeros((70, 80), np.bool_)
    other[:8] += 3
    mask[:16] = True
    assert local_psnr(RAMP, other, mask) == pytest.approx(psnr(RAMP[:16], other[:16]))
    assert local_psnr(RAMP, other, ~mask) == 100
    assert local_psnr(RAMP, other, np.zeros_like(mask)) is None


def row(tile, seam, **fields):
    """At borders PSNR changes by ``seam`` more than elsewhere."""
    values = {"near_db": 31.5 + seam, "near_one_tile_db": 31.0, "away_db": 30.5, "away_one_tile_db": 30.0, **fields}
    return TilesRow(
        "a", 80, 70, tile, 64, 4, 50, 110, 100, 30.6, 30.1, **values, step=1.0, step_one_tile=0.5, step_original=0.0
    )


def test_summaries_are_sums_of_bytes_and_means_of_the_rest():
    none = dict.fromkeys(("near_db", "near_one_tile_db", "away_db", "away_one_tile_db"))
    first, second = summarise_tiles([row("64", -0.3), row("64", 0.1), row("64", 0, **none), row("default", 0, **none)])
    assert (first.tile, first.pictures, first.tiled) == ("64", 3, 3)
    assert first.bytes_percent == pytest.approx(10)
    assert first.psnr_change_db == pytest.approx(0.5)
    assert first.seam_db == pytest.approx(-0.1)
    assert (second.seam_db, second.near_change_db) == (None, None)


def test_the_verb_compares_with_one_tile(tmp_path):
    for name in ("chelsea", "coffee"):
        Image.fromarray(photo(name, 100, 150)).save(tmp_path / f"{name}.png")
    out = tmp_path / "t.json"
    code, shown = run(tmp_path, "--tiles", "default,64", "-q", 40, "--threads", 1, "--out", out)
    assert code == 0, shown
    rows = json.loads(out.read_text())["rows"]
    assert [(row["picture"], row["tile"], row["tiles"]) for row in rows] == [
        *[("chelsea.png", "default", 1), ("chelsea.png", "64", 6)],
        *[("coffee.png", "default", 1), ("coffee.png", "64", 6)],
    ]
    whole, tiled = rows[:2]
    one_tile, tiles = (CODEC.encode(photo("chelsea", 100, 150), quality=40, effort=0, tile=side) for side in (0, 64))
    assert (whole["bytes"], whole["bytes_one_tile"], tiled["bytes"]) == (len(one_tile), len(one_tile), len(tiles))
    assert whole["seam_db"] is None
    assert tiled["psnr_db"] == pytest.approx(psnr(photo("chelsea", 100, 150), CODEC.decode(tiles)), abs=0.05)
    seam = tiled["near_db"] - tiled["near_one_tile_db"] - (tiled["away_db"] - tiled["away_one_tile_db"])
    assert tiled["seam_db"] == pytest.approx(seam)
    assert abs(tiled["step"] - tiled["step_one_tile"]) < 3


@pytest.mark.parametrize(
    "line",
    [
        *(["--tiles", tiles] for tiles in ("", "100", "-64", "0", "default,x", "64.0")),
        *(["-q", qualities] for qualities in ("", "0", "101", "high")),
        ["--effort", "10"],
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_refused(tmp_path, line):
    Image.fromarray(photo()).save(tmp_path / "a.png")
    code, shown = run(tmp_path, *line)
    assert (code, "Traceback" in shown) == (2, False)
