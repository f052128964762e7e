"""Verbs of the laboratory, under ``tadan lab``; the command finds them by the entry point ``tadan.verbs``."""

from __future__ import annotations

import typer

from tadan_lab.cli.animate import animate
from tadan_lab.cli.crops import crops
from tadan_lab.cli.damage import damage
from tadan_lab.cli.demo import demo
from tadan_lab.cli.effort import effort
from tadan_lab.cli.eval import evaluate
from tadan_lab.cli.exactness import exactness
from tadan_lab.cli.monotone import monotone
from tadan_lab.cli.price import price
from tadan_lab.cli.probes import probes
from tadan_lab.cli.scale import scale
from tadan_lab.cli.speed import speed
from tadan_lab.cli.study import study
from tadan_lab.cli.tiles import tiles

app = typer.Typer(
    help="Measure codecs, speed, memory, exactness and damage; look at crops and schedules; repeat the study.",
    no_args_is_help=True,
)

app.command("eval")(evaluate)
app.command()(demo)
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
app.command()(animate)
app.command()(study)
