"""What the encoder's search takes as error: weights by cell and colour axis, and what searching by them gives."""

import dataclasses
import itertools

import numpy as np
import pytest
from typer.testing import CliRunner

import tadan
from model_examples import exported
from photo_examples import photo
from tadan.cli.main import app
from tadan.codec.codec import Codec
from tadan.codec.effort import Scene, refine
from tadan.codec.transforms import Transforms
from tadan.errors import Corrupt, InvalidInput
from tadan.latents.coder import LatentCoder
from tadan.models import read_model, save_model
from tadan.models.config import quality_lambda
from tadan.models.search_rule import AXES, error_weights, plain_weights
from tadan.schedule import get_schedule
from tadan_lab.measure.metrics import ssimulacra2


def weighed(picture, shown, weights):
    """Sum of squared differences along the axes, each times the weight of its cell."""
    whole = weights.repeat(4, 0).repeat(4, 1)[: picture.shape[0], : picture.shape[1]]
    return float((whole * np.square((shown.astype(float) - picture) @ AXES.T)).sum())


# --- the weights ------------------------------------------------------------------------------------------------------


def test_without_weights_the_error_is_that_of_the_samples():
    picture, other = photo("coffee", 40, 56), photo("chelsea", 40, 56)
    squares = float(np.square(other.astype(float) - picture).sum())
    assert weighed(picture, other, error_weights(picture, "psnr", 50)) == pytest.approx(squares, rel=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (3, 9), (16, 16), (50, 33)], ids=str)
@pytest.mark.parametrize("quality", [1, 50, 100])
@pytest.mark.parametrize("tune", ["eye", "psnr"])
def test_every_cell_has_weights_within_bounds(shape, tune, quality):
    """Bounds as wide as the law allows, from flat to noise: no cell is worth nothing, none stops all others."""
    for picture in (photo("rocket", *shape), np.full((*shape, 3), 128, np.uint8)):
        weights = error_weights(picture, tune, quality)
        assert weights.shape == (-(-shape[0] // 4), -(-shape[1] // 4), 3)
        assert weights.dtype == np.float32
        assert weights.min() > 0.1
        assert weights.max() < 20


def test_high_qualities_tell_quiet_and_busy_places_less_apart():
    low, high = (error_weights(photo("astronaut", 128, 128), "eye", quality)[..., 0] for quality in (10, 90))
    assert np.ptp(np.log(high)) < np.ptp(np.log(low))
    order = np.argsort(low, axis=None)
    assert (np.diff(high.ravel()[order]) >= -1e-5).all()


def test_noise_counts_where_it_is_seen():
    """The same noise in the quietest and the busiest quarter of a photograph: SSIMULACRA2 agrees with the weights."""
    picture = photo("astronaut", 256, 256)
    weights = error_weights(picture, "eye", 50)
    level = weights.mean(2).repeat(4, 0).repeat(4, 1)
    quiet, busy = level >= np.quantile(level, 0.75), level <= np.quantile(level, 0.25)
    noise = np.random.default_rng(1).normal(0, 6, (256, 256, 1))
    errors, scores = [], []
    for where in (quiet, busy):
        shown = np.clip(picture + noise * where[..., None], 0, 255).round().astype(np.uint8)
        errors.append(weighed(picture, shown, weights))
        scores.append(ssimulacra2(picture, shown))
    assert errors[0] > 2 * errors[1]
    assert scores[0] < scores[1] - 3


def test_brightness_counts_for_more_than_blue():
    picture = photo("coffee", 64, 64)
    weights = error_weights(picture, "eye", 50)
    brighter, bluer = (np.clip(picture.astype(int) + step, 0, 255) for step in ([2, 2, 2], [0, 0, 4]))
    assert weighed(picture, brighter, weights) > 2 * weighed(picture, bluer, weights)


# --- the search -------------------------------------------------------------------------------------------------------


def test_a_search_for_the_eye_never_costs_more_and_lowers_what_is_seen(tmp_path):
    model = exported(tmp_path)
    transforms, schedule = Transforms(model, 1), get_schedule("balanced")
    picture, quality = photo("astronaut", 96, 128), 75
    seen, weight = error_weights(picture, "eye", quality), quality_lambda(model.config, quality) / 3
    latents, costs, found = transforms.analyse(picture, quality), [], {}
    for tune in ("eye", "psnr"):
        trial = refine(
            LatentCoder(model, quality, schedule),
            transforms,
            Scene(picture, tune=tune),
            latents,
            6,
            observe=costs.append,
        )
        error, _ = transforms.error_gradient(trial.y_hat, quality, picture, seen)
        found[tune] = weight * error + trial.bits
    assert min(costs[:7]) == pytest.approx(found["eye"], rel=1e-6)
    assert found["eye"] < 0.995 * costs[0]
    assert found["eye"] < found["psnr"]


def test_a_model_says_what_encoders_search_for(tmp_path):
    plain, eye = exported(tmp_path), dataclasses.replace(exported(tmp_path), metadata={"tune": "eye"})
    assert (plain.tune, eye.tune) == ("psnr", "eye")
    picture = photo("astronaut", 128, 128)

    def coded(model, tune=None):
        return Codec(model, threads=1).encode(picture, quality=75, effort=6, tune=tune, fallback=False)

    assert coded(eye) == coded(plain, "eye")
    assert coded(plain) == coded(eye, "psnr")
    assert coded(eye) != coded(plain)


def test_an_unknown_tune_is_refused_before_any_work(tmp_path):
    with pytest.raises(InvalidInput, match="eye, psnr"):
        tadan.encode(photo("chelsea", 16, 16), tune="ssim")
    model = read_model_with(tmp_path, "psnr")
    assert model.tune == "psnr"
    with pytest.raises(Corrupt, match="ears"):
        read_model_with(tmp_path, "ears")
    wrong = CliRunner().invoke(app, ["encode", str(tmp_path / "missing.png"), "--tune", "ssim"])
    assert wrong.exit_code == 2


def read_model_with(folder, tune):
    model = exported(folder)
    path = folder / "tuned.safetensors"
    path.write_bytes(save_model(model.config, model.tensors, {**model.metadata, "tune": tune}))
    return read_model(path)


def test_tiles_and_whole_cells_agree():
    picture = photo("rocket", 30, 21)
    assert plain_weights(30, 21).shape == error_weights(picture, "eye", 50).shape
    for rows, cols in itertools.product((4, 7), (4, 9)):
        assert error_weights(picture[:rows, :cols], "eye", 50).shape == plain_weights(rows, cols).shape
