"""When a piece of training ends before its last step: a signal, or a time limit that leaves room for saving."""

from __future__ import annotations

import math
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

FIRST_GUESS = 2.0  # seconds for a save before one was measured
MARGIN = 2.0  # of the measured durations


class StopRequest:
    """Context in which SIGINT and SIGTERM ask for a stop after the current step; a second one ends at once.

    Attributes:
        signal: number of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


class TimeLimit:
    """Seconds that a piece may take, saving included."""

    def __init__(self, seconds: float = math.inf) -> None:
        self._end = time.monotonic() + seconds
        self._step = self._save = 0.0

    def note(self, *, step: float | None = None, save: float | None = None) -> None:
        """Learn how long a step or a save took, in seconds; the slowest step fades, it may have compiled."""
        if step is not None:
            self._step = max(step, 0.7 * self._step)
        if save is not None:
            self._save = max(save, self._save)

    def reached(self) -> bool:
        """Whether one more step, and then a save, might not fit."""
        if math.isinf(self._end):
            return False
        reserve = MARGIN * (2 * self._step + (self._save or FIRST_GUESS))
        return time.monotonic() + reserve > self._end
