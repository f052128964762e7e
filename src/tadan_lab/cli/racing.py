"""Verbs of speed beside others and under load: ``tadan lab race`` and ``throughput``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tadan.errors import InvalidInput
from tadan_lab.cli import options

if TYPE_CHECKING:
    from tadan_lab.measure.race import RaceRow

Counts = Annotated[str, typer.Option(help="Numbers of threads, by commas.")]


def race(
    pictures: options.Pictures,
    quality: Annotated[int, typer.Option("--quality", "-q", min=1, max=100, help="Of Tadan; others follow.")] = 60,
    rivals: Annotated[str, typer.Option(help="Other codecs, by commas.")] = "jpeg,webp,avif,jxl",
    counts: Counts = "1,2",
    efforts: Annotated[str, typer.Option(help="Efforts of Tadan, by commas; the first sets the quality.")] = "1,0",
    repeat: Annotated[int, typer.Option(help="Rounds; each runs every codec once.", min=1)] = 5,
    limit: options.Limit = None,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """Encode and decode beside other codecs at about equal SSIMULACRA2: medians of seconds, in one run and in turn."""
    from rich.console import Console

    from tadan.cli.report import progress_bar
    from tadan.machine import machine_facts
    from tadan.optional import parse_qualities, require
    from tadan.pictures.folder import list_pictures, open_rgb
    from tadan.schedule import get_schedule
    from tadan_lab.measure.limit import product_rates
    from tadan_lab.measure.ours import EFFORTS, TadanCodec
    from tadan_lab.measure.race import race as run
    from tadan_lab.measure.rivals import choose_rivals

    require("ssimulacra2", "lab", "tadan lab race")
    numbers_of, tried = _counts(counts), parse_qualities(efforts, EFFORTS, "Efforts")
    paths = list_pictures(pictures, limit)
    teams = []
    for count in numbers_of:
        others, skipped = choose_rivals(rivals, count)
        teams.append((count, [*(TadanCodec(model=model, threads=count, effort=one) for one in tried), *others]))
    for line in skipped:
        typer.echo(line, err=True)
    total = len(paths) * repeat * sum(len(codecs) for _, codecs in teams)
    results: list[tuple[str, tuple[int, int], list[RaceRow]]] = []
    with progress_bar("racing", total) as step:
        for path in paths:
            image = open_rgb(path)
            results.append((path.name, image.size, run(image, teams, quality, repeat, step)))
    rates, console = product_rates(), Console(highlight=False)
    config, order = TadanCodec(model=model).config, get_schedule("balanced")
    limits = {} if rates is None else {n: rates.decode_seconds(config, order, 1, n) for n in numbers_of}
    for name, (width, height), rows in results:
        table = options.table("codec", "threads", "bytes", "score", "encode s", "decode s")
        for row in rows:
            cells = (f"{row.bytes:,}", f"{row.score:.1f}", f"{row.encode:.3f}", f"{row.decode:.3f}")
            table.add_row(row.codec, str(row.threads), *cells)
        console.print(f"{name}, {width}x{height}")
        console.print(table)
    console.print(f"Medians of {repeat} rounds, pixels in memory to bytes and back; score: SSIMULACRA2", soft_wrap=True)
    for count, limit_s in limits.items():
        console.print(f"Decoding at the rate of the products alone, {count} thread(s): {limit_s:.3f} s a megapixel")
    named = [
        {"picture": name, "width": size[0], "height": size[1], "rows": [row.to_dict() for row in rows]}
        for name, size, rows in results
    ]
    found = {"rates": None if rates is None else rates.to_dict(), "limits": limits, "machine": machine_facts()}
    options.write(out, {"quality": quality, "repeat": repeat, **found, "pictures": named})


def throughput(
    picture: Annotated[Path, typer.Argument(help="Photograph that the pictures are made of.")],
    megapixels: Annotated[str, typer.Option(help="Sizes, by commas.")] = "0.1,0.5,2,12",
    counts: Counts = "1,2",
    seconds: Annotated[float, typer.Option(help="For each measurement.", min=0.01)] = 5,
    effort: Annotated[int | None, typer.Option("--effort", "-e", min=0, max=9, help="Of the encoder.")] = None,
    repeat: Annotated[int, typer.Option(help="Processes to start for each time of a start.", min=1)] = 5,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """What a server gets: megapixels a second with threads that share a codec, and how long processes take to start."""
    from rich.console import Console

    from tadan.cli.report import progress_bar
    from tadan.machine import machine_facts
    from tadan.pictures.folder import open_rgb
    from tadan_lab.cli.timing import numbers
    from tadan_lab.measure.throughput import measure_start, measure_throughput, resized

    image, sizes, workers = open_rgb(picture), numbers(megapixels), _counts(counts)
    if not sizes or min(sizes) < 0.001:
        raise InvalidInput("sizes are megapixels from 0.001 on; write them as 0.1,2")
    with progress_bar("working", 3 * len(sizes) * len(workers)) as step:
        rows = measure_throughput(image, sizes, workers, seconds, effort, model, step)
    starts = measure_start(resized(image, 0.4), repeat)
    table = options.table("megapixels", "workers", "encode MP/s", "decode MP/s", "verify MP/s")
    for row in rows:
        rates = (f"{value:.2f}" for value in (row.encode, row.decode, row.latents))
        table.add_row(f"{row.megapixels:.2f}", str(row.workers), *rates)
    console = Console(highlight=False)
    console.print(table)
    for name, value in starts.items():
        console.print(f"{name}: {value:.2f} s in a new process")
    found = {"rows": [row.to_dict() for row in rows], "starts": starts}
    options.write(out, {"picture": picture.name, "effort": effort, **found, "machine": machine_facts()})


def _counts(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() and 1 <= int(word) <= 1024 for word in words):
        raise InvalidInput(f"{text!r} are no numbers of threads; write them as 1,2,4")
    return [int(word) for word in words]
