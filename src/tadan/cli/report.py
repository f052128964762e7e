"""What the command line says: one line per file, errors, and a progress bar when it takes longer than a second."""

from __future__ import annotations

import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from tadan.errors import LimitExceeded, ModelMissing, OutOfMemory, OutputExists, TadanError, Unexpected
from tadan.text import plain

EXIT_WANTING = 1  # checked and found wanting
EXIT_FAILURE = 2  # could not
EXIT_SIGNAL = 128  # plus the number of the signal, as shells report it
_PATIENCE = 1.0  # seconds without a word before the progress bar appears

Item = TypeVar("Item")


@dataclass(frozen=True)
class Done:
    """What came of one file.

    Attributes:
        lines: to print.
        document: to print in place of the lines where JSON was asked for.
        wanting: what was checked is not as it should be.
        problem: what is wrong then, shown as an error.
    """

    lines: tuple[str, ...] = ()
    document: str | None = None
    wanting: bool = False
    problem: TadanError | None = None


@dataclass(frozen=True)
class Attempt:
    """What came of one file, or why nothing did, and what was warned of on the way."""

    done: Done | None
    error: TadanError | None = None
    warnings: tuple[str, ...] = field(default=())


def attempt(work: Callable[[Item], Done], item: Item) -> Attempt:
    """Call ``work``; a TadanError ends this item only, and warnings are kept."""
    error, done = None, None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        for category in (UserWarning, RuntimeWarning):  # ours, and Pillow's about enormous pictures
            warnings.simplefilter("always", category)
        try:
            done = work(item)
        except TadanError as raised:
            error = raised
        except BrokenPipeError:  # nobody listens any more
            raise
        except MemoryError:
            error = OutOfMemory("this file")
        except Exception as raised:  # a mistake of ours: the next file has its turn all the same
            error = unexpected(raised)
    return Attempt(done, error, tuple(str(warning.message) for warning in caught))


def unexpected(error: Exception) -> Unexpected:
    """What a user is told of an error that nobody foresaw; with ``TADAN_DEBUG`` set, where it came from."""
    if os.environ.get("TADAN_DEBUG"):
        traceback.print_exception(error)
    name = type(error).__name__
    typed = Unexpected(f"{name}: {error}; this is a mistake of tadan's, please report it (TADAN_DEBUG=1 shows where)")
    typed.__cause__ = error
    return typed


def printable(text: str) -> str:
    """Escape what a terminal would obey or cannot show: control characters and undecodable bytes in file names."""
    return "\n".join(plain(line) for line in text.split("\n"))


def print_error(error: TadanError | str) -> None:
    """Print ``error: message`` on standard error, unwrapped."""
    message = advise(error) if isinstance(error, TadanError) else error
    _print_labelled(Console(stderr=True), "error:", "bold red", message)


def _print_labelled(console: Console, label: str, style: str, message: str) -> None:
    console.print(Text.assemble((label, style), " ", printable(message)), soft_wrap=True)


class Report:
    """Lines and failures of one command."""

    def __init__(self, quiet: bool = False, stdout_is_data: bool = False, progress: bool = True) -> None:
        """Set up the consoles.

        Args:
            quiet: drop the lines, never the errors.
            stdout_is_data: standard output carries a file, so the lines go to standard error.
            progress: show a bar when it takes long and a person may be watching.
        """
        self.failures, self.wanting = 0, 0
        self._quiet, self._bar = quiet, progress and not quiet
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
        self._problem(name, error)

    def _problem(self, name: Path, error: TadanError) -> None:
        message = advise(error)
        if str(name) not in message:
            message = f"{name}: {message}"
        _print_labelled(self._bar_console, "error:", "bold red", message)

    def each(
        self, items: Sequence[Item], name: Callable[[Item], Path], work: Callable[[Item], Done], jobs: int = 1
    ) -> None:
        """Call ``work`` on every item and print what came of it, in the order of the items.

        Args:
            items: what to work on.
            name: file that an item stands for in messages.
            work: a TadanError of it is shown, and the next item has its turn. With several jobs it is pickled, and so
                are the items.
            jobs: processes that work side by side; 1 works in this one.
        """
        with self._progress(len(items)) as show:
            attempts = _attempts(items, work, jobs)
            for at, item in enumerate(items):
                show(at, name(item))
                self._tell(name(item), next(attempts))

    def _tell(self, name: Path, result: Attempt) -> None:
        for message in result.warnings:
            _print_labelled(self._bar_console, "warning:", "bold yellow", f"{name}: {message}")
        if result.done is not None:
            self.wanting += result.done.wanting
            if result.done.problem is not None:
                self._problem(name, result.done.problem)
            for line in result.done.lines:
                self.line(line)
            if result.done.document is not None:
                typer.echo(result.done.document)
        if result.error is not None:
            self.failure(name, result.error)

    def finish(self) -> None:
        """End the command: exit code 2 if anything failed, else 1 if anything was found wanting."""
        if self.failures:
            raise typer.Exit(EXIT_FAILURE)
        if self.wanting:
            raise typer.Exit(EXIT_WANTING)

    @contextmanager
    def _progress(self, total: int) -> Iterator[Callable[[int, Path], None]]:
        """Give a function (items done, current file) that feeds a bar, if a person may be watching."""
        if not self._bar or not self._bar_console.is_terminal:
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


def _attempts(items: Sequence[Item], work: Callable[[Item], Done], jobs: int) -> Iterator[Attempt]:
    """One attempt after the other, in the order of the items."""
    if jobs == 1 or len(items) < 2:
        yield from (attempt(work, item) for item in items)
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    # Fresh processes: forked ones would inherit threads and locks of the numerical libraries.
    with ProcessPoolExecutor(min(jobs, len(items)), get_context("spawn"), _begin, (work,)) as pool:
        futures = [pool.submit(_attempt_here, item) for item in items]
        try:
            for future in futures:
                try:
                    yield future.result()
                except BrokenProcessPool:
                    yield Attempt(None, TadanError("the process that worked on it ended, for lack of memory maybe"))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_work_here: list[Callable[[Any], Done]] = []  # of this process, if it is one of several


def _begin(work: Callable[[Any], Done]) -> None:
    """Take the work of a process that works beside others."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells of an interrupt, once
    _work_here.append(work)


def _attempt_here(item: Any) -> Attempt:
    return attempt(_work_here[-1], item)


_OPTIONS = {"max_pixels": "--max-pixels"}


def advise(error: TadanError) -> str:
    """The message of an error, with the option to use as its next step."""
    message = str(error)
    if isinstance(error, LimitExceeded) and error.limit in _OPTIONS:
        return f"{error.what}; give {_OPTIONS[error.limit]} {error.value} if you trust the file"
    if isinstance(error, OutputExists):
        return f"{message}; replace it with -f, or name another output"
    if isinstance(error, OutOfMemory):
        return f"{message}: on the command line --threads, --jobs and --tile"
    if isinstance(error, ModelMissing):
        return f"{message}; on the command line: --model FILE"
    return message


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
