"""What tiles cost against one tile: bytes, PSNR, and what shows at their borders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.bitstream import read_header
from tadan.codec.codec import Codec
from tadan.codec.options import EncodeOptions
from tadan.codec.tiling import WHOLE, tile_size
from tadan.errors import InvalidInput
from tadan.machine import machine_facts
from tadan.pictures.folder import open_rgb
from tadan_lab.measure.metrics import IDENTICAL_DB, psnr
from tadan_lab.measure.seams import NEAR, Borders, blockiness, local_psnr

DEFAULT = "default"  # tiles chosen by the size of the picture


@dataclass(frozen=True)
class TilesRow:
    """One picture at one quality in tiles, against the same in one tile. PSNR is in dB, steps are in levels of 255.

    Attributes:
        tile: as asked for: "default" or pixels.
        side: pixels a side of the tiles; 0: the picture is one tile, and nothing below was measured at borders.
        near_db: PSNR within 8 pixels of inner borders; ``away_db``: of all other pixels. None where there are none.
        near_one_tile_db: at the same places of the picture in one tile, as ``away_one_tile_db``.
        step: blockiness of the decoded picture, see :func:`~tadan_lab.measure.seams.blockiness`; ``step_one_tile``,
            ``step_original``: at the same places of the picture in one tile, and of the original.
    """

    picture: str
    width: int
    height: int
    tile: str
    side: int
    tiles: int
    quality: int
    bytes: int
    bytes_one_tile: int
    psnr_db: float
    psnr_one_tile_db: float
    near_db: float | None
    near_one_tile_db: float | None
    away_db: float | None
    away_one_tile_db: float | None
    step: float | None
    step_one_tile: float | None
    step_original: float | None

    @property
    def seam_db(self) -> float | None:
        """Change of PSNR near borders beyond that away from them; below 0: borders are worse."""
        near, away = _change(self.near_db, self.near_one_tile_db), _change(self.away_db, self.away_one_tile_db)
        return _change(near, away)


@dataclass(frozen=True)
class TilesSummary:
    """All pictures at one quality: bytes are sums, all else means over pictures, at borders over those that have some.

    ``tiled``: pictures of more than one tile. Other attributes as of :class:`TilesRow`; changes are against one tile.
    """

    tile: str
    quality: int
    pictures: int
    tiled: int
    tiles: float
    bytes_percent: float
    psnr_change_db: float
    near_change_db: float | None
    away_change_db: float | None
    seam_db: float | None
    step: float | None
    step_one_tile: float | None
    step_original: float | None


def parse_tiles(text: str) -> list[str]:
    """Read ``"default,512"``: distinct sizes in the order given.

    Raises:
        InvalidInput: one is neither "default" nor a positive multiple of 64, or none is given.
    """
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for word in words:
        if word != DEFAULT:
            side = _pixels(word)
            if side == WHOLE:
                raise InvalidInput("one tile (0) is what the others are compared with; leave it out")
            EncodeOptions(tile=side)  # says what sizes there are
    if not words:
        raise InvalidInput(f"no tiles to measure; give sizes such as {DEFAULT},512")
    return words


def _pixels(word: str) -> int:
    try:
        return int(word)
    except ValueError as error:
        raise InvalidInput(f"tiles of {word!r} pixels: give multiples of 64 or {DEFAULT!r}, by commas") from error


def measure_tiles(
    pictures: Sequence[Path],
    tiles: Sequence[str],
    qualities: Sequence[int],
    effort: int = 0,
    schedule: str = "balanced",
    model: str | None = None,
    threads: int | None = None,
    on_trial: Callable[[], None] = lambda: None,
) -> Iterator[TilesRow]:
    """Encode and decode every picture at every quality in one tile, then in ``tiles``.

    Args:
        pictures: files.
        tiles: as of :func:`parse_tiles`.
        qualities: 1..100.
        effort: 0..9.
        schedule: name or pattern.
        model: name or path; None for the bundled one.
        threads: None for all cores.
        on_trial: called after every size and after one tile, for progress bars.

    Raises:
        UnreadableInput: a picture cannot be opened.
        InvalidInput: an argument is out of range.
    """
    codec = Codec(model, threads=threads)
    sides = {word: None if word == DEFAULT else _pixels(word) for word in parse_tiles(",".join(tiles))}
    for path in pictures:
        image = open_rgb(path)
        original = np.asarray(image)
        for quality in qualities:
            whole = codec.encode(image, quality=quality, schedule=schedule, effort=effort, tile=WHOLE, fallback=False)
            shown = np.asarray(codec.decode(whole))
            on_trial()
            for word, side in sides.items():
                data, decoded = whole, shown
                if tile_size(side, image.width, image.height) != WHOLE:
                    data = codec.encode(
                        image, quality=quality, schedule=schedule, effort=effort, tile=side, fallback=False
                    )
                    decoded = np.asarray(codec.decode(data))
                yield _row(path.name, word, quality, (original, shown, decoded), whole, data)
                on_trial()


def _row(
    name: str, tile: str, quality: int, seen: tuple[NDArray[np.uint8], ...], whole: bytes, data: bytes
) -> TilesRow:
    """``seen``: original, decoded from one tile, decoded from tiles."""
    original, one_tile, tiled = seen
    header = read_header(data)
    borders = Borders(header.tile_size, header.width, header.height)
    near = borders.near()
    away = ~near if near.any() else near
    places = [local_psnr(original, decoded, where) for where in (near, away) for decoded in (tiled, one_tile)]
    return TilesRow(
        name,
        header.width,
        header.height,
        tile,
        header.tile_size,
        header.tile_count,
        quality,
        len(data),
        len(whole),
        min(IDENTICAL_DB, psnr(original, tiled)),
        min(IDENTICAL_DB, psnr(original, one_tile)),
        *places,
        *(blockiness(picture, borders) for picture in (tiled, one_tile, original)),
    )


def summarise_tiles(rows: Iterable[TilesRow]) -> list[TilesSummary]:
    """One summary for every size of tiles and quality, in the order in which they appear."""
    groups: dict[tuple[str, int], list[TilesRow]] = {}
    for row in rows:
        groups.setdefault((row.tile, row.quality), []).append(row)
    return [
        TilesSummary(
            tile,
            quality,
            len(group),
            sum(row.tiles > 1 for row in group),
            mean(row.tiles for row in group),
            100 * (sum(row.bytes for row in group) / sum(row.bytes_one_tile for row in group) - 1),
            mean(row.psnr_db - row.psnr_one_tile_db for row in group),
            _mean(_change(row.near_db, row.near_one_tile_db) for row in group),
            _mean(_change(row.away_db, row.away_one_tile_db) for row in group),
            _mean(row.seam_db for row in group),
            _mean(row.step for row in group),
            _mean(row.step_one_tile for row in group),
            _mean(row.step_original for row in group),
        )
        for (tile, quality), group in groups.items()
    ]


def _change(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def tiles_document(rows: Sequence[TilesRow], effort: int, schedule: str) -> dict[str, Any]:
    """What `tadan lab tiles --out` writes."""
    return {
        "machine": machine_facts(),
        "effort": effort,
        "schedule": schedule,
        "near_pixels": NEAR,
        "summary": [asdict(one) for one in summarise_tiles(rows)],
        "rows": [{**asdict(row), "seam_db": row.seam_db} for row in rows],
    }
