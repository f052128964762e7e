"""The container by hazard: golden bytes, round trips, truncation, bit flips, garbage, foreign files."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bitstream_examples import GOLDEN, GOLDEN_BYTES, MODEL_ID, section, with_header
from tadan.bitstream import (
    HEADER_PREFIX_BYTES,
    MAGIC,
    Header,
    Limits,
    ScheduleField,
    Stream,
    Tile,
    is_tdn,
    read_header,
    read_stream,
    write_stream,
)
from tadan.bitstream.header import encode_fields
from tadan.errors import Corrupt, InvalidInput, NotOurFile, TadanError, Truncated, UnsupportedVersion

SPEC = Path(__file__).parents[2] / "docs" / "SPEC.md"

# --- golden bytes and round trips -----------------------------------------------------------------------------------


def test_spec_examples_are_golden():
    dumps = re.findall(r"```hex\n(.*?)```", SPEC.read_text(encoding="utf-8"), re.S)
    assert len(dumps) == len(GOLDEN)
    for dump, stream in zip(dumps, GOLDEN, strict=True):
        data = bytes.fromhex("".join(line.split("  ", 1)[1] for line in dump.splitlines()))
        assert read_stream(data) == stream
        assert write_stream(stream) == data


def test_overhead_of_a_photograph_is_below_60_bytes():
    header = Header(4000, 3000, "RGB", 50, MODEL_ID, ScheduleField("2x2"))
    assert len(write_stream(Stream(header, {}, (Tile(7, bytes(500_000)),)))) - 500_000 <= 60


names = st.builds(ScheduleField, name=st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=32))


@st.composite
def patterns(draw):
    groups, rows, cols = (draw(st.integers(1, 16)) for _ in range(3))
    count = groups * rows * cols
    stage_count = draw(st.integers(1, count))
    stages = [i % stage_count for i in range(count)]
    draw(st.randoms(use_true_random=False)).shuffle(stages)
    values = iter(stages)
    return ScheduleField(
        pattern=tuple(tuple(tuple(next(values) for _ in range(cols)) for _ in range(rows)) for _ in range(groups))
    )


sides = st.sampled_from((0, 64, 128, 1024))
#: Model, schedule, side of the tiles and content of a header.
contents = st.tuples(st.binary(min_size=16, max_size=16), names | patterns(), sides, st.just("latents")) | st.tuples(
    st.none(), st.none(), sides, st.sampled_from(("png", "webp", "jpeg"))
)


@st.composite
def streams(draw):
    header = Header(
        draw(st.integers(1, 300)),
        draw(st.integers(1, 300)),
        draw(st.sampled_from(("L", "RGB", "LA", "RGBA"))),
        draw(st.integers(1, 100)),
        *draw(contents),
    )
    blobs = st.binary(max_size=200)
    alphas = blobs if header.has_alpha else st.none()
    tile = st.builds(Tile, st.integers(0, 2**32 - 1), blobs, alphas)
    tiles = draw(st.lists(tile, min_size=header.tile_count, max_size=header.tile_count))
    metadata = draw(st.dictionaries(st.sampled_from(("icc", "exif", "xmp")), blobs))
    return Stream(header, metadata, tuple(tiles))


@settings(max_examples=60, deadline=None)
@given(streams())
def test_round_trip(stream):
    data, any_pattern = write_stream(stream), Limits(max_pattern_cells=16**3)
    assert read_stream(data, any_pattern) == stream
    assert read_header(data, any_pattern) == stream.header
    assert is_tdn(data)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_reads_any_bytes_like_object(kind):
    assert read_stream(kind(GOLDEN_BYTES[1])) == GOLDEN[1]
    assert is_tdn(kind(GOLDEN_BYTES[1]))


def test_largest_header_fits_the_announced_prefix():
    stages = iter(range(4096))
    pattern = tuple(tuple(tuple(next(stages) for _ in range(16)) for _ in range(16)) for _ in range(16))
    header = Header(2**31 - 1, 2**31 - 1, "RGBA", 100, MODEL_ID, ScheduleField(pattern=pattern), 2**31 - 64)
    data, huge = with_header(encode_fields(header)), Limits(2**62, max_tile_pixels=2**62, max_pattern_cells=4096)
    assert len(data) < HEADER_PREFIX_BYTES
    assert read_header(data, huge) == header


def test_metadata_is_written_in_file_order():
    header, tiles = GOLDEN[0].header, GOLDEN[0].tiles
    forward = {"icc": b"i", "exif": b"e", "xmp": b"x"}
    backward = dict(reversed(forward.items()))
    assert write_stream(Stream(header, forward, tiles)) == write_stream(Stream(header, backward, tiles))


# --- tiles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "tile_size", "grid"),
    [(1, 1, 0, (1, 1)), (1, 1, 64, (1, 1)), (64, 64, 64, (1, 1)), (65, 257, 64, (5, 2)), (4000, 3000, 1024, (3, 4))],
)
def test_tile_boxes_partition_the_picture(width, height, tile_size, grid):
    header = Header(width, height, "L", 1, MODEL_ID, ScheduleField("2x2"), tile_size)
    boxes = list(header.tile_boxes())
    assert header.tile_grid == grid
    assert len(boxes) == header.tile_count == grid[0] * grid[1]
    assert boxes == sorted(boxes, key=lambda box: (box[1], box[0]))
    assert sum(w * h for _, _, w, h in boxes) == width * height
    assert all(w > 0 and h > 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)


# --- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", GOLDEN_BYTES)
def test_truncation_at_every_byte(data):
    for length in range(len(data)):
        with pytest.raises(Truncated, match="again"):
            read_stream(data[:length])


@pytest.mark.parametrize("data", GOLDEN_BYTES)
def test_header_needs_no_byte_after_its_checksum(data):
    end = 8 + 1 + 1 + data[9] + 4
    assert read_header(data[:end]) == read_stream(data).header
    for length in range(end):
        with pytest.raises(Truncated):
            read_header(data[:length])


@pytest.mark.parametrize("data", GOLDEN_BYTES)
def test_every_flipped_bit_is_detected(data):
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TadanError):
            read_stream(bytes(damaged))


def test_damage_names_the_tile():
    damaged = bytearray(GOLDEN_BYTES[1])
    damaged[-6] ^= 1
    with pytest.raises(Corrupt, match=r"checksum of tile 2 of 2 .* another copy"):
        read_stream(bytes(damaged))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
@example(b"\x01" + b"\xff" * 20)
def test_garbage_after_the_magic(garbage):
    with pytest.raises(TadanError):
        read_stream(MAGIC + garbage)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_garbage_under_valid_checksums(fields, payload):
    # Whoever can compute a CRC can write any field: the parser must stand on its own.
    for data in (with_header(fields), with_header(encode_fields(GOLDEN[1].header), section(b"T", payload))):
        with pytest.raises(TadanError):
            read_stream(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_garbage(data):
    with pytest.raises(TadanError):
        read_stream(data)


def test_trailing_bytes():
    with pytest.raises(Corrupt, match=r"1 bytes follow the last tile.*cut it to 59 bytes"):
        read_stream(GOLDEN_BYTES[0] + b"\n")


# --- foreign files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "PNG.*tadan encode"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "JPEG.*tadan encode"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "WebP"),
        (b"\x00\x00\x00\x20ftypavif", "AVIF"),
        (b"\x00\x00\x00\x20ftypheic", "HEIC"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"GIF89a", "GIF"),
        (b"PK\x03\x04", "ZIP.*unpack"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"<!DOCTYPE html>", "web page.*fetch"),
        (b"hello world", "begins with 68 65 6c"),
        (b"\x00", "begins with 00"),
    ],
)
def test_wrong_magic_says_what_the_file_is(data, kind):
    with pytest.raises(NotOurFile, match=kind):
        read_stream(data)
    assert not is_tdn(data)


def test_empty_file_is_truncated():
    with pytest.raises(Truncated, match="empty"):
        read_header(b"")
    assert not is_tdn(b"")
    assert not is_tdn(MAGIC[:7])


@pytest.mark.parametrize(
    ("damage", "how"),
    [
        (lambda data: data.replace(b"\r\n", b"\n"), "CR LF to LF"),
        (lambda data: data.replace(b"\n", b"\r\n"), "LF to CR LF"),
        (lambda data: re.sub(rb"(?<!\r)\n", b"\r\n", data), "LF to CR LF"),
        (lambda data: data.replace(b"\r\n", b"\r").replace(b"\n", b"\r"), "to CR "),
        (lambda data: data.replace(b"\n", b"\r"), "to CR "),
        (lambda data: bytes(byte & 0x7F for byte in data), "highest bit"),
        (lambda data: data.decode("utf-8", "replace").encode(), "read as UTF-8"),
        (lambda data: data.decode("latin-1").encode(), "Latin-1"),
        (lambda data: data.decode("latin-1").encode("utf-16"), "PowerShell"),
    ],
)
def test_damaged_magic_says_how(damage, how):
    with pytest.raises(Corrupt, match=how + ".*binary mode"):
        read_stream(damage(GOLDEN_BYTES[0]))


@pytest.mark.parametrize("version", [0, 2, 255])
def test_other_versions(version):
    # Only the version byte is known to mean the same in other versions: the CRC is not looked at.
    data = MAGIC + bytes((version,)) + GOLDEN_BYTES[0][9:]
    with pytest.raises(UnsupportedVersion, match=rf"version {version},.*pip install --upgrade tadan"):
        read_header(data)


def test_a_stream_is_bytes():
    with pytest.raises(InvalidInput, match="binary mode"):
        read_stream("text")  # type: ignore[arg-type]
