"""What tiles cost against one tile: bytes, PSNR, and what shows at their borders.

Borders: the error near them and away from them, and steps across them.
"""

from __future__ import annotations

import math
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
from tadan_lab.measure.metrics import IDENTICAL_DB, PEAK, psnr

DEFAULT = "default"  # tiles chosen by the size of the picture


@dataclass(frozen=True)
class TilesRow:
    """One picture at one quality in tiles, against the same in one tile. PSNR is in dB, steps are in levels of 255.

    Attributes:
        tile: as asked for: "default" or pixels.
        side: pixels a side of the tiles; 0: the picture is one tile, and nothing below was measured at borders.
        near_db: PSNR within 8 pixels of inner borders; ``away_db``: of all other pixels. None where there are none.
        near_one_tile_db: at the same places of the picture in one tile, as ``away_one_tile_db``.
        step: blockiness of the decoded picture, see :func:`~tadan_lab.measure.tiles.blockiness`; ``step_one_tile``,
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


NEAR = 8  # pixels on either side of a border that count as near it


@dataclass(frozen=True)
class Borders:
    """Inner borders of a grid of tiles of ``side`` pixels (0: one tile, no border) in a picture."""

    side: int
    width: int
    height: int

    @property
    def columns(self) -> list[int]:
        """x of the first pixel right of each vertical border."""
        return list(range(self.side, self.width, self.side)) if self.side else []

    @property
    def rows(self) -> list[int]:
        """y of the first pixel below each horizontal border."""
        return list(range(self.side, self.height, self.side)) if self.side else []

    def near(self) -> NDArray[np.bool_]:
        """Which pixels are at most 8 from a border, bool (height, width)."""
        mask = np.zeros((self.height, self.width), np.bool_)
        for x in self.columns:
            mask[:, max(0, x - NEAR) : x + NEAR] = True
        for y in self.rows:
            mask[max(0, y - NEAR) : y + NEAR] = True
        return mask


def local_psnr(original: NDArray[np.uint8], decoded: NDArray[np.uint8], where: NDArray[np.bool_]) -> float | None:
    """PSNR in dB of pictures (H, W, C) at the pixels of a mask (H, W); 100 if they are identical, None without any."""
    if not where.any():
        return None
    difference = original[where].astype(np.int32) - decoded[where]
    error = float(np.mean(np.square(difference), dtype=np.float64))
    return IDENTICAL_DB if error == 0 else min(IDENTICAL_DB, 10 * math.log10(PEAK**2 / error))


def blockiness(picture: NDArray[np.uint8], borders: Borders) -> float | None:
    """Mean absolute step across the borders minus that of the columns and rows beside them, in levels of 255.

    About 0 where borders do not show. ``picture``: (H, W, C). None if there is no border.
    """
    planes = [(picture, borders.columns), (picture.swapaxes(0, 1), borders.rows)]
    excess = [_excess(plane, at) for plane, places in planes for at in places]
    return float(np.mean(excess)) if excess else None


def _excess(plane: NDArray[np.uint8], at: int) -> float:
    """Step from column ``at - 1`` to ``at``, minus the mean of the steps before and after it, as far as there are."""
    beside = [_step(plane, other) for other in (at - 1, at + 1) if 0 < other < plane.shape[1]]
    return _step(plane, at) - float(np.mean(beside))


def _step(plane: NDArray[np.uint8], at: int) -> float:
    return float(np.mean(np.abs(plane[:, at].astype(np.int32) - plane[:, at - 1])))
