"""The `.tdn` file format: container, limits and checksums; standard library only, imported in milliseconds.

docs/SPEC.md is normative. ``read_header`` needs the first bytes of a file only; ``read_stream`` checks everything but
does not decode latents: that is the business of ``tadan.codec``.
"""

from tadan.bitstream.container import Container, Stream, Tile, read_header, read_stream, write_stream
from tadan.bitstream.fields import CONTENTS, HEADER_PREFIX_BYTES, LATENTS, MAGIC, VERSION, Limits, PixelMode
from tadan.bitstream.header import Header, ScheduleField
from tadan.bitstream.recover import Recovered, recover
from tadan.bitstream.sniff import is_tdn

__all__ = [
    "CONTENTS",
    "HEADER_PREFIX_BYTES",
    "LATENTS",
    "MAGIC",
    "VERSION",
    "Container",
    "Header",
    "Limits",
    "PixelMode",
    "Recovered",
    "ScheduleField",
    "Stream",
    "Tile",
    "is_tdn",
    "read_header",
    "read_stream",
    "recover",
    "write_stream",
]
