"""Verbs of the laboratory about batches: killed at random moments, and simulated on many machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tadan.errors import InvalidInput
from tadan_lab.cli import options


def kills(
    pictures: Annotated[Path, typer.Argument(help="Folder of sound pictures; a batch of them should take seconds.")],
    times: Annotated[int, typer.Option(min=1, help="Kills of each kind.")] = 10,
    kinds: Annotated[str, typer.Option(help="What is killed, by commas: process, worker, node (of Ray).")] = (
        "process,worker"
    ),
    namings: Annotated[str, typer.Option(help="Namings that take turns, by commas.")] = "hash,mirror",
    workers: Annotated[int, typer.Option(min=1, help="Workers of each batch.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the random moments.")] = 1,
    effort: options.Effort = 0,
    folder: Annotated[Path, typer.Option(help="Where outputs go; a folder in it is emptied.")] = Path("tadan-kills"),
    out: options.Out = None,
) -> None:
    """Kill batches at random moments with SIGKILL, let them go on, and check every file."""
    from rich.console import Console

    from tadan.machine import machine_facts
    from tadan.optional import require
    from tadan_lab.measure.kills import NODE, PROCESS, WORKER, Rehearsal, Trial

    require("psutil", "lab", "tadan lab kills")
    require("fsspec", "batch", "tadan lab kills")
    chosen, ways = kinds.split(","), namings.split(",")
    if not set(chosen) <= {PROCESS, WORKER, NODE} or not set(ways) <= {"hash", "mirror"}:
        raise InvalidInput("kinds are process, worker and node; namings are hash and mirror")
    table = options.table("killed", "naming", "after\ns", "there", "in\njournal", "encoded\nafter", "again", "faults")

    def add(one: Trial) -> None:
        journaled = "-" if one.journaled is None else str(one.journaled)
        counts = (str(one.there), journaled, str(one.encoded), str(one.again))
        table.add_row(one.what, one.naming, f"{one.moment:.2f}", *counts, "; ".join(one.faults) or "none")

    rehearsal = Rehearsal(pictures, folder, workers, ("--effort", str(effort)), seed)
    trials = rehearsal.run(chosen, times, ways, add)
    Console(highlight=False).print(table)
    options.write(out, {"trials": [one.to_dict() for one in trials], "machine": machine_facts()})
    if any(one.faults for one in trials):
        options.found_wanting(f"{sum(bool(one.faults) for one in trials)} of {len(trials)} kills left something wrong")
