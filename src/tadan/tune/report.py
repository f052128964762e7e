"""What a search found beside what the catalogue offers, both priced on samples that the search has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tadan.codec.info import pattern_text
from tadan.schedule import PatternSchedule, catalogued, get_schedule, schedule_names
from tadan.schedule.optimize import Search
from tadan.tune.costs import TwinCosts


@dataclass(frozen=True)
class Candidate:
    """A decoding order and its price.

    Attributes:
        schedule: the order, written with the fewest rows and columns; that of the catalogue if it is there.
        stages: number of stages.
        bits: mean bits of a latent on the samples that chose the orders.
        validated_bits: the same on the samples that did not.
    """

    schedule: PatternSchedule
    stages: int
    bits: float
    validated_bits: float

    @property
    def text(self) -> str:
        """The pattern as ``--schedule`` takes it."""
        rows: Any = self.schedule.pattern.tolist()
        return pattern_text(rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "stages": self.stages,
            "pattern": self.schedule.pattern[0].tolist(),
            "bits": self.bits,
            "validated_bits": self.validated_bits,
        }


def found_orders(costs: TwinCosts, search: Search, progress: Callable[[], None] = lambda: None) -> list[Candidate]:
    """The best order for every number of stages; ``progress`` is called after each is priced."""
    return _priced(costs, (catalogued(found.schedule.reduced()) for found in search.best), progress)


def listed_orders(costs: TwinCosts, progress: Callable[[], None] = lambda: None) -> list[Candidate]:
    """Orders of the catalogue that tile the patch, those of one stage left out; ``progress`` as above."""
    return _priced(costs, tiling(costs.shape), progress)


def tiling(shape: tuple[int, int]) -> list[PatternSchedule]:
    """Schedules of the catalogue of more than one stage, all channels together, whose period divides ``shape``."""
    listed = (get_schedule(name) for name in schedule_names())
    return [
        schedule
        for schedule in listed
        if isinstance(schedule, PatternSchedule) and schedule.period != (1, 1) and schedule.tiles(shape)
    ]


def _priced(costs: TwinCosts, schedules: Iterable[PatternSchedule], progress: Callable[[], None]) -> list[Candidate]:
    priced = []
    for schedule in schedules:
        stages = int(schedule.pattern.max()) + 1
        priced.append(Candidate(schedule, stages, costs.rate(schedule), costs.validate(schedule)))
        progress()
    return priced
