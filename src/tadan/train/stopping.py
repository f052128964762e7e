"""When a run ends before its last step: a signal, a time limit that leaves room for saving, steps that are not finite.

Steps that are not finite are skipped; when they do not end, the run goes back, and gives up when that does not help.
All ranks of a training see the same averaged loss and gradient norm, so each comes to the same decision by itself.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from dataclasses import asdict, dataclass
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


PATIENCE = 20  # steps in a row
RECOVERIES = 3
FACTOR = 0.5  # of the learning rate, at each recovery
DOUBT = 5  # skipped steps in a row after which the weights are not worth a checkpoint


@dataclass
class Health:
    """Counts of one run; they travel in its checkpoints.

    Attributes:
        skipped: steps skipped since the start.
        in_a_row: steps skipped since the last good one.
        recoveries: times that the run went back to a checkpoint.
        lr_factor: what these have left of the learning rate.
    """

    skipped: int = 0
    in_a_row: int = 0
    recoveries: int = 0
    lr_factor: float = 1.0

    def note(self, finite: bool) -> None:
        """Count a step."""
        self.skipped += not finite
        self.in_a_row = 0 if finite else self.in_a_row + 1

    @property
    def doubtful(self) -> bool:
        """Whether the weights may be the cause: they then must not replace a good checkpoint."""
        return self.in_a_row >= DOUBT

    @property
    def lost(self) -> bool:
        """Whether waiting for a finite step is over."""
        return self.in_a_row >= PATIENCE

    @property
    def hopeless(self) -> bool:
        """Whether going back once more is over, too."""
        return self.lost and self.recoveries >= RECOVERIES

    def recovered(self) -> Health:
        """Health after going back to a checkpoint: a lower learning rate, a fresh count."""
        return Health(self.skipped, 0, self.recoveries + 1, self.lr_factor * FACTOR)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)
