"""What the header of a stream says; needs neither numpy nor a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tadan.bitstream import Limits, ScheduleField, read_header
from tadan.bitstream.header import Pattern


@dataclass(frozen=True)
class Info:
    """Facts of a ``.tdn`` stream. ``bpp`` counts every byte of the file: 8 * file_bytes / (width * height).

    ``content``: "latents", or "png", "webp" or "jpeg" if the picture is stored in that format; it then needs no model,
    and ``model_id`` and ``schedule`` are None.
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


def inspect(data: bytes, limits: Limits = Limits()) -> Info:  # noqa: B008 (immutable)
    """Read the header of a stream.

    Args:
        data: the whole file, or its first bytes (``file_bytes`` and ``bpp`` then speak of these).
        limits: see :class:`tadan.bitstream.Limits`.

    Raises:
        NotOurFile, Truncated, Corrupt, UnsupportedVersion, LimitExceeded: as their names say.
    """
    header = read_header(data, limits)
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
        file_bytes=len(data),
        bpp=8 * len(data) / (header.width * header.height),
    )
