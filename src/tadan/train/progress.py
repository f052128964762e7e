"""What a training says while it runs: a progress bar on a terminal, plain lines elsewhere; both on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text


class Display:
    """Bar and lines of one piece of training; ``quiet`` for all ranks but the first."""

    def __init__(self, steps: int, done: int, quiet: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self.steps = steps
        self._quiet, self._first = quiet, done
        self._begun = time.monotonic()
        self._bar: Progress | None = None
        if self._console.is_terminal and not quiet:
            loss = TextColumn("loss {task.fields[loss]}")
            columns = TextColumn("training"), BarColumn(), MofNCompleteColumn(), loss, TimeRemainingColumn()
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task("training", total=steps, completed=done, loss="-")

    def __enter__(self) -> Display:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, done: int, loss: float | None) -> None:
        """Move the bar; ``loss`` None keeps the one that is shown."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
            if loss is not None:
                self._bar.update(self._task, loss=f"{loss:.4f}")

    def line(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if not self._quiet:
            self._console.print(Text(text), soft_wrap=True)
            sys.stderr.flush()

    def end(self, done: int) -> str:
        """When the last step will be done at the pace of this piece, in local time."""
        pace = (time.monotonic() - self._begun) / max(1, done - self._first)
        left = pace * (self.steps - done)
        ends = time.strftime("%a %H:%M", time.localtime(time.time() + left))
        return f"{duration(left)} to go, ends about {ends}"


def duration(seconds: float) -> str:
    """``75`` -> ``1 min``; ``7500`` -> ``2 h 05 min``."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
