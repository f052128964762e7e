"""``tadan batch``: whole collections, from where they are to where they shall be."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tadan.cli import encoding, options
from tadan.cli.report import EXIT_FAILURE, EXIT_SIGNAL, print_error
from tadan.codec.options import DEFAULT_EFFORT
from tadan.errors import InvalidInput
from tadan.optional import require

if TYPE_CHECKING:
    from tadan.batch.crew import Crew
    from tadan.batch.entries import Entry
    from tadan.batch.outcome import Outcome
    from tadan.batch.prices import Prices
    from tadan.batch.run import Engine, Run
    from tadan.batch.setup import Sizes

_LOCAL, _RAY = "local", "ray"
_SHOWN_FAILURES = 20  # more are in the report
_LOG_SECONDS = 30.0  # between two lines where there is no terminal


def batch(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="Folder, glob, manifest (.csv, .parquet) or URL of pictures.")
    ],
    destination: Annotated[str, typer.Argument(metavar="DST", help="Folder or URL (s3://, gs://) of the outputs.")],
    naming: Annotated[
        str, typer.Option(help="Names of outputs: hash (of content, model and settings) or mirror (as the sources).")
    ] = "hash",
    quality: encoding.Quality = None,
    target_size: encoding.TargetSize = None,
    target_psnr: encoding.TargetPsnr = None,
    target_score: encoding.TargetScore = None,
    lossless: encoding.Lossless = False,
    lossless_jpeg: encoding.LosslessJpeg = False,
    schedule: encoding.Schedule = "balanced",
    effort: encoding.Effort = DEFAULT_EFFORT,
    tune: encoding.Tune = None,
    verify: encoding.Verify = False,
    fallback: encoding.Fallback = True,
    strip: encoding.Strip = False,
    keep_hidden: encoding.KeepHidden = False,
    tile: encoding.Tile = None,
    profile: options.ProfileFile = None,
    force: options.Force = None,
    engine: Annotated[str, typer.Option(help="Who does the work: local (this machine) or ray (a cluster).")] = _LOCAL,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join, such as auto.", show_default="RAY_ADDRESS, or a new one")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that work; default: one for each core, as memory allows.")
    ] = None,
    worker_memory: Annotated[
        str | None,
        typer.Option(help="Bytes that a worker may take before its picture is given up.", show_default="a fair share"),
    ] = None,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds after which a picture is given up.")] = 600,
    retries: Annotated[
        int, typer.Option(min=0, help="Tries after a transient error, such as throttling, with growing waits.")
    ] = 4,
    max_failures: Annotated[
        int | None, typer.Option(min=1, help="Stop once so many pictures have failed.", show_default="never")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in an earlier run, too.")
    ] = False,
    recheck: Annotated[
        bool, typer.Option("--recheck", help="Look at every source and output again, even if each takes a request.")
    ] = False,
    journal: Annotated[
        Path | None, typer.Option(help="File that knows what was done.", show_default="in DST, or the user's data")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write NAME.json, .html and .csv about all pictures.", show_default="beside the journal"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; encode a sample, and tell what the batch would take.")
    ] = False,
    sample: Annotated[int, typer.Option(min=1, help="Pictures of the sample of --dry-run.")] = 40,
    prices: Annotated[
        Path | None, typer.Option(help="Price table (TOML or JSON), to tell dollars for a million pictures.")
    ] = None,
    model: options.ModelName = None,
    max_pixels: options.MaxPixels = None,
    memory: options.Memory = None,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Encode whole collections; a batch that was stopped or killed goes on where it was."""
    require("fsspec", "batch", "tadan batch")
    from tadan.batch.checkpoint import Checkpoint
    from tadan.batch.crew import Bounds, Crew
    from tadan.batch.entries import open_source
    from tadan.batch.journal import Journal
    from tadan.batch.on_ray import Cluster, ray_outcomes
    from tadan.batch.prices import read_prices
    from tadan.batch.recipe import Recipe
    from tadan.batch.run import Policy, Run
    from tadan.batch.setup import Sizes, journal_name, journal_path
    from tadan.batch.unit import HASHED, MIRRORED, Job
    from tadan.places import Place

    if engine not in (_LOCAL, _RAY):
        raise InvalidInput(f"--engine is {_LOCAL} or {_RAY}, not {engine}")
    if engine == _RAY:
        require("ray", "ray", "--engine ray")
    target = encoding.one_target(target_size, target_psnr, target_score)
    own = options.ProfileChoice(profile, context)  # workers are counted here, whatever machine it was made for
    chosen = encoding.chosen_options(
        target,
        quality,
        lossless_jpeg,
        usual=own("quality", quality),
        lossless=lossless,
        schedule=own("schedule", schedule),
        effort=own("effort", effort),
        tile=own("tile", tile),
        strip=strip,
        tune=own("tune", tune),
        fallback=fallback,
        keep_hidden=keep_hidden,
    )
    if naming not in (HASHED, MIRRORED):
        raise InvalidInput(f"--naming is {HASHED} or {MIRRORED}, not {naming}")
    own_bound = _size(worker_memory, "--worker-memory")
    sizes = Sizes.of(workers, own_bound, _size(memory, "--memory"))
    bounds = Bounds(deadline, sizes.bound)
    recipe = Recipe.of(chosen, target, model if lossless_jpeg else own.model(model), lossless_jpeg)
    pixels = _size(max_pixels, "--max-pixels")
    job = Job(destination, recipe, naming, force, verify, pixels, sizes.memory, retries)
    entries = open_source(source, retries)
    table = None if prices is None else read_prices(prices)
    if dry_run:
        _estimate(iter(entries), Crew(replace(job, dry=True), sizes.workers, bounds), sizes, sample, table, report)
        return
    path = journal or journal_path(source, destination)
    checkpoint = Checkpoint(destination, path, journal_name(source, Place(destination, "write to")), retries)
    restored = checkpoint.fetch()
    policy = Policy(max_failures, retry_failed, recheck, f"{bounds}, {pixels or 'usual'} pixels", restored)
    kept = Journal(path)
    try:
        run = Run(entries, job, kept, policy)
        work: Engine
        if engine == _LOCAL:
            work = Crew(job, sizes.workers, bounds).outcomes
        else:
            work = partial(ray_outcomes, job, bounds, Cluster(address, workers, own_bound))
        _go(run, work, lambda: checkpoint.save(kept), quiet, no_progress)
        if run.tally.worked:
            checkpoint.save(kept, now=True)
        _tell(run, report, {"source": source, "destination": destination, "workers": sizes.workers}, table, quiet)
    finally:
        kept.close()


def _size(text: str | None, what: str) -> int | None:
    return None if text is None else options.parse_size(text, what)


def _go(run: Run, engine: Engine, save: Callable[[], None], quiet: bool, no_progress: bool) -> None:
    """Run until all is done, or a signal asks to stop; the second one ends it at once."""
    shown = 0

    def failed(one: Outcome) -> None:
        nonlocal shown
        shown += 1
        if shown <= _SHOWN_FAILURES:
            name = "" if one.source in (one.message or "") else f"{one.source}: "
            print_error(f"{name}{one.kind}: {one.message}")
        if shown == _SHOWN_FAILURES + 1:
            print_error("more failures are not shown; the report lists all")

    with _signals(run), _progress(run, quiet or no_progress) as show:

        def watch(one: Outcome | None) -> None:
            if one is not None and one.state == "failed":
                failed(one)
            show()
            save()

        run.go(engine, watch)


@contextmanager
def _signals(run: Run) -> Iterator[None]:
    """SIGINT and SIGTERM stop the run in order: pictures in work are finished, and the report is written."""
    before = {}

    def stop(number: int, _frame: object) -> None:
        if run.stopped is not None:
            raise KeyboardInterrupt
        name = signal.Signals(number).name
        run.stop(name)
        typer.echo(f"{name}: finishing the pictures in work; once more ends at once", err=True)

    for name in ("SIGINT", "SIGTERM"):
        number = getattr(signal, name)
        before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(run: Run, silent: bool) -> Iterator[Callable[[], None]]:
    """A function that shows how far the run is: a bar on terminals, elsewhere a line now and then."""
    from rich.console import Console

    console = Console(stderr=True)
    if silent or not console.is_terminal:
        last = time.monotonic()

        def log() -> None:
            nonlocal last
            if not silent and time.monotonic() - last >= _LOG_SECONDS:
                last = time.monotonic()
                typer.echo(run.tally.line(), err=True)

        yield log
        return
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(BarColumn(20), TextColumn("{task.description}"), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show() -> None:
            tally = run.tally
            bar.update(task, completed=tally.seen, total=tally.total, description=tally.line())

        yield show


def _estimate(
    entries: Iterator[Entry], crew: Crew, sizes: Sizes, size: int, prices: Prices | None, base: Path | None
) -> None:
    """Say what a batch would take; with ``base``, also as JSON."""
    from tadan.batch.estimate import estimate
    from tadan.batch.tally import shown_bytes, shown_seconds
    from tadan.files import write_atomically
    from tadan.machine import machine_facts

    found = estimate(entries, crew.outcomes, sizes.workers, size)
    facts = found.to_dict(prices)
    sure = f"±{100 * facts['uncertainty']:.0f} % (95 % of samples)"
    megapixels = facts["pixels_per_second_and_core"] / 1e6
    lines = [
        f"{facts['pictures']:,} pictures, {shown_bytes(facts['bytes_in'])}; sample of {facts['sample']}",
        f"one worker: {megapixels:.3f} megapixels/s, {facts['seconds_per_picture_and_core']:.3f} s a picture {sure}",
        f"memory: {shown_bytes(facts['worker_bytes'])} for a worker at most, in the sample",
        f"with {sizes.workers} workers: {shown_seconds(facts['seconds'])}",
        f"outputs: {shown_bytes(facts['bytes_out'])}, {100 * facts['saved']:.0f} % saved",
    ]
    if facts["failed_in_sample"]:
        lines.append(f"failed in the sample: {facts['failed_in_sample']}")
    for name, value in facts.get("dollars_per_million", {}).items():
        lines.append(f"dollars for a million pictures, {name.replace('_', ' ')}: {value:,.2f}")
    for line in lines:
        typer.echo(line)
    if base is not None:
        content = {**facts, "machine": machine_facts()}
        write_atomically(base.with_name(f"{base.name}.json"), json.dumps(content, indent=1).encode() + b"\n")


def _tell(run: Run, base: Path | None, facts: dict[str, Any], prices: Prices | None, quiet: bool) -> None:
    """Write the report, say the result, and end with the exit code that it deserves."""
    from tadan.batch.prices import Rates, dollars_per_million
    from tadan.batch.report import summary, write_report
    from tadan.machine import machine_facts

    tally, path = run.tally, run.journal.path
    base = base or path.with_name(f"{path.stem.lstrip('.')}-report")
    content = summary(
        run.journal,
        {
            **facts,
            "state": "stopped" if run.stopped else "finished",
            "reason": run.error or run.stopped,
            "journal": str(path),
            "unchanged": tally.unchanged,
            "failed_before": tally.unchanged_failures,
            "elapsed_seconds": tally.elapsed,
            "machine": machine_facts(),
        },
    )
    whole = content["pictures"]
    if prices is not None and whole["encoded"]:
        spent = whole["seconds"] + whole["write_seconds"]
        means = (value / whole["encoded"] for value in (spent, whole["bytes_in"], whole["bytes_out"]))
        content["dollars_per_million"] = dollars_per_million(Rates(*means), prices)
    written = write_report(run.journal, content, base)
    if not quiet:
        typer.echo(_line(run))
        typer.echo(f"report: {written[1]}")
    if run.error is not None:
        print_error(f"stopped: {run.error}")
        raise typer.Exit(EXIT_FAILURE)
    if run.stopped in ("SIGINT", "SIGTERM"):
        raise typer.Exit(EXIT_SIGNAL + signal.Signals[run.stopped])
    if run.stopped:
        print_error(f"stopped: {run.stopped}")
    if tally.failures or tally.unchanged_failures or run.stopped:
        raise typer.Exit(EXIT_FAILURE)


def _line(run: Run) -> str:
    from tadan.batch.tally import shown_bytes, shown_seconds

    tally = run.tally
    parts = [f"{tally.states['done']:,} encoded", f"{tally.states['skipped']:,} there already"]
    parts += [f"{tally.unchanged:,} unchanged", f"{tally.failures:,} failed"]
    if tally.unchanged_failures:
        parts.append(f"{tally.unchanged_failures:,} failed before (again with --retry-failed)")
    line = f"{', '.join(parts)} in {shown_seconds(tally.elapsed)}"
    if tally.bytes_in:
        saved = 100 * (1 - tally.bytes_out / tally.bytes_in)
        line += f"; {shown_bytes(tally.bytes_in)} -> {shown_bytes(tally.bytes_out)}, {saved:.0f} % saved"
    return line
