"""What a batch would take, from a random sample of its pictures that are encoded and thrown away."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tadan.batch.entries import Entry
from tadan.batch.outcome import DONE, Outcome
from tadan.batch.prices import Prices, Rates, dollars_per_million
from tadan.batch.run import Engine
from tadan.errors import InvalidInput

_SURE = 1.96  # standard errors to either side of a mean: 95 % of samples


@dataclass(frozen=True)
class Estimate:
    """Sums for all pictures, from the mean of a sample.

    Attributes:
        pictures: of the source.
        bytes_in: of all sources; estimated where the listing does not tell.
        sample: outcomes.
        workers: that the sample was encoded with.
    """

    pictures: int
    bytes_in: float
    sample: tuple[Outcome, ...]
    workers: int

    @property
    def good(self) -> list[Outcome]:
        """Pictures of the sample that were encoded."""
        return [one for one in self.sample if one.state == DONE]

    def rates(self) -> Rates:
        """Means of a picture; a source is read while the one before is encoded, so the longer of the two counts."""
        good = self.good
        seconds = sum(max(one.seconds, one.read_seconds) for one in good) / len(good)
        sizes = (sum(one.bytes_in for one in good), sum(one.bytes_out for one in good))
        return Rates(seconds, sizes[0] / len(good), sizes[1] / len(good))

    def uncertainty(self) -> float:
        """Half of the 95 % interval of the mean seconds, as a share of it."""
        seconds = [max(one.seconds, one.read_seconds) for one in self.good]
        mean, count = sum(seconds) / len(seconds), len(seconds)
        if count < 2:
            return math.inf
        variance = sum((one - mean) ** 2 for one in seconds) / (count - 1)
        finite = max(0.0, 1 - count / max(self.pictures, 1))
        return _SURE * math.sqrt(variance / count * finite) / mean

    def to_dict(self, prices: Prices | None = None) -> dict[str, Any]:
        """Figures, JSON-able."""
        good, rates = self.good, self.rates()
        share = len(good) / len(self.sample)
        saved = 1 - rates.bytes_out / rates.bytes_in
        found = {
            "pictures": self.pictures,
            "sample": len(self.sample),
            "failed_in_sample": dict(Counter(one.kind for one in self.sample if one.state != DONE)),
            "workers": self.workers,
            "pixels_per_second_and_core": sum(one.pixels for one in good) / sum(one.seconds for one in good),
            "seconds_per_picture_and_core": rates.seconds,
            "uncertainty": self.uncertainty(),
            "seconds": self.pictures * share * rates.seconds / self.workers,
            "worker_bytes": max((one.peak_bytes or 0 for one in good), default=0),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_in * share * (1 - saved),
            "saved": saved,
        }
        if prices is not None:
            found["dollars_per_million"] = dollars_per_million(rates, prices)
        return found


def estimate(entries: Iterator[Entry], engine: Engine, workers: int, size: int, seed: int = 1) -> Estimate:
    """Estimate a batch.

    Args:
        entries: all of them; they are listed once.
        engine: encodes the sample and writes nothing.
        workers: of that engine.
        size: of the sample.
        seed: of the choice.

    Raises:
        InvalidInput: there are no pictures, or none of the sample could be encoded.
    """
    sample, count, known, unknown = _reservoir(entries, size, random.Random(seed))
    if not sample:
        raise InvalidInput("there are no pictures to estimate from; check SRC")
    outcomes = _encoded(sample, engine, workers, lambda: False)
    good = [one for one in outcomes if one.state == DONE]
    if not good:
        raise InvalidInput(f"no picture of the sample could be encoded: {outcomes[0].message}; check SRC")
    mean = sum(one.bytes_in for one in good) / len(good)
    return Estimate(count, known + unknown * mean, tuple(outcomes), workers)


def _reservoir(entries: Iterator[Entry], size: int, dice: random.Random) -> tuple[list[Entry], int, int, int]:
    """A uniform sample, how many entries there are, their bytes as far as known, and of how many they are not."""
    sample: list[Entry] = []
    count = known = unknown = 0
    for entry in entries:
        count += 1
        known, unknown = known + (entry.size or 0), unknown + (entry.size is None)
        if len(sample) < size:
            sample.append(entry)
        elif (at := dice.randrange(count)) < size:
            sample[at] = entry
    return sample, count, known, unknown


def _encoded(sample: Sequence[Entry], engine: Engine, workers: int, stop: Callable[[], bool]) -> list[Outcome]:
    """Outcomes of the sample. Workers take longer for their first picture, so the first ones are done twice."""
    warm = min(workers, len(sample))
    found = list(engine(iter([*sample[:warm], *sample]), stop))
    late: dict[str, Outcome] = {one.source: one for one in found}
    return list(late.values())
