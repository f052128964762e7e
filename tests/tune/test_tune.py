"""Costs of relative subsets under the integer networks, against the codec; and `tadan schedule optimize`."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import tadan
from photo_examples import photo, psnr
from tadan.bitstream import read_stream
from tadan.cli.main import app
from tadan.codec.transforms import Transforms
from tadan.errors import InvalidInput, UnreadableInput
from tadan.latents.coder import LatentCoder, residual_symbols
from tadan.latents.plane import LatentPlane
from tadan.models import load_model
from tadan.schedule import PatternSchedule, get_schedule, parse_schedule, save_schedule, stored_names
from tadan.schedule.optimize import search, subset_visible, used_subsets
from tadan.tune import TwinCosts, found_orders, listed_orders, tiling

MODEL = load_model()
LATENT, RADIUS = MODEL.config.latent, MODEL.config.radius
QUALITY = 40
BALANCED = get_schedule("balanced")


@pytest.fixture(scope="module")
def picture():
    return photo("coffee", 160, 192)  # 10 x 12 latents


@pytest.fixture(scope="module")
def costs(picture):
    return TwinCosts(MODEL, (2, 2), [picture], [QUALITY], samples=10**6, threads=1)


@pytest.fixture(scope="module")
def coded(picture):
    """y, and latents and stages of the coded picture, in the order under which costs are measured."""
    y, z = Transforms(MODEL, 1).analyse(picture, QUALITY)
    coder = LatentCoder(MODEL, QUALITY, BALANCED)
    words, latents, _ = coder.encode(y, z)
    return y, latents, coder.symbols_of(words, latents.y_hat.shape[:2])


def rows_of(samples, width, positions):
    """Where the latents at ``positions`` stand among the samples: rows of samples, rows of positions."""
    flat = samples.places[:, 1] * width + samples.places[:, 2]
    return np.nonzero(flat[:, None] == positions)


# --- costs ------------------------------------------------------------------------------------------------------------


def cells_of(schedule, samples, shape):
    """Cells of a plane, and where their positions stand among samples: rows of samples, positions."""
    for cell in (cell for stage in schedule.plan(*shape, RADIUS) for cell in stage):
        here, there = rows_of(samples, shape[1], cell.positions)
        yield cell, here, cell.positions[there]


@pytest.mark.parametrize("name", ["hyper", "checkerboard", "2x2", "2x2-raster", "3x3", "raster"])
def test_predictions_are_those_of_the_plane(name, costs, coded):
    """Whatever the order, given the same decoded neighbours, and at its own position the same lower groups."""
    y, latents, _ = coded
    shape, schedule, rows = y.shape[:2], get_schedule(name), latents.y_hat.reshape(-1, LATENT)
    plane = LatentPlane(MODEL.twin, latents.z_hat[None], shape, 1, QUALITY)
    mean, index = np.zeros(rows.shape, np.int32), np.zeros(rows.shape, np.uint8)
    for one in plane.walk(schedule):
        one.step.put(mean, one.mean[0])
        one.step.put(index, one.index[0])
        plane.reveal_step(one.step, one.step.take(rows)[None])
    compared = 0
    for samples in (*costs.measuring, *costs.held):
        for cell, here, positions in list(cells_of(schedule, samples, shape))[:12]:
            own_mean, own_index = samples.predict(MODEL.twin, cell.visible)
            np.testing.assert_array_equal(own_mean[here], mean[positions])
            np.testing.assert_array_equal(own_index[here], index[positions])
            compared += len(here)
    assert compared > (10 if name == "raster" else 40)


def test_bits_are_those_that_the_encoder_spends(costs, coded):
    """Sample by sample, and so altogether: the samples are all positions whose window lies inside the plane."""
    y, _, (_, *steps) = coded
    spent = np.zeros((y.shape[0] * y.shape[1], LATENT))
    for step, (symbols, index) in zip(MODEL.twin.steps(BALANCED, y.shape[:2]), steps, strict=True):
        step.put(spent, MODEL.tables.bits(symbols, index))
    met = 0
    for samples in (*costs.measuring, *costs.held):
        for cell, here, positions in cells_of(BALANCED, samples, y.shape[:2]):
            mean, scale = samples.predict(MODEL.twin, cell.visible)
            np.testing.assert_array_equal(
                MODEL.tables.bits(residual_symbols(samples.y, mean), scale)[here], spent[positions]
            )
            met += len(here)
    assert met == sum(len(samples.places) for samples in (*costs.measuring, *costs.held))


def test_a_subset_costs_the_mean_over_the_measuring_half(costs):
    subset = 0b1010
    (samples,) = costs.measuring
    mean, index = samples.predict(MODEL.twin, subset_visible((2, 2), subset, RADIUS))
    bits = MODEL.tables.bits(residual_symbols(samples.y, mean), index)
    assert costs([subset])[0] == pytest.approx(bits.mean(), rel=1e-12)
    assert costs([subset, 0, subset]).tolist() == [costs([subset])[0], costs([0])[0], costs([subset])[0]]


def test_an_order_costs_the_mean_of_its_subsets(costs):
    for name in ("checkerboard", "2x2", "2x2-raster"):
        schedule = get_schedule(name)
        shares = used_subsets((2, 2), schedule.pattern[0])
        expected = sum(share * costs([subset])[0] for subset, share in shares.items())
        assert costs.rate(schedule) == pytest.approx(expected, rel=1e-12)
        tiled = PatternSchedule(schedule.stage_map(4, 4))
        assert costs.validate(tiled) == pytest.approx(costs.validate(schedule), rel=1e-12)
        assert costs.validate(schedule) != costs.rate(schedule)
    with pytest.raises(InvalidInput, match="all channels"):
        costs.validate(get_schedule("2x2-rotated"))


def test_context_saves_bits_and_more_of_it_more(costs):
    hyper, checkerboard, quarters = (
        costs.rate(get_schedule(name)) + costs.validate(get_schedule(name)) for name in ("hyper", "checkerboard", "2x2")
    )
    assert quarters < checkerboard < hyper


def test_the_same_seed_draws_the_same_samples_whatever_the_threads():
    first, second, other = (
        TwinCosts(MODEL, (2, 2), [photo("coffee")], [20], samples=16, seed=seed, threads=threads)
        for seed, threads in ((1, 1), (1, 2), (2, 1))
    )
    subsets = [0, 2, 14]
    assert first(subsets).tolist() == second(subsets).tolist() != other(subsets).tolist()


def test_samples_are_spread_evenly():
    costs = TwinCosts(MODEL, (2, 2), [photo("coffee"), photo("rocket")], [20, 60], samples=64, threads=1)
    for half in (costs.measuring, costs.held):
        assert [samples.quality for samples in half] == [20, 60]
        for samples in half:
            assert np.bincount(samples.places[:, 0]).tolist() == [8, 8], "64 over 2 halves, 2 pictures, 2 qualities"


def test_no_position_chooses_and_validates_at_once():
    costs = TwinCosts(MODEL, (2, 2), [photo(), photo("rocket")], [20, 60], samples=400, threads=1)
    chosen, kept = (
        {tuple(place) for samples in half for place in samples.places.tolist()}
        for half in (costs.measuring, costs.held)
    )
    assert chosen
    assert kept
    assert not chosen & kept


@pytest.mark.parametrize("size", [80, 224])
def test_windows_stay_inside_planes_that_are_large_enough(size):
    costs = TwinCosts(MODEL, (2, 2), [photo("astronaut", size, size)], [5], samples=10**6, threads=1)
    side, margin = size // 16, RADIUS if size == 224 else 0
    places = sorted(tuple(place[1:]) for half in (costs.measuring, costs.held) for place in half[0].places.tolist())
    inside = range(margin, side - margin)
    assert places == [(row, col) for row in inside for col in inside]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"pictures": []}, InvalidInput, "give some"),
        ({"qualities": []}, InvalidInput, "give some"),
        ({"qualities": [0]}, InvalidInput, "1 to 100"),
        ({"qualities": [101]}, InvalidInput, "1 to 100"),
        ({"samples": 3, "qualities": [1, 2]}, InvalidInput, "at least 4, or fewer pictures"),
        ({"pictures": [np.zeros((79, 200, 3), np.uint8)]}, InvalidInput, "200x79 pixels.*80x80"),
        ({"pictures": ["no-such.png"]}, UnreadableInput, "no-such.png"),
    ],
    ids=str,
)
def test_what_cannot_be_measured(changes, error, message):
    arguments = {"pictures": [photo()], "qualities": [50], "samples": 16, "threads": 1} | changes
    with pytest.raises(error, match=message):
        TwinCosts(MODEL, (2, 2), **arguments)


def test_orders_are_priced_beside_those_of_the_catalogue(costs):
    found = search((2, 2), costs)
    steps = []
    orders, listed = found_orders(costs, found, lambda: steps.append(1)), listed_orders(costs)
    assert [order.stages for order in orders] == [1, 2, 3, 4] == [1 + step for step in range(len(steps))]
    assert orders[0].schedule is get_schedule("hyper")
    for order, best in zip(orders, found.best, strict=True):
        assert order.bits == pytest.approx(best.bits, rel=1e-12)
        assert parse_schedule(order.text) == order.schedule
    assert [order.schedule for order in listed] == tiling((2, 2))
    for order in listed:
        assert orders[order.stages - 1].bits <= order.bits + 1e-12
    assert {"checkerboard", "2x2", "2x2-raster"} <= {one.name for one in tiling((2, 2))}
    assert {"3x3", "3x3-raster"} <= {one.name for one in tiling((3, 3))}
    assert {"checkerboard", "2x2", "2x2-raster", "4x4", "4x4-raster", "4x4-8"} <= {one.name for one in tiling((4, 4))}
    assert not {"hyper", "2x2-rotated", "raster"} & {one.name for one in tiling((4, 4))}


# --- command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with one photograph; the store stands beside it."""
    monkeypatch.setenv("TADAN_SCHEDULES", str(tmp_path / "schedules"))
    (tmp_path / "album").mkdir()
    Image.fromarray(photo("chelsea")).save(tmp_path / "album" / "chelsea.png")
    return tmp_path / "album"


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.output
    return result


def test_pictures_in_and_a_schedule_out_that_encodes(folder, tmp_path, monkeypatch):
    out = tmp_path / "found.json"
    optimise = ["schedule", "optimize", folder, "--size", 2, "-q", "30,50", "--samples", 60, "--threads", 1]
    shown = run(*optimise, "--name", "mine", "--out", out).stdout
    assert "measured 8 of 8" in shown
    assert "tadan encode photo.jpg photo.tdn --schedule mine" in shown
    assert stored_names() == ("mine", "mine-2", "mine-3", "mine-4")

    facts = json.loads(out.read_text())
    assert (facts["shape"], facts["qualities"], facts["measured"], facts["subsets"]) == ([2, 2], [30, 50], 8, 8)
    assert facts["model_id"] == MODEL.id_hex
    assert facts["samples"] == {"measuring": 30, "validating": 30}
    assert {"checkerboard", "2x2", "2x2-raster"} <= facts["listed"].keys()
    cheapest = min(facts["best"], key=lambda one: one["bits"])
    assert parse_schedule("mine") == PatternSchedule(cheapest["pattern"])
    for one in facts["best"]:
        text = "/".join(",".join(map(str, row)) for row in one["pattern"])
        saving = 100 * (1 - one["validated_bits"] / facts["best"][0]["validated_bits"])
        assert re.search(rf"{one['stages']} │ +{saving:.2f} % │ {text} ", shown)
        if one["stages"] > 1:
            assert parse_schedule(f"mine-{one['stages']}") == PatternSchedule(one["pattern"])

    refused = run(*optimise, "--name", "mine", code=2).stderr
    assert "mine, mine-2, mine-3, mine-4; replace them with --force" in refused

    run("encode", folder, "--out-dir", tmp_path, "--schedule", "mine-3", "-q", 50, "--threads", 1)
    data = (tmp_path / "chelsea.tdn").read_bytes()
    monkeypatch.setenv("TADAN_SCHEDULES", str(tmp_path / "nowhere"))
    field = read_stream(data).header.schedule
    assert field.name or PatternSchedule(field.pattern) == PatternSchedule(facts["best"][2]["pattern"])
    assert psnr(np.asarray(tadan.Codec(threads=1).decode(data)), photo("chelsea")) > 24


def test_existing_names_are_replaced_when_forced(folder):
    save_schedule("mine-2", get_schedule("3x3"), {})
    arguments = [
        "schedule",
        "optimize",
        folder,
        "--size",
        2,
        "-q",
        50,
        "--samples",
        8,
        "--threads",
        1,
        "--name",
        "mine",
    ]
    assert "mine-2;" in run(*arguments, code=2).stderr
    run(*arguments, "--force")
    assert parse_schedule("mine-2").period in ((2, 2), (1, 2), (2, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{dir}/nothing"], "nothing"),
        (["{dir}/empty"], "No pictures in"),
        (["{dir}/small.png"], r"small\.png has 96x64 pixels.*below 80x80"),
        (["{dir}/album", "--size", "5"], "Invalid value for .*--size"),
        (["{dir}/album", "--size", "1"], "Invalid value for .*--size"),
        (["{dir}/album", "--size", "3", "--budget", "185"], "--budget 185 is too small for 3x3; give at least 186"),
        (["{dir}/album", "--budget", "1151"], "at least 1152"),
        (["{dir}/album", "-q", "0,50"], "from 1 to 100"),
        (["{dir}/album", "-q", "high"], "not integers"),
        (["{dir}/album", "--samples", "4"], "4 samples are too few .*at least 6"),
        (["{dir}/album", "--name", "best"], "stands in the catalogue"),
        (["{dir}/album", "--name", "Mine"], "cannot name a schedule"),
        (["{dir}/album", "--name", "a" * 40], "cannot name a schedule"),
        (["{dir}/album", "--out", "{dir}/nowhere/x.json"], "its folder does not exist"),
        (["{dir}/album", "--model", "none-such"], "no model 'none-such'"),
    ],
)
def test_arguments_that_cannot_work(arguments, message, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    Image.fromarray(photo("chelsea", 64)).save(tmp_path / "small.png")
    filled = [part.format(dir=tmp_path) for part in arguments]
    result = run("schedule", "optimize", *filled, code=2)
    assert re.search(f"(?s){message}", result.stderr.replace("\n", " ")), result.stderr
    assert stored_names() == ()
