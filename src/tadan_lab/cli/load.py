"""``tadan lab load``: a service under load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tadan.errors import InvalidInput
from tadan_lab.cli import options


def load(
    url: Annotated[str, typer.Argument(help="What is asked, such as http://127.0.0.1:8000/decode?format=jpeg.")],
    body: Annotated[Path, typer.Argument(help="File that every request sends.")],
    multiples: Annotated[str, typer.Option(help="Of the capacity that is found first, by commas.")] = "1,2,4",
    seconds: Annotated[float, typer.Option(min=1, help="Of arrivals at each multiple.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the random arrivals.")] = 1,
    token: Annotated[str | None, typer.Option(envvar="TADAN_TOKEN", help="Of the service, if it asks for one.")] = None,
    pid: Annotated[int | None, typer.Option(help="Process of the service, to look at its memory.")] = None,
    out: options.Out = None,
) -> None:
    """Send requests to a service at multiples of its capacity: goodput, p50 and p99 of answers, and what got none."""
    from rich.console import Console

    from tadan.files import read_bytes
    from tadan.machine import machine_facts
    from tadan.optional import require
    from tadan_lab.cli.timing import numbers
    from tadan_lab.measure.load import LOST, LoadRow, Target, measure_load

    require("httpx", "lab", "tadan lab load")
    require("psutil", "lab", "tadan lab load")
    wanted = numbers(multiples)
    if not url.startswith(("http://", "https://")) or not wanted or min(wanted) <= 0:
        raise InvalidInput("name a URL that begins with http:// or https://, and multiples above 0")
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    table = options.table("times\ncapacity", "offered\n1/s", "good\n1/s", "p50\ns", "p99\ns", "answers", "lost", "MB")

    def add(row: LoadRow) -> None:
        times = ("-" if value is None else f"{value:.2f}" for value in (row.p50, row.p99))
        told = ", ".join(f"{count} x {status}" for status, count in row.statuses.items() if status != LOST)
        memory = "-" if row.memory is None else f"{row.memory / 2**20:.0f}"
        rates = (f"{row.multiple:g}", f"{row.offered:.1f}", f"{row.goodput:.1f}")
        table.add_row(*rates, *times, told, str(row.statuses.get(LOST, 0)), memory)

    target = Target(url, read_bytes(body), headers)
    capacity, rows = measure_load(target, wanted, seconds, seed, pid, add)
    console = Console(highlight=False)
    console.print(f"capacity: {capacity:.1f} answers a second")
    console.print(table)
    named = {"url": url, "bytes": len(target.body), "seconds": seconds, "capacity": capacity}
    options.write(out, {**named, "rows": [row.to_dict() for row in rows], "machine": machine_facts()})
