"""``tadan bench``: measurements that anyone can repeat, one file a verb."""

from __future__ import annotations

import typer

from tadan.cli.bench.crops import crops
from tadan.cli.bench.damage import damage
from tadan.cli.bench.effort import effort
from tadan.cli.bench.exactness import exactness
from tadan.cli.bench.monotone import monotone
from tadan.cli.bench.price import price
from tadan.cli.bench.probes import probes
from tadan.cli.bench.scale import scale
from tadan.cli.bench.speed import speed
from tadan.cli.bench.tiles import tiles

app = typer.Typer(
    help="Measure speed, memory, exactness, tiles, damage and the price of integers on your machine; look at crops.",
    no_args_is_help=True,
)

app.command()(speed)
app.command()(scale)
app.command()(effort)
app.command()(tiles)
app.command()(crops)
app.command()(damage)
app.command()(exactness)
app.command()(monotone)
app.command()(price)
app.command()(probes)
