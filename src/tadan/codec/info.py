"""What the header of a stream says; needs neither numpy nor a model."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

from tadan.bitstream import HEADER_PREFIX_BYTES, Limits, ScheduleField, read_header
from tadan.bitstream.header import Pattern
from tadan.files import Source, bytes_of, read_bytes


@dataclass(frozen=True)
class Info:
    """Facts of a ``.tdn`` stream. ``bpp`` counts every byte of the file: 8 * file_bytes / (width * height).

    ``content``: "latents", or "png", "webp", "jpeg" or "jpeg-file" if the picture is stored in that format; it then
    needs no model, and ``model_id`` and ``schedule`` are None.
    """

    width: int
    height: int
    mode: str
    quality: int
    content: str
    model_id: str | None
    schedule: str | None
    version: int
    tile_size: int
    tile_count: int
    file_bytes: int
    bpp: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def pattern_text(pattern: Pattern) -> str:
    """Inline pattern as text: columns by ',', rows by '/', channel groups by ';'."""
    return ";".join("/".join(",".join(map(str, row)) for row in group) for group in pattern)


def schedule_text(field: ScheduleField) -> str:
    """Name of a schedule, or its inline pattern as :func:`pattern_text`."""
    return field.name if field.pattern is None else pattern_text(field.pattern)  # type: ignore[return-value]


def inspect(data: Source, limits: Limits = Limits()) -> Info:  # noqa: B008 (immutable)
    """Read the header of a file.

    Args:
        data: a path, of which no more than the header is read; a binary file object; or bytes, the first of which do
            (``file_bytes`` and ``bpp`` then speak of these).
        limits: see :class:`tadan.Limits`.

    Raises:
        NotOurFile, Truncated, Corrupt, UnsupportedVersion, LimitExceeded: as their names say.
        UnreadableInput: a path that cannot be read.
    """
    start, size = _beginning(data)
    header = read_header(start, limits)
    return Info(
        width=header.width,
        height=header.height,
        mode=header.mode,
        quality=header.quality,
        content=header.content,
        model_id=None if header.model_id is None else header.model_id.hex(),
        schedule=None if header.schedule is None else schedule_text(header.schedule),
        version=header.version,
        tile_size=header.tile_size,
        tile_count=header.tile_count,
        file_bytes=size,
        bpp=8 * size / (header.width * header.height),
    )


def _beginning(source: Source) -> tuple[bytes, int]:
    """The first bytes of a file, enough for any header, and how many it has in all."""
    if not isinstance(source, str | PathLike):
        data = bytes_of(source)
        return data, len(data)
    start = read_bytes(source, HEADER_PREFIX_BYTES)
    return start, len(start) if len(start) < HEADER_PREFIX_BYTES else os.stat(source).st_size
