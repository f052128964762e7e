"""``tadan train`` and ``tadan export``: from a folder of pictures to a model file. Needs the extra ``train``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from tadan.errors import InvalidInput


def _need_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None or find_spec("onnx") is None:
        raise InvalidInput('training needs torch and onnx; run: pip install "tadan[train]"')


def _settings(text: list[str]) -> dict[str, Any]:
    from tadan.train.loop import Recipe

    types = {field.name: type(getattr(Recipe(), field.name)) for field in fields(Recipe)}
    values: dict[str, Any] = {}
    for item in text:
        name, _, value = item.partition("=")
        if name not in types:
            raise InvalidInput(f"there is no setting {name!r}; choose from: {', '.join(types)}")
        try:
            values[name] = value.lower() in ("1", "true", "yes") if types[name] is bool else types[name](value)
        except ValueError as error:
            raise InvalidInput(f"{name} takes a value of type {types[name].__name__}, not {value!r}") from error
    return values


def train(
    data: Annotated[Path, typer.Argument(help="Folder of training pictures (searched recursively).")],
    run: Annotated[Path, typer.Option("--run", help="Folder of this run: checkpoints and log.")] = Path("runs/photo"),
    init: Annotated[
        str | None, typer.Option(help="Start from a model (name or .safetensors) or another run's ema.safetensors.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this long; the same command goes on later.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="name=value of the recipe, repeatable.")] = None,
) -> None:
    """Train a model; resumes by itself from the last checkpoint in the folder of the run."""
    _need_torch()
    from tadan.models.config import ModelConfig
    from tadan.train.loop import Recipe, Trainer
    from tadan.train.restore import initial_weights

    weights = None if init is None else initial_weights(init)
    trainer = Trainer(run, data, Recipe(**_settings(setting or [])), ModelConfig(), weights)
    trainer.run(float("inf") if minutes is None else minutes * 60)


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    out: Annotated[Path, typer.Argument(help="Model file to write (.safetensors).")],
    data: Annotated[Path, typer.Option(help="Training pictures for calibration (never evaluation pictures).")],
    name: Annotated[str, typer.Option(help="Name in the metadata of the model.")] = "photo",
    pictures: Annotated[int, typer.Option(help="Crops of 256x256 to calibrate on.", min=4)] = 16,
) -> None:
    """Turn a trained run into a model file: integer networks with overflow proof, tables, ONNX graphs."""
    _need_torch()
    from tadan.files import write_atomically
    from tadan.train.export import export_run

    data_bytes, report = export_run(run, data, name, pictures)
    write_atomically(out, data_bytes)
    for line in report:
        typer.echo(line)
    typer.echo(f"{out}: {len(data_bytes):,} bytes")
