"""``tadan poc``: one report on one's own pictures and machine, with thresholds that were set before the run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from tadan.errors import InvalidInput
from tadan_lab.cli import options

_PACKAGES = {
    "lab": ("matplotlib.figure", "jinja2", "httpx", "psutil", "ssimulacra2", "scipy.interpolate"),
    "serve": ("fastapi", "uvicorn", "pebble", "fsspec", "prometheus_client"),
}


def poc(
    folder: Annotated[Path, typer.Argument(help="Folder with your pictures; folders in it are searched too.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for poc.json and report.html.")] = Path("poc-report"),
    quick: Annotated[bool, typer.Option("--quick", help="Small samples and short loads: see what comes.")] = False,
    thresholds: Annotated[
        Path | None, typer.Option(help="TOML file of thresholds by key figure.", show_default="examples")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="TOML file of what storage, transfer and cores cost.", show_default="examples")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(help="A poc.json of another machine or version, to compare with.")
    ] = None,
    only: Annotated[str | None, typer.Option(help="Sections to run, by commas.", show_default="all")] = None,
    skip: Annotated[
        str | None,
        typer.Option(
            help="Sections to leave out: pictures, bytes, latency, scenarios, memory, recovery, exactness, money."
        ),
    ] = None,
    redo: Annotated[str | None, typer.Option(help="Sections to run again, by commas; all: a new report.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of sample, arrivals and damage.", min=0)] = 1,
    against: Annotated[str, typer.Option(help="Other codecs, by commas.")] = "jpeg,webp,avif,jxl",
    score: Annotated[
        float, typer.Option(help="SSIMULACRA2 at which bytes are compared: 70 is high quality, 50 medium.")
    ] = 70,
    quality: options.Quality = 60,
    effort: Annotated[int | None, typer.Option("--effort", "-e", min=0, max=9, help="Of Tadan's encoder.")] = None,
    pictures: Annotated[int | None, typer.Option(min=1, help="Pictures whose bytes are compared.")] = None,
    points: Annotated[int | None, typer.Option(min=2, help="Qualities of every codec.")] = None,
    cut_to: Annotated[
        float | None, typer.Option(help="Megapixels to which larger pictures are cut where bytes are compared.")
    ] = None,
    megapixels: Annotated[str | None, typer.Option(help="Sizes of the section memory, by commas.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.01, help="Of each scenario.")] = None,
    held: Annotated[float | None, typer.Option(min=0.01, help="Seconds for which the server scenario is held.")] = None,
    bound: Annotated[float, typer.Option(min=0.01, help="Seconds within which an answer of the service counts.")] = 2,
    reads: Annotated[float, typer.Option(help="Share of decodes among the requests, above 0 and up to 1.")] = 0.9,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes of the service that is started.", show_default="cores")
    ] = None,
    threads: options.Threads = None,
    model: options.Model = None,
) -> None:
    """Measure your pictures on this machine, judge by thresholds that you set before, and write one report to sign."""
    from rich.console import Console

    from tadan.optional import require
    from tadan_lab.cli.timing import numbers
    from tadan_lab.measure.rivals import choose_rivals

    for extra, modules in _PACKAGES.items():
        for module in modules:
            require(module, extra, "tadan poc")
    from tadan_lab.poc.compare import load_report
    from tadan_lab.poc.money import Prices, read_prices
    from tadan_lab.poc.plan import FULL, QUICK, chosen_sections
    from tadan_lab.poc.run import Run
    from tadan_lab.poc.verdict import default_thresholds, read_thresholds

    given: dict[str, Any] = {
        "sample": pictures,
        "points": points,
        "megapixels": cut_to,
        "sizes": None if megapixels is None else tuple(numbers(megapixels)),
        "seconds": seconds,
        "held": held,
        "workers": workers,
        "threads": threads,
        "model": model,
        "effort": effort,
    }
    names = tuple(word.strip().lower() for word in against.split(",") if word.strip())
    plan = replace(
        QUICK if quick else FULL,
        seed=seed,
        quality=quality,
        against=names,
        score=score,
        bound=bound,
        reads=reads,
        **{name: value for name, value in given.items() if value is not None},
    )
    wanted = chosen_sections(only, skip)
    again = [] if redo in (None, "all") else chosen_sections(redo, None)
    limits = default_thresholds() if thresholds is None else read_thresholds(thresholds)
    costs = Prices() if prices is None else read_prices(prices)
    older = None if compare is None else load_report(compare)  # before minutes of measuring, not after
    command = shlex.join(["tadan", *sys.argv[1:]])
    console = Console(highlight=False)
    for line in choose_rivals(against, threads)[1]:
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    run = Run(folder, out, plan, limits, costs, command, anew=redo == "all")
    todo = _runnable(run, wanted, again, console, only)
    for place, name in enumerate(todo, 1):
        console.print(f"{place} of {len(todo)}: {name}", soft_wrap=True)
        run.section(name, _progress)
        console.print(f"{name}: {run.document['runs'][name]['seconds']:.0f} s", soft_wrap=True)
    if compare is not None and older is not None:
        run.compare(older, compare.resolve().parent.name)
    run.finish()
    _tell(run, console)


def _runnable(run: Any, wanted: list[str], again: list[str], console: Any, only: str | None) -> list[str]:
    """Sections that are still to be run; money only where there is what it needs."""
    from tadan_lab.poc.money import NEEDS

    there = {*run.document["sections"], *wanted}
    lacking = [name for name in NEEDS if name not in there]
    if "money" in wanted and lacking:
        if only is not None:
            raise InvalidInput(f"money needs the section {lacking[0]}; run it too")
        console.print(f"money is left out: it needs {', '.join(lacking)}", style="yellow")
        wanted = [name for name in wanted if name != "money"]
    todo = run.missing(wanted, again)
    kept = [name for name in wanted if name not in todo]
    if kept:
        console.print(f"kept from before: {', '.join(kept)}", soft_wrap=True)
    return list(todo)


@contextmanager
def _progress(name: str, steps: int) -> Iterator[Callable[[], None]]:
    from tadan.cli.report import progress_bar

    with progress_bar(name, steps) as step:
        yield step


def _tell(run: Any, console: Any) -> None:
    from tadan_lab.poc.report import shown, summary
    from tadan_lab.poc.run import HTML_NAME, JSON_NAME
    from tadan_lab.poc.verdict import FAIL

    table = options.table("key figure", "measured", "threshold", "verdict")
    for row in run.document["kpis"]:
        if row["verdict"] is not None:
            sign = "at least" if row["more_is_better"] else "at most"
            cells = (shown(row["value"], row["unit"]), f"{sign} {shown(row['threshold'])}", row["verdict"])
            table.add_row(row["key"], *cells)
    console.print(table)
    for line in summary(run.document):
        console.print(line, markup=False, soft_wrap=True)
    tally = run.document["tally"]
    console.print(f"{tally['pass']} met, {tally['fail']} missed, {tally['not measured']} not measured", soft_wrap=True)
    console.print(f"Wrote {run.out / HTML_NAME} and {run.out / JSON_NAME}", markup=False, soft_wrap=True)
    if tally[FAIL]:
        options.found_wanting(f"{tally[FAIL]} threshold(s) are missed; the report says which")
