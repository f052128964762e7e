"""``tadan lab monotone``: do bytes and PSNR rise with the quality?"""

from __future__ import annotations

from typing import Annotated

import typer

from tadan_lab.cli import options


def monotone(
    pictures: options.Pictures,
    step: Annotated[
        int, typer.Option(help="Distance between the qualities to look at; 100 is always among them.", min=1)
    ] = 1,
    schedule: Annotated[str, typer.Option(help="Order of decoding: a name, an alias or a pattern.")] = "balanced",
    effort: Annotated[
        int | None, typer.Option("--effort", "-e", help="Effort from 0 to 9; default: the encoder's own choice.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N pictures.", min=1)] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads to use; default: all.", min=1)] = None,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """Encode every picture at rising qualities: do bytes and PSNR always rise? Violations are reported, no failure."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from tadan.cli.progress import progress_bar
    from tadan.pictures.folder import list_pictures
    from tadan.text import plain
    from tadan_lab.measure import TadanCodec
    from tadan_lab.measure.monotone import check_monotone, monotone_document, monotone_summary

    codec = TadanCodec(schedule, model, threads, effort)
    paths = list_pictures(pictures, limit)
    qualities = sorted({*codec.qualities[::step], codec.qualities[-1]})
    with progress_bar("coding", len(paths) * len(qualities)) as advance:
        rows = list(check_monotone(codec, paths, qualities, advance))
    table = Table("picture", "bytes not rising at", "largest fall", "PSNR not rising at", "largest fall")
    for row in rows:
        table.add_row(
            escape(plain(row.picture)),
            ", ".join(map(str, row.bytes_not_rising)) or "never",
            f"{row.largest_bytes_fall_percent:.2f} %",
            ", ".join(map(str, row.psnr_not_rising)) or "never",
            f"{row.largest_psnr_fall_db:.3f} dB",
        )
    console = Console()
    console.print(table)
    for name, value in monotone_summary(rows).items():
        console.print(f"{name.replace('_', ' ')}: {value}", highlight=False)
    options.write(out, monotone_document(codec, rows))
