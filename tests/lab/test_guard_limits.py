"""``tadan lab guard``: what photographs take, against what the encoder is built with."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from photo_examples import photo
from tadan.cli.main import app
from tadan.codec.fallback import is_unusual
from tadan_lab.measure import guard
from tadan_lab.measure.guard import measure_guard


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "QUALITIES", (60, 80))
    noise = np.random.default_rng(1).integers(0, 256, (128, 160, 3), np.uint8)
    for name, pixels in (("coffee", photo("coffee", 128, 160)), ("noise", noise)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return tmp_path


def test_noise_is_beyond_the_limits_and_a_photograph_within(folder):
    usual, unusual = (measure_guard([folder / f"{name}.png"], None, 1) for name in ("coffee", "noise"))
    assert [(row.channels, row.quality) for row in usual] == [(1, 60), (1, 80), (3, 60), (3, 80)]
    assert not any(row.flagged for row in usual)
    assert all(row.flagged for row in unusual)
    for row, other in zip(usual, unusual, strict=True):
        assert row.most_bpp < row.limit_bpp < other.most_bpp
        assert row.limit_bpp == other.limit_bpp
    flat = np.full((128, 160, 3), 200, np.uint8)
    assert is_unusual(flat, int(usual[2].limit_bpp * 128 * 160 / 8), usual[2].lambda_)


def test_the_verb_writes_what_it_shows(folder):
    out = folder / "guard.json"
    shown = CliRunner().invoke(app, ["lab", "guard", str(folder), "--threads", "1", "--out", str(out)])
    assert shown.exit_code == 0, shown.output
    document = json.loads(out.read_text())
    assert document["pictures"] == 2
    assert [row["flagged"] for row in document["rows"]] == [1] * 4
