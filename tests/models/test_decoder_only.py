"""Model files that decode only: the same id, the same pictures, fewer bytes, and a clear word when asked to encode."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

import reference_decoder as reference
from cli_examples import fails, run
from model_examples import CONFIG, exported, exported_bytes
from photo_examples import photo
from tadan.codec.codec import Codec
from tadan.errors import Corrupt, ModelMissing
from tadan.models import read_model, save_model
from tadan.models.model import ENCODER_TENSORS, content_id, is_encoders
from tadan.train.restore import restore

PICTURE = photo("chelsea", 70, 90)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def decoder(whole, tmp_path):
    path = tmp_path / "decoder.safetensors"
    path.write_bytes(whole.decoder_only().to_bytes())
    return path


def with_tensors(tensors, folder, **metadata):
    path = folder / "other.safetensors"
    path.write_bytes(save_model(CONFIG, tensors, metadata))
    return path


def test_it_decodes_what_the_whole_model_encoded(whole, decoder):
    alone = read_model(decoder)
    assert (alone.id, alone.name, alone.config, alone.metadata) == (whole.id, whole.name, CONFIG, whole.metadata)
    codec = Codec(whole, threads=1)
    for quality, schedule in ((1, "2x2"), (60, "4x4-opt-4"), (100, "raster")):
        data = codec.encode(PICTURE, quality=quality, schedule=schedule, effort=1, fallback=False)
        other = Codec(alone, threads=1)
        np.testing.assert_array_equal(np.asarray(other.decode(data)), np.asarray(codec.decode(data)))
        assert other.verify(data) == codec.verify(data)
        pairs = zip(
            reference.decode(data, reference.Model(decoder.read_bytes())), other.decode_latents(data), strict=True
        )
        for (z_hat, y_hat), latents in pairs:
            np.testing.assert_array_equal(z_hat, latents.z_hat)
            np.testing.assert_array_equal(y_hat, latents.y_hat)


def test_it_holds_what_decoding_needs_and_nothing_else(whole, decoder):
    alone, facts = read_model(decoder), whole.describe()
    assert set(whole.tensors) - set(alone.tensors) == {name for name in whole.tensors if is_encoders(name)}
    assert facts["bytes"] == facts["decoder bytes"] + facts["encoder bytes"]
    assert alone.describe()["bytes"] == alone.describe()["decoder bytes"] == facts["decoder bytes"]
    assert (whole.has_encoder, alone.has_encoder) == (True, False)
    assert "encoder" not in whole.metadata
    assert alone.decoder_only().tensors.keys() == alone.tensors.keys()


def test_asked_to_encode_it_names_the_next_step(decoder):
    alone = read_model(decoder)
    for ask in (
        lambda: Codec(alone, threads=1).encode(PICTURE),
        lambda: alone.graph("g_a"),
        lambda: alone.graph("g_s_gradient"),
        lambda: alone.gain(50),
        lambda: alone.block_gains("g_a", 50),
        lambda: alone.curvature,
        lambda: restore(alone),
    ):
        with pytest.raises(ModelMissing, match=r"its decoder alone and cannot encode; name the whole model file"):
            ask()


def test_the_id_is_that_of_the_decoder_and_the_encoder_has_its_own(whole, tmp_path):
    """Streams of a model with a better encoder are still streams of the model; its file is checked all the same."""
    tensors = dict(whole.tensors)
    tensors["graph.g_a"] = np.append(tensors["graph.g_a"], np.uint8(0))
    other = read_model(with_tensors(tensors, tmp_path))
    assert other.id == whole.id == content_id(CONFIG, tensors)
    header = json.loads(exported_bytes()[8 : 8 + int.from_bytes(exported_bytes()[:8], "little")])["__metadata__"]
    damaged = with_tensors(tensors, tmp_path, encoder=header["encoder"])
    with pytest.raises(Corrupt, match="does not match its own id"):
        read_model(damaged)
    with pytest.raises(reference.Invalid, match="encoder"):
        reference.Model(damaged.read_bytes())
    with pytest.raises(Corrupt, match="does not match its own id"):  # what an encoder is announced for is not there
        read_model(with_tensors(whole.decoder_only().tensors, tmp_path, encoder=header["encoder"]))


@pytest.mark.parametrize("name", sorted(ENCODER_TENSORS))
def test_half_an_encoder_is_none(name, tmp_path):
    tensors = load(exported_bytes())
    for kept in ({key: value for key, value in tensors.items() if key != name}, None):
        kept = kept or {key: value for key, value in tensors.items() if key == name or not is_encoders(key)}
        with pytest.raises(Corrupt, match="lacks parts"):
            read_model(with_tensors(kept, tmp_path))


def test_formats_for_training_tools_come_and_go_alone(whole, tmp_path):
    tensors = {name: value for name, value in whole.tensors.items() if not name.startswith("format.")}
    assert read_model(with_tensors(tensors, tmp_path)).has_encoder
    tensors = {name: value for name, value in whole.tensors.items() if name not in ENCODER_TENSORS}
    model = read_model(with_tensors(tensors, tmp_path))
    assert (model.has_encoder, model.id) == (False, whole.id)


def test_the_commands(whole, tmp_path):
    path, out, picture = tmp_path / "whole.safetensors", tmp_path / "decoder.safetensors", tmp_path / "in.png"
    path.write_bytes(exported_bytes())
    Image.fromarray(PICTURE).save(picture)
    assert "bytes" in run("model", "export", path, out, "--decoder-only").stdout
    alone = read_model(out)
    assert (alone.id, alone.metadata) == (whole.id, whole.metadata)
    facts = json.loads(run("model", "info", out, "--json").stdout)
    assert (facts["id"], facts["encoder bytes"]) == (whole.id_hex, 0)
    assert facts["decoder bytes"] == json.loads(run("model", "info", path, "--json").stdout)["decoder bytes"]
    stream = tmp_path / "in.tdn"
    run("encode", picture, stream, "--model", path, "-e", 0)
    shown = []
    for name in (path, out):
        run("decode", stream, "-o", tmp_path / f"{name.stem}.png", "--model", name)
        shown.append(np.asarray(Image.open(tmp_path / f"{name.stem}.png")))
    np.testing.assert_array_equal(*shown)
    fails("encode", picture, tmp_path / "no.tdn", "--model", out, message="--model FILE")
    assert not (tmp_path / "no.tdn").exists()


def test_exports_that_cannot_be(tmp_path):
    fails("model", "export", tmp_path, tmp_path / "out.safetensors", message="--data")
    fails(
        "model",
        "export",
        tmp_path / "none.safetensors",
        tmp_path / "out.safetensors",
        "--decoder-only",
        message="no model",
    )
