"""Damaged, forged and foreign files: an error that names the next step, never a crash, a hang or another picture."""

import io
import shutil
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tadan
from codec_examples import CODEC, with_header, with_tile
from photo_examples import photo
from tadan.bitstream import Limits, ScheduleField, read_stream, write_stream
from tadan.codec.codec import Codec
from tadan.errors import Corrupt, LimitExceeded, ModelMissing, NotOurFile, TadanError, Truncated, UnsupportedVersion
from tadan.models import load_model, read_model, save_model, store
from tadan.pictures.reading import pack_alpha, unpack_alpha

SMALL = CODEC.encode(photo("coffee", 20, 24), quality=40)
ALPHA = CODEC.encode(np.dstack([photo("coffee", 5, 6), np.arange(30, dtype=np.uint8).reshape(5, 6)]), quality=5)
DATA = CODEC.encode(photo(), quality=60)


def pixels(data):
    return CODEC.decode(data).tobytes()


# --- damage on the way ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [SMALL, ALPHA], ids=["rgb", "rgba"])
def test_truncated_at_every_byte(data):
    for length in range(len(data)):
        with pytest.raises(Truncated, match=r"again|Again|copy"):
            CODEC.decode(data[:length])


@pytest.mark.parametrize("data", [SMALL, ALPHA], ids=["rgb", "rgba"])
def test_every_single_bit_flipped(data):
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TadanError):
            CODEC.decode(bytes(damaged))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(SMALL)), st.binary(max_size=30), st.integers(0, 30))
def test_bytes_replaced_inserted_and_removed(position, patch, removed):
    damaged = SMALL[:position] + patch + SMALL[position + removed :]
    try:
        decoded = pixels(damaged)
    except TadanError:
        return
    assert damaged == SMALL
    assert decoded == pixels(SMALL)


@pytest.mark.parametrize("tail", [b"\0", b"T", SMALL])
def test_bytes_after_the_end(tail):
    with pytest.raises(Corrupt, match="follow the last tile"):
        CODEC.decode(SMALL + tail)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n" + bytes(50), b"GIF89a", b"x" * 100])
def test_other_files(data):
    with pytest.raises((NotOurFile, Truncated)):
        CODEC.decode(data)


@pytest.mark.parametrize("data", [None, 5, np.zeros(5), io.StringIO("text")])
def test_what_is_no_bytes(data):
    with pytest.raises(TadanError, match="bytes"):
        CODEC.decode(data)


def test_bytes_like_objects_decode():
    assert pixels(bytearray(SMALL)) == pixels(memoryview(SMALL)) == pixels(SMALL)


# --- valid containers with wrong content: only the checksum of the latents stands between them and a picture ----------


def test_every_flipped_bit_of_a_payload_under_correct_checksums():
    payload = read_stream(SMALL).tiles[0].payload
    messages = set()
    for bit in range(8 * len(payload)):
        flipped = bytearray(payload)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt) as caught:
            CODEC.decode(with_tile(SMALL, payload=bytes(flipped)))
        messages.add(str(caught.value)[:25])
    assert len(messages) > 1  # the entropy decoder notices some, the checksum of the latents the others


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_any_words_under_correct_checksums(words):
    for payload in (words, words[: len(words) // 4 * 4]):
        with pytest.raises(Corrupt):
            CODEC.decode(with_tile(DATA, payload=payload))


def test_the_payload_of_another_picture():
    other = read_stream(CODEC.encode(photo("coffee"), quality=60)).tiles[0]
    with pytest.raises(Corrupt, match="do not match their checksum"):
        CODEC.decode(with_tile(DATA, payload=other.payload))
    with pytest.raises(Corrupt, match="do not match their checksum"):
        CODEC.verify(with_tile(DATA, content_crc=other.content_crc))
    assert pixels(with_tile(DATA, payload=other.payload, content_crc=other.content_crc)) != pixels(DATA)


@pytest.mark.parametrize(
    "fields",
    [
        {"quality": 61},
        {"quality": 1},
        {"schedule": ScheduleField("4x4")},
        {"schedule": ScheduleField("hyper")},
        {"schedule": ScheduleField("2x2-rotated")},
        {"schedule": ScheduleField(pattern=(((0, 1), (2, 3)),))},
        {"width": 80, "height": 96},
        {"width": 97},
        {"width": 64},
        {"height": 2000, "width": 2000},
    ],
    ids=str,
)
def test_another_header_under_correct_checksums(fields):
    with pytest.raises(Corrupt):
        CODEC.decode(with_header(DATA, **fields))


@pytest.mark.parametrize("pattern", [tuple(((n,),) for n in range(groups)) for groups in (3, 16)])
def test_channel_groups_that_the_model_does_not_have(pattern):
    with pytest.raises(TadanError, match="groups"):
        CODEC.decode(with_header(DATA, schedule=ScheduleField(pattern=pattern)))


def test_a_huge_header_on_a_small_payload_costs_no_time():
    with pytest.raises(LimitExceeded, match="max_pixels"):
        CODEC.decode(with_header(DATA, width=2**31 - 1, height=2**31 - 1))
    with pytest.raises(Corrupt):
        CODEC.decode(with_header(DATA, width=4000, height=4000))


def test_tiles_stay_in_their_place():
    picture = photo("astronaut", 100, 130)
    data = CODEC.encode(picture, quality=70, tile=64)
    stream = read_stream(data)
    assert len(CODEC.verify(data).tiles) == 6
    swapped = (stream.tiles[1], stream.tiles[0], *stream.tiles[2:])
    assert pixels(write_stream(replace(stream, tiles=swapped))) != pixels(data)  # a valid file: tiles are independent
    with pytest.raises(Corrupt):  # a tile of 64 x 64 where one of 2 x 64 belongs
        CODEC.decode(write_stream(replace(stream, tiles=(*stream.tiles[:2], stream.tiles[0], *stream.tiles[3:]))))
    with pytest.raises(LimitExceeded, match="max_tiles"):
        Codec(limits=Limits(max_tiles=5)).decode(data)


# --- what this installation does not have -----------------------------------------------------------------------------


@pytest.fixture
def empty_store(tmp_path, monkeypatch):
    monkeypatch.setenv("TADAN_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_a_foreign_model_is_named(empty_store):
    data = with_header(DATA, model_id=bytes.fromhex("00c0ffee" * 4))
    for codec in (CODEC, Codec("photo"), Codec(load_model())):
        for call in (codec.decode, codec.verify):
            with pytest.raises(ModelMissing, match=f"00c0ffee00c0ffee00c0ffee00c0ffee.*{empty_store}.*name it"):
                call(data)


def test_a_model_put_into_the_store_is_found(empty_store, monkeypatch):
    """Another model: the bundled one with other gains. Streams of both decode, whichever the codec was made with."""
    bundled = load_model()
    tensors = dict(bundled.tensors)
    for name, sign in (("gain", -1), ("inverse_gain", 1)):
        tensors[f"quality.log_{name}"] = tensors[f"quality.log_{name}"] + np.float32(sign * np.log(2))
    path = empty_store / "half.safetensors"
    path.write_bytes(save_model(bundled.config, tensors, {"name": "half"}))
    half = read_model(path)
    assert half.id != bundled.id
    data = Codec(half, threads=1).encode(photo(), quality=60)
    assert len(data) < len(DATA)
    monkeypatch.setattr(store, "_loaded", {})
    for codec in (Codec(threads=1), Codec("half", threads=1), Codec(half, threads=1)):
        assert codec.decode(data).size == codec.decode(DATA).size == (96, 80)
    assert tadan.inspect(data).model_id == half.id_hex
    shutil.rmtree(empty_store)
    with pytest.raises(ModelMissing, match="half"):
        Codec("half").encode(photo())


@pytest.mark.parametrize("name", ["spiral-9", "2x2-new", "x"])
def test_an_unknown_schedule_needs_a_newer_version(name):
    data = with_header(DATA, schedule=ScheduleField(name=name))
    with pytest.raises(UnsupportedVersion, match=f"'{name}'.*pip install --upgrade tadan"):
        CODEC.decode(data)
    assert tadan.inspect(data).schedule == name


def test_aliases_are_no_names_of_the_format():
    with pytest.raises(UnsupportedVersion):
        CODEC.decode(with_header(DATA, schedule=ScheduleField(name="balanced")))


def test_verify_reports_what_it_checked():
    verification = CODEC.verify(ALPHA)
    assert verification.file_bytes == len(ALPHA)
    assert verification.tiles == (f"{read_stream(ALPHA).tiles[0].content_crc:08x}",)
    assert verification.sections == 1


def test_decoded_pictures_own_their_pixels():
    first, second = CODEC.decode(SMALL), CODEC.decode(SMALL)
    first.paste(0, (0, 0, 24, 20))
    assert second.tobytes() == pixels(SMALL)
    assert isinstance(first, Image.Image)


# --- the alpha plane of a hostile file --------------------------------------------------------------------------------


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


RAMP = np.add.outer(np.arange(80), 2 * np.arange(96)).astype(np.uint8)
PNG = pack_alpha(RAMP)
HEAD, REST = PNG[:33], PNG[33:]


@pytest.mark.parametrize("kind", [b"gAMA", b"pHYs", b"iCCP", b"tRNS", b"cHRM", b"sRGB", b"tEXt", b"iTXt", b"acTL"])
@pytest.mark.parametrize("content", [b"", b"\0", b"\xff" * 5])
def test_short_chunks_in_alpha(kind, content):
    try:
        alpha = unpack_alpha(HEAD + chunk(kind, content) + REST, 96, 80)
    except Corrupt:
        return
    np.testing.assert_array_equal(alpha, RAMP)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(PNG) - 1), st.binary(min_size=1, max_size=4), st.booleans())
def test_damaged_alpha_is_corrupt_or_the_same_shape(position, patch, cut):
    damaged = PNG[:position] + patch + (b"" if cut else PNG[position + len(patch) :])
    try:
        alpha = unpack_alpha(damaged, 96, 80)
    except Corrupt:
        return
    assert (alpha.shape, alpha.dtype) == ((80, 96), np.uint8)


@pytest.mark.parametrize(
    "alpha", [b"", b"PNG", PNG[:60], pack_alpha(RAMP[:-1]), pack_alpha(np.zeros((1, 1), np.uint8))]
)
def test_an_alpha_plane_that_is_none_is_corrupt(alpha):
    data = with_tile(CODEC.encode(np.dstack([photo(), RAMP])), alpha=alpha)
    for call in (CODEC.decode, CODEC.verify):
        with pytest.raises(Corrupt, match="alpha"):
            call(data)
