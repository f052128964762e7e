"""Numbers that the `.tdn` format fixes for ever (docs/SPEC.md gives the reason of each), varints, and limits.

Varints are unsigned LEB128 integers with exactly one encoding per value: 7 bits per byte, least significant first.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from tadan.errors import Corrupt, InvalidInput, Truncated

# High bit (7-bit links), name, CR LF (text mode), Ctrl-Z (DOS "type" stops), LF: the idea of PNG's signature.
MAGIC = b"\x89TDN\r\n\x1a\n"
VERSION = 1


class PixelMode(StrEnum):
    """Kinds of pixels, by Pillow's names, of 8 bits a sample; the place in this list is the mode byte."""

    L = "L"
    RGB = "RGB"
    LA = "LA"
    RGBA = "RGBA"

    @property
    def has_alpha(self) -> bool:
        """Whether there is a plane of opacity besides the colours."""
        return self in (PixelMode.LA, PixelMode.RGBA)

    @property
    def is_grey(self) -> bool:
        """Whether there is one colour channel, which is coded as three equal ones."""
        return self in (PixelMode.L, PixelMode.LA)

    @property
    def opaque(self) -> PixelMode:
        """The same without alpha."""
        return PixelMode.L if self.is_grey else PixelMode.RGB

    @classmethod
    def of(cls, grey: bool, alpha: bool) -> PixelMode:
        """The mode with these properties."""
        return next(mode for mode in cls if (mode.is_grey, mode.has_alpha) == (grey, alpha))


MODES = tuple(PixelMode)  # the index is the mode byte


# What tiles hold; the index is the content byte. All but latents are complete pictures in a common format, the last
# one a JPEG file that comes back byte for byte.
LATENTS, JPEG_FILE = "latents", "jpeg-file"
CONTENTS = (LATENTS, "png", "webp", "jpeg", JPEG_FILE)
MODEL_ID_BYTES = 16
MIN_QUALITY, MAX_QUALITY = 1, 100
MAX_SIDE = 2**31 - 1  # pixels, for width, height and tile size
TILE_MULTIPLE = 64  # pixels; the latent grid of every model divides it

SCHEDULE_NAMED, SCHEDULE_INLINE = 0, 1
MAX_NAME_LENGTH = 32  # characters
MAX_PATTERN_SIDE = 16  # groups, rows, columns

CRC_BYTES = 4
MAX_HEADER_LENGTH = 64 * 1024  # bytes of header fields
# A reader that has this many first bytes of a file (or the whole file) can always call read_header.
HEADER_PREFIX_BYTES = len(MAGIC) + 1 + 3 + MAX_HEADER_LENGTH + CRC_BYTES

METADATA_TAGS = {"icc": b"I", "exif": b"E", "xmp": b"X"}  # in file order
TILE_TAG = b"T"


@dataclass(frozen=True)
class Limits:
    """Upper bounds that readers check before anything of the announced size is allocated or copied.

    ``max_pixels``: width x height; the default is the size from which Pillow raises DecompressionBombError.
    ``max_metadata_bytes``: ICC, EXIF and XMP together. ``max_tiles``: tiles of the grid.
    ``max_tile_bytes``: payload of one tile section. ``max_tile_pixels``: of one tile. Decoding takes about 100
    bytes a pixel of one with latents, 10 of a stored one; encoders choose tiles of at most 1.5 and 16 megapixels. A
    JPEG file, which cannot be cut, is bound by ``max_pixels`` alone.
    ``max_pattern_cells``: groups x rows x columns of an inline pattern. Each may need a context kernel of its own,
    about 10 ms of work and 1.6 MB that are kept for the whole file.
    """

    max_pixels: int = 178_956_970
    max_metadata_bytes: int = 16 * 2**20
    max_tiles: int = 65_536
    max_tile_bytes: int = 2**30
    max_tile_pixels: int = 2**24
    max_pattern_cells: int = 128

    def __post_init__(self) -> None:
        """Raise InvalidInput unless every limit is an int >= 0."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value < 0:
                raise InvalidInput(f"Limits.{field.name} must be an int of at least 0, not {value!r}.")


MAX_VARINT = 2**63 - 1
MAX_VARINT_BYTES = 9


def encode_varint(value: int) -> bytes:
    """Encode ``value`` (0 to 2**63 - 1) in 1 to 9 bytes; InvalidInput outside that range."""
    if not 0 <= value <= MAX_VARINT:
        raise InvalidInput(f"{value} does not fit in a 63-bit varint; give a number from 0 to {MAX_VARINT}.")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_varint(data: bytes | memoryview, offset: int) -> tuple[int, int]:
    """Return the value at ``offset`` (bytes) and the offset after it.

    Raises Truncated if ``data`` ends inside it, Corrupt if it is longer than 63 bits or not the shortest encoding.
    """
    value = 0
    for i in range(MAX_VARINT_BYTES):
        if offset + i >= len(data):
            raise Truncated(f"The data ends inside a number at byte {offset}; copy or download the file again.")
        byte = data[offset + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if byte == 0 and i > 0:
                raise Corrupt(f"The number at byte {offset} is not in its shortest form; use another copy of the file.")
            return value, offset + i + 1
    raise Corrupt(f"The number at byte {offset} is longer than 63 bits; use another copy of the file.")
