"""Counts of a running batch: rate, time left, savings."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field

from tadan.batch.outcome import DONE, FAILED, Outcome

_WINDOW = 60.0  # seconds that the rate looks back


@dataclass
class Tally:
    """What came of the pictures of one run so far.

    Attributes:
        total: pictures of the source; None while they are still being counted.
        unchanged: nothing to do, says the journal.
        unchanged_failures: failed in an earlier run, and nothing has changed since.
        states: outcomes of this run by state.
        kinds: failures of this run by class.
        bytes_in, bytes_out, pixels: of the pictures encoded in this run.
    """

    total: int | None = None
    unchanged: int = 0
    unchanged_failures: int = 0
    states: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    bytes_in: int = 0
    bytes_out: int = 0
    pixels: int = 0
    begun: float = field(default_factory=time.monotonic)
    _recent: deque[list[int]] = field(default_factory=deque)  # second, pictures and pixels in it

    def add(self, one: Outcome) -> None:
        """Count an outcome."""
        self.states[one.state] += 1
        if one.state == FAILED:
            self.kinds[one.kind or "Unexpected"] += 1
        if one.state == DONE:
            self.bytes_in += one.bytes_in
            self.bytes_out += one.bytes_out
            self.pixels += one.pixels
        now = int(time.monotonic())
        if not self._recent or self._recent[-1][0] != now:
            self._recent.append([now, 0, 0])
        self._recent[-1][1] += 1
        self._recent[-1][2] += one.pixels
        while now - self._recent[0][0] > _WINDOW:
            self._recent.popleft()

    @property
    def worked(self) -> int:
        """Pictures that this run has dealt with."""
        return sum(self.states.values())

    @property
    def seen(self) -> int:
        """Pictures that nothing is left to do about."""
        return self.worked + self.unchanged + self.unchanged_failures

    @property
    def failures(self) -> int:
        """Of this run."""
        return self.states[FAILED]

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.begun

    def rates(self) -> tuple[float, float]:
        """Pictures and megapixels a second, of late."""
        span = max(min(self.elapsed, _WINDOW), 1e-3)
        return sum(one[1] for one in self._recent) / span, sum(one[2] for one in self._recent) / 1e6 / span

    def seconds_left(self) -> float | None:
        """At the rate of late; None if it or the total is not known."""
        rate, _ = self.rates()
        if self.total is None or not rate:
            return None
        return max(0, self.total - self.seen) / rate

    def line(self) -> str:
        """One line about all of it."""
        of = "" if self.total is None else f" of {self.total:,} ({100 * self.seen / max(1, self.total):.1f} %)"
        rate, megapixels = self.rates()
        parts = [f"{self.seen:,}{of}", f"{rate:.1f} pictures/s", f"{megapixels:.2f} MP/s"]
        if self.bytes_in:
            saved = 100 * (1 - self.bytes_out / self.bytes_in)
            parts.append(f"{shown_bytes(self.bytes_in)} -> {shown_bytes(self.bytes_out)} ({saved:.0f} % saved)")
        if self.failures + self.unchanged_failures:
            parts.append(f"{self.failures + self.unchanged_failures:,} failed")
        left = self.seconds_left()
        if left is not None:
            parts.append(f"{shown_seconds(left)} left")
        return ", ".join(parts)


def shown_bytes(size: float) -> str:
    """``1.5 GB``; units are powers of 1000."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} PB"


def shown_seconds(seconds: float) -> str:
    """``1:02:03``, with days where there are some."""
    days, rest = divmod(round(seconds), 86400)
    clock = f"{rest // 3600}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days} d {clock}" if days else clock
