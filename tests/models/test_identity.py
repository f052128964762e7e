"""Which model decodes a stream: an id that no other model has, and a store where foreign files do no harm."""

import os
import shutil

import numpy as np
import pytest

import tadan
from codec_examples import CODEC, with_header
from photo_examples import photo
from tadan.codec.codec import Codec
from tadan.errors import Corrupt, ModelMissing
from tadan.models import load_model, read_model, save_model, store
from tadan.models.model import content_id

MODEL = load_model()
DATA = CODEC.encode(photo(), quality=30, effort=0)


@pytest.fixture
def own_store(tmp_path, monkeypatch):
    """An empty store of the user, and nothing loaded yet."""
    monkeypatch.setenv("TADAN_MODELS", str(tmp_path))
    monkeypatch.setattr(store, "_loaded", {})
    return tmp_path


def other_model(path):
    """The bundled model with other gains, under another name."""
    tensors = dict(MODEL.tensors)
    tensors["quality.log_inverse_gain"] = tensors["quality.log_inverse_gain"] + np.float32(0.1)
    path.write_bytes(save_model(MODEL.config, tensors, {"name": path.stem}))
    return read_model(path)


def test_parts_cannot_be_moved_between_name_type_shape_and_data():
    """The same bytes one after the other, cut in other places: twins of one id otherwise."""
    zero = np.zeros(4, np.uint8)
    cases = [
        {"a": zero},
        {"a\0|u1": zero},
        {"a": zero, "b": zero},
        {"a": np.zeros((2, 2), np.uint8)},
        {"a": np.zeros((1, 4), np.uint8)},
        {"a": np.zeros(5, np.uint8)},
        {"a": zero.view(np.int8)},
        {"a": zero.view("<i4")},
        {"ab": zero},
    ]
    ids = {content_id(MODEL.config, tensors) for tensors in cases}
    assert len(ids) == len(cases)
    assert {len(one) for one in ids} == {16}


@pytest.mark.parametrize("name", ["extra", "exact.extra", "exact.conv1.weight\0", "graph.g_s\n", "format.extra", "\0"])
def test_tensors_that_nothing_reads_are_refused(name, tmp_path):
    path = tmp_path / "twin.safetensors"
    path.write_bytes(save_model(MODEL.config, {**MODEL.tensors, name: np.zeros(3, np.uint8)}, {}))
    with pytest.raises(Corrupt, match="tensors that no tadan model has"):
        read_model(path)


def test_foreign_files_in_the_store_do_not_break_other_models(own_store):
    other = other_model(own_store / "z.safetensors")
    (own_store / "a.safetensors").write_bytes(b"no model at all")
    (own_store / "b.safetensors").mkdir()
    (own_store / "c.safetensors").symlink_to(own_store / "nowhere")
    whole = (own_store / "z.safetensors").read_bytes()
    (own_store / "d.safetensors").write_bytes(whole[: len(whole) // 2])
    newer = whole.replace(b'"format_version":"1"', b'"format_version":"2"')
    assert newer != whole
    (own_store / "e.safetensors").write_bytes(newer)
    if hasattr(os, "mkfifo"):
        os.mkfifo(own_store / "f.safetensors")
    data = Codec(other, threads=1).encode(photo(), quality=30, effort=0)
    store._loaded.clear()
    assert Codec(threads=1).decode(data).size == CODEC.decode(DATA).size
    with pytest.raises(ModelMissing, match=r"passed over.*a\.safetensors, b\.safetensors, c\.saf.*d\.saf.*e\.saf"):
        CODEC.decode(with_header(data, model_id=bytes(range(16))))


def test_looking_for_a_model_reads_headers_only(own_store, monkeypatch):
    for name in ("a", "b", "c"):
        other_model(own_store / f"{name}.safetensors")
    read = []
    monkeypatch.setattr(store, "read_model", lambda path: read.append(path.name) or read_model(path))
    CODEC.decode(DATA)
    assert read == ["photo.safetensors"]


def test_the_default_model_is_named_and_not_the_first_of_the_alphabet(own_store, monkeypatch):
    bundled = own_store / "bundled"
    bundled.mkdir()
    shutil.copy(store.BUNDLED / "photo.safetensors", bundled)
    other_model(bundled / "art.safetensors")
    monkeypatch.setattr(store, "BUNDLED", bundled)
    assert store.bundled_models() == ("art", "photo")
    assert load_model().name == "photo"
    assert tadan.inspect(Codec(threads=1).encode(photo(), quality=30, effort=0)).model_id == MODEL.id_hex
