"""A setting: what can be chosen about coding, and about the machine that does it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from tadan.codec.options import DEFAULT_EFFORT, DEFAULT_QUALITY, DEFAULT_SCHEDULE, EFFORT_MAX, STEPS, EncodeOptions
from tadan.schedule import Schedule, parse_schedule

EFFORTS = tuple(range(EFFORT_MAX + 1))
#: Decoding orders that are tried: the least steps for every step towards less rate, and what nothing but rate chooses.
SCHEDULES = ("hyper", "0,1/1,1", "4x4-opt-4", "4x4-opt-8", "4x4-opt-16", "wavefront")
TILES = (None, 512, 768, 1024, 0)


@dataclass(frozen=True)
class Setting:
    """How pictures are coded.

    Attributes:
        quality: 1..100.
        schedule: name or pattern.
        effort: 0..9.
        tile: as of :class:`~tadan.codec.options.EncodeOptions`.
        model: name or file; None for the bundled one.
    """

    quality: int = DEFAULT_QUALITY
    schedule: str = DEFAULT_SCHEDULE
    effort: int = DEFAULT_EFFORT
    tile: int | None = None
    model: str | None = None

    @property
    def options(self) -> EncodeOptions:
        """For the encoder."""
        return EncodeOptions(quality=self.quality, schedule=self.schedule, effort=self.effort, tile=self.tile)

    @cached_property
    def order(self) -> Schedule:
        """The schedule itself."""
        return parse_schedule(self.schedule)

    @property
    def trials(self) -> int:
        """Of the search."""
        return STEPS[self.effort]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        tile = "by size" if self.tile is None else str(self.tile or "whole")
        model = "" if self.model is None else f" {self.model}"
        return f"{self.schedule} effort {self.effort} tile {tile} quality {self.quality}{model}"


@dataclass(frozen=True)
class Deployment:
    """How a machine does it.

    Attributes:
        jobs: processes side by side.
        threads: of each.
    """

    jobs: int
    threads: int


def deployments(cores: int) -> list[Deployment]:
    """Ways to use all cores or one: processes times threads."""
    ways = [Deployment(1, 1), *(Deployment(cores // threads, threads) for threads in _halvings(cores))]
    return list(dict.fromkeys(ways))


def _halvings(cores: int) -> Iterator[int]:
    threads = cores
    while threads >= 1:
        yield threads
        threads //= 2


def grid(
    quality: int,
    schedules: Sequence[str] = SCHEDULES,
    efforts: Sequence[int] = EFFORTS,
    tiles: Sequence[int | None] = (None,),
    models: Sequence[str | None] = (None,),
) -> list[Setting]:
    """Every combination."""
    return [
        Setting(quality, schedule, effort, tile, model)
        for model in models
        for tile in tiles
        for schedule in schedules
        for effort in efforts
    ]
