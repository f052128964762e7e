"""What measures and shows models, with a small model and channel groups in patterns of their own."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from model_examples import exported
from photo_examples import photo
from tadan.cli.main import app
from tadan.codec.codec import Codec
from tadan.codec.transforms import Transforms
from tadan.latents.coder import UNIT, LatentCoder
from tadan.latents.plane import LatentPlane
from tadan.schedule import get_schedule, parse_schedule
from tadan.tune import TwinCosts
from tadan_lab.measure.animate import decoding_frames, partial_latents

EIGHT = {"group_sizes": (1, 1, 2, 2, 1, 3, 4, 2), "embed_sizes": (2, 1, 2, 3, 1, 2, 2, 1)}
PAIR = "0,1/1,0;1,2/0,2"
PICTURE = Image.fromarray(photo("chelsea", 90, 122))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("model"), **EIGHT)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A picture, and the path of the model."""
    folder = tmp_path_factory.mktemp("files")
    exported(folder, **EIGHT)
    PICTURE.save(folder / "picture.png")
    return folder / "picture.png", folder / "small.safetensors"


def run(*line):
    shown = CliRunner().invoke(app, [*map(str, line)])
    assert shown.exit_code == 0, shown.output
    return shown.output


@pytest.mark.parametrize("schedule", [PAIR, "2x2-rotated", "raster"])
def test_frames_lead_to_the_decoded_picture(model, schedule):
    frames = decoding_frames(model, PICTURE, 40, schedule, threads=1)
    codec = Codec(model, threads=1)
    data = codec.encode(PICTURE, quality=40, schedule=parse_schedule(schedule), fallback=False)
    assert np.array_equal(frames[-1].picture, np.asarray(codec.decode(data)))
    assert frames[-1].bytes_read == pytest.approx(len(data))
    assert frames[-1].stage == frames[-1].stages
    assert frames[0].psnr < frames[-1].psnr


@pytest.mark.parametrize("name", [PAIR, "2x2-rotated", "4x4", "raster"])
def test_the_lowest_group_that_comes_next_has_the_means_of_the_codec(model, name):
    schedule = parse_schedule(name)
    codec = Codec(model, threads=1)
    [latents] = codec.decode_latents(
        codec.encode(PICTURE.crop((0, 0, 75, 60)), quality=40, schedule=schedule, fallback=False)
    )
    height, width, channels = latents.y_hat.shape
    rows = latents.y_hat.reshape(-1, channels)
    states = list(partial_latents(model, latents, 40, schedule, range(schedule.stage_count(height, width) + 1)))
    assert np.array_equal(states[-1], latents.y_hat)
    plane, own, met = LatentPlane(model.twin, latents.z_hat[None], (height, width), schedule.groups, 40), set(), 0
    for step in plane.steps(schedule):
        for state in states[step.stage + 1 :]:
            assert np.array_equal(step.take(state.reshape(-1, channels)), step.take(rows))
    for one in plane.walk(schedule):
        first = one.step.group % (model.config.groups // schedule.groups) == 0
        if first:
            state = states[one.step.stage].reshape(-1, channels)
            np.testing.assert_array_equal(one.step.take(state), one.mean[0])
            own.add(one.step.group)
            met += 1
        one.settle((one.step.take(rows)[None] - one.mean) // UNIT)
    assert len(own) == schedule.groups <= met


def test_the_search_for_orders_predicts_what_the_codec_predicts(model):
    """At every sampled position, under the neighbourhood that the order of coding gives it."""
    schedule, quality = get_schedule("balanced"), 50
    costs = TwinCosts(model, (4, 4), [PICTURE], [quality], samples=48, threads=1)
    y, z = Transforms(model, 1).analyse(np.asarray(PICTURE), quality)
    coder = LatentCoder(model, quality, schedule)
    trial = coder.price(y, coder.round_z(z)[1])
    for [part] in (costs.measuring, costs.held):
        for number, (_, row, col) in enumerate(part.places.tolist()):
            mean, index = part.predict(model.twin, schedule.visible(0, row, col, model.config.radius))
            np.testing.assert_array_equal(mean[number], trial.mean[row, col])
            np.testing.assert_array_equal(index[number], trial.index[row, col])


def test_optimize(files, tmp_path):
    out = tmp_path / "orders.json"
    run("schedule", "optimize", files[0], "--size", 2, "--model", files[1], "--threads", 1, "--samples", 60, "-o", out)
    assert len(json.loads(out.read_text())["best"]) == 4


@pytest.mark.parametrize("schedule", [PAIR, "4x4-opt-4"])
def test_every_way_of_decoding_agrees(files, tmp_path, schedule):
    out = tmp_path / "exactness.json"
    run("lab", "exactness", files[0], "--model", files[1], "--schedule", schedule, "--out", out)
    written = json.loads(out.read_text())
    assert {row["mismatches"] for row in written["rows"]} == {0}
    assert all(row["levels"] <= 1 for row in written["pixels"])


@pytest.mark.parametrize("schedule", [PAIR, "2x2-rotated"])
def test_integers_cost_little(files, tmp_path, schedule):
    out = tmp_path / "price.json"
    run("lab", "price", files[0], "--model", files[1], "--schedule", schedule, "--qualities", "40", "--out", out)
    [row] = json.loads(out.read_text())["rows"]
    assert abs(row["integer_percent"]) < 1


def test_animation_tiles_and_damage(files, tmp_path):
    shared = ["--model", files[1], "--threads", 1]
    run("lab", "animate", PAIR, files[0], tmp_path / "film.gif", "--frames", 3, *shared)
    assert Image.open(tmp_path / "film.gif").n_frames == 3
    run("lab", "tiles", files[0], "--tiles", 64, "-q", 50, "--schedule", PAIR, *shared, "-o", tmp_path / "tiles.json")
    assert json.loads((tmp_path / "tiles.json").read_text())
    run("lab", "damage", files[0], "--tile", 64, "--trials", 1, *shared)
