"""The command ``tadan``: verbs, exit codes, and the one place where errors become messages."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import tadan
from tadan.cli import model, schedule
from tadan.cli.decode import decode
from tadan.cli.encode import encode
from tadan.cli.report import EXIT_FAILURE, EXIT_SIGNAL, print_error
from tadan.cli.selftest import selftest
from tadan.cli.verify import info, verify
from tadan.errors import TadanError

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
app.command()(info)
app.command()(verify)
app.add_typer(model.app, name="model")
app.add_typer(schedule.app, name="schedule")
app.command()(selftest)
for verb in entry_points(group="tadan.verbs"):  # of the laboratory, and of anybody
    app.add_typer(verb.load(), name=verb.name)


def run() -> None:
    """Entry point of the command: run it, and leave quietly when the reader of a pipe has gone."""
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
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
        code = _EXIT_BROKEN_PIPE
    sys.exit(code)
