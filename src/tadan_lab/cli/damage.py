"""``tadan lab damage``: what is left of damaged files."""

from __future__ import annotations

from typing import Annotated

import typer

from tadan_lab.cli import options


def damage(
    pictures: options.Pictures,
    tile: Annotated[int, typer.Option(help="Pixels a side of the tiles, a multiple of 64; 0: one tile.")] = 256,
    quality: options.Quality = 50,
    percent: Annotated[float, typer.Option(help="Share of the bytes of a file that is damaged.")] = 1.0,
    trials: Annotated[int, typer.Option(help="Files damaged in each way, for every picture.", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the random numbers.", min=0)] = 1,
    effort: options.Effort = 0,
    limit: options.Limit = None,
    threads: options.Threads = None,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """Damage files anywhere, in several ways, and salvage them, and check what is left."""
    from rich.console import Console

    from tadan.cli.progress import progress_bar
    from tadan.pictures.folder import list_pictures
    from tadan_lab.measure.damage import damage_document, measure_damage, summarise_damage
    from tadan_lab.measure.harm import HARMS

    paths = list_pictures(pictures, limit)
    with progress_bar("salvaging", len(paths) * len(HARMS) * trials) as step:
        rows = list(measure_damage(paths, tile, quality, percent, trials, seed, effort, model, threads, step))
    headings = ("bytes\n%", "intact\ntiles %", "partial\ntiles %", "files\n%", "refused\n%", "wrong\ntiles", "s")
    table = options.table("damage", *headings)
    for one in summarise_damage(rows):
        shares = (one.tiles_intact_percent, one.tiles_partial_percent, one.files_percent, one.refused_percent)
        table.add_row(
            one.harm,
            f"{one.damaged_percent:.3f}",
            *(f"{share:.1f}" for share in shares),
            str(one.wrong),
            f"{one.seconds:.2f}",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"{len(paths)} picture(s), quality {quality}, tiles of {tile} pixels, {trials} trials each. Bytes: damaged "
        "ones; files: of which a tile or its first stages were recovered;\nrefused: of which nothing can be; wrong: "
        "tiles called intact that are not; s: to salvage.",
        soft_wrap=True,
    )
    options.write(out, damage_document(rows, tile, quality, percent, seed, effort))
    if any(row.wrong for row in rows):
        options.found_wanting("some tiles that salvage calls intact are not; please report it with the lines above")
