"""``tadan lab study`` and ``tadan lab probes``: research on schedules, and on what limits a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tadan.cli.train import need_torch
from tadan.errors import InvalidInput, MissingPackage
from tadan_lab.cli import options


def study(
    data: Annotated[Path, typer.Argument(help="Folder of training pictures of --crop pixels a side or more.")],
    pictures: Annotated[Path, typer.Argument(help="Folder of evaluation pictures; nothing is trained on them.")],
    run: Annotated[Path, typer.Option("--run", help="Folder of all files of this study (gigabytes).")] = Path(
        "runs/study"
    ),
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write study.json, tables.md and plots here.")] = None,
    speed: Annotated[
        list[Path] | None, typer.Option(help="Picture to time decoding on, repeatable; do it on an idle machine.")
    ] = None,
    qualities: options.Qualities = "10,34,56",
    general_steps: Annotated[int, typer.Option(help="Steps of the any-schedule network.", min=1)] = 2600,
    special_steps: Annotated[int, typer.Option(help="Steps of each specialised network.", min=1)] = 1200,
    group_steps: Annotated[
        int, typer.Option(help="Steps of each entropy model with other channel groups.", min=1)
    ] = 1200,
    groups: Annotated[
        str, typer.Option(help="Numbers of channel groups to compare, by commas; empty: the model's, and one.")
    ] = "",
    groups_alone: Annotated[
        bool, typer.Option("--groups-alone", help="Compare channel groups and nothing else; writes groups.json.")
    ] = False,
    budget: Annotated[int, typer.Option(help="Visible subsets of the 4x4 patch to measure.", min=1200)] = 4000,
    crop: Annotated[int, typer.Option(help="Pixels a side of the centre of a training picture.", min=128)] = 512,
    held_out: Annotated[
        int,
        typer.Option(help="Training pictures that orders are measured and checked on, and none is trained on.", min=2),
    ] = 24,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Specialised networks trained side by side.", min=1)] = 2,
    seeds: Annotated[int, typer.Option(help="Trainings of checkerboard, 2x2, best 4x4 and raster.", min=1, max=3)] = 3,
    only: Annotated[str, typer.Option(help="Schedules to train specialised networks for, by commas; empty: all.")] = "",
    model: Annotated[str | None, typer.Option(help="Model, name or path; default: the bundled one.")] = None,
) -> None:
    """Train and compare context models for many decoding orders on frozen latents, and search the best orders.

    Freezes the transforms of a model, trains one any-schedule network, measures with it what every latent costs when a
    given subset of its patch is visible, finds the best schedule for every number of stages, and trains that network
    further under each schedule alone. It then trains entropy models with other channel groups on the same latents, and
    times the real decoder. Hours on two cores. Stop it at any time: the same command goes on where it stopped, and only
    writes the report when everything stands.
    """
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in ("torch", "onnx")):
        raise MissingPackage('the study needs torch and onnx; run: pip install "tadan[train,lab]"')
    if out is not None and any(find_spec(name) is None for name in ("matplotlib", "bjontegaard")):
        raise MissingPackage('the report needs matplotlib and bjontegaard; run: pip install "tadan[train,lab]"')
    from tadan.optional import parse_qualities
    from tadan_lab.study.run import Study, StudyRecipe

    chosen = tuple(parse_qualities(qualities, range(1, 101)))
    if len(chosen) < 2:
        raise InvalidInput("a BD-rate needs at least two qualities; give them as --qualities 10,34,56")
    if crop % 64:
        raise InvalidInput(f"--crop {crop} is no multiple of 64; give one, such as 512")
    recipe = StudyRecipe(qualities=chosen, budget=budget, crop=crop, held_out=held_out)
    recipe = replace(
        recipe,
        general=replace(recipe.general, steps=general_steps),
        special=replace(recipe.special, steps=special_steps),
        grouped=replace(recipe.grouped, steps=group_steps),
    )
    names = [name.strip() for name in only.split(",") if name.strip()]
    counts = _numbers(groups)
    comparison = Study(run, data, pictures, speed or (), recipe, jobs, seeds, names, counts, model, typer.echo)
    comparison.compare_groups() if groups_alone else comparison.run()
    if out is not None:
        from tadan_lab.study.report import write_groups, write_report

        for path in (write_groups if groups_alone else write_report)(run, out):
            typer.echo(str(path))


def _numbers(text: str) -> list[int]:
    """Whole numbers by commas."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no list of whole numbers; write --groups 8,1") from error


def probes(
    pictures: Annotated[Path, typer.Argument(help="Folder of training pictures (searched recursively).")],
    model: Annotated[str, typer.Option(help="Model, name or path, or a run's ema.safetensors.")] = "photo",
    qualities: Annotated[
        str, typer.Option("--qualities", "-q", help="Qualities from 1 to 100, separated by commas.")
    ] = "20,50,80",
    crops: Annotated[int, typer.Option(help="Pictures to measure on; components need as many others.", min=1)] = 4,
    size: Annotated[int, typer.Option(help="Pixels a side of a crop, a multiple of 64.", min=64)] = 128,
    steps: Annotated[int, typer.Option(help="Steps of gradient descent, for the gains.", min=1)] = 12,
    seed: Annotated[int, typer.Option(help="Seed of the draw of pictures and crops.", min=0)] = 0,
    threads: options.Threads = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the figures to this JSON file.")] = None,
) -> None:
    """Probe a model before its design is changed: needed widths, headroom, source of the error. Needs the extra train.

    For each interface: principal components that suffice for 1 % of J, and what a change found by gradient gains.
    Never on evaluation pictures: what the probes say goes into the next design. Minutes on one core.
    """
    need_torch()
    import torch
    from rich.console import Console
    from rich.table import Table

    from tadan.cli.report import progress_bar
    from tadan.optional import parse_qualities
    from tadan_lab.study import probe_report
    from tadan_lab.study.interfaces import interfaces

    chosen = tuple(parse_qualities(qualities, range(1, 101)))
    recipe = probe_report.ProbeRecipe(chosen, crops, size, steps, seed)
    if threads is not None:
        torch.set_num_threads(threads)
    network, identity = probe_report.load_network(model)
    drawn = probe_report.draw_crops(pictures, recipe)
    with progress_bar("fitting components", len(interfaces(network))) as step:
        results = probe_report.probe(network, drawn, recipe, step)
    content = probe_report.content(network, model, identity, recipe, results)
    console = Console()
    for title, (header, rows) in probe_report.grids(content).items():
        table = Table(title=title)
        for place, heading in enumerate(header):
            table.add_column(heading, justify="right" if place else "left", no_wrap=not place)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print("In brackets: a change that is not in the file tells the decoder about the picture for nothing.")
    options.write(out, content)
