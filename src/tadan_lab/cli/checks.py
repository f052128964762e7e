"""Verbs that check the codec: ``tadan lab exactness``, ``monotone``, ``price``, ``damage`` and ``tiles``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tadan.errors import MissingPackage
from tadan_lab.cli import options


def exactness(
    pictures: options.Pictures,
    quality: options.Quality = 60,
    schedule: options.Schedule = "balanced",
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


def monotone(
    pictures: options.Pictures,
    step: Annotated[
        int, typer.Option(help="Distance between the qualities to look at; 100 is always among them.", min=1)
    ] = 1,
    schedule: options.Schedule = "balanced",
    effort: Annotated[
        int | None,
        typer.Option("--effort", "-e", min=0, max=9, help="Effort from 0 to 9; default: the encoder's own choice."),
    ] = None,
    limit: options.Limit = None,
    threads: options.Threads = None,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """Encode every picture at rising qualities: do bytes and PSNR always rise? Violations are reported, no failure."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from tadan.cli.report import progress_bar
    from tadan.pictures.folder import list_pictures
    from tadan.text import plain
    from tadan_lab.measure import TadanCodec
    from tadan_lab.measure.monotone import check_monotone, monotone_document, monotone_summary

    codec = TadanCodec(schedule, model, threads, effort)
    paths = list_pictures(pictures, limit)
    qualities = sorted({*codec.qualities[::step], codec.qualities[-1]})
    with progress_bar("coding", len(paths) * len(qualities)) as advance:
        rows = list(check_monotone(codec, paths, qualities, advance))
    table = Table("picture", "bytes not rising at", "largest fall", "PSNR not rising at", "largest fall")
    for row in rows:
        table.add_row(
            escape(plain(row.picture)),
            ", ".join(map(str, row.bytes_not_rising)) or "never",
            f"{row.largest_bytes_fall_percent:.2f} %",
            ", ".join(map(str, row.psnr_not_rising)) or "never",
            f"{row.largest_psnr_fall_db:.3f} dB",
        )
    console = Console()
    console.print(table)
    for name, value in monotone_summary(rows).items():
        console.print(f"{name.replace('_', ' ')}: {value}", highlight=False)
    options.write(out, monotone_document(codec, rows))


def price(
    pictures: options.Pictures,
    qualities: options.Qualities = "5,20,40,60,80,95",
    schedule: options.Schedule = "2x2",
    weights: Annotated[
        Path | None, typer.Option(help="ema.safetensors of the exported run; default: restored from the model.")
    ] = None,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """Bits that integer networks cost against the float networks they were made from. Needs the extra train."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise MissingPackage('this comparison needs torch; run: pip install "tadan[train]"')
    from tadan.optional import parse_qualities
    from tadan.pictures.folder import list_pictures
    from tadan_lab.measure.price import measure_price

    rows = []
    wanted = parse_qualities(qualities, range(1, 101))
    for one in measure_price(list_pictures(pictures), wanted, schedule, model, weights):
        rows.append(
            {"quality": one.quality, "integer_percent": one.integer_percent, "total_percent": one.total_percent}
        )
        typer.echo(
            f"quality {one.quality}: {one.integer_bits / 8:,.0f} bytes; integers {one.integer_percent:+.3f} %, "
            f"with tables {one.total_percent:+.3f} % against float"
        )
    options.write(out, {"schedule": schedule, "rows": rows})


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

    from tadan.cli.report import progress_bar
    from tadan.pictures.folder import list_pictures
    from tadan_lab.measure.damage import HARMS, damage_document, measure_damage, summarise_damage

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

    from tadan.cli.report import progress_bar
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


def guard(
    pictures: options.Pictures,
    limit: options.Limit = None,
    threads: options.Threads = None,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """What photographs take, beside the limits beyond which the encoder compares with PNG, WebP and JPEG."""
    from rich.console import Console

    from tadan.cli.report import progress_bar
    from tadan.models import load_model
    from tadan.pictures.folder import list_pictures
    from tadan_lab.measure.guard import QUALITIES, guard_document, measure_guard

    paths = list_pictures(pictures, limit)
    with progress_bar("encoding", 2 * len(QUALITIES) * len(paths)) as step:
        rows = measure_guard(paths, model, threads, step)
    table = options.table("channels", "q", "lambda", "most\nbpp", "limit", "least\nlossless", "limit", "beyond")
    for row in rows:
        limits = (
            f"{row.most_bpp:.2f}",
            f"{row.limit_bpp:.2f}",
            f"{row.least_lossless:.1f}",
            f"{row.limit_lossless:.1f}",
        )
        table.add_row(str(row.channels), str(row.quality), f"{row.lambda_:.4f}", *limits, str(row.flagged))
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"{len(paths)} pictures, effort 0. Most bpp: all but 1 % of them stay within. Least lossless: 0.8 of the "
        "least estimated PNG per byte of the stream.\nBeyond: pictures that the encoder takes for unusual.",
        soft_wrap=True,
    )
    options.write(out, guard_document(rows, len(paths), load_model(model).id_hex))


def decoders(
    pictures: options.Pictures,
    names: Annotated[str, typer.Option("--decoders", help="full, lite or files of lite decoders, by commas.")] = (
        "full,lite"
    ),
    qualities: Annotated[str, typer.Option("-q", "--qualities", help="1 to 100, by commas.")] = "20,35,50,65,80",
    repeat: Annotated[int, typer.Option(help="Decodes of each file; medians count.", min=1)] = 3,
    limit: options.Limit = None,
    threads: options.Threads = None,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """Compare the full decoder with lite ones on the same files: quality, seconds, bytes of weights."""
    import os

    from rich.console import Console

    from tadan.cli.report import progress_bar
    from tadan.machine import machine_facts
    from tadan.models import load_model
    from tadan.optional import parse_qualities
    from tadan.pictures.folder import list_pictures
    from tadan_lab.measure.decoders import compare_decoders, weights_of

    chosen, tried = [name.strip() for name in names.split(",")], parse_qualities(qualities, range(1, 101))
    files, count = list_pictures(pictures, limit), threads or os.cpu_count() or 1
    weights = {name: weights_of(name, load_model(model)) for name in chosen}
    with progress_bar("decoding", len(files) * len(tried)) as step:
        rows = compare_decoders(files, chosen, tried, model, count, repeat, step)
    table = options.table("decoder", "quality", "bpp", "PSNR", "SSIMULACRA2", "ms")
    for row in rows:
        figures = (f"{row.bpp:.3f}", f"{row.psnr:.2f}", f"{row.ssimulacra2:.2f}", f"{1000 * row.seconds:.0f}")
        table.add_row(Path(row.decoder).stem, str(row.quality), *figures)
    console = Console(highlight=False)
    console.print(table)
    for name, facts in weights.items():
        console.print(f"{Path(name).stem}: {facts['bytes']:,.0f} bytes, {facts['kmac']:.2f} kMAC per pixel")
    document = {"machine": machine_facts(), "threads": count, "repeat": repeat, "weights": weights}
    options.write(out, {**document, "rows": [row.to_dict() for row in rows]})
