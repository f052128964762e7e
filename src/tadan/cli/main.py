"""The command ``tadan``: verbs, exit codes, and the one place where errors become messages."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from importlib.metadata import entry_points
from typing import IO, Annotated, Any

import typer
from typer.core import TyperGroup

import tadan
from tadan.cli import model, schedule
from tadan.cli.batch import batch
from tadan.cli.decode import decode
from tadan.cli.encode import encode
from tadan.cli.files import no_standard_output
from tadan.cli.report import EXIT_FAILURE, EXIT_SIGNAL, print_error, unexpected
from tadan.cli.selftest import selftest
from tadan.cli.serve import serve
from tadan.cli.transcode import transcode
from tadan.cli.tune import tune
from tadan.cli.verify import info, verify
from tadan.errors import OutOfMemory, TadanError

# Base of all errors about arguments; older versions of typer have click's, newer ones a copy of their own.
_UsageError: type[Exception] = next(one for one in typer.BadParameter.__mro__ if one.__name__ == "ClickException")
_EXIT_INTERRUPTED = EXIT_SIGNAL + 2  # SIGINT
_EXIT_BROKEN_PIPE = EXIT_SIGNAL + 13  # SIGPIPE
_EXIT_CODES = "Exit codes: 0 done; 1 checked and found wanting; 2 could not; 128 + n ended by signal n."


class _Verbs(TyperGroup):
    """Verbs in the order in which they were added; what goes wrong in one becomes a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TadanError as error:
            print_error(error)
            raise typer.Exit(EXIT_FAILURE) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(_EXIT_INTERRUPTED) from error
        except BrokenPipeError as error:
            raise typer.Exit(_EXIT_BROKEN_PIPE) from error
        except MemoryError as error:
            print_error(OutOfMemory("this command"))
            raise typer.Exit(EXIT_FAILURE) from error
        except (typer.Exit, typer.Abort, _UsageError):
            raise
        except Exception as error:
            print_error(_typed(error))
            raise typer.Exit(EXIT_FAILURE) from error


def _typed(error: Exception) -> TadanError:
    """The error of ours for one that no verb foresaw."""
    if isinstance(error, OSError) and error.errno is not None and error.filename is None:
        return no_standard_output(error)  # files have typed errors
    return unexpected(error)


app = typer.Typer(
    cls=_Verbs,
    help="Tadan: a learned image codec that decodes bit-exactly on every machine.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tadan {tadan.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None: ...


app.command()(encode)
app.command()(decode)
app.command()(transcode)
app.command()(batch)
app.command()(info)
app.command()(verify)
app.add_typer(model.app, name="model")
app.add_typer(schedule.app, name="schedule")
app.command()(tune)
app.command()(selftest)
app.command()(serve)
for verb in entry_points(group="tadan.verbs"):  # of the laboratory, and of anybody: a group of verbs, or one of them
    added = verb.load()
    if isinstance(added, typer.Typer):
        app.add_typer(added, name=verb.name)
    else:
        app.command(verb.name)(added)


class _Closed(io.TextIOBase):
    """Stands for a standard stream that was closed before the command began: writing fails, as it does elsewhere."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        if text:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return 0

    def fileno(self) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    @property
    def buffer(self) -> IO[bytes]:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def _end(number: int, _frame: object) -> None:
    """End as from an exception, so that temporary files go."""
    raise SystemExit(EXIT_SIGNAL + number)


def run() -> None:
    """Entry point of the command: run it, and leave quietly when the reader of a pipe has gone."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)
    sys.stdout = sys.stdout or _Closed()
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115 (open as long as the process)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a strange file name is no reason to stop
    code: Any = 0
    try:
        app(prog_name="tadan")
    except SystemExit as end:
        code = end.code
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
        code = _EXIT_BROKEN_PIPE if isinstance(error, BrokenPipeError) else EXIT_FAILURE
        if code == EXIT_FAILURE:
            print_error(no_standard_output(error))
    sys.exit(code)
