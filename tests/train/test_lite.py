"""Lite decoders: the same files and latents, another g_s; how one is trained, found and refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from model_examples import batch, exported, float_model
from photo_examples import photo
from tadan.cli.main import app
from tadan.codec.codec import Codec
from tadan.codec.sessions import Session
from tadan.codec.transforms import Transforms, scaled
from tadan.errors import Corrupt, InvalidInput, ModelMissing, NotOurFile
from tadan.models import lite as lites
from tadan.models.lite import LiteDecoder, check_lite, read_lite
from tadan.nn.klt import start_small
from tadan.nn.model import Coded
from tadan.nn.transforms import Synthesis
from tadan.train import start as beginning
from tadan.train.lite import LiteTraining
from tadan.train.replay import FEWEST, Lesson, Replay
from training_examples import write_pictures

SIZES = {"body_width": 16, "body_blocks": 1, "body_expansion": 1, "grid": 48, "grid_hidden": 16, "grid_blocks": 1}
QUICK = {"steps": 3, "batch": 1, "size": 64, "late_batch": 1, "late_size": 64, "threads": 1, "warmup": 0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Model, its lite decoder, and the training that made it."""
    root, patch = tmp_path_factory.mktemp("lite"), pytest.MonkeyPatch()
    patch.setattr(beginning, "LITE_SAMPLES", 40 * 64**2)
    model = exported(root)
    training = LiteTraining(
        root / "run", write_pictures(root / "data", 4, 80, 80), str(root / "small.safetensors"), QUICK, SIZES, "cpu"
    )
    training.train(60)
    (root / "lite.safetensors").write_bytes(training.export("small").to_bytes())
    patch.undo()
    return model, read_lite(root / "lite.safetensors"), training


@pytest.fixture
def store(tmp_path, monkeypatch, made):
    """A store of models with the lite decoder in it."""
    monkeypatch.setenv("TADAN_MODELS", str(tmp_path))
    monkeypatch.setattr(lites, "_loaded", {})
    (tmp_path / "lite").mkdir()
    (tmp_path / "lite" / "small.safetensors").write_bytes(made[1].to_bytes())
    (tmp_path / "small.safetensors").write_bytes(made[0].to_bytes())
    return tmp_path


def test_only_g_s_learns(made):
    model, lite, training = made
    mine, theirs = training.trainer.model.state_dict(), training._teacher.state_dict()
    for name, value in theirs.items():
        if not name.startswith(("g_s.", "log_inverse_gain.")):
            assert torch.equal(mine[name], value), name
    assert lite.of == model.id_hex
    assert training.trainer.step == 3


def test_the_same_file_and_latents_another_picture(made, store):
    model, _, _ = made
    full, small = Codec(model), Codec(model, decoder="lite")
    data = full.encode(photo("chelsea", 96, 128), quality=60, fallback=False)
    assert small.encode(photo("chelsea", 96, 128), quality=60, fallback=False) == data
    for one, other in zip(full.decode_latents(data), small.decode_latents(data), strict=True):
        assert np.array_equal(one.y_hat, other.y_hat)
    shown, lite = (np.asarray(codec.decode(data), float) for codec in (full, small))
    assert shown.shape == lite.shape
    assert np.abs(shown - lite).max() > 0
    assert np.sqrt(np.square(shown - lite).mean()) < 40  # of two networks that have learnt next to nothing
    region = np.asarray(small.decode(data, region=(33, 17, 50, 41)), float)
    assert np.abs(region - lite[17:58, 33:83]).max() <= 1


def test_core_and_onnxruntime_show_the_same(made):
    model, lite, _ = made
    transforms, rng = Transforms(model, 1, lite), np.random.default_rng(3)
    y_hat = rng.integers(-300, 300, (5, 7, model.config.latent), np.int32)
    session = Session(lite, "g_s", 1)
    [wanted] = session.run(scaled(lite, y_hat, 40), lite.block_gains("g_s", 40))
    assert np.abs(transforms.synthesise(y_hat, 40).astype(int) - wanted[0]).max() <= 1


def test_the_start_is_the_best_linear_decoder(made):
    network = float_model()
    picture, quality = batch("chelsea", "coffee"), torch.tensor([60.0, 60.0])
    with torch.no_grad():
        latents = torch.round(network.analyse(picture, quality)[0]) * torch.exp(network.log_inverse_gain(quality))
        small = Synthesis(replace(network.config, body_width=network.config.latent, grid_hidden=16))
        start_small(small, latents, picture)
        ours = (small(latents, quality) - picture).square().mean()
        mean = (picture - picture.mean((1, 2), keepdim=True)).square().mean()
        rows, patches = latents.reshape(-1, latents.shape[-1]), picture.reshape(2, 4, 16, 8, 16, 3)
        patches = patches.transpose(2, 3).reshape(len(rows), -1) - 0.5
        best = (rows @ torch.linalg.lstsq(rows, patches).solution - patches).square().mean()
    assert ours < 1.02 * best + 1e-5
    assert ours < mean


def test_a_training_starts_from_an_older_decoder(made, tmp_path):
    model, lite, training = made
    write_pictures(tmp_path / "data", 4, 80, 80)
    older = LiteDecoder(lite.config, lite.tensors, {**lite.metadata, "of": "0" * 32})  # of the model before this one
    (tmp_path / "older.safetensors").write_bytes(older.to_bytes())
    (tmp_path / "small.safetensors").write_bytes(model.to_bytes())
    arguments = [tmp_path / "data", str(tmp_path / "small.safetensors"), QUICK]
    begun = LiteTraining(tmp_path / "run", *arguments, {}, "cpu", tmp_path / "older.safetensors")
    assert begun.trainer.config == lite.config
    wanted = training.trainer.average
    for name, value in begun.trainer.model.state_dict().items():
        assert torch.allclose(value, wanted[name], rtol=0.01, atol=0.01), name
    with pytest.raises(InvalidInput, match="body_width"):
        LiteTraining(tmp_path / "other", *arguments, {"body_width": 8}, "cpu", tmp_path / "older.safetensors")


def test_crops_are_used_again_and_only_as_often_as_asked():
    made = []

    def make():
        value = torch.full((4, 8, 8, 3), float(len(made)))
        made.append(value)
        return Lesson(value, value[:, 0, 0, 0], Coded(value, value[:, 0, 0, 0], value[:, 0, 0, 0]), value + 1)

    once = Replay(make, 1)
    assert [once.batch(4, 8, step, 0).quality.tolist() for step in range(3)] == [[n] * 4 for n in range(3)]
    made.clear()
    replay = Replay(make, 5)
    batches = [replay.batch(4, 8, step, 0) for step in range(500)]
    first = FEWEST // 4  # steps that fill the store
    assert len(made) == pytest.approx(first + (500 - first) / 5, abs=2)
    for lesson in batches:  # picture, latents and what the teacher shows stay together
        assert torch.equal(lesson.picture, lesson.coded.y_hat)
        assert torch.equal(lesson.picture + 1, lesson.wanted)
        assert torch.equal(lesson.picture[:, 0, 0, 0], lesson.quality)
    assert torch.equal(batches[-1].quality, replay.batch(4, 8, 499, 0).quality)
    replay.batch(4, 16, 500, 0)  # of another size: what was kept is of no use
    assert len(replay._kept) == 4


def test_a_decoder_of_another_model_is_refused(made, tmp_path):
    model, lite, _ = made
    with pytest.raises(ModelMissing, match="of model"):
        Transforms(model, 1, LiteDecoder(lite.config, lite.tensors, {**lite.metadata, "of": "0" * 32}))
    with pytest.raises(Corrupt, match="sizes"):
        check_lite(replace(lite, config=replace(lite.config, knots=4)), model)
    with pytest.raises(Corrupt, match="sizes"):
        check_lite(replace(lite, config=replace(lite.config, kernel=7)), model)


@pytest.mark.parametrize("damage", ["tensor", "missing", "model", "nonsense"])
def test_damaged_files_are_refused(made, tmp_path, damage):
    model, lite, _ = made
    path = tmp_path / "lite.safetensors"
    tensors = dict(lite.tensors)
    if damage == "tensor":
        whole = bytearray(lite.to_bytes())
        whole[-3] ^= 1
        path.write_bytes(whole)
    elif damage == "missing":
        del tensors["quality.log_g_s"]
        path.write_bytes(LiteDecoder(lite.config, tensors, lite.metadata).to_bytes())
    elif damage == "model":
        path.write_bytes(model.to_bytes())
    else:
        path.write_bytes(b"nonsense")
    with pytest.raises(NotOurFile if damage in ("model", "nonsense") else Corrupt):
        read_lite(path)


def test_sizes_that_change_more_than_g_s_are_refused(tmp_path, made):
    write_pictures(tmp_path / "data", 3, 80, 80)
    exported(tmp_path)
    for sizes, word in (({"knots": 5}, "knots"), ({"body_blocks": 3, "kernel": 5}, "reach")):
        with pytest.raises(InvalidInput, match=word):
            LiteTraining(tmp_path / "run", tmp_path / "data", str(tmp_path / "small.safetensors"), QUICK, sizes, "cpu")


def run(*line, code=0):
    result = CliRunner().invoke(app, [str(word) for word in line])
    assert result.exit_code == code, result.output
    return result


def test_the_command_line_decodes_with_either(made, store, tmp_path):
    Image.fromarray(photo("coffee", 64, 96)).save(tmp_path / "a.png")
    small = store / "small.safetensors"
    run("encode", tmp_path / "a.png", tmp_path / "a.tdn", "--model", small, "--no-fallback")
    for decoder in ("full", "lite"):
        line = ["decode", tmp_path / "a.tdn", tmp_path / f"{decoder}.png"]
        run(*line, "--model", small, "--decoder", decoder)
    full, lite = ((tmp_path / f"{one}.png").read_bytes() for one in ("full", "lite"))
    assert full != lite
    told = run("decode", tmp_path / "a.tdn", tmp_path / "b.png", "--decoder", "fast", code=2)
    assert "full, lite" in " ".join(told.output.split())
    (store / "lite" / "small.safetensors").unlink()
    lites._loaded.clear()
    told = run(*["decode", tmp_path / "a.tdn", tmp_path / "b.png"], "--model", small, "--decoder", "lite", code=2)
    assert "tadan model lite" in " ".join(told.output.split())
    assert not (tmp_path / "b.png").exists()
