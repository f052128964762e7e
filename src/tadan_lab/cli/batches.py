"""Verbs of the laboratory about batches: killed at random moments, and simulated on many machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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


def fleet(
    pictures: Annotated[Path, typer.Argument(help="Folder of pictures like those of the collection.")],
    machines: Annotated[str, typer.Option(help="Numbers of machines, by commas.")] = "1,10,100,1000",
    cores: Annotated[int, typer.Option(min=1, help="Cores of a machine, one worker each.")] = 16,
    collection: Annotated[str, typer.Option(help="Pictures of the collection: 200k, 10M.")] = "10M",
    bandwidth: Annotated[str, typer.Option(help="Bytes a second of the source for all together: 5G.")] = "5G",
    machine_bandwidth: Annotated[str, typer.Option(help="Bytes a second of one machine: 300M.")] = "300M",
    stragglers: Annotated[float, typer.Option(min=0, max=1, help="Share of the machines that are slow.")] = 0.02,
    slowdown: Annotated[float, typer.Option(min=1, help="How many times slower these are.")] = 3.0,
    deaths: Annotated[float, typer.Option(min=0.001, help="Hours that a machine lives, on average.")] = 24.0,
    trial_workers: Annotated[
        str, typer.Option(help="Workers of the real runs here, by commas; the first run feeds the simulation.")
    ] = "1,2",
    seed: Annotated[int, typer.Option(help="Of the simulation.")] = 1,
    prices: Annotated[Path | None, typer.Option(help="Price table (TOML or JSON), for dollars.")] = None,
    effort: options.Effort = 1,
    out: options.Out = None,
) -> None:
    """Simulate fleets from a batch measured here, after comparing simulated with real runs of few workers."""
    from rich.console import Console

    from tadan.batch.prices import read_prices
    from tadan.cli.options import parse_size
    from tadan.machine import machine_facts
    from tadan.optional import require
    from tadan_lab.cli.timing import numbers
    from tadan_lab.measure.fleet import Fleet, simulate
    from tadan_lab.measure.fleet_check import compared, measured

    require("fsspec", "batch", "tadan lab fleet")
    wanted = [int(one) for one in numbers(machines)]
    counts = [int(one) for one in numbers(trial_workers)]
    if min([*wanted, *counts]) < 1:
        raise InvalidInput("machines and workers are whole numbers from 1")
    table_of_prices = None if prices is None else read_prices(prices)
    console = Console(highlight=False)
    runs = [measured(pictures, count, ("--effort", str(effort))) for count in counts]
    checks = [compared(runs[0], one) for one in runs]
    real = options.table("workers", "real\ns", "simulated\ns", "difference")
    for one in checks:
        real.add_row(str(one.workers), f"{one.real:.1f}", f"{one.simulated:.1f}", f"{100 * one.difference:+.1f} %")
    console.print(real)
    count = parse_size(collection, "--collection")
    forecasts = []
    heads = ("ma-\nchines", "\nhours", "machine\nhours", "used\n%", "waits\n%", "lost\n%", "tail\nmin", "\ndeaths")
    shown = options.table(*heads, *([] if table_of_prices is None else ["$ per\nmillion"]))
    world: dict[str, Any] = {
        "source_bandwidth": parse_size(bandwidth, "--bandwidth"),
        "machine_bandwidth": parse_size(machine_bandwidth, "--machine-bandwidth"),
        "stragglers": stragglers,
        "slowdown": slowdown,
        "hours_between_deaths": deaths,
    }
    for number in wanted:
        came = simulate(runs[0].work, Fleet(number, cores, **world), count, seed)
        money = None if table_of_prices is None else came.machine_hours * table_of_prices.dollars_per_hour / count * 1e6
        forecasts.append({**came.to_dict(), "dollars_per_million": money})
        shares = (f"{100 * share:.1f}" for share in (came.efficiency, came.waiting, came.repeated))
        row = [str(number), f"{came.seconds / 3600:.2f}", f"{came.machine_hours:,.0f}", *shares]
        row += [f"{came.tail / 60:.1f}", str(came.deaths), *([] if money is None else [f"{money:.2f}"])]
        shown.add_row(*row)
    console.print(shown)
    content = {
        "pictures": count,
        "cores": cores,
        "effort": effort,
        **world,
        "checks": [one.to_dict() for one in checks],
    }
    options.write(out, {**content, "forecasts": forecasts, "machine": machine_facts()})
