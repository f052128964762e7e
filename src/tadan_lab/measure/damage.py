"""What is left of damaged files, and whether what is called intact is right. Damage is drawn at random."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.bitstream import Limits, Stream, read_stream, recover
from tadan.codec.codec import Codec
from tadan.codec.salvage import Salvaged
from tadan.codec.tiling import Box
from tadan.errors import InvalidInput, TadanError
from tadan.latents.coder import Y_STRIDE
from tadan.machine import machine_facts
from tadan.pictures.folder import open_rgb

LEVELS = 1  # by which pixels of an intact tile may differ from those of the undamaged file


@dataclass(frozen=True)
class DamageRow:
    """All trials of one kind of damage on one file.

    Attributes:
        picture: name.
        harm: kind of damage, a key of :data:`~tadan_lab.measure.damage.HARMS`.
        bytes: of the undamaged file.
        tiles: it has.
        trials: files that were damaged.
        damaged_percent: bytes that were changed or are missing, mean.
        intact: tiles that were recovered, of ``trials * tiles``.
        partial: tiles of which the first stages were.
        files: of which something was recovered.
        refused: files of which nothing can be, by name of the error.
        wrong: tiles called intact that are not; must be 0.
        seconds: of salvage, mean.
        seconds_most: slowest.
    """

    picture: str
    harm: str
    bytes: int
    tiles: int
    trials: int
    damaged_percent: float
    intact: int
    partial: int
    files: int
    refused: dict[str, int]
    wrong: int
    seconds: float
    seconds_most: float


@dataclass(frozen=True)
class DamageSummary:
    """One kind of damage over all files; shares are in percent of tiles or files, seconds of one salvage."""

    harm: str
    files: int
    tiles: int
    damaged_percent: float
    tiles_intact_percent: float
    tiles_partial_percent: float
    files_percent: float
    refused_percent: float
    wrong: int
    seconds: float
    seconds_most: float


def measure_damage(
    pictures: Sequence[Path],
    tile: int,
    quality: int,
    percent: float,
    trials: int,
    seed: int,
    effort: int = 0,
    model: str | None = None,
    threads: int | None = None,
    on_trial: Callable[[], None] = lambda: None,
) -> Iterator[DamageRow]:
    """Encode every picture, damage the file in every way, everywhere including its header, and salvage it.

    Damage depends on ``seed``, the place of the picture in ``pictures`` and the bytes of its file, not on what else is
    measured.

    Args:
        pictures: files.
        tile: pixels a side, a multiple of 64; 0: one tile.
        quality: 1..100.
        percent: of the bytes of a file that are damaged, above 0 and below 100.
        trials: files damaged in each way.
        seed: of the random numbers, not negative.
        effort: 0..9, of the encoder.
        model: name or path; None for the bundled one.
        threads: None for all cores.
        on_trial: called after every salvage, for progress bars.

    Raises:
        UnreadableInput: a picture cannot be opened.
        InvalidInput: an argument is out of range.
    """
    if not 0 < percent < 100:
        raise InvalidInput(f"damage is above 0 and below 100 percent of the bytes, not {percent:g}")
    if trials < 1 or seed < 0:
        raise InvalidInput(f"trials are at least 1 and a seed is not negative; not {trials} and {seed}")
    codec = Codec(model, threads=threads)
    for place, path in enumerate(pictures):
        data = codec.encode(open_rgb(path), quality=quality, effort=effort, tile=tile, fallback=False)
        judge = _Judge.of(codec, data)
        for kind, (name, harm) in enumerate(HARMS.items()):
            tally = _Tally()
            for trial in range(trials):
                damaged = harm(data, percent, np.random.default_rng([seed, place, kind, trial]))
                tally.harmed.append(_difference(data, damaged))
                _salvage(codec, damaged, judge, tally)
                on_trial()
            yield DamageRow(
                path.name,
                name,
                len(data),
                len(judge.stream.tiles),
                trials,
                100 * mean(tally.harmed) / len(data),
                tally.intact,
                tally.partial,
                tally.files,
                dict(tally.refused),
                tally.wrong,
                mean(tally.seconds),
                max(tally.seconds),
            )


@dataclass
class _Tally:
    """Counts over trials."""

    intact: int = 0
    partial: int = 0
    files: int = 0
    wrong: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    harmed: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Judge:
    """The undamaged file: its sections, its pixels (H, W, 3), and how many pixels away a lost tile can be seen."""

    stream: Stream
    pixels: NDArray[np.uint8]
    margin: int

    @classmethod
    def of(cls, codec: Codec, data: bytes) -> _Judge:
        return cls(read_stream(data), np.asarray(codec.decode(data)), codec.model.config.reach * Y_STRIDE)

    def wrong(self, damaged: bytes, left: Salvaged) -> int:
        """How many tiles are called intact but have other bytes than the file had, or other pixels.

        Pixels are not compared near tiles that are lost: those change what g_s makes of their neighbours.
        """
        found = recover(damaged, Limits())
        if found.header != self.stream.header or left.image.size != self.pixels.shape[1::-1]:
            return left.count("intact")
        shown = np.asarray(left.image)
        off = np.abs(shown.astype(np.int16) - self.pixels).max(axis=2) > LEVELS
        for tile in left.tiles:
            if tile.state != "intact":
                off[_slices(tile.box, self.margin)] = False
        return sum(
            found.tiles.get(tile.number) != self.stream.tiles[tile.number] or bool(off[_slices(tile.box)].any())
            for tile in left.tiles
            if tile.state == "intact"
        )


def _slices(box: Box, margin: int = 0) -> tuple[slice, slice]:
    x, y, w, h = box
    return slice(max(0, y - margin), y + h + margin), slice(max(0, x - margin), x + w + margin)


def _salvage(codec: Codec, damaged: bytes, judge: _Judge, tally: _Tally) -> None:
    begun = time.perf_counter()
    try:
        left = codec.salvage(damaged)
    except TadanError as error:
        tally.seconds.append(time.perf_counter() - begun)
        tally.refused[type(error).__name__] += 1
        return
    tally.seconds.append(time.perf_counter() - begun)
    intact, partial = left.count("intact"), left.count("partial")
    tally.intact += intact
    tally.partial += partial
    tally.files += intact + partial > 0
    tally.wrong += judge.wrong(damaged, left)


def _difference(data: bytes, damaged: bytes) -> int:
    """Bytes that are missing at the end or changed."""
    kept = len(damaged)
    changed = np.frombuffer(data, np.uint8, kept) != np.frombuffer(damaged, np.uint8)
    return len(data) - kept + int(np.count_nonzero(changed))


def summarise_damage(rows: Iterable[DamageRow]) -> list[DamageSummary]:
    """One summary for every kind of damage, in the order in which they appear."""
    groups: dict[str, list[DamageRow]] = {}
    for row in rows:
        groups.setdefault(row.harm, []).append(row)
    return [_summary(harm, group) for harm, group in groups.items()]


def _summary(harm: str, rows: Sequence[DamageRow]) -> DamageSummary:
    files, tiles = sum(row.trials for row in rows), sum(row.trials * row.tiles for row in rows)
    return DamageSummary(
        harm,
        files,
        tiles,
        sum(row.damaged_percent * row.trials for row in rows) / files,
        100 * sum(row.intact for row in rows) / tiles,
        100 * sum(row.partial for row in rows) / tiles,
        100 * sum(row.files for row in rows) / files,
        100 * sum(sum(row.refused.values()) for row in rows) / files,
        sum(row.wrong for row in rows),
        sum(row.seconds * row.trials for row in rows) / files,
        max(row.seconds_most for row in rows),
    )


def damage_document(
    rows: Sequence[DamageRow], tile: int, quality: int, percent: float, seed: int, effort: int
) -> dict[str, Any]:
    """What `tadan lab damage --out` writes."""
    return {
        "machine": machine_facts(),
        "tile": tile,
        "quality": quality,
        "percent": percent,
        "seed": seed,
        "effort": effort,
        "summary": [asdict(one) for one in summarise_damage(rows)],
        "rows": [asdict(row) for row in rows],
    }


#: (file, percent of its bytes, random numbers) -> damaged file
Harm = Callable[[bytes, float, np.random.Generator], bytes]


def _count(data: bytes, percent: float) -> int:
    return min(len(data), max(1, round(len(data) * percent / 100)))


def _changed(data: bytes, where: np.ndarray[tuple[int], np.dtype[np.int64]], rng: np.random.Generator) -> bytes:
    """Every byte at ``where`` becomes another one."""
    damaged = np.frombuffer(data, np.uint8).copy()
    damaged[where] ^= rng.integers(1, 256, len(where), dtype=np.uint8)
    return damaged.tobytes()


def burst(data: bytes, percent: float, rng: np.random.Generator) -> bytes:
    """Consecutive bytes."""
    count = _count(data, percent)
    start = int(rng.integers(len(data) - count + 1))
    return _changed(data, np.arange(start, start + count), rng)


def _sectors(data: bytes, percent: float, rng: np.random.Generator, size: int) -> bytes:
    total = -(-len(data) // size)
    lost = rng.choice(total, min(total, max(1, round(len(data) * percent / 100 / size))), replace=False)
    return _changed(data, np.concatenate([np.arange(at * size, min((at + 1) * size, len(data))) for at in lost]), rng)


def sectors_512(data: bytes, percent: float, rng: np.random.Generator) -> bytes:
    """Aligned sectors of 512 bytes; at least one, so more than ``percent`` of a small file."""
    return _sectors(data, percent, rng, 512)


def sectors_4096(data: bytes, percent: float, rng: np.random.Generator) -> bytes:
    """Aligned sectors of 4096 bytes; at least one, so more than ``percent`` of a small file."""
    return _sectors(data, percent, rng, 4096)


def single_bytes(data: bytes, percent: float, rng: np.random.Generator) -> bytes:
    """Bytes anywhere."""
    return _changed(data, rng.choice(len(data), _count(data, percent), replace=False), rng)


def truncation(data: bytes, percent: float, rng: np.random.Generator) -> bytes:
    """The end is missing."""
    return data[: len(data) - _count(data, percent)]


def one_bit(data: bytes, percent: float, rng: np.random.Generator) -> bytes:
    """One flipped bit, whatever the percentage."""
    bit = int(rng.integers(8 * len(data)))
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


HARMS: dict[str, Harm] = {
    "burst": burst,
    "sectors 512": sectors_512,
    "sectors 4096": sectors_4096,
    "single bytes": single_bytes,
    "truncation": truncation,
    "one bit": one_bit,
}
