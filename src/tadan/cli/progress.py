"""A progress bar for work whose steps are known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Step(Protocol):
    """Advances a progress bar, optionally renaming what is under way or correcting how much there is."""

    def __call__(self, description: str | None = None, advance: int = 1, total: int | None = None) -> None:
        """Advance."""
        ...


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Step]:
    """Show a bar with the time left on stderr (hidden when that is not a terminal) and yield its step function."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=total)

        def step(description: str | None = None, advance: int = 1, total: int | None = None) -> None:
            bar.update(task, advance=advance, description=description, total=total)

        yield step
