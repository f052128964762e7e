"""What the command line says: one line per file, errors, and a progress bar when it takes longer than a second."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import typer
from rich.console import Console
from rich.text import Text

from tadan.errors import TadanError
from tadan.text import plain

EXIT_FAILURE = 2
_PATIENCE = 1.0  # seconds without a word before the progress bar appears

Item = TypeVar("Item")


def printable(text: str) -> str:
    """Escape what a terminal would obey or cannot show: control characters and undecodable bytes in file names."""
    return "\n".join(plain(line) for line in text.split("\n"))


def print_error(message: str) -> None:
    """Print ``error: message`` on standard error, unwrapped."""
    _print_labelled(Console(stderr=True), "error:", "bold red", message)


def _print_labelled(console: Console, label: str, style: str, message: str) -> None:
    console.print(Text.assemble((label, style), " ", printable(message)), soft_wrap=True)


@contextmanager
def _shown_warnings(name: Path, console: Console) -> Iterator[None]:
    """Turn Python's warnings about a picture into lines that name the file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        for category in (UserWarning, RuntimeWarning):  # ours, and Pillow's about enormous pictures
            warnings.simplefilter("always", category)
        yield
    for warning in caught:
        _print_labelled(console, "warning:", "bold yellow", f"{name}: {warning.message}")


class Report:
    """Lines and failures of one command."""

    def __init__(self, quiet: bool = False, stdout_is_data: bool = False) -> None:
        """Set up the consoles.

        Args:
            quiet: drop the lines, never the errors.
            stdout_is_data: standard output carries a file, so the lines go to standard error.
        """
        self.failures = 0
        self._quiet = quiet
        # On a terminal the lines share the console of the progress bar, so that neither overwrites the other.
        both_terminals = sys.stdout.isatty() and sys.stderr.isatty()
        self._bar_console = Console(stderr=True)
        self._console = self._bar_console if stdout_is_data or both_terminals else Console()

    def line(self, text: str) -> None:
        """Print one line unless quiet."""
        if not self._quiet:
            self._console.print(Text(printable(text)), soft_wrap=True)

    def failure(self, name: Path, error: TadanError) -> None:
        """Print the error, with the name of the file if the message lacks it, and remember that there was one."""
        self.failures += 1
        message = str(error)
        if str(name) not in message:
            message = f"{name}: {message}"
        _print_labelled(self._bar_console, "error:", "bold red", message)

    def each(self, items: Sequence[Item], name: Callable[[Item], Path], work: Callable[[Item], None]) -> None:
        """Call ``work`` on every item; a TadanError or a warning is shown, and the next item has its turn."""
        with self._progress(len(items)) as show:
            for done, item in enumerate(items):
                show(done, name(item))
                try:
                    with _shown_warnings(name(item), self._bar_console):
                        work(item)
                except TadanError as error:
                    self.failure(name(item), error)

    def finish(self) -> None:
        """End the command with exit code 2 if anything failed."""
        if self.failures:
            raise typer.Exit(EXIT_FAILURE)

    @contextmanager
    def _progress(self, total: int) -> Iterator[Callable[[int, Path], None]]:
        """Give a function (items done, current file) that feeds a bar, if a person may be watching."""
        if self._quiet or not self._bar_console.is_terminal:
            yield lambda done, current: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._bar_console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        task = bar.add_task("", total=total)
        starter = threading.Timer(_PATIENCE, bar.start)
        starter.daemon = True
        starter.start()
        try:
            yield lambda done, current: bar.update(task, completed=done, description=printable(current.name))
        finally:
            starter.cancel()
            starter.join()
            bar.stop()
