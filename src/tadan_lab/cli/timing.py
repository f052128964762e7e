"""Verbs that take time: ``tadan lab speed``, ``effort`` and ``scale``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tadan.errors import InvalidInput
from tadan_lab.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from tadan_lab.measure.scale import ScaleRow


def speed(
    picture: Annotated[Path, typer.Argument(help="The picture to code.")],
    schedules: Annotated[
        str, typer.Option(help="Names, by commas; stored ones too.")
    ] = "hyper,checkerboard,2x2,4x4-opt-4,4x4-opt-8,4x4,wavefront,raster",
    pattern: Annotated[
        list[str] | None, typer.Option(help="Written-out schedule, such as 0,2/3,1; may be repeated.")
    ] = None,
    quality: options.Quality = 50,
    repeat: Annotated[int, typer.Option(help="Rounds; each runs every schedule once.", min=1)] = 9,
    threads: options.Threads = None,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """Encode and decode one picture under several schedules in turn; medians, and ratios to checkerboard."""
    from rich.console import Console
    from rich.table import Table

    from tadan.cli.report import progress_bar
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


def effort(
    pictures: options.Pictures,
    efforts: Annotated[str, typer.Option(help="0 to 9, by commas; the first is compared with.")] = "0,1,3,5,7,9",
    qualities: Annotated[
        str, typer.Option("--qualities", "-q", help="Qualities from 1 to 100, separated by commas; at least four.")
    ] = "10,30,50,70,90",
    schedule: options.Schedule = "balanced",
    limit: options.Limit = None,
    threads: options.Threads = None,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """What searching longer while encoding gives: BD-rate and J against seconds, one row an effort."""
    from rich.console import Console
    from rich.table import Table

    from tadan.cli.report import progress_bar
    from tadan.optional import parse_qualities, require
    from tadan.pictures.folder import list_pictures
    from tadan_lab.measure.effort import measure_effort
    from tadan_lab.measure.ours import EFFORTS

    require("bjontegaard", "lab", "tadan lab effort")
    wanted = parse_qualities(efforts, EFFORTS)
    points = parse_qualities(qualities, range(1, 101))
    total = len(list_pictures(pictures, limit)) * len(wanted) * len(points)
    with progress_bar("coding", total) as step:
        rows = measure_effort(pictures, wanted, points, schedule, model, threads, limit, step)
    table = Table("effort", "encode s", "decode s", "BD-rate", "J")
    for row in rows:
        seconds = (f"{value:.2f}" for value in (row.encode_s, row.decode_s))
        table.add_row(str(row.effort), *seconds, str(row.bd_rate), f"{row.cost_percent:+.2f} %")
    console = Console()
    console.print(table)
    console.print(f"Against effort {rows[0].effort}, BD-rate by PSNR; seconds are means over pictures and qualities")
    options.write(out, {"pictures": pictures.name, "qualities": points, "rows": [row.to_dict() for row in rows]})


def scale(
    pictures: options.Pictures,
    megapixels: Annotated[
        str, typer.Option(help="Sizes, by commas; temporary files take 6 MB a megapixel.")
    ] = "0.1,0.3,1,3,10,30,100",
    quality: options.Quality = 50,
    efforts: Annotated[
        str | None, typer.Option(help="Efforts from 0 to 9, separated by commas; default: the encoder's own choice.")
    ] = None,
    limit_mb: Annotated[
        float, typer.Option(help="Megabytes (2^20 bytes) that no process should need more of.", min=1)
    ] = 1024,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the figures into this .png file, and into an .svg file beside it.")
    ] = None,
    threads: options.Threads = None,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """Encode and decode mosaics of rising size, each in a fresh process: seconds, and peak memory against a limit."""
    from tadan.cli.report import progress_bar
    from tadan.optional import parse_qualities, require
    from tadan.pictures.folder import list_pictures
    from tadan_lab.measure.ours import EFFORTS
    from tadan_lab.measure.scale import PROCESSES, check_megapixels, measure_scale

    if plot is not None:
        require("matplotlib", "lab", "--plot")
        if plot.suffix.lower() != ".png":
            raise InvalidInput(f"the plot is a .png file with an .svg file beside it, not {plot.name}")
    photographs = list_pictures(pictures)
    sizes = check_megapixels(numbers(megapixels))
    tried = [None] if efforts is None else parse_qualities(efforts, EFFORTS, "Efforts")
    rows: list[ScaleRow] = []
    try:
        with progress_bar("measuring", PROCESSES * len(sizes) * len(tried)) as step:
            for row in measure_scale(photographs, sizes, quality, tried, threads, model, step):
                rows.append(row)
    finally:  # what was measured until memory or patience ran out is worth having
        if rows:
            _show(rows, photographs, quality, threads, limit_mb)
            _write(rows, photographs, quality, threads, limit_mb, plot, out)


def numbers(text: str) -> list[float]:
    """Numbers by commas; InvalidInput if they are none."""
    try:
        return [float(word) for word in text.split(",") if word.strip()]
    except ValueError as error:
        raise InvalidInput(f"megapixels {text!r} are not numbers; write them as 0.1,1,10") from error


def _show(
    rows: Sequence[ScaleRow], photographs: Sequence[Path], quality: int, threads: int | None, limit_mb: float
) -> None:
    from rich.console import Console

    from tadan_lab.measure.scale import exponents, limit_line, size_text

    console = Console(highlight=False)
    console.print(_table(rows))
    for effort in dict.fromkeys(row.effort for row in rows):
        powers = exponents([row for row in rows if row.effort == effort])
        fitted = ", ".join(f"{name} {power:.2f}" for name, power in powers.items() if power is not None)
        if fitted:
            console.print(f"Seconds grow with this power of the pixels (1: linear){_at(effort)}: {fitted}")
    console.print(limit_line(rows, limit_mb), soft_wrap=True)
    stored = [size_text(row.megapixels) for row in rows if row.stored]
    if stored:
        console.print(
            f"Not coded but stored, give photographs instead (megapixels): {', '.join(stored)}", soft_wrap=True
        )
    console.print(
        f"Quality {quality}, threads: {threads or 'all'}, mosaics of {len(photographs)} photograph(s), start of the "
        "processes included; MB: peak memory, 2^20 bytes; region: 512x512 in the middle, decoded alone",
        soft_wrap=True,
    )


def _table(rows: Sequence[ScaleRow]) -> Table:
    from tadan.process import Cost
    from tadan_lab.measure.scale import size_text

    costs = [heading for part in ("encode", "decode") for heading in (f"{part}\ns", "\ns/MP", "\nMB")]
    table = options.table("MP", "effort", *costs, "region\ns")

    def cells(cost: Cost, megapixels: float) -> list[str]:
        memory = "-" if cost.peak_bytes is None else f"{cost.peak_bytes / 2**20:.0f}"
        return [f"{cost.seconds:.2f}", f"{cost.seconds / megapixels:.2f}", memory]

    for row in rows:
        table.add_row(
            size_text(row.megapixels),
            "-" if row.effort is None else str(row.effort),
            *cells(row.encode, row.megapixels),
            *cells(row.decode, row.megapixels),
            f"{row.region.seconds:.2f}",
        )
    return table


def _at(effort: int | None) -> str:
    return "" if effort is None else f" at effort {effort}"


def _write(
    rows: Sequence[ScaleRow],
    photographs: Sequence[Path],
    quality: int,
    threads: int | None,
    limit_mb: float,
    plot: Path | None,
    out: Path | None,
) -> None:
    from tadan_lab.measure.scale import scale_document

    if out is not None:
        options.write(out, scale_document(rows, photographs, quality, threads, limit_mb))
    if plot is not None:
        from tadan.files import write_atomically
        from tadan_lab.measure.scale import scale_plot, scale_svg

        title = f"tadan encode and decode, quality {quality}, threads: {threads or 'all'}"
        write_atomically(plot, scale_plot(rows, limit_mb, title))
        write_atomically(plot.with_suffix(".svg"), scale_svg(rows, limit_mb, title).encode())
