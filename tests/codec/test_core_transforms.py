"""Transforms in the core: those of ONNX Runtime, whatever the window and the threads."""

import dataclasses
import os

import numpy as np
import pytest
from skimage import data as photographs

from tadan import core
from tadan.codec.native import CoreSynthesis, runs_in_core
from tadan.codec.transforms import Transforms
from tadan.errors import Corrupt
from tadan.models import load_model
from tadan.models.search_rule import error_weights

MODEL = load_model()
FLOATS = core.library() is not None and core.library().tadan_has_floats()
MISSING = not FLOATS and "TADAN_TESTS_NO_SKIP" not in os.environ
pytestmark = pytest.mark.skipif(MISSING, reason="the core was not built, or this processor has no kernel of floats")
PICTURE = photographs.astronaut()[60:204, 100:276]  # 9 x 11 positions


def without_core(model=MODEL):
    transforms = Transforms(model, 1)
    transforms.in_core = False
    return transforms


@pytest.fixture(scope="module")
def latents():
    """int32 (9, 11, latent), Q6, of a photograph at quality 70."""
    y = Transforms(MODEL, 1).latents_of(PICTURE, 70)
    return np.rint(y * 64).astype(np.int32)


@pytest.mark.parametrize("quality", [1, 50, 100])
def test_analysis_is_that_of_onnx_runtime(quality):
    ours, theirs = (one.latents_of(PICTURE, quality) for one in (Transforms(MODEL, 2), without_core()))
    assert ours.dtype == theirs.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("quality", [1, 50, 100])
def test_pixels_are_within_one_level_of_onnx_runtime(latents, quality):
    ours, theirs = (one.synthesise(latents, quality).astype(int) for one in (Transforms(MODEL, 2), without_core()))
    assert np.abs(ours - theirs).max() <= 1
    assert (ours != theirs).mean() < 1e-3


@pytest.mark.parametrize("inner", [(0, 0, 11, 9), (4, 4, 3, 1), (0, 2, 1, 5), (7, 5, 4, 4), (10, 8, 1, 1)])
def test_a_part_is_the_same_as_in_the_whole(latents, inner):
    """Bit for bit: every position is computed alike, wherever it lies in a window or a share of the work."""
    x, y, w, h = (16 * one for one in inner)
    whole = Transforms(MODEL, 1).synthesise(latents, 60)
    for threads in (1, 2, 5):
        part = Transforms(MODEL, threads).synthesise(latents, 60, inner)
        np.testing.assert_array_equal(part, whole[y : y + h, x : x + w])
    theirs = without_core().synthesise(latents, 60, inner)
    assert theirs.shape == part.shape
    assert np.abs(theirs.astype(int) - part).max() <= 1


@pytest.mark.parametrize("tune", ["eye", "psnr"])
@pytest.mark.parametrize("size", [(144, 176), (130, 161)])
def test_errors_and_gradients_are_those_of_onnx_runtime(latents, tune, size):
    rgb = PICTURE[: size[0], : size[1]]
    weights = error_weights(rgb, tune, 50)
    (error, gradient), (expected, theirs) = (
        one.error_gradient(latents, 40, rgb, weights) for one in (Transforms(MODEL, 2), without_core())
    )
    assert error == pytest.approx(expected, rel=1e-5)
    # A value near the edge of a ReLU or of the range of levels may fall on either side.
    difference, largest = np.abs(gradient - theirs), np.abs(theirs).max()
    assert (difference > 1e-3 * largest).mean() < 1e-2
    assert difference.mean() < 1e-5 * largest
    assert Transforms(MODEL, 1).error(latents, 40, rgb, weights) == pytest.approx(error, rel=1e-9)
    assert without_core().error(latents, 40, rgb, weights) == expected


def test_strips_change_nothing(latents, monkeypatch):
    whole = Transforms(MODEL, 1).error_gradient(np.tile(latents, (4, 1, 1)), 60, np.tile(PICTURE, (4, 1, 1)))
    monkeypatch.setattr("tadan.codec.transforms.STRIP_PIXELS", 1)
    error, gradient = Transforms(MODEL, 1).error_gradient(np.tile(latents, (4, 1, 1)), 60, np.tile(PICTURE, (4, 1, 1)))
    assert error == pytest.approx(whole[0], rel=1e-9)
    np.testing.assert_allclose(gradient, whole[1], atol=1e-4 * np.abs(gradient).max())


def test_sizes_that_the_core_has_no_kernel_for_are_left_to_onnx_runtime():
    assert runs_in_core(MODEL)
    assert not runs_in_core(dataclasses.replace(MODEL, config=dataclasses.replace(MODEL.config, grid=24)))


def test_weights_that_do_not_fit_are_a_damaged_model():
    wrong = dataclasses.replace(MODEL, config=dataclasses.replace(MODEL.config, grid_hidden=64))
    with pytest.raises(Corrupt, match="size"):
        CoreSynthesis(wrong)
    more = dataclasses.replace(MODEL, config=dataclasses.replace(MODEL.config, grid_blocks=4))
    with pytest.raises(Corrupt, match=r"lack renderer\.3"):
        CoreSynthesis(more)
