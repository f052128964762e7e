"""What can still be read of a damaged `.tdn` file: sections whose checksum holds, wherever they stand.

Nothing here guesses: a section counts as read when its CRC-32 holds, a header when its own does after at most one byte
was put right. Only the end of a file that was cut short is taken without a checksum, and said to be so.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from tadan.bitstream.container import Tile, as_bytes, parse_tile, read_header
from tadan.bitstream.fields import CRC_BYTES, MAGIC, METADATA_TAGS, TILE_TAG, VERSION, Limits, decode_varint
from tadan.bitstream.header import Header
from tadan.errors import Corrupt, LimitExceeded, NotOurFile, Truncated, UnsupportedVersion

_REPAIR_BYTES = 256  # longer headers (large inline patterns) are not repaired
_SEARCH_FACTOR = 4  # bytes under trial checksums per byte of the file: a hostile file must not cost more
_SEARCH_LEAST = 2**24
_ALL_TAGS = {tag[0] for tag in (*METADATA_TAGS.values(), TILE_TAG)}
_KEYS = {tag: key for key, tag in METADATA_TAGS.items()}


@dataclass(frozen=True)
class Recovered:
    """What is left of a file.

    Attributes:
        header: of the file, repaired if need be.
        metadata: sections that are intact.
        tiles: intact tiles by number.
        cut: number and arrived part of the tile in which the file ends, if it was cut short there.
        repaired: offset of the header byte that was put right, or None.
        notes: what was found wrong, for people.
    """

    header: Header
    metadata: dict[str, bytes]
    tiles: dict[int, Tile]
    cut: tuple[int, Tile] | None
    repaired: int | None
    notes: tuple[str, ...]


def recover(data: bytes, limits: Limits) -> Recovered:
    """Read what is left of ``data``.

    Raises:
        NotOurFile, Truncated, Corrupt, UnsupportedVersion, LimitExceeded: the header cannot be read, nothing can be
            recovered.
    """
    data = as_bytes(data)
    header, offset, repaired = _header(data, limits)
    notes = [] if repaired is None else [f"byte {repaired} of the header was wrong and was put right"]
    reader = _Sections(data, header, limits)
    reader.read(offset)
    return Recovered(header, reader.metadata, reader.tiles, reader.cut, repaired, tuple(notes + reader.notes))


def _header(data: bytes, limits: Limits) -> tuple[Header, int, int | None]:
    """Header, offset of the first section, offset of a repaired byte."""
    try:
        return read_header(data, limits), _header_end(data), None
    except LimitExceeded:
        raise
    except (NotOurFile, Truncated, Corrupt, UnsupportedVersion) as error:
        at = _wrong_byte(data)
        if at is None:
            raise
        where, value = at
        mended = data[:where] + bytes((value,)) + data[where + 1 : _REPAIR_BYTES]
        try:
            return read_header(mended, limits), _header_end(mended), where
        except (Truncated, Corrupt, UnsupportedVersion):
            raise error from None


def _header_end(data: bytes) -> int:
    length, start = decode_varint(data, len(MAGIC) + 1)
    return start + length + CRC_BYTES


def _wrong_byte(data: bytes) -> tuple[int, int] | None:
    """Offset and right value of the one wrong byte of a header, if one value at one place satisfies the checksum."""
    head = bytearray(data[:_REPAIR_BYTES])
    fixed = MAGIC + bytes((VERSION,))
    wrong = [at for at in range(min(len(fixed), len(head))) if head[at] != fixed[at]]
    if len(wrong) > 1 or len(head) <= len(fixed):
        return None
    if wrong:
        head[wrong[0]] = fixed[wrong[0]]
        return (wrong[0], fixed[wrong[0]]) if _holds(head) else None
    for at in range(len(fixed), min(len(fixed) + 2, len(head))):  # where the length of the header may stand
        own = head[at]
        for value in range(256):
            head[at] = value
            if value != own and _holds(head):
                return at, value
        head[at] = own
    return _wrong_field(head, len(fixed))


def _wrong_field(head: bytearray, first: int) -> tuple[int, int] | None:
    """As :func:`_wrong_byte`, for the bytes from ``first`` on, if the length is right.

    A CRC is linear: what a change of a byte makes of it does not depend on the other bytes, only on how many follow.
    """
    end = _end_or_zero(head)
    if not 0 < end <= len(head):
        return None
    start = end - CRC_BYTES
    difference = crc32(bytes(head[:start])) ^ int.from_bytes(head[start:end], "little")
    for byte in range(CRC_BYTES):
        if difference == difference & 0xFF << 8 * byte:
            return start + byte, head[start + byte] ^ difference >> 8 * byte
    effects = [_advance(bytes((change,)), 0) for change in range(256)]
    for at in range(start - 1, first - 1, -1):
        if difference in effects:
            return at, head[at] ^ effects.index(difference)
        effects = [_advance(b"\0", effect) for effect in effects]
    return None


def _advance(data: bytes, register: int) -> int:
    """The register of the CRC after some bytes; what zlib takes and gives is its complement."""
    return crc32(data, register ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def _end_or_zero(head: bytearray) -> int:
    try:
        return _header_end(bytes(head))
    except (Truncated, Corrupt):
        return 0


def _holds(head: bytearray) -> bool:
    end = _end_or_zero(head)
    stored = bytes(head[end - CRC_BYTES : end])
    return 0 < end <= len(head) and stored == crc32(bytes(head[: end - CRC_BYTES])).to_bytes(CRC_BYTES, "little")


class _Sections:
    """Walks over the sections of a file whose header is known, and past what is damaged."""

    def __init__(self, data: bytes, header: Header, limits: Limits) -> None:
        self._data, self._header, self._limits = data, header, limits
        self._budget = max(_SEARCH_LEAST, _SEARCH_FACTOR * len(data))
        self.metadata: dict[str, bytes] = {}
        self.tiles: dict[int, Tile] = {}
        self.cut: tuple[int, Tile] | None = None
        self.notes: list[str] = []
        self._rank = -1

    def read(self, offset: int) -> None:
        """Take every section from ``offset`` on."""
        while offset < len(self._data):
            damaged, end = offset, self._take(offset)
            while end is None and self._budget > 0:
                offset = self._next_tag(offset + 1)
                if offset == len(self._data):
                    break
                end = self._take(offset)
            if end is None:
                self._finish(damaged)
                return
            if offset > damaged:
                self.notes.append(f"bytes {damaged} to {offset - 1} are damaged")
            offset = end

    def _next_tag(self, offset: int) -> int:
        while offset < len(self._data) and self._data[offset] not in _ALL_TAGS:
            offset += 1
        return offset

    def _bounds(self, offset: int) -> tuple[int, int] | None:
        """Start and end of the payload that a section at ``offset`` would have, whether it is there or not."""
        if self._data[offset] not in _ALL_TAGS:
            return None
        try:
            length, start = decode_varint(self._data, offset + 1)
        except (Truncated, Corrupt):
            return None
        is_tile = self._data[offset] == TILE_TAG[0]
        limit = self._limits.max_tile_bytes if is_tile else self._limits.max_metadata_bytes
        return (start, start + length) if length <= limit else None

    def _take(self, offset: int) -> int | None:
        """Take the section at ``offset`` and return the offset after it; None unless it is intact and fits."""
        bounds = self._bounds(offset)
        if bounds is None or bounds[1] + CRC_BYTES > len(self._data):
            return None
        start, end = bounds
        payload = memoryview(self._data)[start:end]  # copied only once its checksum holds
        key = _KEYS.get(self._data[offset : offset + 1])
        if not (self._is_tile(payload) if key is None else self._is_metadata(key, payload)):
            return None
        self._budget -= end - offset
        stored = self._data[end : end + CRC_BYTES]
        if stored != crc32(payload, crc32(self._data[offset:start])).to_bytes(CRC_BYTES, "little"):
            return None
        if key is None:
            try:
                number, tile = parse_tile(self._header, bytes(payload), "a tile")
            except Corrupt:
                return None
            self.tiles[number] = tile
            rank = len(_KEYS) + number
        else:
            self.metadata[key] = bytes(payload)
            rank = list(METADATA_TAGS).index(key)
        if rank < self._rank:
            self.notes.append(f"the section at byte {offset} is out of order")
        self._rank = rank
        return end + CRC_BYTES

    def _is_tile(self, payload: memoryview) -> bool:
        """Whether it could be that of a tile which is still missing."""
        number = 0
        if self._header.tile_count > 1:
            try:
                number, _ = decode_varint(payload, 0)
            except (Truncated, Corrupt):
                return False
        return number < self._header.tile_count and number not in self.tiles

    def _is_metadata(self, key: str, payload: memoryview) -> bool:
        """Whether the section is still missing and small enough."""
        total = sum(map(len, self.metadata.values())) + len(payload)
        return key not in self.metadata and total <= self._limits.max_metadata_bytes

    def _finish(self, damaged: int) -> None:
        """Nothing after the section at ``damaged`` is intact: the file was cut inside it, or is damaged to its end."""
        size = len(self._data)
        bounds = self._bounds(damaged)
        if bounds is not None and bounds[1] + CRC_BYTES > size and self._data[damaged] == TILE_TAG[0]:
            try:
                number, tile = parse_tile(self._header, self._data[bounds[0] : bounds[1]], "a tile")
            except Corrupt:
                pass
            else:
                if number not in self.tiles:
                    self.cut = number, tile
                    self.notes.append(f"the file ends at byte {size}, inside tile {number + 1}")
                    return
        self.notes.append(f"bytes {damaged} to {size - 1} are damaged")
