"""``tadan lab exactness``: the same latents and pixels in every way of decoding."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from tadan_lab.cli import options


def exactness(
    pictures: options.Pictures,
    quality: Annotated[
        int, typer.Option("--quality", "-q", min=1, max=100, help="1 (smallest file) to 100 (best picture).")
    ] = 60,
    schedule: Annotated[str, typer.Option(help="Order of decoding: a name, an alias or a pattern.")] = "balanced",
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """Decode every picture in several ways: equal latents and pixels within one level, or it is a failure."""
    from rich.console import Console

    from tadan.machine import blas_facts
    from tadan.pictures.folder import list_pictures
    from tadan_lab.measure.exactness import ExactnessRow, check_exactness

    console = Console()
    console.print(f"numpy multiplies with {blas_facts()}")
    rows, pixels = [], []
    for row in check_exactness(list_pictures(pictures), quality, schedule, model):
        if isinstance(row, ExactnessRow):
            rows.append(asdict(row))
            console.print(f"{row.way}: {row.pictures} pictures, {row.mismatches} mismatches")
        else:
            pixels.append(asdict(row))
            console.print(
                f"{row.way}: {row.pictures} pictures, pixels differ by at most {row.levels}, "
                f"{row.differing:.6%} of the samples differ",
                soft_wrap=True,
            )
    options.write(out, {"quality": quality, "schedule": schedule, "blas": blas_facts(), "rows": rows, "pixels": pixels})
    if any(row["mismatches"] for row in rows):
        options.found_wanting("this machine decodes some pictures to other latents; please report the lines above")
    if any(row["levels"] > 1 for row in pixels):
        options.found_wanting("pixels differ by more than one level; please report it with the lines above")
