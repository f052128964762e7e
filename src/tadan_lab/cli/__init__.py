"""Verbs of the laboratory, under ``tadan lab``; the command finds them by the entry point ``tadan.verbs``."""

from __future__ import annotations

import typer

from tadan_lab.cli.batches import fleet, kills
from tadan_lab.cli.checks import damage, decoders, exactness, guard, monotone, price, tiles
from tadan_lab.cli.compressai import app as compressai
from tadan_lab.cli.eval import evaluate
from tadan_lab.cli.load import load
from tadan_lab.cli.pictures import animate, crops, demo
from tadan_lab.cli.racing import race, throughput
from tadan_lab.cli.study import probes, study
from tadan_lab.cli.timing import effort, scale, speed
from tadan_lab.cli.tuning import predict, regret

app = typer.Typer(
    help="Measure codecs, speed, memory, exactness and damage; look at crops and schedules; repeat the study.",
    no_args_is_help=True,
)

app.command("eval")(evaluate)
app.command()(demo)
app.command()(speed)
app.command()(race)
app.command()(throughput)
app.command()(load)
app.command()(scale)
app.command()(effort)
app.command()(predict)
app.command()(regret)
app.command()(tiles)
app.command()(decoders)
app.command()(guard)
app.command()(crops)
app.command()(damage)
app.command()(exactness)
app.command()(monotone)
app.command()(price)
app.command()(kills)
app.command()(fleet)
app.command()(probes)
app.command()(animate)
app.command()(study)
app.add_typer(compressai, name="compressai")
