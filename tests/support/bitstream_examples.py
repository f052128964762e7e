"""Streams and builders that the tests of the container share."""

from zlib import crc32

from tadan.bitstream import MAGIC, Header, ScheduleField, Stream, Tile, write_stream
from tadan.bitstream.fields import encode_varint

MODEL_ID = bytes.fromhex("0123456789abcdeffedcba9876543210")
# Section 7 of SPEC.md, in the same order as its dumps. Never edit either: files in the world depend on them.
GOLDEN = (
    Stream(
        Header(100, 70, "RGB", 50, MODEL_ID, ScheduleField("2x2")),
        {},
        (Tile(0x04030201, bytes(range(0xA0, 0xA8))),),
    ),
    Stream(
        Header(100, 64, "RGBA", 90, MODEL_ID, ScheduleField(pattern=(((0, 2), (3, 1)), ((1, 3), (2, 0)))), 64),
        {"exif": b"Exif"},
        (Tile(0x04030201, b"\xa0\xa1\xa2\xa3", b"PNG0"), Tile(0x14131211, b"", b"PNG1")),
    ),
    Stream(Header(20, 10, "L", 50, None, None, content="webp"), {}, (Tile(0x04030201, b"RIFF"),)),
)
GOLDEN_BYTES = tuple(write_stream(stream) for stream in GOLDEN)


def with_crc(data: bytes) -> bytes:
    return data + crc32(data).to_bytes(4, "little")


def with_header(fields: bytes, rest: bytes = b"") -> bytes:
    return with_crc(MAGIC + b"\x01" + encode_varint(len(fields)) + fields) + rest


def section(tag: bytes, payload: bytes) -> bytes:
    return with_crc(tag + encode_varint(len(payload)) + payload)
