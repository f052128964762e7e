"""`tadan lab race` and `tadan lab throughput`: what they measure is what they say; seconds are never judged."""

import json

import pytest
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from tadan.cli.main import app
from tadan_lab.measure.metrics import ssimulacra2
from tadan_lab.measure.ours import TadanCodec
from tadan_lab.measure.race import nearest_quality, race
from tadan_lab.measure.rivals import available_rivals
from tadan_lab.measure.throughput import measure_throughput, resized

PICTURE = Image.fromarray(data.coffee()[100:200, 150:290])


@pytest.mark.parametrize("score", [-50, 30, 70, 99])
def test_the_nearest_quality_is_no_worse_than_its_neighbours(score):
    codec = available_rivals()["webp"]
    quality, file, found = nearest_quality(codec, PICTURE, score)
    assert file == codec.encode(PICTURE, quality)
    for other in (quality - 1, quality + 1):
        if other in codec.qualities:
            other_score = ssimulacra2(PICTURE, codec.decode(codec.encode(PICTURE, other)))
            assert abs(found - score) <= abs(other_score - score) + 1.5  # scores of neighbours are not quite monotone


def test_every_codec_runs_at_the_score_of_the_first_one():
    teams = [(count, [TadanCodec(threads=count, effort=0), available_rivals(count)["webp"]]) for count in (1, 2)]
    calls = []
    rows = race(PICTURE, teams, 60, 2, lambda: calls.append(1))
    assert len(calls) == 8
    assert [(row.codec, row.threads) for row in rows] == [
        (name, count) for count in (1, 2) for name in ("tadan-effort-0", "webp")
    ]
    assert rows[0].quality == 60
    assert abs(rows[1].score - rows[0].score) < 4
    assert rows[0].bytes == rows[2].bytes  # threads change no byte
    assert all(row.encode > 0 and row.decode > 0 for row in rows)


@pytest.mark.slow
def test_the_verbs_write_what_they_show(tmp_path):
    path, out = tmp_path / "picture.png", tmp_path / "out.json"
    PICTURE.save(path)
    line = ["lab", "race", str(path), "--rivals", "jpeg,nothing", "--repeat", "1", "--counts", "1"]
    shown = CliRunner().invoke(app, line)
    assert shown.exit_code == 2
    line[4] = "jpeg"
    shown = CliRunner().invoke(app, [*line, "--efforts", "0", "--out", str(out)])
    assert shown.exit_code == 0, shown.output
    [found] = json.loads(out.read_text())["pictures"]
    assert [row["codec"] for row in found["rows"]] == ["tadan-effort-0", "jpeg"]
    assert (found["width"], found["height"]) == PICTURE.size
    line = ["lab", "throughput", str(path), "--megapixels", "0.01", "--counts", "1,2", "--seconds", "0.05"]
    shown = CliRunner().invoke(app, [*line, "--effort", "0", "--repeat", "1", "--out", str(out)])
    assert shown.exit_code == 0, shown.output
    found = json.loads(out.read_text())
    assert [row["workers"] for row in found["rows"]] == [1, 2]
    assert set(found["starts"]) == {"import tadan", "tadan info", "tadan decode", "tadan encode"}
    assert CliRunner().invoke(app, [*line[:6], "0", *line[6:]]).exit_code == 2


@pytest.mark.parametrize("megapixels", [0.005, 0.014, 0.05])
def test_pictures_are_cut_or_scaled_to_size(megapixels):
    made = resized(PICTURE, megapixels)
    assert made.width * made.height / 1e6 == pytest.approx(megapixels, rel=0.05)


def test_throughput_adds_up_the_workers():
    rows = measure_throughput(PICTURE, [0.01], [1, 2], 0.05, effort=0)
    assert all(min(row.encode, row.decode, row.latents) > 0 for row in rows)
