"""``tadan bench``: measurements that anyone can repeat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tadan.errors import Corrupt, InvalidInput

app = typer.Typer(help="Measure speed, exactness and the price of integers on your machine.", no_args_is_help=True)

_Pictures = Annotated[Path, typer.Argument(help="Folder with pictures, or one picture.")]
_Model = Annotated[str | None, typer.Option(help="Model, name or path; default: the bundled one.")]
_Out = Annotated[Path | None, typer.Option("--out", "-o", help="Also write the figures to this JSON file.")]


@app.command()
def speed(
    picture: Annotated[Path, typer.Argument(help="One picture.")],
    schedules: Annotated[
        str, typer.Option(help="Names, by commas; stored ones too.")
    ] = "hyper,checkerboard,2x2,4x4-opt-4,4x4-opt-8,4x4,wavefront,raster",
    pattern: Annotated[
        list[str] | None, typer.Option(help="Written-out schedule, such as 0,2/3,1; may be repeated.")
    ] = None,
    quality: Annotated[int, typer.Option("--quality", "-q", min=1, max=100)] = 50,
    repeat: Annotated[int, typer.Option(help="Rounds; each runs every schedule once.", min=1)] = 9,
    threads: Annotated[int | None, typer.Option(help="Default: all cores.", min=1)] = None,
    model: _Model = None,
    out: _Out = None,
) -> None:
    """Encode and decode one picture under several schedules in turn; medians, and ratios to checkerboard."""
    from rich.console import Console
    from rich.table import Table

    from tadan.evaluate.bench import measure_speed
    from tadan.evaluate.pictures import open_rgb
    from tadan.evaluate.report import progress_bar

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
    _write(
        out, {"picture": picture.name, "quality": quality, "repeat": repeat, "rows": [row.to_dict() for row in rows]}
    )


@app.command()
def exactness(
    pictures: _Pictures,
    quality: Annotated[int, typer.Option("--quality", "-q", min=1, max=100)] = 60,
    schedule: Annotated[str, typer.Option(help="Schedule.")] = "balanced",
    model: _Model = None,
    out: _Out = None,
) -> None:
    """Decode every picture in several ways (threads, numpy and torch, batches); any difference is a failure."""
    from rich.console import Console

    from tadan.evaluate.exactness import check_exactness
    from tadan.evaluate.pictures import list_pictures

    console = Console()
    rows = []
    for row in check_exactness(list_pictures(pictures), quality, schedule, model):
        rows.append({"way": row.way, "pictures": row.pictures, "mismatches": row.mismatches})
        console.print(f"{row.way}: {row.pictures} pictures, {row.mismatches} mismatches")
    _write(out, {"quality": quality, "schedule": schedule, "rows": rows})
    if any(row["mismatches"] for row in rows):
        raise Corrupt("this machine decodes some pictures to other latents; please report it with the lines above")


@app.command()
def monotone(
    pictures: _Pictures,
    step: Annotated[int, typer.Option(help="Every how manieth quality from 1; 100 is always among them.", min=1)] = 1,
    schedule: Annotated[str, typer.Option(help="Schedule.")] = "balanced",
    effort: Annotated[int | None, typer.Option(help="0 to 9; default: the encoder's own choice.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N pictures.", min=1)] = None,
    threads: Annotated[int | None, typer.Option(help="Default: all cores.", min=1)] = None,
    model: _Model = None,
    out: _Out = None,
) -> None:
    """Encode every picture at rising qualities: do bytes and PSNR always rise? Violations are reported, no failure."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from tadan.evaluate import TadanCodec
    from tadan.evaluate.monotone import check_monotone, monotone_document, monotone_summary
    from tadan.evaluate.pictures import list_pictures
    from tadan.evaluate.report import progress_bar
    from tadan.text import plain

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
    _write(out, monotone_document(codec, rows))


@app.command()
def effort(
    pictures: _Pictures,
    efforts: Annotated[str, typer.Option(help="0 to 9, by commas; the first is compared with.")] = "0,1,3,5,7,9",
    qualities: Annotated[str, typer.Option("--qualities", "-q", help="By commas, at least 4.")] = "10,30,50,70,90",
    schedule: Annotated[str, typer.Option(help="Schedule.")] = "balanced",
    limit: Annotated[int | None, typer.Option(help="Only the first N pictures.", min=1)] = None,
    threads: Annotated[int | None, typer.Option(help="Default: all cores.", min=1)] = None,
    model: _Model = None,
    out: _Out = None,
) -> None:
    """What searching longer while encoding gives: BD-rate and J against seconds, one row an effort."""
    from rich.console import Console
    from rich.table import Table

    from tadan.evaluate.effort import measure_effort
    from tadan.evaluate.extras import parse_qualities, require
    from tadan.evaluate.ours import EFFORTS
    from tadan.evaluate.pictures import list_pictures
    from tadan.evaluate.report import progress_bar

    require("bjontegaard", "eval", "tadan bench effort")
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
    _write(out, {"pictures": pictures.name, "qualities": points, "rows": [row.to_dict() for row in rows]})


@app.command()
def price(
    pictures: _Pictures,
    qualities: Annotated[str, typer.Option(help="By commas.")] = "5,20,40,60,80,95",
    schedule: Annotated[str, typer.Option(help="Schedule.")] = "2x2",
    weights: Annotated[
        Path | None, typer.Option(help="ema.safetensors of the exported run; default: restored from the model.")
    ] = None,
    model: _Model = None,
    out: _Out = None,
) -> None:
    """Bits that integer networks cost against the float networks they were made from. Needs tadan[train]."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise InvalidInput('this comparison needs torch; run: pip install "tadan[train]"')
    from tadan.evaluate.extras import parse_qualities
    from tadan.evaluate.pictures import list_pictures
    from tadan.evaluate.price import measure_price

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
    _write(out, {"schedule": schedule, "rows": rows})


def _write(out: Path | None, content: object) -> None:
    if out is not None:
        from tadan.files import write_atomically

        write_atomically(out, json.dumps(content, indent=1).encode() + b"\n")
