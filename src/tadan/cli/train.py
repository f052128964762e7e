"""``tadan model train`` and ``tadan model export``: from pictures to a model file."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tadan.cli.report import EXIT_SIGNAL
from tadan.cli.settings import parse_settings
from tadan.errors import MissingPackage

if TYPE_CHECKING:
    from tadan.train.start import Start

Device = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu, cuda or cuda:N.")]


def need_torch() -> None:
    """Say what to install where the extra ``train`` is missing."""
    from importlib.util import find_spec

    if find_spec("torch") is None or find_spec("onnx") is None:
        raise MissingPackage('training needs torch and onnx; run: pip install "tadan[train]"')


def train(
    data: Annotated[Path, typer.Argument(help="Folder of training pictures (searched recursively).")],
    run: Annotated[
        Path, typer.Option("--run", "--folder", help="Folder of this run: checkpoints and log.")  # torchrun keeps --run
    ] = Path("runs/photo"),
    init: Annotated[
        str | None, typer.Option(help="Start from a model (name or .safetensors) or another run's ema.safetensors.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Save and end before this time is over; the same command goes on later.", min=0)
    ] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="name=value of the recipe, repeatable.")] = None,
    config: Annotated[
        list[str] | None,
        typer.Option("--config", help="name=value of the sizes of a fresh model, repeatable."),
    ] = None,
    device: Device = "auto",
    bench: Annotated[
        bool, typer.Option("--bench", help="Only measure: pixels per second, and what the time goes to. Keeps nothing.")
    ] = False,
) -> None:
    """Train a model; goes on by itself from the last checkpoint in the folder of the run, with its settings.

    Several GPUs: torchrun --nproc-per-node N -m tadan model train PICTURES --folder RUN (docs/training.md).
    """
    need_torch()
    begun = time.monotonic()
    from tadan.models import ModelConfig
    from tadan.train.loop import Trainer
    from tadan.train.recipe import Recipe
    from tadan.train.start import begin

    start = begin(run, init, parse_settings(setting or [], Recipe()), parse_settings(config or [], ModelConfig()))
    if bench:
        _bench(data, start, device)
        return
    trainer = Trainer(run, data, start.recipe, start.config, start.weights, device)
    try:
        left = math.inf if minutes is None else 60 * minutes - (time.monotonic() - begun)
        signal = trainer.run(left)
    finally:
        trainer.world.leave()
    if signal is not None:
        raise typer.Exit(EXIT_SIGNAL + signal)


def _bench(data: Path, start: Start, device: str) -> None:
    """Print the pace of a run with these settings; the folder of the run is neither read further nor written."""
    from tempfile import TemporaryDirectory

    from tadan.train.bench import measure_pace
    from tadan.train.loop import Trainer

    with TemporaryDirectory(prefix="tadan-bench-") as folder:
        trainer = Trainer(Path(folder), data, start.recipe, start.config, start.weights, device)
        try:
            pace = measure_pace(trainer)
        finally:
            trainer.world.leave()
    for line in pace.lines():
        typer.echo(line)


def export(
    run: Annotated[
        Path, typer.Argument(help="Folder of a training run; with --decoder-only also a model, by name or file.")
    ],
    out: Annotated[Path, typer.Argument(help="Model file to write (.safetensors).")],
    data: Annotated[
        Path | None, typer.Option(help="Training pictures for calibration (never evaluation pictures).")
    ] = None,
    name: Annotated[str, typer.Option(help="Name in the metadata of the model.")] = "photo",
    pictures: Annotated[int, typer.Option(help="Crops of 256x256 to calibrate on.", min=4)] = 16,
    licence: Annotated[
        str | None, typer.Option(help="Licence that you grant for the weights, as the file shall state it.")
    ] = None,
    decoder_only: Annotated[
        bool,
        typer.Option("--decoder-only", help="Leave out what only encoding and training need; the id stays."),
    ] = False,
) -> None:
    """Turn a trained run into a model file: integer networks with overflow proof, tables, ONNX graphs."""
    from tadan.files import write_atomically

    report: list[str] = []
    if decoder_only and not run.is_dir():
        from tadan.models import load_model

        data_bytes = load_model(str(run)).decoder_only().to_bytes()
    elif data is None:
        raise typer.BadParameter("name the training pictures to calibrate a run with.", param_hint="--data")
    else:
        need_torch()
        from tadan.train.export import export_run

        data_bytes, report = export_run(run, data, name, pictures, licence, decoder_only)
    write_atomically(out, data_bytes)
    for line in report:
        typer.echo(line)
    typer.echo(f"{out}: {len(data_bytes):,} bytes")
