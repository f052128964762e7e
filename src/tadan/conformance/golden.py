"""Golden streams: files that every decoder of a format version decodes alike, and checksums of what they decode to.

They stand in folders, one *set* each, that never change once they are released; a new model or format version adds a
folder::

    data/v1-stored/              pictures stored as PNG, WebP or JPEG: no model
    data/v1-<id of the model>/   manifest.json, NAME.tdn, and NAME.png with the pixels

All checksums are CRC-32 (that of zlib and PNG), written as eight hexadecimal digits.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from tadan.errors import Corrupt, UnreadableInput
from tadan.files import read_bytes

PACKAGED = Path(__file__).parent / "data"
MANIFEST = "manifest.json"
STREAM_SUFFIX, PIXELS_SUFFIX, LATENTS_SUFFIX = ".tdn", ".png", ".latents"
Record = TypeVar("Record")


def crc(*parts: bytes | memoryview) -> str:
    """CRC-32 over all parts, one after the other: eight hexadecimal digits."""
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return f"{value:08x}"


@dataclass(frozen=True)
class TileRecord:
    """What one tile decodes to, in the order in which a decoder gets there. Sections are those of docs/SPEC.md.

    Attributes:
        width: pixels.
        height: pixels.
        z: checksum of z_hat, int32 little endian, by row, column, channel.
        parameters: for each step of y the checksum of all means (int32 little endian), then all scale indices (one
            byte each), both in the order of coding. A step is a channel group of a stage (section 8.5).
        y: for each step of y the checksum of its y_hat, int32 little endian, in the order of coding.
        latents: checksum of the tile, as in section 8.2; the file holds it too.
    """

    width: int
    height: int
    z: str
    parameters: tuple[str, ...]
    y: tuple[str, ...]
    latents: str


@dataclass(frozen=True)
class GoldenStream:
    """One valid file.

    Attributes:
        name: of its files, without suffix.
        shows: what it is for.
        file: checksum of the file.
        content, width, height, mode, quality, tile_size: of the header.
        schedule: its name in the header, or the inline pattern as JSON; None of stored pictures.
        metadata: checksum of each metadata section, by "icc", "exif" and "xmp".
        levels: by how much samples may differ from NAME.png, alpha excepted; None if there is no such file.
        escapes: latents coded with the escape.
        tiles: what the tiles decode to; none in stored pictures.
    """

    name: str
    shows: str
    file: str
    content: str
    width: int
    height: int
    mode: str
    quality: int
    tile_size: int
    schedule: str | None
    metadata: Mapping[str, str]
    levels: int | None
    escapes: int
    tiles: tuple[TileRecord, ...]

    @property
    def steps(self) -> int:
        """Steps of y in all tiles."""
        return sum(len(tile.y) for tile in self.tiles)


@dataclass(frozen=True)
class DamagedStream:
    """One file that must be refused with exactly this error (section 6 of docs/SPEC.md)."""

    name: str
    shows: str
    file: str
    error: str


@dataclass(frozen=True)
class GoldenSet:
    """A folder of golden streams of one model.

    Attributes:
        folder: where its files are.
        format_version: of all its streams.
        model: id of the model in hexadecimal; None if no stream needs one.
        made: versions that made it, for the record.
        streams: valid files.
        damaged: files to refuse.
    """

    folder: Path
    format_version: int
    model: str | None
    made: Mapping[str, str]
    streams: tuple[GoldenStream, ...]
    damaged: tuple[DamagedStream, ...]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    def read(self, name: str, suffix: str) -> bytes:
        """Bytes of one of its files; UnreadableInput if it is missing."""
        return read_bytes(self.folder / (name + suffix))

    def manifest(self) -> bytes:
        """The manifest as it is written: JSON, a stream or a tile a line."""
        return _written({key: value for key, value in asdict(self).items() if key != "folder"}).encode() + b"\n"


def load_sets(folder: Path = PACKAGED) -> list[GoldenSet]:
    """Read the manifests of all sets in ``folder``, in the order of their names.

    Raises:
        UnreadableInput: there is no set.
        Corrupt: a manifest is damaged.
    """
    sets = [load_set(path.parent) for path in sorted(folder.glob(f"*/{MANIFEST}"))]
    if not sets:
        raise UnreadableInput(f"{folder} holds no golden streams; name a folder written by: tadan selftest --out")
    return sets


def load_set(folder: Path) -> GoldenSet:
    """Read one set; raises as :func:`load_sets`."""
    path = folder / MANIFEST
    try:
        values = json.loads(read_bytes(path))
        streams = tuple(
            _record(GoldenStream, {**stream, "tiles": tuple(_record(TileRecord, tile) for tile in stream["tiles"])})
            for stream in values["streams"]
        )
        damaged = tuple(_record(DamagedStream, stream) for stream in values["damaged"])
        return _record(GoldenSet, {**values, "folder": folder, "streams": streams, "damaged": damaged})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        if isinstance(error, UnreadableInput):
            raise
        raise Corrupt(f"the manifest {path} is damaged ({error!r}); install tadan again or copy the folder") from error


def _record(kind: type[Record], values: Mapping[str, Any]) -> Record:
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if set(values) != names:
        raise ValueError(f"unexpected or missing: {sorted(set(values) ^ names)}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def _written(value: object, depth: int = 0) -> str:
    """JSON with one line for everything below the tiles."""
    pad, end = " " * (depth + 1), " " * depth
    if isinstance(value, dict) and depth < 3:
        lines = [f"{pad}{json.dumps(key)}: {_written(one, depth + 1)}" for key, one in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{end}}}"
    if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(pad + _written(one, depth + 1) for one in value) + f"\n{end}]"
    return json.dumps(value)
