"""Files to refuse, made from good ones: each breaks one rule of docs/SPEC.md and has one error of its section 6."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from tadan.bitstream import MAGIC, PixelMode, ScheduleField, read_stream, write_stream

_LENGTH_AT = len(MAGIC) + 1
_CONTENT_AT = _LENGTH_AT + 4  # where sides are below 128: behind length, width, height and mode


@dataclass(frozen=True)
class Damage:
    """A file, what is wrong with it, and the name of the error."""

    name: str
    shows: str
    error: str
    data: bytes


def damaged_latents(data: bytes, groups: int) -> Iterator[Damage]:
    """Damages of the stream ``data``: RGB, one tile, no metadata, sides and header length below 128.

    ``groups``: a number of channel groups that its model does not allow.
    """
    half = len(data) // 2
    (tile,) = read_stream(data).tiles
    words = tile.payload
    yield Damage("bad-empty", "an empty file", "Truncated", b"")
    yield Damage("bad-magic", "another kind of file", "NotOurFile", b"\x89PNG" + data[4:])
    yield Damage("bad-line-ends", "CR LF converted to LF", "Corrupt", data.replace(b"\r\n", b"\n"))
    yield Damage("bad-version", "format version 2", "UnsupportedVersion", _changed(data, len(MAGIC), 2))
    yield Damage("bad-header-cut", "the file ends in the header", "Truncated", data[:20])
    yield Damage("bad-header-bit", "a flipped bit in the header", "Corrupt", _changed(data, 10, data[10] ^ 1))
    quality = _resigned(_changed(data, _CONTENT_AT + 1, 0))
    yield Damage("bad-quality", "quality 0 under a correct CRC", "Corrupt", quality)
    content = _resigned(_changed(data, _CONTENT_AT, 200))
    yield Damage("bad-content", "content of an unknown kind", "UnsupportedVersion", content)
    yield Damage("bad-varint", "the width in two bytes instead of one", "Corrupt", _long_width(data))
    yield Damage("bad-cut", "the file ends in the tile", "Truncated", data[:half])
    yield Damage("bad-bit", "a flipped bit in the tile", "Corrupt", _changed(data, half, data[half] ^ 16))
    yield Damage("bad-tail", "a byte after the last tile", "Corrupt", data + b"\0")
    flipped = _changed(words, len(words) // 2, words[len(words) // 2] ^ 16)
    yield Damage("bad-words", "a flipped bit in the words under correct CRCs", "Corrupt", _tile(data, payload=flipped))
    yield Damage("bad-words-cut", "the last word is missing", "Corrupt", _tile(data, payload=words[:-4]))
    yield Damage("bad-words-more", "a word too many", "Corrupt", _tile(data, payload=words + bytes(4)))
    crc = tile.content_crc ^ 1
    yield Damage("bad-content-crc", "the content CRC of other latents", "Corrupt", _tile(data, content_crc=crc))
    unknown = ScheduleField("5x5")
    yield Damage("bad-schedule", "an unknown schedule", "UnsupportedVersion", _header(data, schedule=unknown))
    many = ScheduleField(pattern=tuple(((group,),) for group in range(groups)))
    shows = f"{'two' if groups == 2 else groups} channel groups"  # as released sets have it
    yield Damage("bad-groups", shows, "UnsupportedVersion", _header(data, schedule=many))
    large = ScheduleField(pattern=((tuple(range(16)),) * 9,))
    pattern = _header(data, schedule=large)
    yield Damage("bad-pattern", "a pattern of 144 cells, above the default limit", "LimitExceeded", pattern)
    yield Damage("bad-model", "an unknown model", "ModelMissing", _header(data, model_id=b"\xff" * 16))
    huge = _header(data, width=2**31 - 1, height=2**31 - 1)
    yield Damage("bad-huge", "2^62 pixels, above the default limit", "LimitExceeded", huge)
    stream = read_stream(data)
    alpha = replace(tile, alpha=b"no PNG")
    rgba = write_stream(replace(stream, header=replace(stream.header, mode=PixelMode.RGBA), tiles=(alpha,)))
    yield Damage("bad-alpha", "an alpha plane that is no PNG", "Corrupt", rgba)


def damaged_stored(data: bytes) -> Iterator[Damage]:
    """Damages of a stored stream ``data``."""
    (tile,) = read_stream(data).tiles
    unknown = _resigned(_changed(data, _CONTENT_AT, 9))
    yield Damage("bad-form", "stored in an unknown format", "UnsupportedVersion", unknown)
    wider = read_stream(data).header.width + 1
    yield Damage("bad-stored-size", "a stored picture of another size", "Corrupt", _header(data, width=wider))
    crc = tile.content_crc ^ 1
    yield Damage("bad-stored-crc", "a stored picture with other pixels", "Corrupt", _tile(data, content_crc=crc))


def damaged_tiles(data: bytes) -> Iterator[Damage]:
    """Damages of a stream ``data`` of several tiles."""
    head, sections = _sections(data)
    swapped = b"".join([head, sections[1], sections[0], *sections[2:]])
    yield Damage("bad-tile-order", "the first two tiles change places", "Corrupt", swapped)
    yield Damage("bad-tile-missing", "the last tile is missing", "Truncated", b"".join([head, *sections[:-1]]))


def _sections(data: bytes) -> tuple[bytes, list[bytes]]:
    """What precedes the tile sections, and each of these; for streams without metadata, payloads below 2^14 bytes."""
    start = at = _LENGTH_AT + 1 + data[_LENGTH_AT] + 4
    sections = []
    while at < len(data):
        first, second = data[at + 1 : at + 3]
        length = first + 2 if first < 0x80 else (first & 0x7F) + (second << 7) + 3
        sections.append(data[at : at + length + 4])
        at += length + 4
    return data[:start], sections


def _changed(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes((value,)) + data[at + 1 :]


def _header(data: bytes, **fields: Any) -> bytes:
    """The stream with other header fields, under correct CRCs."""
    stream = read_stream(data)
    return write_stream(replace(stream, header=replace(stream.header, **fields)))


def _tile(data: bytes, **fields: Any) -> bytes:
    """The stream with another content of its only tile, under correct CRCs."""
    stream = read_stream(data)
    return write_stream(replace(stream, tiles=(replace(stream.tiles[0], **fields),)))


def _resigned(data: bytes) -> bytes:
    """The stream with the header CRC that its header should have."""
    end = _LENGTH_AT + 1 + data[_LENGTH_AT]
    return data[:end] + crc32(data[:end]).to_bytes(4, "little") + data[end + 4 :]


def _long_width(data: bytes) -> bytes:
    start = _LENGTH_AT + 1
    spelled = data[:_LENGTH_AT] + bytes((data[_LENGTH_AT] + 1, data[start] | 0x80, 0)) + data[start + 1 :]
    return _resigned(spelled)
