"""`tadan lab damage`: kinds of damage, and a judge who would notice a tile that is wrongly called intact."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from codec_examples import CODEC
from photo_examples import photo
from tadan.cli.main import app
from tadan.codec.codec import Codec
from tadan_lab.measure import damage
from tadan_lab.measure.damage import HARMS

PICTURE = photo("coffee", 200, 128)
DATA = CODEC.encode(PICTURE, quality=50, effort=0, tile=64)  # 4 rows of 2 tiles


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.fromarray(PICTURE).save(tmp_path / "pictures" / "coffee.png")
    return tmp_path / "pictures"


def run(*line):
    shown = CliRunner().invoke(app, ["lab", "damage", *map(str, line)])
    return shown.exit_code, shown.output


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HARMS)
@given(data=st.binary(min_size=1, max_size=10_000), percent=st.floats(0.1, 99), seed=st.integers(0, 2**32))
def test_damage_is_as_large_as_it_should_be_and_repeatable(name, data, percent, seed):
    damaged = HARMS[name](data, percent, np.random.default_rng(seed))
    assert damaged == HARMS[name](data, percent, np.random.default_rng(seed))
    changed = [at for at, (a, b) in enumerate(zip(data, damaged, strict=False)) if a != b]
    wanted = max(1, round(len(data) * percent / 100))
    if name == "truncation":
        assert data[:-wanted] == damaged
        return
    assert len(damaged) == len(data)
    if name == "one bit":
        [at] = changed
        assert (data[at] ^ damaged[at]).bit_count() == 1
    elif name.startswith("sectors"):
        size = int(name.split()[1])
        sectors = {at // size for at in changed}
        assert len(sectors) == max(1, round(len(data) * percent / 100 / size))
        assert len(changed) == sum(min(size, len(data) - size * at) for at in sectors)
    else:
        assert len(changed) == wanted
        assert name == "single bytes" or changed == list(range(changed[0], changed[0] + wanted))


# --- the judge --------------------------------------------------------------------------------------------------------


def test_tiles_that_are_right_are_not_called_wrong():
    judge = damage._Judge.of(CODEC, DATA)
    for damaged in (DATA, DATA[:-20], DATA[:200] + b"x" + DATA[201:]):
        assert judge.wrong(damaged, CODEC.salvage(damaged)) == 0


def test_tiles_that_are_wrong_are_found():
    judge = damage._Judge.of(CODEC, DATA)
    left = CODEC.salvage(DATA)
    other = np.array(left.image)
    other[30, 40] += 2
    assert judge.wrong(DATA, replace(left, image=Image.fromarray(other))) == 1
    damaged = DATA[:200] + b"\0\0" + DATA[202:]
    lying = [replace(tile, state="intact") for tile in CODEC.salvage(damaged).tiles]
    assert judge.wrong(damaged, replace(CODEC.salvage(damaged), tiles=tuple(lying))) >= 1
    larger = CODEC.encode(photo("coffee", 201, 128), quality=50, effort=0, tile=64)
    assert judge.wrong(larger, CODEC.salvage(larger)) == 8
    assert judge.wrong(CODEC.encode(PICTURE, quality=51, effort=0, tile=64), left) == 8


def test_pixels_near_lost_tiles_do_not_count():
    judge = damage._Judge.of(CODEC, DATA)
    left = CODEC.salvage(DATA)
    lost = (replace(left.tiles[0], state="lost"), *left.tiles[1:])
    for spot, count in ((64 + 63, 0), (64 + 64, 1)):
        other = np.array(left.image)
        other[spot, 5] ^= 64
        assert judge.wrong(DATA, replace(left, image=Image.fromarray(other), tiles=lost)) == count


# --- the verb ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_verb_tells_what_is_left(folder, tmp_path):
    out = tmp_path / "d.json"
    line = (folder, "--tile", 64, "--trials", 2, "--threads", 1, "--out", out)
    code, shown = run(*line)
    assert code == 0, shown
    document = json.loads(out.read_text())
    rows = {row["harm"]: row for row in document["rows"]}
    assert list(rows) == list(HARMS)
    assert {(row["bytes"], row["tiles"], row["trials"], row["wrong"]) for row in rows.values()} == {
        (len(DATA), 8, 2, 0)
    }
    assert rows["truncation"]["intact"] == 2 * 7
    assert rows["one bit"]["intact"] >= 2 * 7
    assert all(row["files"] + sum(row["refused"].values()) <= 2 for row in rows.values())
    kept = [{**row, "seconds": 0, "seconds_most": 0} for row in document["rows"]]
    assert run(*line)[0] == 0
    assert kept == [{**row, "seconds": 0, "seconds_most": 0} for row in json.loads(out.read_text())["rows"]]


def test_a_tile_wrongly_called_intact_is_a_failure(folder, tmp_path, monkeypatch):
    genuine = Codec.salvage

    def lying(codec, data):
        left = genuine(codec, data)
        return replace(left, tiles=tuple(replace(tile, state="intact") for tile in left.tiles))

    monkeypatch.setattr(Codec, "salvage", lying)
    code, shown = run(folder, "--tile", 64, "--trials", 1, "--threads", 1, "--out", tmp_path / "d.json")
    assert code == 1
    assert "please report" in shown
    assert sum(row["wrong"] for row in json.loads((tmp_path / "d.json").read_text())["rows"]) > 0


@pytest.mark.parametrize(
    "line",
    [
        *(["--percent", percent] for percent in ("0", "-1", "100", "nan", "much")),
        *(["--tile", tile] for tile in ("100", "-64")),
        ["--trials", "0"],
        ["--seed", "-1"],
        ["--quality", "0"],
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_refused(folder, line):
    code, shown = run(folder, *line)
    assert (code, "Traceback" in shown) == (2, False)
