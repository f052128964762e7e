"""What is asked for: a goal and conditions, in words such as ``"bytes, decode<200ms, score>70"``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tadan.errors import InvalidInput

#: Goal -> what is made as good as the conditions allow.
GOALS: Mapping[str, str] = {
    "bytes": "least bytes",
    "speed": "most pictures encoded a second",
    "decode-speed": "most pictures decoded a second",
}
_SIGNS = {"encode": "<", "decode": "<", "memory": "<", "bytes": "<", "psnr": ">", "score": ">", "speed": ">"}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_BYTES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 2.0**10, "mi": 2.0**20, "gi": 2.0**30}
_CONDITION = re.compile(r"([a-z]+)\s*([<>])=?\s*([+-]?\d+(?:\.\d+)?)\s*([a-z%/]*)")
EXAMPLES = '"bytes, decode<200ms", "speed, bytes<+2%", "bytes, encode<1s, memory<500M, score>70"'


@dataclass(frozen=True)
class Tuning:
    """A goal and its conditions.

    Attributes:
        goal: of :data:`GOALS`.
        encode: seconds that encoding takes at most, of nine pictures in ten.
        decode: the same of decoding.
        memory: bytes that a process takes at most, with the largest picture.
        excess: share of bytes above the least that any setting takes; 0.02 for 2 %.
        psnr: decibels that the sample has at least, on average.
        score: SSIMULACRA2 that it has at least, on average.
        speed: pictures encoded a second at least.
    """

    goal: str
    encode: float = math.inf
    decode: float = math.inf
    memory: float = math.inf
    excess: float = math.inf
    psnr: float | None = None
    score: float | None = None
    speed: float = 0.0

    @property
    def floor(self) -> tuple[str, float] | None:
        """The metric that has a floor, "psnr" or "score", and the floor."""
        if self.score is not None:
            return "score", self.score
        return None if self.psnr is None else ("psnr", self.psnr)

    def __str__(self) -> str:
        words = [self.goal]
        words += [f"{name}<{value:g}s" for name in ("encode", "decode") if (value := getattr(self, name)) < math.inf]
        words += [f"memory<{self.memory:.0f}"] if self.memory < math.inf else []
        words += [f"bytes<+{100 * self.excess:g}%"] if self.excess < math.inf else []
        words += [f"{name}>{getattr(self, name):g}" for name in ("psnr", "score") if getattr(self, name) is not None]
        words += [f"speed>{self.speed:g}/s"] if self.speed else []
        return ", ".join(words)


def parse_target(text: str) -> Tuning:
    """Read a target.

    Raises:
        InvalidInput: it is none; the message says what is not understood and shows examples.
    """
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    goals = [word for word in words if word in GOALS]
    if len(goals) != 1 or words[0] not in GOALS:
        raise _wrong(f"the target {text!r} begins with one goal: {', '.join(GOALS)}")
    found: dict[str, float] = {}
    for word in words[1:]:
        match = _CONDITION.fullmatch(word)
        if match is None or match[1] not in _SIGNS:
            raise _wrong(f"{word!r} is no condition; there are {', '.join(n + s for n, s in _SIGNS.items())}")
        name, sign, number, unit = match.groups()
        if sign != _SIGNS[name]:
            raise _wrong(f"{word!r} looks the wrong way: it is {name}{_SIGNS[name]}NUMBER")
        field = "excess" if name == "bytes" else name
        if field in found:
            raise _wrong(f"{name} is said twice in {text!r}")
        found[field] = _value(name, float(number), unit, word)
    if {"psnr", "score"} <= found.keys():
        raise _wrong("psnr and score are two floors; give one of them")
    if goals[0] == "bytes" and "excess" in found:
        raise _wrong("bytes are the goal already; give bytes<+N% to the goals speed and decode-speed")
    return Tuning(goals[0], **found)


def _value(name: str, number: float, unit: str, word: str) -> float:
    if name in ("encode", "decode"):
        if unit not in _SECONDS:
            raise _wrong(f"{word!r} lacks a unit: ms or s")
        value = number * _SECONDS[unit]
    elif name == "memory":
        short = unit.removesuffix("b")
        if short not in _BYTES:
            raise _wrong(f"{word!r} has no unit of memory: 500M, 2G or 1GiB")
        value = number * _BYTES[short]
    elif name == "bytes":
        if unit != "%":
            raise _wrong(f"{word!r} is a share above the least bytes: bytes<+2%")
        return _positive(number / 100, word, least=0)
    elif name == "speed":
        if unit not in ("", "/s"):
            raise _wrong(f"{word!r} is in pictures a second: speed>5/s")
        value = number
    else:
        if unit not in ("", "db"):
            raise _wrong(f"{word!r} is a plain number: {name}>{number:g}")
        if name == "score" and number > 100:
            raise _wrong(f"{word!r} cannot be reached: SSIMULACRA2 ends at 100")
        return number if name == "score" else _positive(number, word)
    return _positive(value, word)


def _positive(value: float, word: str, least: float | None = None) -> float:
    if value < 0 or (value == 0 and least is None):
        raise _wrong(f"{word!r} is impossible: give a number above 0")
    return value


def _wrong(what: str) -> InvalidInput:
    return InvalidInput(f"{what}. Examples: {EXAMPLES}")
