"""``tadan lab tiles``: bytes, PSNR and seams by size of the tiles."""

from __future__ import annotations

from typing import Annotated

import typer

from tadan_lab.cli import options


def tiles(
    pictures: options.Pictures,
    tiles: Annotated[
        str,
        typer.Option(help="Pixels a side, multiples of 64, by commas; 'default': chosen by the size of the picture."),
    ] = "default,512,768,1024",
    qualities: Annotated[
        str, typer.Option("--qualities", "-q", help="Qualities from 1 to 100, separated by commas.")
    ] = "15,40,75",
    effort: options.Effort = 0,
    schedule: options.Schedule = "balanced",
    limit: options.Limit = None,
    threads: options.Threads = None,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """Encode every picture in tiles and in one: bytes, PSNR, and what shows at the borders of tiles."""
    from rich.console import Console

    from tadan.cli.progress import progress_bar
    from tadan.optional import parse_qualities
    from tadan.pictures.folder import list_pictures
    from tadan_lab.measure.tiles import measure_tiles, parse_tiles, summarise_tiles, tiles_document

    paths, sizes, points = list_pictures(pictures, limit), parse_tiles(tiles), parse_qualities(qualities, range(1, 101))
    with progress_bar("coding", len(paths) * len(points) * (len(sizes) + 1)) as step:
        rows = list(measure_tiles(paths, sizes, points, effort, schedule, model, threads, step))
    headings = ("bytes\n%", "PSNR\ndB", "seam\ndB", "step\ntiles", "step\nwhole", "step\norig.")
    table = options.table("tile", "q", "tiled", *headings)
    for one in summarise_tiles(rows):
        table.add_row(
            one.tile,
            str(one.quality),
            f"{one.tiled}/{one.pictures}",
            f"{one.bytes_percent:+.2f}",
            *(options.signed(value, 3) for value in (one.psnr_change_db, one.seam_db)),
            *(options.signed(value, 2) for value in (one.step, one.step_one_tile, one.step_original)),
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "Against one tile: bytes of all pictures, PSNR, and how much more PSNR changes within 8 pixels of inner "
        "borders than elsewhere (below 0: seams).\nStep across borders minus the steps beside it, in levels of 255: in "
        "tiles, at the same places in one tile, in the original.",
        soft_wrap=True,
    )
    options.write(out, tiles_document(rows, effort, schedule))
