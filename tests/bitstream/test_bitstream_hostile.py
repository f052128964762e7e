"""The container against correct checksums around wrong content, limits, and callers with wrong arguments."""

import time

import pytest

from bitstream_examples import GOLDEN, GOLDEN_BYTES, MODEL_ID, section, with_crc, with_header
from tadan.bitstream import MAGIC, Header, Limits, ScheduleField, Stream, Tile, read_header, read_stream, write_stream
from tadan.bitstream.fields import encode_varint
from tadan.bitstream.header import encode_fields
from tadan.errors import Corrupt, InvalidInput, LimitExceeded, TadanError, Truncated

# --- hostile structure under correct checksums ----------------------------------------------------------------------

FIELDS = encode_fields(GOLDEN[0].header)
assert FIELDS[2:5] == b"\x01\x00\x32"
SIZE, REST, MODEL, SCHEDULE = FIELDS[:2], FIELDS[2:5], FIELDS[6:22], FIELDS[22:]
START = SIZE + REST + b"\x00" + MODEL


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (FIELDS + b"\x00", "1 bytes after its last field"),
        (FIELDS[:-1], "inside a field"),
        (b"", "inside a number"),
        (b"\xe4\x00\x46" + FIELDS[2:], "shortest form"),
        (b"\xff" * 9 + b"\x01\x46" + FIELDS[2:], "63 bits"),
        (b"\x00\x46" + FIELDS[2:], "width is 0"),
        (b"\x64\x00" + FIELDS[2:], "height is 0"),
        (encode_varint(2**31) + FIELDS[1:], "width"),
        (SIZE + b"\x04" + FIELDS[3:], "mode byte is 4"),
        (SIZE + b"\x01\x00\x00" + FIELDS[5:], "quality is 0"),
        (SIZE + b"\x01\x00\x65" + FIELDS[5:], "quality is 101"),
        (SIZE + REST + b"\x3f" + MODEL + SCHEDULE, "multiple of 64"),
        (START + b"\x02", "schedule kind is 2"),
        (START + b"\x00\x00", "schedule name"),
        (START + b"\x00\x01A", "schedule name"),
        (START + b"\x00\x02\xc3\xa9", "schedule name"),
        (START + b"\x00\x01\n", "schedule name"),
        (START + b"\x00\x21" + b"a" * 33, "schedule name"),
        (START + b"\x01\x00\x01\x01", "0 x 1 x 1"),
        (START + b"\x01\x11\x01\x01" + bytes(17), "17 x 1 x 1"),
        (START + b"\x01\x01\x01\x02\x00\x02", "0 to K-1"),
        (START + b"\x01\x01\x01\x02\x01\x01", "0 to K-1"),
    ],
)
def test_hostile_header(fields, message):
    with pytest.raises(Corrupt, match=message):
        read_header(with_header(fields))


def test_what_is_accepted_has_one_spelling():
    rest = section(b"T", b"crc.words")
    accepted = 0
    for position in range(len(FIELDS)):
        for value in range(256):
            data = with_header(FIELDS[:position] + bytes((value,)) + FIELDS[position + 1 :], rest)
            try:
                stream = read_stream(data)
            except TadanError:
                continue
            assert write_stream(stream) == data
            accepted += 1
    assert accepted > 8 * 256  # every model id, among others


def test_header_checksum_comes_before_fields():
    data = bytearray(with_header(SIZE + b"\x09" + FIELDS[3:]))
    data[-1] ^= 1
    with pytest.raises(Corrupt, match="checksum of the header"):
        read_header(bytes(data))


def test_header_length_is_capped_before_the_header_is_awaited():
    with pytest.raises(Corrupt, match="65537 bytes"):
        read_header(MAGIC + b"\x01" + encode_varint(65_537))
    with pytest.raises(Truncated):
        read_header(MAGIC + b"\x01" + encode_varint(65_536))
    with pytest.raises(Corrupt, match="shortest form"):
        read_header(MAGIC + b"\x01\x92\x00" + FIELDS)


ICC, EXIF, XMP, TILE = section(b"I", b"i"), section(b"E", b"e"), section(b"X", b"x"), section(b"T", b"crc.words")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (ICC + ICC + TILE, "repeated or out of order"),
        (XMP + XMP + TILE, "repeated or out of order"),
        (EXIF + ICC + TILE, "repeated or out of order"),
        (XMP + EXIF + TILE, "repeated or out of order"),
        (section(b"Q", b"?") + TILE, "should begin tile 1 of 1 but is 0x51"),
        (TILE + TILE, "follow the last tile"),
        (TILE + ICC, "follow the last tile"),
        (section(b"T", b"crc"), "shorter than its content checksum"),
        (with_crc(b"T\x89\x00crc.words"), "shortest form"),
    ],
)
def test_hostile_sections(body, message):
    with pytest.raises(Corrupt, match=message):
        read_stream(with_header(FIELDS, body))


def test_missing_tile():
    with pytest.raises(Truncated, match="before tile 2 of 2"):
        read_stream(with_header(encode_fields(GOLDEN[1].header), section(b"T", b"\x00crc.\x00")))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "before its words"),
        (b"\0crc", "shorter than its content checksum"),
        (b"\0crc.", "before its words"),
        (b"\0crc.\x03ab", "claims 3 bytes of 2"),
        (b"\0crc.\x80\x00", "shortest form"),
        (b"\2crc.\0", "claims to be tile 3"),
        (b"\1crc.\0", "is that of tile 2"),
        (b"\x80\0crc.\0", "shortest form"),
    ],
)
def test_hostile_tiles(payload, message):
    with pytest.raises(Corrupt, match=message):
        read_stream(with_header(encode_fields(GOLDEN[1].header), section(b"T", payload)))


# --- limits ---------------------------------------------------------------------------------------------------------


def test_limits_hold_exactly():
    exact = Limits(max_pixels=6400, max_metadata_bytes=4, max_tiles=2, max_tile_bytes=14, max_pattern_cells=8)
    assert read_stream(GOLDEN_BYTES[1], exact) == GOLDEN[1]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(max_pixels=6399), "100 x 64 = 6400 pixels, the limit is 6399; raise Limits.max_pixels"),
        (Limits(max_tiles=1), "2 tiles, the limit is 1; raise Limits.max_tiles"),
        (Limits(max_metadata_bytes=3), "Metadata exif claims 4 bytes where 3 .* raise Limits.max_metadata_bytes"),
        (
            Limits(max_pattern_cells=7),
            "8 cells .*, the limit is 7; raise Limits.max_pattern_cells",
        ),
        (Limits(max_tile_bytes=13), "Tile 1 of 2 claims 14 bytes where 13 .* raise Limits.max_tile_bytes"),
    ],
)
def test_limits(limits, message):
    with pytest.raises(LimitExceeded, match=message):
        read_stream(GOLDEN_BYTES[1], limits)


def test_metadata_limit_is_for_the_sum():
    data = with_header(FIELDS, ICC + EXIF + XMP + TILE)
    assert len(read_stream(data, Limits(max_metadata_bytes=3)).metadata) == 3
    with pytest.raises(LimitExceeded, match="xmp"):
        read_stream(data, Limits(max_metadata_bytes=2))


def test_default_limits_refuse_bombs_at_once():
    bomb = Header(2**31 - 1, 2**31 - 1, "RGB", 1, MODEL_ID, ScheduleField("2x2"), 64)
    start = time.perf_counter()
    with pytest.raises(LimitExceeded, match="pixels"):
        read_header(with_header(encode_fields(bomb)))
    with pytest.raises(LimitExceeded, match="tiles"):
        read_header(with_header(encode_fields(bomb)), Limits(max_pixels=2**62))
    with pytest.raises(LimitExceeded, match="claims"):
        read_stream(with_header(FIELDS, b"T" + encode_varint(2**62)))
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("value", [-1, None, 1.5])
def test_limits_are_validated(value):
    with pytest.raises(InvalidInput, match="max_tiles"):
        Limits(max_tiles=value)


# --- writing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"height": 2**31},
        {"width": 1.0},
        {"mode": "P"},
        {"quality": 0},
        {"quality": 101},
        {"quality": True},
        {"model_id": b"short"},
        {"model_id": "0123456789abcdef"},
        {"model_id": None},
        {"schedule": None},
        {"content": "gif"},
        {"content": "png"},
        {"content": "png", "schedule": None},
        {"tile_size": 65},
        {"tile_size": -64},
        {"schedule": "2x2"},
        {"version": 2},
    ],
)
def test_header_is_validated(change):
    good = {"width": 1, "height": 1, "mode": "L", "quality": 1, "model_id": MODEL_ID, "schedule": ScheduleField("2x2")}
    Header(**good)
    with pytest.raises(InvalidInput):
        Header(**(good | change))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"name": "2x2", "pattern": (((0,),),)},
        {"name": ""},
        {"name": "2X2"},
        {"name": "a" * 33},
        {"name": "a\n"},
        {"pattern": ()},
        {"pattern": ((),)},
        {"pattern": (((),),)},
        {"pattern": [[[0]]]},
        {"pattern": (0,)},
        {"pattern": (((0, 1), (2,)),)},
        {"pattern": (((0,), (1,)), ((2,),))},
        {"pattern": (((1,),),)},
        {"pattern": (((0, 0.0),),)},
        {"pattern": (((0, []),),)},
        {"pattern": ((tuple(range(17)),),)},
    ],
)
def test_schedule_field_is_validated(arguments):
    with pytest.raises(InvalidInput):
        ScheduleField(**arguments)


@pytest.mark.parametrize(
    ("metadata", "tiles", "message"),
    [
        ({}, (), "0 tiles for a grid of 1"),
        ({}, (Tile(0, b""),) * 2, "2 tiles for a grid of 1"),
        ({}, (Tile(2**32, b""),), "32-bit"),
        ({}, (Tile(-1, b""),), "32-bit"),
        ({}, (Tile(0, b"", b"alpha"),), "mode is RGB"),
        ({}, (Tile(0, "words"),), "give bytes"),
        ({"gps": b""}, (Tile(0, b""),), "gps"),
        ({"icc": "text"}, (Tile(0, b""),), "give bytes"),
    ],
)
def test_write_stream_is_validated(metadata, tiles, message):
    with pytest.raises(InvalidInput, match=message):
        write_stream(Stream(GOLDEN[0].header, metadata, tiles))


def test_alpha_is_required_for_alpha_modes():
    with pytest.raises(InvalidInput, match="has no alpha plane but the mode is RGBA"):
        write_stream(Stream(GOLDEN[1].header, {}, (Tile(0, b""),) * 2))
