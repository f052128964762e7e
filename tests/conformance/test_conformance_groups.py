"""Golden streams of a model: made, decoded twice, dumped, and wrong where they are wrong."""

import pytest

import reference_decoder as reference
from conformance_examples import changed_tile, failure, failures, flipped, run
from model_examples import exported_bytes
from tadan.bitstream import read_header
from tadan.codec.codec import Codec
from tadan.conformance import check_dumps, load_sets
from tadan.conformance.dumps import latents_bytes, read_dump, write_reference
from tadan.models import ModelConfig, load_model
from tadan_lab.golden.cases import CASES, cases_for
from tadan_lab.golden.make import main, make_model_set

EIGHT = {"group_sizes": (1, 1, 2, 2, 1, 3, 4, 2), "embed_sizes": (2, 1, 2, 3, 1, 2, 2, 1)}
SHOWN = ("schedule-2x2-rotated", "inline-groups", "inline-groups-2", "inline-groups-8", "tiles-rgba", "size-17x33")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """By path, so that streams find it by its id afterwards."""
    path = tmp_path_factory.mktemp("model") / "eight.safetensors"
    path.write_bytes(exported_bytes(**EIGHT))
    return load_model(path)


@pytest.fixture(scope="module")
def golden(model, tmp_path_factory):
    cases = [case for case in cases_for(model.config) if case.name in SHOWN]
    return make_model_set(tmp_path_factory.mktemp("sets") / "eight", model, cases)


def test_a_set_shows_what_its_model_can_follow(golden, model):
    assert tuple(stream.name for stream in golden.streams if not stream.name.startswith("wild")) == tuple(
        case.name for case in cases_for(model.config) if case.name in SHOWN
    )
    assert failures([golden]) == []
    [groups] = [one for one in golden.damaged if one.name == "bad-groups"]
    assert (groups.shows, groups.error) == ("3 channel groups", "UnsupportedVersion")


def test_cases_of_other_models():
    """A model with four groups has all and one of two; without a divisor of four it lacks those of four groups."""
    four = cases_for(ModelConfig(group_sizes=(8, 8, 8, 8), embed_sizes=(4, 4, 4, 4)))
    assert {case.name for case in four} == {case.name for case in CASES} | {"inline-groups-2"}
    names = {case.name for case in cases_for(ModelConfig(group_sizes=(8, 8, 8), embed_sizes=(4, 4, 4)))}
    assert names == ({case.name for case in CASES} | {"inline-groups-3"}) - {
        "schedule-2x2-rotated",
        "inline-groups",
        "tiles-rgba",
    }
    assert "schedule-wavefront" not in {case.name for case in cases_for(ModelConfig(radius=3))}


def test_the_independent_decoder_agrees(golden):
    other = reference.Model(exported_bytes(**EIGHT))
    for stream in golden.streams:
        data = golden.read(stream.name, ".tdn")
        dump = b"".join(part.astype("<i4").tobytes() for tile in reference.decode(data, other) for part in tile)
        traces = read_dump(read_header(data), dump).traces()
        differences = [one.first_difference(record) for one, record in zip(traces, stream.tiles, strict=True)]
        assert differences == [None] * len(stream.tiles)


def test_dumps_of_another_decoder(golden, model, tmp_path):
    list(write_reference([golden], tmp_path, threads=1))
    assert all(outcome.ok for outcome in check_dumps([golden], tmp_path))
    data = golden.read("size-17x33", ".tdn")
    [latents] = Codec(model, threads=1).decode_latents(data)
    y_hat = latents.y_hat.copy()
    y_hat[0, 0, 4] += 1  # of the fourth of eight groups, at a position of the first of two stages
    (tmp_path / golden.name / "size-17x33.latents").write_bytes(latents_bytes([type(latents)(y_hat, latents.z_hat)]))
    [wrong] = [outcome for outcome in check_dumps([golden], tmp_path) if not outcome.ok]
    assert "tile 1 of 1, stage 1 of 2, group 4 of 8: y_hat differs" in wrong.detail


def test_other_latents_fail_at_their_step(golden, tmp_path):
    copied = load_sets(make_copy(golden, tmp_path))[0]
    tile = copied.streams[0].tiles[0]
    parameters = (*tile.parameters[:9], flipped(tile.parameters[9]), *tile.parameters[10:])
    outcome = failure(changed_tile(copied, parameters=parameters))
    assert "tile 1 of 1, stage 2 of 4, group 2 of 8: means or scale indices differ" in outcome.detail


def make_copy(golden, folder):
    (folder / golden.name).mkdir()
    for path in golden.folder.iterdir():
        (folder / golden.name / path.name).write_bytes(path.read_bytes())
    return folder


def test_the_commands(tmp_path, monkeypatch):
    """The maker is told a file; the check finds the model in the user's store."""
    monkeypatch.setattr("tadan_lab.golden.cases.CASES", CASES[-1:])
    monkeypatch.setenv("TADAN_MODELS", str(tmp_path / "store"))
    (tmp_path / "store").mkdir()
    path = tmp_path / "store" / "small.safetensors"
    path.write_bytes(exported_bytes())
    assert main([str(tmp_path / "sets"), "--model", str(path)]) == 0
    shown = run("--data", tmp_path / "sets", "--threads", "1")
    assert f"v1-{load_model(path).id_hex}/wild-2x2-rotated: 64x48 RGB, quality 40, 16 steps" in shown
    assert "conforms" in shown
