"""``tadan lab speed``: seconds by schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tadan_lab.cli import options


def speed(
    picture: Annotated[Path, typer.Argument(help="The picture to code.")],
    schedules: Annotated[
        str, typer.Option(help="Names, by commas; stored ones too.")
    ] = "hyper,checkerboard,2x2,4x4-opt-4,4x4-opt-8,4x4,wavefront,raster",
    pattern: Annotated[
        list[str] | None, typer.Option(help="Written-out schedule, such as 0,2/3,1; may be repeated.")
    ] = None,
    quality: Annotated[
        int, typer.Option("--quality", "-q", min=1, max=100, help="1 (smallest file) to 100 (best picture).")
    ] = 50,
    repeat: Annotated[int, typer.Option(help="Rounds; each runs every schedule once.", min=1)] = 9,
    threads: Annotated[int | None, typer.Option(help="Processor threads to use; default: all.", min=1)] = None,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """Encode and decode one picture under several schedules in turn; medians, and ratios to checkerboard."""
    from rich.console import Console
    from rich.table import Table

    from tadan.cli.progress import progress_bar
    from tadan.pictures.folder import open_rgb
    from tadan_lab.measure.bench import measure_speed

    image = open_rgb(picture)
    named = [name.strip() for name in schedules.split(",") if name.strip()]
    names = list(dict.fromkeys([*named, *(pattern or [])]))
    with progress_bar("timing", 4 * repeat * len(names)) as step:
        rows = measure_speed(image, names, quality, repeat, threads, model, step)
    base = next((row.decode for row in rows if row.schedule == "checkerboard"), None)
    table = Table(
        "schedule", "stages", "bytes", "encode s", "decode s", "latents s", "rANS s", "rANS share", "decode ratio"
    )
    for row in rows:
        ratio = "" if base is None else f"{row.decode / base:.2f}"
        times = (f"{value:.3f}" for value in (row.encode, row.decode, row.latents, row.entropy))
        table.add_row(row.schedule, str(row.stages), str(row.bytes), *times, f"{row.entropy / row.decode:.1%}", ratio)
    console = Console()
    console.print(table)
    console.print(
        f"{image.width}x{image.height}, quality {quality}, medians of {repeat} rounds, process start excluded"
    )
    options.write(
        out, {"picture": picture.name, "quality": quality, "repeat": repeat, "rows": [row.to_dict() for row in rows]}
    )
