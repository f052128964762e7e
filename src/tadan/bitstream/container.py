"""Writing and reading whole `.tdn` streams: header, metadata and tile sections, each under its own CRC-32."""

from collections.abc import Set
from dataclasses import dataclass
from zlib import crc32

from tadan.bitstream.fields import (
    CRC_BYTES,
    JPEG_FILE,
    MAGIC,
    MAX_HEADER_LENGTH,
    METADATA_TAGS,
    TILE_TAG,
    VERSION,
    Limits,
    decode_varint,
    encode_varint,
)
from tadan.bitstream.header import Header, decode_fields, encode_fields
from tadan.bitstream.sniff import check_magic
from tadan.errors import Corrupt, InvalidInput, LimitExceeded, Truncated, UnsupportedVersion

_AGAIN = "copy or download the file again"
_OTHER_COPY = "use another copy of the file"
_DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Tile:
    """One tile: CRC-32 of its decoded latents, entropy-coded words, PNG stream of its alpha plane (or None).

    Of a stored picture: checksum as of section 13 of docs/SPEC.md, a picture file, and alpha.
    """

    content_crc: int
    payload: bytes
    alpha: bytes | None = None


@dataclass(frozen=True)
class Stream:
    """A whole file. ``metadata`` has the keys "icc", "exif" and "xmp" or fewer; ``tiles`` are in row-major order."""

    header: Header
    metadata: dict[str, bytes]
    tiles: tuple[Tile, ...]


def write_stream(stream: Stream) -> bytes:
    """Serialise ``stream``; InvalidInput if its parts contradict each other. Equal streams give equal bytes."""
    header, tiles = stream.header, stream.tiles
    unknown = sorted(set(stream.metadata) - set(METADATA_TAGS))
    if unknown:
        raise InvalidInput(f"Unknown metadata {unknown}; a .tdn file holds only {', '.join(METADATA_TAGS)}.")
    if len(tiles) != header.tile_count:
        raise InvalidInput(f"{len(tiles)} tiles for a grid of {header.tile_count}; give one Tile per tile box.")
    fields = encode_fields(header)
    start = MAGIC + bytes((VERSION,)) + encode_varint(len(fields)) + fields
    parts = [start, _crc_bytes(crc32(start))]
    for key, tag in METADATA_TAGS.items():
        if key in stream.metadata:
            parts += _section(tag, _checked_bytes(stream.metadata[key], f"metadata {key!r}"))
    for index, tile in enumerate(tiles):
        parts += _section(TILE_TAG, _tile_payload(header, tile, index))
    return b"".join(parts)


def read_header(data: bytes, limits: Limits = _DEFAULT_LIMITS) -> Header:
    """Read and verify the header; ``data`` may end anywhere after it (HEADER_PREFIX_BYTES bytes always suffice).

    Raises NotOurFile, Truncated, UnsupportedVersion, Corrupt, or LimitExceeded (pixels, tiles, pixels of a tile,
    cells of a pattern).
    """
    return _read_header(as_bytes(data), limits)[0]


class Container:
    """A file whose header is read; its sections are read and checked when they are asked for.

    Args:
        data: the file.
        limits: sizes above which it is refused.

    Raises:
        NotOurFile, Truncated, UnsupportedVersion, Corrupt, LimitExceeded: as :func:`read_header`.
    """

    def __init__(self, data: bytes, limits: Limits = _DEFAULT_LIMITS) -> None:
        self.data, self._limits = as_bytes(data), limits
        self.header, self._first = _read_header(self.data, limits)

    def metadata(self) -> dict[str, bytes]:
        """Metadata sections alone; no tile need have arrived. Raises Truncated, Corrupt or LimitExceeded."""
        found = _read_metadata(self.data, self._first, self._limits.max_metadata_bytes)[0]
        if found and self.header.content == JPEG_FILE:
            raise Corrupt(f"The file has metadata beside a JPEG file, which has its own inside; {_OTHER_COPY}.")
        return found

    def tiles(self, wanted: Set[int] | None = None) -> dict[int, Tile]:
        """The ``wanted`` tiles by number, row by row; None for all.

        Of others only tag and length are looked at, and nothing that follows the last one wanted: what is damaged or
        missing there does not matter. Raises Truncated, Corrupt or LimitExceeded.
        """
        data, header = self.data, self.header
        offset = _read_metadata(data, self._first, self._limits.max_metadata_bytes)[1]
        tiles: dict[int, Tile] = {}
        for index in range(header.tile_count):
            what = f"tile {index + 1} of {header.tile_count}"
            if data[offset : offset + 1] not in (TILE_TAG, b""):
                raise Corrupt(f"Byte {offset} should begin {what} but is 0x{data[offset]:02x}; {_OTHER_COPY}.")
            start, end = _section_bounds(data, offset, self._limits.max_tile_bytes, what, "max_tile_bytes")
            if wanted is None or index in wanted:
                number, tiles[index] = parse_tile(header, _checked_payload(data, offset, start, end, what), what)
                if number != index:
                    raise Corrupt(f"The section of {what} is that of tile {number + 1}; {_OTHER_COPY}.")
                if wanted is not None and len(tiles) == len(wanted):
                    return tiles
            offset = end + CRC_BYTES
        if offset != len(data):
            extra = len(data) - offset
            raise Corrupt(f"{extra} bytes follow the last tile; {_OTHER_COPY}, or cut it to {offset} bytes.")
        return tiles


def read_stream(data: bytes, limits: Limits = _DEFAULT_LIMITS) -> Stream:
    """Read a whole file and verify every checksum and rule of the container.

    Raises NotOurFile, Truncated, UnsupportedVersion, Corrupt, or LimitExceeded; never another exception. Latents,
    words and alpha are not decoded here.
    """
    container = Container(data, limits)
    return Stream(container.header, container.metadata(), tuple(container.tiles().values()))


def as_bytes(data: object) -> bytes:
    """``data`` as bytes; InvalidInput if it is no sequence of them."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InvalidInput(f"A stream is bytes, not {type(data).__name__}; read the file in binary mode.")
    return bytes(data)


def _checked_bytes(value: object, what: str) -> bytes:
    if not isinstance(value, bytes):
        raise InvalidInput(f"The {what} is {type(value).__name__}; give bytes.")
    return value


def _crc_bytes(crc: int) -> bytes:
    return crc.to_bytes(CRC_BYTES, "little")


def _section(tag: bytes, payload: bytes) -> tuple[bytes, bytes, bytes]:
    start = tag + encode_varint(len(payload))
    return start, payload, _crc_bytes(crc32(payload, crc32(start)))


def _tile_payload(header: Header, tile: Tile, index: int) -> bytes:
    if not isinstance(tile.content_crc, int) or not 0 <= tile.content_crc < 2**32:
        raise InvalidInput(f"The content checksum of tile {index} is {tile.content_crc!r}; give a 32-bit unsigned int.")
    if (tile.alpha is not None) != header.has_alpha:
        has = "has no" if tile.alpha is None else "has an"
        raise InvalidInput(f"Tile {index} {has} alpha plane but the mode is {header.mode}; make them agree.")
    parts = [encode_varint(index)] if header.tile_count > 1 else []
    parts.append(_crc_bytes(tile.content_crc))
    if tile.alpha is not None:
        alpha = _checked_bytes(tile.alpha, f"alpha plane of tile {index}")
        parts += [encode_varint(len(alpha)), alpha]
    parts.append(_checked_bytes(tile.payload, f"payload of tile {index}"))
    return b"".join(parts)


def _read_header(data: bytes, limits: Limits) -> tuple[Header, int]:
    check_magic(data)
    offset = len(MAGIC)
    if len(data) <= offset:
        raise Truncated(f"The file ends after the magic number; {_AGAIN}.")
    if data[offset] != VERSION:
        raise UnsupportedVersion(
            f"The file has format version {data[offset]}, this Tadan reads version {VERSION}; run "
            "`pip install --upgrade tadan`. If the newest version refuses it too, the file is damaged."
        )
    length, start = decode_varint(data, offset + 1)
    if length > MAX_HEADER_LENGTH:
        raise Corrupt(f"The header claims {length} bytes, more than the {MAX_HEADER_LENGTH} allowed; {_OTHER_COPY}.")
    end = start + length
    if len(data) < end + CRC_BYTES:
        raise Truncated(f"The file ends at byte {len(data)}, inside the header; {_AGAIN}.")
    if data[end : end + CRC_BYTES] != _crc_bytes(crc32(data[:end])):
        raise Corrupt(f"The checksum of the header does not match; {_OTHER_COPY}.")
    header = decode_fields(data[start:end])
    pixels = header.width * header.height
    if pixels > limits.max_pixels:
        raise LimitExceeded(
            f"The picture has {header.width} x {header.height} = {pixels} pixels, the limit is {limits.max_pixels}",
            "max_pixels",
            pixels,
            limits.max_pixels,
        )
    if header.tile_count > limits.max_tiles:
        raise LimitExceeded(
            f"The picture has {header.tile_count} tiles, the limit is {limits.max_tiles}",
            "max_tiles",
            header.tile_count,
            limits.max_tiles,
        )
    if header.tile_pixels > limits.max_tile_pixels and header.content != JPEG_FILE:
        raise LimitExceeded(
            f"A tile has {header.tile_pixels} pixels of about 100 bytes, the limit is {limits.max_tile_pixels}",
            "max_tile_pixels",
            header.tile_pixels,
            limits.max_tile_pixels,
        )
    cells = 0 if header.schedule is None else header.schedule.cells
    if cells > limits.max_pattern_cells:
        raise LimitExceeded(
            f"The schedule pattern has {cells} cells of about 10 ms, the limit is {limits.max_pattern_cells}",
            "max_pattern_cells",
            cells,
            limits.max_pattern_cells,
        )
    return header, end + CRC_BYTES


def _read_metadata(data: bytes, offset: int, budget: int) -> tuple[dict[str, bytes], int]:
    metadata: dict[str, bytes] = {}
    for key, tag in METADATA_TAGS.items():
        if data[offset : offset + 1] == tag:
            metadata[key], offset = _read_section(data, offset, budget, f"metadata {key}", "max_metadata_bytes")
            budget -= len(metadata[key])
    tag = data[offset : offset + 1]
    if tag in METADATA_TAGS.values():
        order = ", ".join(METADATA_TAGS)
        raise Corrupt(
            f"The metadata section {tag!r} at byte {offset} is repeated or out of order ({order}); {_OTHER_COPY}."
        )
    return metadata, offset


def _read_section(data: bytes, offset: int, limit: int, what: str, limit_name: str) -> tuple[bytes, int]:
    """Return the payload of the section whose tag is at ``offset``, and the offset after the section."""
    start, end = _section_bounds(data, offset, limit, what, limit_name)
    return _checked_payload(data, offset, start, end, what), end + CRC_BYTES


def _section_bounds(data: bytes, offset: int, limit: int, what: str, limit_name: str) -> tuple[int, int]:
    """Start and end of the payload of the section whose tag is at ``offset``."""
    if offset >= len(data):
        raise Truncated(f"The file ends at byte {len(data)}, before {what}; {_AGAIN}.")
    length, start = decode_varint(data, offset + 1)
    if length > limit:
        raise LimitExceeded(
            f"{what.capitalize()} claims {length} bytes where {limit} are allowed", limit_name, length, limit
        )
    end = start + length
    if len(data) < end + CRC_BYTES:
        raise Truncated(f"The file ends at byte {len(data)}, inside {what}; {_AGAIN}.")
    return start, end


def _checked_payload(data: bytes, offset: int, start: int, end: int, what: str) -> bytes:
    payload = data[start:end]
    if data[end : end + CRC_BYTES] != _crc_bytes(crc32(payload, crc32(data[offset:start]))):
        raise Corrupt(f"The checksum of {what} does not match; {_OTHER_COPY}.")
    return payload


def parse_tile(header: Header, payload: bytes, what: str) -> tuple[int, Tile]:
    """Number and parts of a tile payload, which may end early inside the words.

    Raises:
        Corrupt: it is too short, or its number is not one of the grid.
    """
    number, position = 0, 0
    try:
        if header.tile_count > 1:
            number, position = decode_varint(payload, 0)
        crc_end = position + CRC_BYTES
        if len(payload) < crc_end:
            raise Truncated(f"The payload of {what} is shorter than its content checksum.")
        length, start = decode_varint(payload, crc_end) if header.has_alpha else (0, crc_end)
    except Truncated as error:
        raise Corrupt(f"The payload of {what} ends before its words; {_OTHER_COPY}. {error}") from error
    if number >= header.tile_count:
        raise Corrupt(f"The payload of {what} claims to be tile {number + 1}; {_OTHER_COPY}.")
    if length > len(payload) - start:
        raise Corrupt(f"The alpha plane of {what} claims {length} bytes of {len(payload) - start}; {_OTHER_COPY}.")
    end = start + length
    alpha = payload[start:end] if header.has_alpha else None
    return number, Tile(int.from_bytes(payload[position:crc_end], "little"), payload[end:], alpha)
