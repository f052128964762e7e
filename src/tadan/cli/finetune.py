"""``tadan model finetune``: a shipped model made better on one's own pictures, in one command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tadan.cli.report import EXIT_SIGNAL, EXIT_WANTING, print_error
from tadan.cli.settings import parse_settings
from tadan.cli.train import Device, need_torch
from tadan.errors import InvalidInput


def finetune(
    pictures: Annotated[Path, typer.Argument(help="Folder of your pictures, 256 pixels a side or more.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model file to write (.safetensors).")],
    minutes: Annotated[float, typer.Option(help="Time to train; the export then takes about a minute.", min=0)] = 20,
    init: Annotated[str, typer.Option(help="Model to start from: name or path.")] = "photo",
    name: Annotated[str, typer.Option(help="Name in the metadata of the new model.")] = "mine",
    run: Annotated[
        Path | None, typer.Option("--run", help="Folder of checkpoints and log; default: runs/finetune-NAME.")
    ] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="name=value of the recipe, repeatable.")] = None,
    device: Device = "auto",
    force: Annotated[bool, typer.Option("--force", "-f", help="Write the model even if it is not better.")] = False,
) -> None:
    """Fine-tune a model on your own pictures, compare before and after on some held out, and write the model file.

    Interrupted, the same command goes on. A model that is not better on the held-out pictures is not written.
    """
    need_torch()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InvalidInput(
            "finetune runs in one process; on several GPUs run: torchrun ... -m tadan model train --init photo"
        )
    if not out.resolve().parent.is_dir():
        raise InvalidInput(f"there is no folder {out.resolve().parent} for the model file; create it first")
    from tadan.files import write_atomically
    from tadan.train.finetune import Finetune
    from tadan.train.recipe import Recipe

    folder = run or Path("runs") / f"finetune-{name}"
    tuning = Finetune(folder, pictures, init, parse_settings(setting or [], Recipe()), device)
    signal = tuning.train(60 * minutes)
    if signal is not None:
        raise typer.Exit(EXIT_SIGNAL + signal)
    comparison = tuning.compare()
    for line in comparison.lines():
        typer.echo(line)
    if not comparison.better and not force:
        print_error(
            f"the tuned model is not better on held-out pictures (J {comparison.percent:+.2f} %): nothing was written; "
            f"give it more pictures, or more --minutes in another folder than --run {folder}, or write it with --force"
        )
        raise typer.Exit(EXIT_WANTING)
    data, _ = tuning.export(name)
    write_atomically(out, data)
    typer.echo(f"{out}: {len(data):,} bytes; use it with: tadan encode photo.jpg photo.tdn --model {out}")
