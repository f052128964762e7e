"""Records of a run: ``log.jsonl`` for programs; for people a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text


class StepFacts(NamedTuple):
    """One step, averaged over its pictures and over all processes; ``loss`` is what the recipe weighs together."""

    loss: float
    y_bpp: float
    z_bpp: float
    psnr: float
    grad_norm: float
    pixels: float


class RunLog:
    """Collects steps and writes a line about them; silent for all ranks but the first."""

    def __init__(self, folder: Path, display: Display, leads: bool) -> None:
        self.display = display
        self._path, self._leads = folder / "log.jsonl", leads
        self._rows: list[StepFacts] = []
        self._mark, self._count = time.monotonic(), 0

    def note(self, facts: StepFacts | None) -> None:
        """Count a step; None if it was skipped."""
        self._count += 1
        if facts is not None:
            self._rows.append(facts)

    def restart(self) -> None:
        """Forget the steps noted so far; the clock of the next line starts now."""
        self._rows.clear()
        self._mark, self._count = time.monotonic(), 0

    def forget_pause(self, begun: float) -> None:
        """Leave the time since ``begun`` (of ``time.monotonic``) out of the pace."""
        self._mark += time.monotonic() - begun

    def steps(self, step: int, lr: float, skipped: int) -> None:
        """Write what was noted since the last line, and start anew."""
        pace = (time.monotonic() - self._mark) / max(1, self._count)
        means = np.mean(self._rows, axis=0) if self._rows else np.full(len(StepFacts._fields), np.nan)
        *facts, pixels = (_number(value) for value in means.tolist())
        row: dict[str, Any] = dict(zip(StepFacts._fields[:-1], facts, strict=True))
        row["lr"] = float(f"{lr:.4g}")
        row["seconds_per_step"] = round(pace, 4)
        row["megapixels_per_second"] = round((pixels or 0.0) / max(pace, 1e-9) / 1e6, 3)
        row["skipped"] = skipped
        self.write({"step": step, **row})
        self.display.line(
            f"step {step}/{self.display.steps}  loss {row['loss']}  {row['y_bpp']} + {row['z_bpp']} bpp  "
            f"{row['psnr']} dB  {row['seconds_per_step']} s/step  {row['megapixels_per_second']} MP/s  "
            + (f"{skipped} skipped  " if skipped else "")
            + self.display.end(step)
        )
        self.restart()

    def held_out(self, step: int, found: Mapping[str, Any]) -> None:
        """Write an evaluation."""
        self.write({"step": step, "held_out": found})
        scores = "  ".join(f"q{quality} {row[3]}" for quality, row in found["bpp_zbpp_psnr_J"].items())
        self.display.line(f"held out after step {step}: mean ln J {found['mean_log_J']}  J: {scores}")

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a line to ``log.jsonl``."""
        if self._leads:
            line = json.dumps({"time": time.strftime("%Y-%m-%d %H:%M:%S"), **row})
            with open(self._path, "a") as log:
                log.write(line + "\n")


def _number(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None  # JSON knows no NaN


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
