"""Verbs that check ``tadan tune``: ``tadan lab predict`` and ``tadan lab regret``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tadan.cli.options import ModelName, parse_size
from tadan_lab.cli import options

MachineFile = Annotated[Path, typer.Option("--machine", metavar="FILE", help="Profile of tadan tune --measure.")]


def predict(
    pictures: options.Pictures,
    machine: MachineFile,
    schedules: Annotated[
        str, typer.Option(help="Decoding orders, separated by blanks.")
    ] = "hyper 4x4-opt-4 4x4-opt-16",
    efforts: Annotated[str, typer.Option(help="Efforts, separated by commas.")] = "0,1",
    tiles: Annotated[str, typer.Option(help="Tile sizes, by commas; 'default' is by size.")] = "default",
    thread_counts: Annotated[str, typer.Option(help="Numbers of threads, separated by commas.")] = "1",
    quality: options.Quality = 60,
    repeat: Annotated[int, typer.Option(help="Runs of each setting; medians count.", min=1)] = 3,
    limit: options.Limit = None,
    model: ModelName = None,
    out: options.Out = None,
) -> None:
    """Compare the seconds that the cost model predicts with those of real encodes and decodes."""
    from rich.console import Console

    from tadan.cli.report import progress_bar
    from tadan.machine import machine_facts
    from tadan.optional import parse_qualities
    from tadan.pictures.folder import list_pictures, open_rgb
    from tadan.tune.machine import load_machine
    from tadan.tune.setting import grid
    from tadan_lab.measure.tuning import KINDS, error_summary, measure_predictions

    profile = load_machine(machine)
    sides = [None if word.strip() == "default" else int(parse_size(word, "--tiles")) for word in tiles.split(",")]
    tried = parse_qualities(efforts, range(10), "Efforts")
    settings = grid(quality, schedules.split(), tried, sides, (model,))
    for one in settings:
        _ = one.options
    counts = parse_qualities(thread_counts, range(1, 1025), "Thread counts")
    images = [(path.name, open_rgb(path)) for path in list_pictures(pictures, limit)]
    with progress_bar("running", len(images) * len(settings) * len(counts)) as step:
        rows = measure_predictions(images, profile, settings, counts, repeat, step)
    console = Console(highlight=False)
    table = options.table("picture", "schedule", "e", "thr", "encode\ns", "\nerror", "decode\ns", "\nerror", "pace")
    for row in rows:
        errors = [f"{100 * row.error(verb, 'paced'):+.1f} %" for verb in ("encode", "decode")]
        table.add_row(
            row.picture,
            row.schedule,
            str(row.effort),
            str(row.threads),
            f"{row.encode:.3f}",
            errors[0],
            f"{row.decode:.3f}",
            errors[1],
            f"{row.pace:.2f}",
        )
    console.print(table)
    summary = {
        kind: {
            str(count): error_summary([row for row in rows if row.threads == count], kind)
            for count in counts
            if kind != "processor" or count == 1
        }
        for kind in KINDS
    }
    for kind, by_count in summary.items():
        for count, verbs in by_count.items():
            for verb, errors_of in verbs.items():
                words = ", ".join(f"{name.replace('_', ' ')} {100 * value:.1f} %" for name, value in errors_of.items())
                console.print(f"{kind} seconds, {count} threads, {verb}: {words}", soft_wrap=True)
    document = {"machine": machine_facts(), "quality": quality, "repeat": repeat, "summary": summary}
    options.write(out, {**document, "rows": [row.to_dict() for row in rows]})


def regret(
    pictures: options.Pictures,
    machine: MachineFile,
    target: Annotated[list[str], typer.Option("--target", help="As of tadan tune --for; may be repeated.")],
    schedules: Annotated[str, typer.Option(help="Decoding orders, separated by blanks.")] = "hyper 4x4-opt-4 4x4-opt-8",
    efforts: Annotated[str, typer.Option(help="Efforts, separated by commas.")] = "0,1,2,3,5",
    sample: Annotated[int, typer.Option(min=1, help="Pictures of the folder that are coded.")] = 8,
    part_pixels: Annotated[int, typer.Option(min=4096, help="Pixels of each that are coded.")] = 98_304,
    quality: options.Quality = 60,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample and of the parts.")] = 0,
    threads: options.Threads = None,
    out: options.Out = None,
) -> None:
    """Compare what tadan tune chooses with the best of trying every setting on every picture of the sample."""
    from rich.console import Console

    from tadan.machine import machine_facts
    from tadan.optional import parse_qualities
    from tadan.tune.album import open_album
    from tadan.tune.machine import load_machine
    from tadan.tune.outcome import entry_values
    from tadan.tune.rates import Rates
    from tadan.tune.search import Space, Tuner
    from tadan.tune.target import parse_target
    from tadan_lab.measure.tuning import measure_regret

    profile, console = load_machine(machine), Console(highlight=False)
    wanted = [parse_target(one) for one in target]
    album = open_album(pictures, sample, seed)
    space = Space(tuple(schedules.split()), tuple(parse_qualities(efforts, range(10), "Efforts")))
    rows, begun = [], time.perf_counter()
    about: dict[str, Any] = {"machine": machine_facts(), "sample": len(album.sample)}
    about |= {"part_pixels": part_pixels, "seed": seed}
    for tuning in wanted:
        tuner = Tuner(album, tuning, profile, profile, space, quality)
        rates = Rates(album, part_pixels, tuner.metric, threads=threads, seed=seed)
        found, tuned = measure_regret(tuner, rates, tuner.estimate(part_pixels))
        rows.append({**found.to_dict(), "figures": entry_values(tuned.chosen)})
        console.print(
            f"{found.target}: {found.chosen}; best: {found.best}; regret {100 * found.regret:.2f} %, "
            f"{found.files} of {found.files_of_all} files, {found.seconds:.0f} s (at most {found.estimated:.0f} said)",
            soft_wrap=True,
        )
        about["seconds"] = round(time.perf_counter() - begun, 1)
        options.write(out, {**about, "rows": rows})  # what was measured until patience ran out is worth having
