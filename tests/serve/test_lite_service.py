"""The service with a lite decoder: always, or while somebody waits; what caches and clients see of it."""

import numpy as np
import pytest

import tadan
from serve_examples import client, opened, photograph, picture_bytes
from tadan.codec.codec import Codec
from tadan.errors import InvalidInput, ModelMissing
from tadan.models import lite as lites
from tadan.models import load_model, read_model
from tadan.serve.app import Service, create_app
from tadan.serve.settings import Settings


@pytest.fixture(scope="module")
def coded():
    return tadan.encode(photograph(), quality=50, effort=0, fallback=False)


def shown(codec, data):
    return np.asarray(codec.decode(data))


def test_lite_shows_what_the_library_shows_and_says_so(tmp_path, coded):
    with client(tmp_path, decoder="lite") as service:
        answer = service.post("/decode", content=coded)
        assert answer.headers["tadan-decoder"] == "lite"
        np.testing.assert_array_equal(np.asarray(opened(answer)), shown(Codec(decoder="lite"), coded))
        assert (np.asarray(opened(answer)) != shown(Codec(), coded)).any()
        assert service.post("/encode?quality=40&effort=0", content=picture_bytes()).content == tadan.encode(
            photograph(), quality=40, effort=0
        )


def test_entity_tags_tell_decoders_apart(tmp_path, coded):
    tags = {}
    for decoder in ("full", "lite"):
        with client(tmp_path / decoder, decoder=decoder) as service:
            service.put("/pictures/a", content=coded)
            tags[decoder] = service.get("/pictures/a?format=png").headers["etag"]
    assert tags["full"] != tags["lite"]


def test_lite_while_somebody_waits_unless_the_full_picture_is_at_hand(tmp_path, coded, monkeypatch):
    with client(tmp_path, decoder="auto") as http:
        service = http.app.state.service
        assert http.post("/decode", content=coded).headers["tadan-decoder"] == "full"
        http.put("/pictures/a", content=coded)
        full = http.get("/pictures/a?format=png")
        monkeypatch.setattr(Service, "prefers_lite", True)
        assert service.prefers_lite
        assert http.get("/pictures/a?format=png").content == full.content
        assert http.get("/pictures/a?format=png&w=60").headers["etag"] != full.headers["etag"]
        assert http.get("/pictures/a?format=webp", headers={"if-none-match": full.headers["etag"]}).status_code == 200
        assert http.get("/pictures/a?format=png", headers={"if-none-match": full.headers["etag"]}).status_code == 304


def test_waiting_is_what_the_gate_says(tmp_path):
    service = Service(Settings(store=None, cache=tmp_path, workers=2, decoder="auto"))
    assert not service.prefers_lite
    service.gate.load.jobs = 3
    assert service.prefers_lite


def test_what_cannot_be_is_refused_at_the_start(tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match="full, lite, auto"):
        Settings(decoder="fast")
    monkeypatch.setattr(lites, "lite_folders", lambda: (tmp_path, tmp_path))
    with pytest.raises(ModelMissing, match="tadan model lite"):
        create_app(Settings(store=None, cache=tmp_path, decoder="auto"))


def test_browsers_get_a_small_decoder_that_states_whose_files_it_decodes(tmp_path):
    model = load_model()
    with client(tmp_path) as service:
        lite = service.get(f"/weights/{model.id_hex}-lite.safetensors")
        full = service.get(f"/weights/{model.id_hex}.safetensors")
        assert service.get(f"/weights/{'0' * 32}-lite.safetensors").status_code == 404
    assert len(lite.content) < 0.75 * len(full.content)
    (tmp_path / "lite.safetensors").write_bytes(lite.content)
    read = read_model(tmp_path / "lite.safetensors")
    assert read.metadata["decodes"] == model.id_hex
    assert read.id_hex != model.id_hex
    assert not read.has_encoder
