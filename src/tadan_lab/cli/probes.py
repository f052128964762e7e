"""``tadan lab probes``: which widths of a model are redundant, and what limits it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tadan.cli.train import need_torch
from tadan_lab.cli import options


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

    from tadan.cli.progress import progress_bar
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
