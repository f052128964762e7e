"""``tadan lab effort``: what searching longer while encoding gives."""

from __future__ import annotations

from typing import Annotated

import typer

from tadan_lab.cli import options


def effort(
    pictures: options.Pictures,
    efforts: Annotated[str, typer.Option(help="0 to 9, by commas; the first is compared with.")] = "0,1,3,5,7,9",
    qualities: Annotated[
        str, typer.Option("--qualities", "-q", help="Qualities from 1 to 100, separated by commas; at least four.")
    ] = "10,30,50,70,90",
    schedule: Annotated[str, typer.Option(help="Order of decoding: a name, an alias or a pattern.")] = "balanced",
    limit: Annotated[int | None, typer.Option(help="Only the first N pictures.", min=1)] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads to use; default: all.", min=1)] = None,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """What searching longer while encoding gives: BD-rate and J against seconds, one row an effort."""
    from rich.console import Console
    from rich.table import Table

    from tadan.cli.progress import progress_bar
    from tadan.optional import parse_qualities, require
    from tadan.pictures.folder import list_pictures
    from tadan_lab.measure.effort import measure_effort
    from tadan_lab.measure.ours import EFFORTS

    require("bjontegaard", "lab", "tadan lab effort")
    wanted = parse_qualities(efforts, EFFORTS)
    points = parse_qualities(qualities, range(1, 101))
    total = len(list_pictures(pictures, limit)) * len(wanted) * len(points)
    with progress_bar("coding", total) as step:
        rows = measure_effort(pictures, wanted, points, schedule, model, threads, limit, step)
    table = Table("effort", "encode s", "decode s", "BD-rate", "J")
    for row in rows:
        seconds = (f"{value:.2f}" for value in (row.encode_s, row.decode_s))
        table.add_row(str(row.effort), *seconds, str(row.bd_rate), f"{row.cost_percent:+.2f} %")
    console = Console()
    console.print(table)
    console.print(f"Against effort {rows[0].effort}, BD-rate by PSNR; seconds are means over pictures and qualities")
    options.write(out, {"pictures": pictures.name, "qualities": points, "rows": [row.to_dict() for row in rows]})
