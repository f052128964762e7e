"""Decoding shown stage by stage, on crops of real photographs: the frames, their drawing, and the command."""

import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import tadan
from codec_examples import CODEC
from photo_examples import photo
from tadan.cli.main import app
from tadan.errors import InvalidInput
from tadan.schedule import get_schedule
from tadan.schedule.text import stage_colour
from tadan_lab.measure.animate import decoding_frames
from tadan_lab.measure.film import FORMATS, WAITING, draw_frames, film, latent_map

PICTURE = Image.fromarray(photo("astronaut", 93, 125))


def frames_of(schedule, **options):
    return decoding_frames(CODEC.model, PICTURE, 40, schedule, threads=1, **options)


@pytest.fixture(scope="module")
def frames():
    return frames_of("4x4")


def test_a_picture_that_would_have_several_tiles_is_one(monkeypatch):
    monkeypatch.setattr("tadan.codec.tiling.WHOLE_PIXELS", 64 * 64)
    monkeypatch.setattr("tadan.codec.tiling.TILE_SIDE", 64)
    assert tadan.inspect(CODEC.encode(PICTURE, quality=40, effort=0)).tile_count > 1
    assert [frame.stage for frame in frames_of("2x2")] == list(range(4 + 1))


def test_frames_lead_to_the_decoded_picture(frames):
    assert [frame.stage for frame in frames] == list(range(16 + 1))
    data = CODEC.encode(PICTURE, quality=40, schedule="4x4")
    assert np.array_equal(frames[-1].picture, np.asarray(CODEC.decode(data)))
    assert frames[-1].file_bytes == len(data)
    assert frames[-1].bytes_read == pytest.approx(len(data))


def test_frames_get_better_as_bytes_arrive(frames):
    quality = [frame.psnr for frame in frames]
    assert max(quality) == quality[-1] > quality[8] + 3 > quality[0] + 6
    spent = [frame.bytes_read for frame in frames]
    assert spent == sorted(spent)
    assert 0 < spent[0] < 0.2 * spent[-1]


def test_scans_are_thinned_out_evenly():
    frames = frames_of("raster", limit=5)
    assert [frame.stage for frame in frames] == [0, 12, 24, 36, 48]
    assert frames[-1].psnr > frames[2].psnr > frames[0].psnr
    with pytest.raises(InvalidInput, match="at least 2"):
        frames_of("2x2", limit=1)


@pytest.mark.parametrize("name", ["4x4", "2x2-rotated"])
def test_the_map_colours_exactly_the_decoded_latents(name, frames):
    cell = 16
    for frame in frames if name == "4x4" else frames_of(name):
        pixels = np.asarray(latent_map(frame, cell))
        groups, height, width = frame.stage_map.shape
        assert pixels.shape == (height * cell, width * cell, 3)
        expected = get_schedule(name).stage_map(height, width)
        part = cell // (2 if groups == 4 else 1)  # four groups share a square, two by two
        for group, row, col in np.ndindex(groups, height, width):
            stage = expected[group, row, col]
            colour = stage_colour(stage, frame.stages) if stage < frame.stage else WAITING
            y, x = row * cell + part * (group // 2) + part // 2, col * cell + part * (group % 2) + part // 2
            assert tuple(pixels[y, x]) == colour


@pytest.mark.parametrize("suffix", FORMATS)
def test_films_keep_every_frame_and_rest_on_the_last(suffix, frames):
    images = draw_frames(frames[::4], "4x4")
    with Image.open(io.BytesIO(film(images, suffix))) as shown:
        assert (shown.n_frames, shown.size) == (5, images[0].size)
        durations = []
        for index, image in enumerate(images):
            shown.seek(index)
            shown.load()
            durations.append(shown.info["duration"])
            error = np.asarray(shown.convert("RGB"), float) - np.asarray(image, float)
            assert np.sqrt(np.mean(error**2)) < {".png": 1e-9}.get(suffix, 8)
        assert durations == [350] * 4 + [2500]


# --- the command ---


def run(*arguments, code=0):
    result = CliRunner().invoke(app, ["lab", "animate", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def folder(tmp_path):
    PICTURE.save(tmp_path / "photo.png")
    (tmp_path / "note.txt").write_text("no picture")
    return SimpleNamespace(path=tmp_path, photo=tmp_path / "photo.png")


def test_the_command_writes_a_film_and_stills(folder):
    out = folder.path / "film.gif"
    shown = run("0,1/1,0", folder.photo, out, "-q", 40, "--size", 64, "--stills", "--threads", 1).stdout
    assert re.search(r"film\.gif +3 frames +[\d,]+ bytes\n.*film-stills\.png +3 frames", shown)
    with Image.open(out) as image:
        assert (image.format, image.n_frames) == ("GIF", 3)
    with Image.open(folder.path / "film-stills.png") as sheet:
        assert sheet.width * sheet.height >= 3 * image.width * image.height
    run("raster", folder.photo, folder.path / "film.PNG", "--frames", 4, "--threads", 1)
    with Image.open(folder.path / "film.PNG") as image:
        assert (image.format, image.n_frames) == ("PNG", 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["4x4", "photo.png", "film.mp4"], r"written as '\.mp4'; use \.gif, \.png"),
        (["4x4", "photo.png", "film"], "written as 'film'"),
        (["4x4", "note.txt", "film.gif"], "Cannot open .*note.txt"),
        (["4x4", "missing.png", "film.gif"], "Cannot open .*missing.png"),
        (["5x5", "photo.png", "film.gif"], "no schedule '5x5'"),
        (["4x4", "photo.png", "photo.png"], "is the photograph itself"),
        (["4x4", "photo.png"], "Missing argument"),
        (["2x2", "photo.png", "nowhere/film.gif", "--threads", "1"], "nothing was written"),
        (["2x2", "photo.png", "film.gif", "--model", "no-such-model"], "no model 'no-such-model'"),
    ],
)
def test_errors_leave_no_file(arguments, message, folder, monkeypatch):
    monkeypatch.chdir(folder.path)
    before = folder.photo.read_bytes()
    result = run(*arguments, code=2)
    assert re.search(message, result.stderr), result.stderr
    assert folder.photo.read_bytes() == before
    assert {path.name for path in folder.path.iterdir()} == {"photo.png", "note.txt"}
