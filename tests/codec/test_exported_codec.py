"""Files of a model, end to end: any effort, tiles, regions, previews, damage, threads."""

import copy
import json

import numpy as np
import pytest
import torch
from PIL import Image

from model_examples import CONFIG, batch, exported, exported_bytes, float_model
from photo_examples import photo, psnr
from tadan.codec.codec import Codec
from tadan.codec.options import EncodeOptions
from tadan.codec.transforms import Transforms
from tadan.codec.writer import analysis_margin
from tadan.entropy import ScaleTables
from tadan.errors import Corrupt
from tadan.models import ModelConfig, load_model, read_model, save_model
from tadan.models.config import quality_lambda
from tadan.models.search_rule import error_weights
from tadan.train import export as exporting
from tadan.train.calibration import calibrate
from tadan.train.checkpoint import save_tensors
from tadan.train.export import WeightBits, export_run, export_tensors
from tadan.train.recipe import Recipe, write_settings

PICTURE = photo("chelsea", 100, 150)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def codec(model):
    return Codec(model, threads=1)


@pytest.mark.parametrize("effort", [0, 3])
@pytest.mark.parametrize("schedule", ["2x2", "4x4", "hyper"])
def test_a_photograph_comes_back(codec, effort, schedule):
    coded = codec.encode_picture(
        PICTURE, EncodeOptions(quality=70, schedule=schedule, effort=effort, verify=True, fallback=False)
    )
    assert psnr(codec.decode(coded.data), PICTURE) > 22
    assert 8 * len(coded.data) <= 1.01 * coded.estimated_bits + 8 * 64


@pytest.mark.parametrize("size", [(1, 1), (17, 3), (64, 64), (65, 130)], ids=str)
def test_pictures_of_any_size(codec, size):
    data = codec.encode(photo("coffee", *size), quality=60, effort=2, verify=True, fallback=False)
    assert codec.decode(data).size == size[::-1]


def test_the_search_spends_less(codec, model):
    costs = []
    for effort in (0, 3, 6):
        data = codec.encode(PICTURE, quality=60, effort=effort, fallback=False)
        error = 255**2 / 10 ** (psnr(codec.decode(data), PICTURE) / 10)
        costs.append(quality_lambda(model.config, 60) * error + 8 * len(data) / (112 * 160))
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.98 * costs[0]


def test_threads_and_tiles_change_no_byte_of_latents_and_no_pixel(model, codec):
    many = Codec(model, threads=2)
    for tile in (0, 64):
        one, two = (
            each.encode(PICTURE, quality=55, schedule="2x2", effort=3, tile=tile, fallback=False)
            for each in (codec, many)
        )
        assert one == two
        np.testing.assert_array_equal(np.asarray(codec.decode(one)), np.asarray(many.decode(one)))


def test_a_region_of_tiles_shows_the_same_pixels(codec):
    data = codec.encode(photo("astronaut", 200, 260), quality=50, tile=64, fallback=False)
    whole = np.asarray(codec.decode(data)).astype(int)
    for x, y, w, h in ((0, 0, 10, 10), (60, 50, 80, 90), (250, 190, 10, 10)):
        part = np.asarray(codec.decode(data, region=(x, y, w, h))).astype(int)
        assert np.abs(part - whole[y : y + h, x : x + w]).max() <= 1


def far_sighted(transforms, y_hat, quality, inner=None):
    """In place of g_s: a pixel counts, modulo 256, what is within the model's reach; one wrong latent shows."""
    reach = transforms.model.config.reach
    sums = np.pad(y_hat.sum(-1), reach)
    for axis in (0, 1):
        sums = np.lib.stride_tricks.sliding_window_view(sums, 2 * reach + 1, axis).sum(-1)
    x, y, w, h = inner or (0, 0, *sums.shape[::-1])
    shown = sums[y : y + h, x : x + w]
    return (shown % 256).astype(np.uint8).repeat(16, 0).repeat(16, 1)[..., None].repeat(3, -1)


def test_a_latent_that_reaches_beyond_the_next_tile_leaves_no_seam(tmp_path, monkeypatch):
    """One plane and its tiles of 64 pixels, under a model that looks seven positions far."""
    codec = Codec(exported(tmp_path, body_blocks=3, kernel=5), threads=1)
    assert 16 * codec.model.config.reach > 64
    data = codec.encode(photo("astronaut", 210, 330), quality=60, schedule="hyper", effort=0, tile=64, fallback=False)
    cells = [latents.y_hat for latents in codec.decode_latents(data)]
    plane = np.concatenate([np.concatenate(cells[6 * row : 6 * row + 6], axis=1) for row in range(4)])
    monkeypatch.setattr(Transforms, "synthesise", far_sighted)
    whole = far_sighted(Transforms(codec.model, 1), plane, 60)[:210, :330]
    np.testing.assert_array_equal(np.asarray(codec.decode(data)), whole)
    part = codec.decode(data, region=(130, 70, 50, 40))
    np.testing.assert_array_equal(np.asarray(part), whole[70:110, 130:180])


@pytest.mark.parametrize("sizes", [{}, {"analysis_blocks": 3, "kernel": 5}], ids=str)
def test_latents_of_tiles_are_those_of_the_whole_picture(tmp_path, monkeypatch, sizes):
    """g_a sees as much around a tile as reaches into it; only the order of its sums may differ."""
    model, picture, seen = exported(tmp_path, **sizes), photo("astronaut", 250, 330), []
    untouched = Transforms.hyper_of
    monkeypatch.setattr(Transforms, "hyper_of", lambda self, y: seen.append(y) or untouched(self, y))
    Codec(model, threads=1).encode(picture, quality=60, schedule="hyper", effort=0, tile=64, fallback=False)
    joined = np.concatenate([np.concatenate(seen[6 * row : 6 * row + 6], axis=1) for row in range(4)])
    whole = Transforms(model, 1).latents_of(picture, 60)
    np.testing.assert_allclose(joined, whole, atol=3e-6 * np.abs(whole).max())


def test_the_margin_of_the_analysis_follows_from_the_sizes():
    """A change would change the streams of the bundled model."""
    for config in (load_model("photo").config, ModelConfig()):
        assert analysis_margin(config) == 128
    assert analysis_margin(ModelConfig(analysis_blocks=5)) == 192
    assert analysis_margin(ModelConfig(analysis_blocks=1, body_blocks=6)) == 192


def test_parts_of_a_large_picture_have_the_gradient_of_the_whole(model, monkeypatch):
    transforms, picture = Transforms(model, 1), photo("coffee", 16 * 11, 48)
    y_hat = np.round(transforms.latents_of(picture, 60) * 64).astype(np.int32)
    weights = error_weights(picture, "eye", 50)
    error, gradient = transforms.error_gradient(y_hat, 60, picture, weights)
    monkeypatch.setattr("tadan.codec.transforms.STRIP_PIXELS", 1)
    again, parts = transforms.error_gradient(y_hat, 60, picture, weights)
    assert again == pytest.approx(error, rel=1e-5)
    np.testing.assert_allclose(parts, gradient, rtol=1e-3, atol=1e-4 * np.abs(gradient).max())


def test_a_preview_and_what_is_left_of_a_damaged_file(codec):
    data = codec.encode(photo("astronaut", 130, 190), quality=70, schedule="4x4", tile=64, fallback=False)
    whole = codec.decode(data)
    qualities = [psnr(codec.decode(data, stages=stages), whole) for stages in (0, 4, 15)]
    assert qualities == sorted(qualities)
    assert qualities[-1] > qualities[0] + 3
    broken = bytearray(data)
    broken[len(data) // 2] ^= 0x55
    left = codec.salvage(bytes(broken))
    assert left.count("intact") == 8
    assert not left.whole
    cut = codec.salvage(data[: 2 * len(data) // 3])
    assert 0 < cut.count("intact") < 9
    assert codec.salvage(data).whole


def test_a_damaged_file_does_not_verify(codec):
    data = codec.encode(PICTURE, quality=60, fallback=False)
    assert len(codec.verify(data).tiles) == 1
    with pytest.raises(Corrupt):
        codec.verify(data[:-9] + bytes(9))


def test_a_run_becomes_a_model_file_that_codes(tmp_path, monkeypatch):
    """As ``tadan model export`` does it, with few tables: a name, a licence if one is given, the run's sizes."""
    monkeypatch.setattr(exporting, "TABLE_QUALITIES", (60,))
    monkeypatch.setattr("tadan.train.calibration.QUALITIES", (60,))
    Image.fromarray(photo("chelsea", 200, 256).repeat(2, 0)).save(tmp_path / "one.png")
    Image.fromarray(photo("coffee", 160, 300).repeat(2, 0)).save(tmp_path / "two.png")
    metadata = {"config": json.dumps(CONFIG.to_dict())}
    save_tensors(tmp_path / "ema.safetensors", float_model().state_dict(), metadata)
    data, report = export_run(tmp_path, tmp_path, "mine", 1, licence="CC0-1.0")
    assert all("< 2**" in line for line in report)
    path = tmp_path / "mine.safetensors"
    path.write_bytes(data)
    model = read_model(path)
    assert model.config == CONFIG
    assert (model.metadata["name"], model.metadata["licence"]) == ("mine", "CC0-1.0")
    assert "licence" not in read_bytes(tmp_path, exported_bytes()).metadata
    codec = Codec(model, threads=1)
    assert psnr(codec.decode(codec.encode(PICTURE, quality=60, verify=True, fallback=False)), PICTURE) > 22
    assert "integer networks" in model.describe()
    assert "schedule" not in model.metadata


def test_a_specialised_run_becomes_a_file_with_the_tables_of_its_schedule(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "TABLE_QUALITIES", (60,))
    monkeypatch.setattr("tadan.train.calibration.QUALITIES", (60,))
    coded, encode = [], Codec.encode
    monkeypatch.setattr(
        Codec,
        "encode",
        lambda self, *args, **options: coded.append(options["schedule"]) or encode(self, *args, **options),
    )
    Image.fromarray(photo("chelsea", 200, 256).repeat(2, 0)).save(tmp_path / "one.png")
    metadata = {"config": json.dumps(CONFIG.to_dict())}
    save_tensors(tmp_path / "ema.safetensors", float_model().state_dict(), metadata)
    write_settings(tmp_path, Recipe(specialise="4x4-opt-4"), CONFIG)
    path = tmp_path / "mine.safetensors"
    path.write_bytes(export_run(tmp_path, tmp_path, "mine", 2)[0])
    assert set(coded) == {"4x4-opt-4"}
    assert read_model(path).metadata["schedule"] == "4x4-opt-4"


def test_a_model_fresh_from_its_start_becomes_a_file_that_codes(tmp_path):
    """Its outlet has columns next to zero; the plain biases beside them fit 32 bits all the same."""
    network = copy.deepcopy(float_model())
    with torch.no_grad():
        network.entropy.outlet.weight[::2] = 1e-12
    tensors = export_tensors(
        network, calibrate(network, [batch("chelsea")]), WeightBits(), ScaleTables.gaussian(), batch("chelsea")
    )
    model = read_bytes(tmp_path, save_model(CONFIG, tensors, {}))
    codec = Codec(model, threads=1)
    assert psnr(codec.decode(codec.encode(PICTURE, quality=60, verify=True, fallback=False)), PICTURE) > 22


def read_bytes(folder, data):
    (folder / "other.safetensors").write_bytes(data)
    return read_model(folder / "other.safetensors")
