"""Speed of the codec by schedule: medians of one run, all schedules in turn so that machine noise hits them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tadan.bitstream import read_stream
from tadan.codec.codec import Codec
from tadan.codec.decoder import TileDecoder
from tadan.codec.info import pattern_text
from tadan.codec.options import EncodeOptions
from tadan.entropy import StageDecoder
from tadan.errors import InvalidInput
from tadan.schedule import PatternSchedule, Schedule, parse_schedule

_Words = tuple[bytes, list[NDArray[np.uint8]]]  # of a tile, and the scale indices of what they hold


@dataclass(frozen=True)
class SpeedRow:
    """Medians in seconds of one schedule, named as it was given.

    ``stages`` are those of the largest tile. ``entropy`` is the rANS share of ``latents``, itself a part of ``decode``;
    tiles are pulled one after the other, where ``decode`` works on several in turn with several threads.
    """

    schedule: str
    stages: int
    bytes: int
    encode: float
    decode: float
    latents: float
    entropy: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def measure_speed(
    image: Image.Image,
    schedules: Sequence[str | Schedule],
    quality: int,
    repeat: int,
    threads: int | None,
    model: str | None = None,
    on_trial: Callable[[], None] = lambda: None,
) -> list[SpeedRow]:
    """Time encoding and decoding of one picture in this process, file bytes to pixels, after one warm-up each.

    Args:
        image: picture.
        schedules: what :func:`tadan.schedule.parse_schedule` reads, or schedules; each is run once.
        quality: 1..100.
        repeat: rounds; each runs every schedule once.
        threads: see :class:`tadan.Codec`.
        model: see :class:`tadan.Codec`.
        on_trial: called after every trial, for progress bars: 4 times a round and schedule.

    Raises:
        InvalidInput: no schedule has such a name, or none is given.
    """
    plans = {_label(one): one if isinstance(one, Schedule) else parse_schedule(one) for one in schedules}
    if not plans:
        raise InvalidInput("no schedule to time; give at least one name or pattern")
    codec = Codec(model, threads=threads)
    files: dict[str, bytes] = {}
    coded: dict[str, list[_Words]] = {}
    counts: dict[str, int] = {}
    for name, plan in plans.items():
        files[name] = codec.encode(image, quality=quality, schedule=plan, effort=0, fallback=False)
        stream = read_stream(files[name])
        decoder = TileDecoder(stream.header, codec.model)
        tiles = list(zip(stream.tiles, stream.header.tile_boxes(), strict=True))
        coded[name] = [(tile.payload, [one.indices for one in decoder.symbols(tile, box)]) for tile, box in tiles]
        counts[name] = max(plan.stage_count(*decoder.shape(box)) for _, box in tiles)
        codec.decode(files[name])
    times: dict[tuple[str, str], list[float]] = {}

    def trial(name: str, part: str, work: Callable[[], object]) -> None:
        begun = time.perf_counter()
        work()
        times.setdefault((name, part), []).append(time.perf_counter() - begun)
        on_trial()

    for _ in range(repeat):
        for name, plan in plans.items():
            data = files[name]
            options = EncodeOptions(quality=quality, schedule=plan, effort=0, fallback=False)
            trial(name, "encode", lambda options=options: codec.encode_picture(image, options))  # type: ignore[misc]
            trial(name, "decode", lambda data=data: codec.decode(data))  # type: ignore[misc]
            trial(name, "latents", lambda data=data: codec.decode_latents(data))  # type: ignore[misc]
            trial(name, "entropy", lambda tiles=coded[name]: _pull_all(codec, tiles))  # type: ignore[misc]
    return [
        SpeedRow(
            name,
            counts[name],
            len(files[name]),
            *(median(times[name, part]) for part in ("encode", "decode", "latents", "entropy")),
        )
        for name in plans
    ]


def _label(schedule: str | Schedule) -> str:
    if isinstance(schedule, str):
        return schedule
    if schedule.name is None and isinstance(schedule, PatternSchedule):
        return pattern_text(schedule.pattern.tolist())
    return schedule.name or repr(schedule)


def _pull_all(codec: Codec, tiles: Sequence[_Words]) -> None:
    for payload, indices in tiles:
        decoder = StageDecoder(codec.model.tables, payload)
        for index in indices:
            decoder.pull(index)
        decoder.finish()
