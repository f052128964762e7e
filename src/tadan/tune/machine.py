"""A machine profile: what a machine takes for every part of the codec, as a file that travels to where one plans."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

from tadan.errors import InvalidInput
from tadan.files import write_atomically
from tadan.toml import dumps, read_toml
from tadan.tune.work import PARTS, Work

FORMAT = "tadan machine 1"
KINDS = ("threads", "processes")  # ways to work side by side
VERBS = ("encode", "search", "decode")  # search: an encode of an effort above 0
_HEADING = (
    "A machine profile of Tadan: seconds of every part of the codec by numbers of threads, measured by",
    "  tadan tune --measure THIS-FILE",
    "Copy it to another machine to plan there: tadan tune FOLDER --for TARGET --machine THIS-FILE",
)
_AGAIN = "measure it again there: tadan tune --measure FILE"
Coefficients = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class MachineProfile:
    """Seconds and bytes of one machine.

    Attributes:
        facts: versions, processor and so on (:func:`tadan.machine.machine_facts`), and the kernel of the core.
        model: name and id (hex) of the model that was measured with.
        cores: logical processors.
        parts: threads -> part -> amount of work -> seconds (:mod:`tadan.tune.work`).
        side_by_side: kind -> how many work at once, one thread each -> how many times longer each of them takes.
        start: verb -> seconds of a new process before and after its work.
        memory: verb -> peak bytes of a process for one pixel in work; "base": for none.
        storing: seconds for a megapixel as PNG and lossless WebP.
    """

    facts: Mapping[str, str]
    model: Mapping[str, str]
    cores: int
    parts: Mapping[int, Coefficients]
    side_by_side: Mapping[str, Mapping[int, float]]
    start: Mapping[str, float]
    memory: Mapping[str, float]
    storing: float

    @property
    def in_core(self) -> bool:
        """Whether the networks ran in the core (:func:`tadan.core.kernel`)."""
        return self.facts.get("core") not in ("numpy", "scalar")

    def seconds(self, part: str, work: Work, threads: int) -> float:
        """Of a part; between measured numbers of threads by the logarithm of their number, beyond them as the last."""
        known = sorted(self.parts)
        at = bisect_left(known, threads)
        low, high = known[max(0, at - 1)], known[min(at, len(known) - 1)]
        if threads >= known[-1]:
            low = high
        first = _sum(self.parts[low][part], work)
        if low == high:
            return first
        share = math.log(threads / low) / math.log(high / low)
        return (1 - share) * first + share * _sum(self.parts[high][part], work)

    def slowdown(self, kind: str, count: int) -> float:
        """How many times longer one of ``count`` takes than alone; more than there are cores take turns."""
        known = sorted(self.side_by_side[kind])
        factors = self.side_by_side[kind]
        if count > known[-1]:
            return factors[known[-1]] * count / known[-1]
        at = bisect_left(known, count)
        low, high = known[max(0, at - 1)], known[at]
        if low == high or count == high:
            return factors[high]
        return factors[low] + (factors[high] - factors[low]) * (count - low) / (high - low)

    def save(self, path: str | PathLike[str]) -> None:
        """Write it.

        Raises:
            UnwritableOutput: it cannot be written.
        """
        write_atomically(path, dumps(self.to_dict(), _HEADING).encode())

    def to_dict(self) -> dict[str, Any]:
        """Nested tables, with numbers as names written as text."""
        return {
            "format": FORMAT,
            "cores": self.cores,
            "facts": dict(self.facts),
            "model": dict(self.model),
            "start": _rounded(self.start),
            "memory": {name: round(value, 1) for name, value in self.memory.items()},
            "storing": {"seconds_per_mpixel": four_digits(self.storing)},
            "side_by_side": {kind: _rounded(factors) for kind, factors in self.side_by_side.items()},
            "threads": {
                str(threads): {part: _rounded(coefficients) for part, coefficients in parts.items()}
                for threads, parts in self.parts.items()
            },
        }


def load_machine(path: str | PathLike[str]) -> MachineProfile:
    """Read a machine profile.

    Raises:
        UnreadableInput: it cannot be read.
        InvalidInput: it is none, or lacks something.
    """
    document = read_toml(path, "a machine profile")
    name = fspath(path)
    if document.get("format") != FORMAT:
        said = document.get("format", "no format")
        raise InvalidInput(f"{name} is no machine profile of this version ({said!r}, not {FORMAT!r}); {_AGAIN}")
    try:
        profile = MachineProfile(
            facts={key: str(value) for key, value in document["facts"].items()},
            model={key: str(document["model"][key]) for key in ("name", "id")},
            cores=int(document["cores"]),
            parts={
                int(threads): {part: _numbers(found[part], amounts) for part, amounts in PARTS.items()}
                for threads, found in document["threads"].items()
            },
            side_by_side={kind: _by_count(document["side_by_side"][kind]) for kind in KINDS},
            start=_numbers(document["start"], VERBS),
            memory=_numbers(document["memory"], ("base", *VERBS)),
            storing=_numbers(document["storing"], ("seconds_per_mpixel",))["seconds_per_mpixel"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidInput(f"{name} is no complete machine profile: {what}; {_AGAIN}") from error
    if not profile.parts or any(threads < 1 for threads in profile.parts) or profile.cores < 1:
        raise InvalidInput(f"{name} has no measurement of any number of threads; {_AGAIN}")
    return profile


def _by_count(table: Mapping[str, Any]) -> dict[int, float]:
    factors = {int(count): _number(f"slowdown of {count}", value) for count, value in table.items()}
    if 1 not in factors:
        raise ValueError("side_by_side says nothing of one alone")
    return factors


def _numbers(table: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    return {name: _number(name, table[name]) for name in names}


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{name} is a number from 0, not {value!r}")
    return float(value)


def _sum(coefficients: Mapping[str, float], work: Work) -> float:
    return sum(coefficients[name] * amount for name, amount in work.items())


def _rounded(values: Mapping[Any, float]) -> dict[str, float]:
    return {str(name): four_digits(value) for name, value in values.items()}


def four_digits(value: float) -> float:
    """A number with no more digits than a measurement has."""
    return float(f"{value:.4g}")
