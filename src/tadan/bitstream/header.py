"""The header of a `.tdn` file: all that is known before any latent is decoded (docs/SPEC.md, section 3)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tadan.bitstream.fields import (
    CONTENTS,
    JPEG_FILE,
    LATENTS,
    MAX_NAME_LENGTH,
    MAX_PATTERN_SIDE,
    MAX_QUALITY,
    MAX_SIDE,
    MIN_QUALITY,
    MODEL_ID_BYTES,
    MODES,
    SCHEDULE_INLINE,
    SCHEDULE_NAMED,
    TILE_MULTIPLE,
    VERSION,
    PixelMode,
    decode_varint,
    encode_varint,
)
from tadan.errors import Corrupt, InvalidInput, Truncated, UnsupportedVersion

Pattern = tuple[tuple[tuple[int, ...], ...], ...]

_NAME = re.compile(rf"[a-z0-9-]{{1,{MAX_NAME_LENGTH}}}")


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


@dataclass(frozen=True)
class ScheduleField:
    """The schedule a stream was coded with: the ``name`` of a well-known one or an inline ``pattern``.

    ``pattern[group][row][col]`` is the stage (0 to K-1, each used at least once) of a channel group at a position of
    the patch; 1 to 16 groups, rows and columns. Raises InvalidInput unless exactly one of the two is set and valid.
    """

    name: str | None = None
    pattern: Pattern | None = None

    def __post_init__(self) -> None:
        """Check what the class docstring promises."""
        if (self.name is None) == (self.pattern is None):
            raise InvalidInput("A schedule field has either a name or a pattern; give exactly one.")
        if self.name is not None and not (isinstance(self.name, str) and _NAME.fullmatch(self.name)):
            raise InvalidInput(
                f"A schedule name has 1 to {MAX_NAME_LENGTH} of the characters a-z, 0-9 and '-'; {self.name!r} does "
                "not. Give another name or an inline pattern."
            )
        if self.pattern is not None:
            _check_pattern(self.pattern)

    @property
    def cells(self) -> int:
        """Groups x rows x columns of an inline pattern, 0 for a name."""
        return 0 if self.pattern is None else len(self.pattern) * len(self.pattern[0]) * len(self.pattern[0][0])


def _check_pattern(pattern: Pattern) -> None:
    _check_side(pattern, "groups")
    for group in pattern:
        _check_side(group, "rows")
        for row in group:
            _check_side(row, "columns")
    rows = [row for group in pattern for row in group]
    stages = [stage for row in rows for stage in row]
    if len({len(group) for group in pattern}) > 1 or len({len(row) for row in rows}) > 1:
        raise InvalidInput("A schedule pattern is ragged; give all groups and rows the same size.")
    if not all(_is_int(stage, 0, len(stages) - 1) for stage in stages) or len(set(stages)) != max(stages) + 1:
        raise InvalidInput("The stages of a schedule pattern must be 0 to K-1, each used; renumber them without gaps.")


def _check_side(values: object, what: str) -> None:
    if not isinstance(values, tuple) or not 1 <= len(values) <= MAX_PATTERN_SIDE:
        raise InvalidInput(f"A schedule pattern is nested tuples with 1 to {MAX_PATTERN_SIDE} {what}; give it so.")


@dataclass(frozen=True)
class Header:
    """Size in pixels, pixel mode, quality (1 to 100), content, model, schedule and tiling of a stream.

    ``content``: what tiles hold, "latents", pictures stored as "png", "webp" or "jpeg", or a "jpeg-file".
    ``model_id``: the first 16 bytes of the content hash of the model file. It and ``schedule`` are None unless there
    are latents. ``quality``: the one that was asked for. ``tile_size``: side of the square tiles in pixels, a multiple
    of 64; 0 = the picture is one tile. Raises InvalidInput if a field is out of range.
    """

    width: int
    height: int
    mode: PixelMode
    quality: int
    model_id: bytes | None
    schedule: ScheduleField | None
    tile_size: int = 0
    content: str = LATENTS
    version: int = VERSION

    def __post_init__(self) -> None:
        """Check every field, in file order."""
        if self.version != VERSION:
            raise InvalidInput(f"This Tadan writes format version {VERSION}, not {self.version!r}; leave it out.")
        for what, side in (("width", self.width), ("height", self.height)):
            if not _is_int(side, 1, MAX_SIDE):
                raise InvalidInput(f"The {what} is {side!r}; it must be an int from 1 to {MAX_SIDE} pixels.")
        if self.mode not in MODES:
            raise InvalidInput(f"The mode is {self.mode!r}; it must be one of {', '.join(MODES)}: convert the picture.")
        object.__setattr__(self, "mode", PixelMode(self.mode))  # also where its name was given
        if not _is_int(self.quality, MIN_QUALITY, MAX_QUALITY):
            raise InvalidInput(f"The quality is {self.quality!r}; give an int from {MIN_QUALITY} to {MAX_QUALITY}.")
        if self.content not in CONTENTS:
            raise InvalidInput(f"The content is {self.content!r}; it must be one of {', '.join(CONTENTS)}.")
        self._check_decoding()
        if not _is_int(self.tile_size, 0, MAX_SIDE) or self.tile_size % TILE_MULTIPLE:
            raise InvalidInput(
                f"The tile size is {self.tile_size!r}; it must be 0 (one tile) or a multiple of {TILE_MULTIPLE} pixels."
            )
        if self.content == JPEG_FILE and (self.tile_size or self.mode.has_alpha):
            raise InvalidInput("A JPEG file is one tile without alpha; give tile size 0 and mode L or RGB.")

    def _check_decoding(self) -> None:
        if not self.has_latents:
            if self.model_id is not None or self.schedule is not None:
                raise InvalidInput(f"A {self.content} picture has neither model nor schedule; give None for both.")
            return
        if not isinstance(self.model_id, bytes) or len(self.model_id) != MODEL_ID_BYTES:
            raise InvalidInput(f"The model id is {self.model_id!r}; it must be {MODEL_ID_BYTES} bytes.")
        if not isinstance(self.schedule, ScheduleField):
            raise InvalidInput(f"The schedule is {self.schedule!r}; it must be a ScheduleField.")

    @property
    def has_latents(self) -> bool:
        """Whether tiles hold latents, which need a model, or complete pictures in a common format."""
        return self.content == LATENTS

    @property
    def has_alpha(self) -> bool:
        """Whether tiles carry an alpha plane."""
        return self.mode.has_alpha

    @property
    def tile_grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        if self.tile_size == 0:
            return 1, 1
        return -(-self.height // self.tile_size), -(-self.width // self.tile_size)

    @property
    def tile_count(self) -> int:
        """Number of tiles, at least 1."""
        rows, cols = self.tile_grid
        return rows * cols

    @property
    def tile_pixels(self) -> int:
        """Pixels of the largest tile."""
        return min(self.width, self.tile_size or self.width) * min(self.height, self.tile_size or self.height)

    def tile_boxes(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield (x, y, width, height) of each tile in pixels, row by row; tiles at the right and bottom are cut off."""
        step_x, step_y = self.tile_size or self.width, self.tile_size or self.height
        for y in range(0, self.height, step_y):
            for x in range(0, self.width, step_x):
                yield x, y, min(step_x, self.width - x), min(step_y, self.height - y)


def encode_fields(header: Header) -> bytes:
    """Encode the header fields: what lies between the header length and the header checksum."""
    out = bytearray(encode_varint(header.width) + encode_varint(header.height))
    out += bytes((MODES.index(header.mode), CONTENTS.index(header.content), header.quality))
    out += encode_varint(header.tile_size)
    if header.model_id is not None and header.schedule is not None:
        out += header.model_id + _encode_schedule(header.schedule)
    return bytes(out)


def _encode_schedule(field: ScheduleField) -> bytes:
    if field.pattern is None:
        name = str(field.name).encode("ascii")
        return bytes((SCHEDULE_NAMED, len(name))) + name
    pattern = field.pattern
    stages = b"".join(encode_varint(stage) for group in pattern for row in group for stage in row)
    return bytes((SCHEDULE_INLINE, len(pattern), len(pattern[0]), len(pattern[0][0]))) + stages


def decode_fields(fields: bytes) -> Header:
    """Decode header fields whose checksum has been verified.

    Raises:
        UnsupportedVersion: tiles hold something that this version does not know.
        Corrupt: the fields are not exactly one valid header.
    """
    cursor = _Cursor(fields)
    try:
        width, height = cursor.varint(), cursor.varint()
        mode, content = cursor.take(2)
        if content >= len(CONTENTS):
            raise UnsupportedVersion(
                f"The file holds content of kind {content}, which this version does not know; "
                "run `pip install --upgrade tadan`."
            )
        if mode >= len(MODES):
            raise InvalidInput(f"The mode byte is {mode}.")
        (quality,) = cursor.take(1)
        tile_size = cursor.varint()
        model_id, schedule = None, None
        if CONTENTS[content] == LATENTS:
            model_id, schedule = cursor.take(MODEL_ID_BYTES), _decode_schedule(cursor)
        header = Header(width, height, MODES[mode], quality, model_id, schedule, tile_size, CONTENTS[content])
    except (InvalidInput, Truncated, Corrupt) as error:
        raise Corrupt(f"The header does not follow the format, use another copy of the file. {error}") from error
    if cursor.position != len(fields):
        extra = len(fields) - cursor.position
        raise Corrupt(f"The header has {extra} bytes after its last field; use another copy of the file.")
    return header


def _decode_schedule(cursor: "_Cursor") -> ScheduleField:
    (kind,) = cursor.take(1)
    if kind == SCHEDULE_NAMED:
        (length,) = cursor.take(1)
        return ScheduleField(name=cursor.take(length).decode("latin-1"))
    if kind != SCHEDULE_INLINE:
        raise InvalidInput(f"The schedule kind is {kind}.")
    groups, rows, cols = cursor.take(3)
    if not all(1 <= side <= MAX_PATTERN_SIDE for side in (groups, rows, cols)):
        raise InvalidInput(f"The schedule pattern is {groups} x {rows} x {cols}.")
    return ScheduleField(
        pattern=tuple(tuple(tuple(cursor.varint() for _ in range(cols)) for _ in range(rows)) for _ in range(groups))
    )


class _Cursor:
    """Reads the header fields in order; Truncated at their end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise Truncated(f"The header fields end at byte {len(self.data)}, inside a field.")
        taken, self.position = self.data[self.position : end], end
        return taken

    def varint(self) -> int:
        value, self.position = decode_varint(self.data, self.position)
        return value
