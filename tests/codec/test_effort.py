"""Encoder effort: the gradient it follows, that no effort costs more than plain rounding, and what the stream keeps."""

import copy
import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import tadan
from codec_examples import CODEC
from model_examples import CONFIG, batch, exported, float_model, rounded_as_stored
from photo_examples import photo, psnr
from tadan.cli.main import app
from tadan.codec.effort import Scene, refine
from tadan.codec.options import EFFORT_MAX, STEPS
from tadan.codec.transforms import Transforms
from tadan.core import library
from tadan.entropy import rate_slope
from tadan.errors import InvalidInput
from tadan.latents.coder import SYMBOL_LIMIT, UNIT, LatentCoder, residual_symbols
from tadan.models import load_model
from tadan.models.config import quality_lambda
from tadan.schedule import get_schedule
from tadan.train.search import Search, curvature, moved

MODEL = load_model()
TRANSFORMS = Transforms(MODEL, 1)
BALANCED = get_schedule("balanced")


# --- the gradient -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 128), (49, 33)])
def test_the_graph_of_the_gradient_is_what_torch_differentiates(tmp_path, shape):
    transforms, quality, picture = Transforms(exported(tmp_path), 1), 60, photo("astronaut", *shape)
    y, _ = transforms.analyse(picture, quality)
    y_hat = np.round(y * UNIT).astype(np.int32)
    error, gradient = transforms.error_gradient(y_hat, quality, picture)
    model = rounded_as_stored(float_model())
    latents = torch.from_numpy(y_hat[None] / UNIT).float().requires_grad_()
    padding = ((0, -shape[0] % 16), (0, -shape[1] % 16), (0, 0))
    target = torch.from_numpy(np.pad(picture, padding, mode="edge")).float()
    shown = (model.synthesise(latents, torch.tensor([float(quality)]))[0] * 255).clamp(0, 255)
    expected = (shown - target).square().sum()
    (slope,) = torch.autograd.grad(expected, latents)
    assert error == pytest.approx(expected.item(), rel=2e-3)
    # Not sample by sample: a ReLU that just passes here and does not there changes some.
    assert np.linalg.norm(gradient - slope[0].numpy()) <= 1e-2 * slope.norm().item()


def test_the_gradient_predicts_what_a_small_step_changes():
    """Of the bundled model, by the difference across a step along the gradient."""
    picture, quality = photo("coffee", 64, 64), 70
    y_hat = np.round(TRANSFORMS.analyse(picture, quality)[0] * UNIT).astype(np.int32)
    step = np.sign(TRANSFORMS.error_gradient(y_hat, quality, picture)[1]).astype(np.int32)
    before, first = TRANSFORMS.error_gradient(y_hat - step, quality, picture)
    after, second = TRANSFORMS.error_gradient(y_hat + step, quality, picture)
    predicted = float(((first + second) * step / UNIT).sum())
    assert predicted > 0.02 * before
    assert after - before == pytest.approx(predicted, rel=0.25)


def test_strips_change_nothing(monkeypatch):
    picture, quality = photo("rocket", 100, 33), 60
    y_hat = np.round(np.random.default_rng(1).normal(0, 30, (40, 3, MODEL.config.latent))).astype(np.int32)
    picture = np.tile(picture, (7, 1, 1))[:640]
    whole = TRANSFORMS.error_gradient(y_hat, quality, picture)
    monkeypatch.setattr("tadan.codec.transforms.STRIP_PIXELS", 1)
    strips = TRANSFORMS.error_gradient(y_hat, quality, picture)
    assert strips[0] == pytest.approx(whole[0], rel=1e-5)
    np.testing.assert_allclose(strips[1], whole[1], atol=1e-4 * np.abs(whole[1]).max())


def test_curvature_is_the_mean_square_of_what_a_latent_does():
    """Against the whole Jacobian of a small model, whose g_s is nearly linear; its channels are made unlike."""
    model, pictures = copy.deepcopy(float_model()), batch("chelsea")
    quality = torch.tensor([50.0])
    with torch.no_grad():
        model.g_s.inlet.weight.mul_(torch.linspace(0.3, 3, CONFIG.latent))
    found = curvature(model, pictures)
    with torch.no_grad():
        y_hat = torch.round(model.analyse(pictures, quality)[0]) * torch.exp(model.log_inverse_gain(quality))
        base, measured = model.g_s(y_hat, quality), []
        for channel in range(CONFIG.latent):
            moved = y_hat.clone()
            moved[:, 1, 3, channel] += 0.01
            measured.append(float(((model.g_s(moved, quality) - base) * 255 / 0.01).square().sum()))
    assert np.corrcoef(np.log(found), np.log(measured))[0, 1] > 0.9
    assert np.median(found / measured) == pytest.approx(1, rel=0.5)


# --- trials -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["balanced", "2x2-rotated", "raster", "hyper"])
def test_a_trial_is_what_would_be_coded(name):
    picture, quality, schedule = photo("rocket", 70, 90), 55, get_schedule(name)
    y, z = TRANSFORMS.analyse(picture, quality)
    coder = LatentCoder(MODEL, quality, schedule)
    symbols, z_hat = coder.round_z(z)
    trial = coder.price(y, z_hat)
    _, latents, bits = LatentCoder(MODEL, quality, schedule).encode(y, z)
    np.testing.assert_array_equal(trial.y_hat, latents.y_hat)
    np.testing.assert_array_equal(trial.y_hat, residual_symbols(y, trial.mean) * UNIT + trial.mean)
    index = np.broadcast_to(MODEL.twin.z_index[quality - 1], z.shape)
    assert trial.bits + MODEL.tables.bits(symbols, np.ascontiguousarray(index)).sum() == pytest.approx(bits)


def test_the_slope_of_the_rate_joins_the_code_lengths_of_neighbouring_symbols(monkeypatch):
    mean = np.array([[[0, UNIT // 2, -5 * UNIT // 2, 0]]], np.int32)
    index = np.array([[[3, 20, 40, 63]]], np.uint8)
    y = np.array([[[0.3, -1.2, -2.5, 7.0]]], np.float32)  # offsets 0.3, -1.7, 0, 7: above 0, -2, 0, 7
    below = np.array([[[0, -2, 0, 7]]], np.int32)
    expected = MODEL.tables.bits(below + 1, index) - MODEL.tables.bits(below, index)
    for core in (library, lambda: None):
        monkeypatch.setattr("tadan.entropy.cost.library", core)
        slope = rate_slope(MODEL.tables, y, mean, index, SYMBOL_LIMIT)
        np.testing.assert_allclose(slope, expected, rtol=1e-6)
        assert slope[0, 0, 0] > 0 > slope[0, 0, 1]


# --- the search -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [5, 40, 75, 100])
@pytest.mark.parametrize("name", ["chelsea", "coffee"])
def test_more_effort_never_costs_more(name, quality):
    picture = photo(name, 96, 128)
    costs = []
    y, z = TRANSFORMS.analyse(picture, quality)
    refine(LatentCoder(MODEL, quality, BALANCED), TRANSFORMS, Scene(picture), (y, z), 6, observe=costs.append)
    best = np.minimum.accumulate(costs)
    assert best[-1] < 0.997 * costs[0]
    weight = quality_lambda(MODEL.config, quality)
    for steps in (0, 2, 6):
        trial = refine(LatentCoder(MODEL, quality, BALANCED), TRANSFORMS, Scene(picture), (y, z), steps)
        error, _ = TRANSFORMS.error_gradient(trial.y_hat, quality, picture)
        assert weight * error / 3 + trial.bits == pytest.approx(best[steps], rel=1e-6)


def test_effort_shows_in_the_files():
    """J of whole files, rounding of pixels and coder included."""
    picture, costs = photo("astronaut", 128, 128), []
    for effort in (0, 1, 3, 6):
        data = CODEC.encode(picture, quality=60, effort=effort, tune="psnr")
        error = 255**2 / 10 ** (psnr(CODEC.decode(data), picture) / 10)
        costs.append(quality_lambda(MODEL.config, 60) * error + 8 * len(data) / 128**2)
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.98 * costs[0]


def test_a_picture_of_any_size_takes_any_effort():
    for height, width in ((1, 1), (17, 3), (40, 70)):
        picture = photo("chelsea", height, width)
        assert CODEC.decode(CODEC.encode(picture, quality=80, effort=4, verify=True)).size == (width, height)


def test_the_same_effort_gives_the_same_file():
    picture = photo("rocket", 64, 96)
    assert CODEC.encode(picture, quality=50, effort=4) == CODEC.encode(picture, quality=50, effort=4)


def test_efforts_are_whole_numbers_in_range():
    assert len(STEPS) == EFFORT_MAX + 1 == 10
    assert list(STEPS) == sorted(set(STEPS))
    for wrong in (-1, 10, 2.0, True, "fast"):
        with pytest.raises(InvalidInput, match="effort"):
            tadan.encode(photo("chelsea", 16, 16), effort=wrong)


# --- in training ------------------------------------------------------------------------------------------------------


def test_the_search_of_the_training_lowers_the_loss_and_teaches_nothing_to_the_encoder():
    model, pictures = float_model(), batch("chelsea", "coffee")
    quality = torch.tensor([30.0, 80.0])
    lam = torch.tensor([quality_lambda(CONFIG, q) for q in quality.tolist()])
    costs = []
    for steps in (0, 1, 3):
        search = Search(steps, torch.from_numpy(curvature(model, pictures)))
        plan = get_schedule("2x2")
        latents = moved(search, model, pictures, quality, plan)
        losses = model.losses(pictures, quality, plan, latents)
        costs.append((lam * 255**2 * losses.mse + losses.y_bpp + losses.z_bpp).detach())
    assert costs[2].log().mean() < costs[0].log().mean() - 0.01
    assert (costs[2] <= costs[0] * 1.01).all()
    losses.mse.sum().backward()
    assert all(value.grad is None or not value.grad.any() for value in model.g_a.parameters())
    assert all(value.grad is not None and value.grad.any() for value in model.g_s.outlet.parameters())
    model.zero_grad(set_to_none=True)


# --- the benchmark ----------------------------------------------------------------------------------------------------


def test_bench_effort_compares_with_the_first_effort(tmp_path):
    for name in ("chelsea", "coffee"):
        Image.fromarray(photo(name, 96, 112)).save(tmp_path / f"{name}.png")
    out = tmp_path / "effort.json"
    arguments = ["lab", "effort", str(tmp_path), "--efforts", "0,4", "-q", "20,40,60,80", "--threads", "1"]
    shown = CliRunner().invoke(app, [*arguments, "--out", str(out)])
    assert shown.exit_code == 0, shown.output
    first, second = json.loads(out.read_text())["rows"]
    assert first["bd_rate"]["percent"] == pytest.approx(0, abs=1e-9)
    assert first["cost_percent"] == 0
    assert second["bd_rate"]["percent"] < -0.9
    assert second["cost_percent"] < -0.9
    assert second["curve"]["meta"]["quality"] == [20, 40, 60, 80]
    for wrong in ("0,10", "fast", ""):
        assert CliRunner().invoke(app, [*arguments[:3], "--efforts", wrong]).exit_code == 2
