"""``tadan model train`` and ``tadan model finetune``, and the ``name=value`` settings that both take."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tadan.cli.report import EXIT_SIGNAL, EXIT_WANTING, print_error
from tadan.errors import InvalidInput, MissingPackage

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
        typer.Option("--config", help="name=value of the sizes of a fresh model, or more blocks than --init has."),
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


def lite(
    pictures: Annotated[Path, typer.Argument(help="Folder of training pictures, 256 pixels a side or more.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Lite decoder to write (.safetensors).")],
    model: Annotated[str, typer.Option("--model", help="Model whose files it decodes: name or path.")] = "photo",
    init: Annotated[
        str | None, typer.Option("--init", help="Lite decoder to start from (file), of this or an older model.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Time to train.", min=0)] = 20,
    run: Annotated[
        Path | None, typer.Option("--run", help="Folder of checkpoints and log; default: runs/lite-MODEL.")
    ] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="name=value of the recipe, repeatable.")] = None,
    config: Annotated[
        list[str] | None, typer.Option("--config", help="name=value of the sizes of its g_s, repeatable.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Train a lite decoder: a small g_s that shows the same files faster, taught by the pictures and the large one.

    Interrupted, the same command goes on.
    """
    need_torch()
    if not out.resolve().parent.is_dir():
        raise InvalidInput(f"there is no folder {out.resolve().parent} for the lite decoder; create it first")
    from tadan.files import write_atomically
    from tadan.models import ModelConfig
    from tadan.train.lite import LiteTraining
    from tadan.train.recipe import Recipe

    folder = run or Path("runs") / f"lite-{Path(model).stem}"
    settings, sizes = parse_settings(setting or [], Recipe()), parse_settings(config or [], ModelConfig())
    training = LiteTraining(folder, pictures, model, settings, sizes, device, None if init is None else Path(init))
    try:
        signal = training.train(60 * minutes)
    finally:
        training.trainer.world.leave()
    if signal is not None:
        raise typer.Exit(EXIT_SIGNAL + signal)
    for line in training.lines():
        typer.echo(line)
    made = training.export(Path(model).stem).to_bytes()
    write_atomically(out, made)
    typer.echo(f"{out}: {len(made):,} bytes; put it into the folder lite of your models (docs/lite.md)")


_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def parse_settings(text: Sequence[str], defaults: Any) -> dict[str, Any]:
    """Values of ``name=value`` texts, each of the type that the field has in ``defaults``.

    Args:
        text: as typed; tuples are written with commas.
        defaults: dataclass instance whose fields may be named; tuples that its ``free_lengths`` names may be of any
            length.

    Raises:
        InvalidInput: a name is unknown or a value has another type; the message lists what would do.
    """
    types = {field.name: getattr(defaults, field.name) for field in fields(defaults)}
    free = getattr(defaults, "free_lengths", ())
    values: dict[str, Any] = {}
    for item in text:
        name, equals, value = item.partition("=")
        if name not in types or not equals:
            raise InvalidInput(f"there is no setting {item!r}; write name=value with one of: {', '.join(types)}")
        try:
            values[name] = _convert(value.strip(), types[name], name in free)
        except (ValueError, KeyError) as error:
            kind = type(types[name]).__name__
            raise InvalidInput(f"{name} takes a value like {types[name]!r} ({kind}), not {value!r}") from error
    return values


def _convert(value: str, default: Any, any_length: bool = False) -> Any:
    if isinstance(default, bool):
        return _BOOLEANS[value.lower()]
    if isinstance(default, tuple):
        parts = value.split(",")
        if len(parts) != len(default) and not any_length:
            raise ValueError(value)
        return tuple(_convert(part, default[0]) for part in parts)
    return type(default)(value)
