"""``tadan lab compressai``: contexts inside CompressAI's models, timed, trained and checked for exactness."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tadan.errors import MissingPackage
from tadan_lab.cli import options

app = typer.Typer(help="Measure contexts inside CompressAI's models. Needs the extra compressai.", no_args_is_help=True)


def _need_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise MissingPackage(
            'this needs torch and CompressAI; run: pip install "tadan[compressai]", then docs/compressai.md'
        )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(";") if name.strip()]


@app.command()
def speed(
    picture: Annotated[Path, typer.Argument(help="Picture to code.")],
    kind: Annotated[str, typer.Option(help="cheng2020-attn, mbt2018 or elic2022.")] = "cheng2020-attn",
    contexts: Annotated[str, typer.Option(help="Names of contexts, separated by ';'; empty: all.")] = "",
    channels: Annotated[int, typer.Option(help="N of the model.", min=8)] = 192,
    repeat: Annotated[int, typer.Option(help="Times that each step is timed; slow ones once.", min=1)] = 3,
    clock: Annotated[str, typer.Option(help="wall, or cpu where the machine has other work.")] = "wall",
    threads: options.Threads = None,
    out: options.Out = None,
) -> None:
    """Seconds, bytes and memory of a model under its own context and under ours, each in a process of its own.

    Weights are random and the same for all, so the bytes say nothing but which codecs are equal.
    """
    _need_torch()
    import os

    from rich.console import Console

    from tadan.machine import machine_facts
    from tadan_lab.frameworks.speed import measure_speed

    used = threads or os.cpu_count() or 1
    about: dict[str, object] = {"kind": kind, "channels": channels, "threads": used, "repeat": repeat, "clock": clock}
    about["machine"] = machine_facts()
    rows = []
    for row in measure_speed(picture, kind, _names(contexts), channels, repeat, used, clock):
        rows.append(asdict(row))
        options.write(out, {**about, "picture": picture.name, "rows": rows})
        typer.echo(f"{row.codec}: decodes in {row.decode:.2f} s, y alone in {row.context_decode:.2f} s")
    heads = "context", "stages", "encode\ns", "decode\ns", "context\nenc. s", "context\ndec. s", "bytes", "digest", "MB"
    table = options.table(*heads)
    for one in rows:
        seconds = [f"{one[name]:.3f}" for name in ("encode", "decode", "context_encode", "context_decode")]
        sizes = [str(one["bytes"]), one["digest"][:4], f"{one['peak_mb']:.0f}"]
        table.add_row(one["codec"], str(one["stages"]), *seconds, *sizes)
    Console(width=120).print(table)


@app.command()
def rate(
    data: Annotated[Path, typer.Argument(help="Folder of training pictures of 512 pixels a side or more.")],
    pictures: Annotated[Path, typer.Argument(help="Folder of evaluation pictures.")],
    run: Annotated[Path, typer.Option("--run", help="Folder of the frozen latents.")] = Path("runs/compressai"),
    contexts: Annotated[
        str, typer.Option(help="Contexts or schedules, separated by ';'.")
    ] = "hyper;checkerboard;2x2;4x4;raster;2x2, attention;4x4, attention;4x4, attention 4 x",
    quality: options.Quality = 34,
    channels: Annotated[int, typer.Option(help="Leading channels of y.", min=8)] = 96,
    steps: Annotated[int, typer.Option(help="Steps of each training.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Of weights and batches.", min=0)] = 0,
    threads: options.Threads = None,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """Train contexts of CompressAI's shape on frozen latents of one model and compare their rates."""
    _need_torch()
    import torch
    from rich.console import Console

    from tadan_lab.frameworks.rate import FrozenSetting, RateRecipe, compare_rates

    if threads is not None:
        torch.set_num_threads(threads)
    recipe = RateRecipe(quality=quality, channels=channels, steps=steps, seed=seed)
    rows = compare_rates(FrozenSetting(data, pictures, run, recipe, model), _names(contexts), typer.echo)
    table = options.table("context", "bpp", "against\nthe first", "kMAC a\nlatent", "weights")
    for row in rows:
        change = f"{100 * (row['bpp'] / rows[0]['bpp'] - 1):+.2f} %"
        table.add_row(row["context"], f"{row['bpp']:.5f}", change, f"{row['kmac']:.0f}", f"{row['weights']:,}")
    Console().print(table)
    options.write(out, {"recipe": asdict(recipe), "rows": rows})


@app.command()
def exact(
    pictures: options.Pictures,
    kind: Annotated[str, typer.Option(help="cheng2020-attn, mbt2018 or elic2022.")] = "mbt2018",
    context: Annotated[str, typer.Option(help="Context of ours, as of speed.")] = "2x2",
    channels: Annotated[int, typer.Option(help="N of the model.", min=8)] = 128,
    crops: Annotated[int, typer.Option(help="Crops of 256 pixels a side.", min=1)] = 50,
    limit: options.Limit = None,
    out: options.Out = None,
) -> None:
    """Decode streams of a converted model under other kernels, in floats and in its exact form, which must hold."""
    _need_torch()
    from rich.console import Console

    from tadan.machine import machine_facts
    from tadan.pictures.folder import list_pictures
    from tadan_lab.frameworks.exactness import check_exact

    table = options.table("decoded", "crops", "wrong,\nfloats", "wrong,\nexact", "bytes,\nfloats", "bytes,\nexact")
    rows = []
    for row in check_exact(list_pictures(pictures, limit), kind, context, channels, crops):
        rows.append(asdict(row))
        table.add_row(*(str(value) for value in asdict(row).values()))
    Console().print(table)
    about = {"kind": kind, "context": context, "channels": channels, "machine": machine_facts()}
    options.write(out, {**about, "rows": rows})
    if any(row["exact"] for row in rows):
        options.found_wanting("exact streams decoded to other latents on this machine; please report the table above")
