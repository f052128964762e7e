"""What the verbs of ``tadan lab`` share: options, and the JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from tadan.cli.report import EXIT_WANTING, print_error

if TYPE_CHECKING:
    from rich.table import Table

Pictures = Annotated[Path, typer.Argument(help="Folder with pictures, or one picture.")]
Quality = Annotated[
    int, typer.Option("--quality", "-q", min=1, max=100, help="1 (smallest file) to 100 (best picture).")
]
Effort = Annotated[int, typer.Option("--effort", "-e", help="0 to 9, of the encoder.", min=0, max=9)]
Schedule = Annotated[str, typer.Option(help="Order of decoding: a name, an alias or a pattern.")]
Qualities = Annotated[str, typer.Option("--qualities", "-q", help="Qualities from 1 to 100, separated by commas.")]
Limit = Annotated[int | None, typer.Option(help="Only the first N pictures.", min=1)]
Threads = Annotated[int | None, typer.Option(help="Processor threads to use; default: all.", min=1)]
Model = Annotated[str | None, typer.Option(help="Model, name or path; default: the bundled one.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Also write the figures to this JSON file.")]


def found_wanting(message: str) -> NoReturn:
    """End a verb whose check failed: an error line, and exit code 1."""
    print_error(message)
    raise typer.Exit(EXIT_WANTING)


def write(out: Path | None, content: object) -> None:
    """Write ``content`` as JSON to ``out``, if it is wanted; UnwritableOutput if that fails."""
    if out is not None:
        from tadan.files import write_atomically

        write_atomically(out, json.dumps(content, indent=1).encode() + b"\n")


def signed(value: float | None, digits: int) -> str:
    """``+0.12``, or ``-`` where there is no value."""
    return "-" if value is None else f"{value:+.{digits}f}"


def table(*headings: str) -> Table:
    """A table of figures, its first column of names; headings of two lines keep it within 80 characters."""
    from rich.table import Table

    made = Table()
    for place, heading in enumerate(headings):
        made.add_column(heading, justify="right" if place else "left", no_wrap=True)
    return made
