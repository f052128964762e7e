"""`tadan lab speed`: pictures of one tile and of several, models of many groups."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from model_examples import exported, exported_bytes
from tadan.bitstream import read_header
from tadan.cli.main import app
from tadan.codec import tiling
from tadan.codec.codec import Codec
from tadan.schedule import parse_schedule
from tadan_lab.measure.bench import measure_speed

PAIR = "0,1/1,0;1,2/0,2"


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(photo_of(100, 140)).save(path)
    return path


def photo_of(height, width):
    from skimage import data

    return np.ascontiguousarray(data.coffee()[100 : 100 + height, 150 : 150 + width])


@pytest.mark.slow
def test_a_picture_of_several_tiles(picture, tmp_path, monkeypatch):
    """As above 1.5 megapixels, with smaller tiles: 2 x 3 of 64 pixels, the last ones cut off."""
    monkeypatch.setattr(tiling, "WHOLE_PIXELS", 64 * 64)
    monkeypatch.setattr(tiling, "TILE_SIDE", 64)
    out = tmp_path / "speed.json"
    (tmp_path / "small.safetensors").write_bytes(exported_bytes())
    for model in ([], ["--model", str(tmp_path / "small.safetensors")]):
        line = ["lab", "speed", str(picture), "--schedules", "hyper,raster", "--repeat", "1", "--threads", "2"]
        shown = CliRunner().invoke(app, [*line, *model, "--out", str(out)])
        assert shown.exit_code == 0, shown.output
        rows = {row["schedule"]: row for row in json.loads(out.read_text())["rows"]}
        assert {name: row["stages"] for name, row in rows.items()} == {"hyper": 1, "raster": 16}
        assert all(0 < row["entropy"] < row["latents"] for row in rows.values())


def test_schedules_of_channel_groups(tmp_path):
    model = exported(tmp_path)
    image = Image.fromarray(photo_of(64, 96))
    rows = measure_speed(image, ["2x2-rotated", PAIR], 50, 1, 1, str(tmp_path / "small.safetensors"))
    assert [(row.schedule, row.stages) for row in rows] == [("2x2-rotated", 4), (PAIR, 3)]
    data = Codec(model, threads=1).encode(image, quality=50, schedule=parse_schedule(PAIR), effort=0, fallback=False)
    assert rows[1].bytes == len(data)
    assert read_header(data).tile_count == 1
