"""Golden streams: they decode as recorded, by two decoders, and every check can fail."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import reference_decoder as reference
from conformance_examples import (
    MODEL_SET,
    STORED_SET,
    changed,
    changed_tile,
    failure,
    failures,
    flipped,
    run,
    save_changed,
    small_set,
    write_set,
)
from tadan import errors
from tadan.bitstream import read_header
from tadan.codec.codec import Codec
from tadan.conformance import check_sets, load_sets
from tadan.conformance.dumps import read_dump
from tadan.conformance.golden import MANIFEST, PACKAGED
from tadan.models import find_model, load_model
from tadan.models.store import BUNDLED, bundled_models
from tadan.schedule import schedule_names
from tadan_lab.measure.exactness import einsum_matmul, integer_matmul, synthesis

SETS = load_sets(PACKAGED)
MODEL_SETS = [golden for golden in SETS if golden.model]
STREAMS = [(golden, stream) for golden in MODEL_SETS for stream in golden.streams]
NAME = "schedule-4x4-opt-8"


# --- what is packaged ------------------------------------------------------------------------------------------------


def test_the_packaged_streams_pass():
    shown = json.loads(run("--json", "--threads", "1"))
    assert shown["ok"], [outcome for outcome in shown["outcomes"] if not outcome["ok"]]
    assert {"numpy", "onnxruntime", "constriction", "tadan", "blas", "processor", "platform"} <= set(shown["facts"])
    assert {one["model"] for one in shown["sets"]} >= {load_model(name).id_hex for name in bundled_models()}


@pytest.mark.parametrize("matmul", [integer_matmul, einsum_matmul])
def test_they_pass_without_blas(tmp_path, matmul):
    names = ("quality-1", "size-17x33", "schedule-wavefront", "inline-groups", "noise", "wild-2x2-rotated")
    assert failures([small_set(tmp_path, *names)], matmul=matmul) == []


@pytest.mark.parametrize(
    ("golden", "stream"), [pair for pair in STREAMS if pair[1].tile_size], ids=lambda one: one.name
)
def test_pixels_of_tiles_are_those_of_the_joined_plane(golden, stream):
    """Section 11 as it is written: one run of the graph over the latents of all tiles."""
    data = golden.read(stream.name, ".tdn")
    model, header, step = find_model(bytes.fromhex(golden.model)), read_header(data), stream.tile_size // 16
    plane = np.zeros((-(-stream.height // 16), -(-stream.width // 16), model.config.latent), np.int32)
    tiles = Codec(threads=1).decode_latents(data)
    for number, tile in enumerate(tiles):
        row, col = (step * index for index in divmod(number, header.tile_grid[1]))
        plane[row : row + tile.y_hat.shape[0], col : col + tile.y_hat.shape[1]] = tile.y_hat
    shown = synthesis(model, "no")(plane, stream.quality)[: stream.height, : stream.width].astype(np.int16)
    wanted = np.asarray(Image.open(golden.folder / f"{stream.name}.png"))[:, :, :3]
    assert np.abs(shown - wanted).max() <= 1


@pytest.mark.parametrize(("golden", "stream"), STREAMS, ids=lambda one: one.name)
def test_the_independent_decoder_agrees(golden, stream):
    """tests/reference_decoder.py knows nothing of tadan: same latents, and the stages in the same order."""
    data = golden.read(stream.name, ".tdn")
    decoded = reference.decode(data, reference_model(golden.model))
    dump = b"".join(np.ascontiguousarray(plane, "<i4").tobytes() for tile in decoded for plane in tile)
    tiles = read_dump(read_header(data), dump)
    assert len(decoded) == len(stream.tiles)
    for trace, record in zip(tiles.traces(), stream.tiles, strict=True):
        assert trace.first_difference(record) is None


_references = {}


def reference_model(model):
    if model not in _references:
        for name in bundled_models():
            one = reference.Model((BUNDLED / f"{name}.safetensors").read_bytes())
            _references[one.id.hex()] = one
    return _references[model]


@pytest.mark.parametrize("golden", MODEL_SETS, ids=lambda one: one.name)
def test_they_show_what_the_format_can_do(golden):
    streams = golden.streams
    assert {stream.schedule for stream in streams} >= set(schedule_names())
    inline = [json.loads(stream.schedule) for stream in streams if stream.schedule.startswith("[")]
    assert {len(pattern) for pattern in inline} == set(find_model(bytes.fromhex(golden.model)).config.schedule_groups)
    assert {stream.quality for stream in streams} >= {1, 10, 50, 75, 100}
    assert {(stream.width, stream.height) for stream in streams} >= {(1, 1), (1, 300), (17, 33), (128, 96), (200, 150)}
    assert {stream.mode for stream in streams} == {"L", "LA", "RGB", "RGBA"}
    assert any(set(stream.metadata) == {"icc", "exif", "xmp"} for stream in streams)
    assert all(stream.escapes for stream in streams if stream.name.startswith(("squares", "wild")))
    named = {damaged.error for damaged in golden.damaged}
    assert named >= {"NotOurFile", "Truncated", "Corrupt", "UnsupportedVersion", "ModelMissing", "LimitExceeded"}
    assert all(issubclass(getattr(errors, error), errors.TadanError) for error in named)


def test_stored_pictures_are_among_them():
    assert {stream.content for stream in STORED_SET.streams} == {"png", "webp", "jpeg"}
    assert {stream.mode for stream in STORED_SET.streams} == {"L", "LA", "RGB", "RGBA"}


def test_they_are_small_and_complete():
    for golden in SETS:
        assert sum(path.stat().st_size for path in golden.folder.iterdir()) < 500_000
        assert golden.manifest() == (golden.folder / MANIFEST).read_bytes()
        expected = {MANIFEST, *(f"{one.name}.tdn" for one in (*golden.streams, *golden.damaged))}
        expected |= {f"{one.name}.png" for one in golden.streams if one.levels is not None}
        assert {path.name for path in golden.folder.iterdir()} == expected


# --- every check can fail --------------------------------------------------------------------------------------------


def test_another_file_fails(tmp_path):
    golden = small_set(tmp_path, NAME)
    path = golden.folder / f"{NAME}.tdn"
    path.write_bytes(path.read_bytes()[:-1])
    assert failure(golden).step == "file"
    path.unlink()
    assert failure(golden).step == "file"


@pytest.mark.parametrize(
    "fields", [{"width": 97}, {"mode": "L"}, {"quality": 51}, {"tile_size": 64}, {"schedule": "2x2"}], ids=str
)
def test_another_header_fails(tmp_path, fields):
    golden = changed(small_set(tmp_path, NAME), **fields)
    assert failure(golden).step == "container"


def test_another_model_fails(tmp_path):
    golden = write_set(replace(small_set(tmp_path, NAME), model="0123456789abcdef"))
    assert failure(golden).step == "container"


def test_other_metadata_fail(tmp_path):
    golden = small_set(tmp_path, "metadata")
    metadata = golden.streams[0].metadata
    assert failure(changed(golden, metadata={**metadata, "icc": flipped(metadata["icc"])})).step == "metadata"


def test_other_latents_fail_at_their_stage(tmp_path):
    golden = small_set(tmp_path, NAME)
    tile = golden.streams[0].tiles[0]

    def detail(**fields):
        outcome = failure(changed_tile(golden, **fields))
        assert outcome.step == "latents"
        return outcome.detail

    assert "z_hat differs" in detail(z=flipped(tile.z))
    groups = len(tile.y) // 8
    steps = (*tile.y[: 2 * groups], flipped(tile.y[2 * groups]), *tile.y[2 * groups + 1 :])
    assert f"tile 1 of 1, stage 3 of 8, group 1 of {groups}: y_hat differs" in detail(y=steps)
    steps = (
        *tile.parameters[: 6 * groups - 1],
        flipped(tile.parameters[6 * groups - 1]),
        *tile.parameters[6 * groups :],
    )
    assert f"stage 6 of 8, group {groups} of {groups}: means or scale indices differ" in detail(parameters=steps)
    assert "content CRC differs" in detail(latents=flipped(tile.latents))
    assert f"{8 * groups} steps instead of {8 * groups - 1}" in detail(y=tile.y[:-1], parameters=tile.parameters[:-1])
    assert "1 tiles instead of 0" in failure(changed(golden, tiles=())).detail


@pytest.mark.parametrize("where", ["first", "later"])
def test_a_product_that_is_wrong_by_one_fails_at_its_stage(tmp_path, where):
    """One product of all is wrong: the first of the hyper synthesis, or one of a later stage."""
    golden = small_set(tmp_path, NAME)
    calls = 0

    def count(x, weight):
        nonlocal calls
        calls += 1
        return x @ weight

    assert failures([golden], matmul=count) == []
    total = calls
    wrong_at = 0 if where == "first" else total * 2 // 3
    calls = 0

    def wrong(x, weight):
        nonlocal calls
        result = x @ weight
        if calls == wrong_at:
            result = result + 2.0**16  # above what any shift rounds away
        calls += 1
        return result

    outcome = failure(golden, matmul=wrong)
    assert outcome.step == "latents"
    stage = int(outcome.detail.split("stage ")[1].split(" of 8")[0])
    assert (stage == 1) if where == "first" else (stage > 1)


def test_products_that_are_wrong_by_one_are_noticed():
    """The least error that a rounded sum can have; shifts hide most of them, so that one stream does not suffice."""
    wrong = failures([replace(MODEL_SET, damaged=())], matmul=lambda x, weight: x @ weight + 1)
    assert len(wrong) >= 3
    assert {outcome.step for outcome in wrong} == {"latents"}
    assert all("stage" in outcome.detail for outcome in wrong)


def test_a_backend_that_raises_fails(tmp_path):
    def broken(x, weight):
        raise RuntimeError("no such kernel")

    outcome = failure(small_set(tmp_path, "size-17x33"), matmul=broken)
    assert "no such kernel" in outcome.detail


@pytest.mark.parametrize(("name", "change", "ok"), [(NAME, 1, True), (NAME, 2, False), ("stored-png", 1, False)])
def test_other_pixels_fail_beyond_a_level(tmp_path, name, change, ok):
    golden = small_set(tmp_path, name, source=STORED_SET if name.startswith("stored") else MODEL_SET)
    save_changed(golden.folder / f"{name}.png", change)
    [outcome] = check_sets([golden], threads=1)
    assert (outcome.ok, outcome.levels) == (ok, change if ok else None)
    assert outcome.step == (None if ok else "pixels")


def test_other_alpha_fails(tmp_path):
    golden = small_set(tmp_path, "mode-rgba")
    path = golden.folder / "mode-rgba.png"
    image = Image.open(path)
    alpha = np.array(image.getchannel("A"))
    alpha[0, 0] ^= 1
    image.putalpha(Image.fromarray(alpha))
    image.save(path)
    assert "alpha" in failure(golden).detail


def test_another_error_fails(tmp_path):
    golden = small_set(tmp_path, "bad-words", "bad-version")
    first, *rest = golden.damaged
    assert (
        "instead of Truncated"
        in failure(write_set(replace(golden, damaged=(replace(first, error="Truncated"), *rest)))).detail
    )
    good = MODEL_SET.read("size-17x33", ".tdn")
    (golden.folder / f"{first.name}.tdn").write_bytes(good)
    assert failure(golden).step == "file"
    accepted = replace(first, file=next(one.file for one in MODEL_SET.streams if one.name == "size-17x33"))
    assert "without an error" in failure(write_set(replace(golden, damaged=(accepted, *rest)))).detail
