"""``tadan info``: what the header of a file says, or the facts of a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tadan.cli import files
from tadan.cli.report import Report, printable

if TYPE_CHECKING:
    from tadan.models import Model


def info(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Tadan files, folders of them or '-'.", show_default=False),
    ] = None,
    as_json: files.JsonOption = False,
    model: Annotated[
        bool, typer.Option("--model", help="Describe a model instead: FILE is its name or path (default: bundled).")
    ] = False,
) -> None:
    """Show size, quality, model and schedule of .tdn files without decoding them."""
    report = Report()
    if model:
        names = [str(path) for path in paths or []]
        report.each(
            names or [None], lambda name: Path(name or "bundled model"), lambda name: _show_model(name, as_json)
        )
        report.finish()
        return
    if not paths:
        raise typer.BadParameter("name at least one .tdn file, or give --model.", param_hint="FILE")
    import tadan

    def work(source: files.Source) -> None:
        facts = tadan.inspect(files.read_source(source.path)).to_dict()
        _show(source.path, facts, as_json)

    report.each(files.expand(paths, files.STREAMS, report), lambda source: source.path, work)
    report.finish()


def _show(path: Path, facts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"file": str(path), **facts}))
        return
    shown = dict(facts)
    form = shown.pop("stored", None)
    if form is not None:  # such a file has neither model nor schedule
        shown = {"stored": f"as {form.upper()}, no model needed", **shown}
        del shown["model_id"], shown["schedule"]
    shown["size"] = f"{shown.pop('width')} x {shown.pop('height')} {shown.pop('mode')}"
    if isinstance(shown.get("bpp"), float):
        shown["bpp"] = f"{shown['bpp']:.4f}"
    shown = {"size": shown.pop("size"), **shown}
    typer.echo(printable(str(path)))
    _print_facts(shown)


def _print_facts(facts: Mapping[str, Any]) -> None:
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {number}" for key, number in value.items())
        typer.echo(f"  {name.replace('_', ' '):{width}}  {printable(str(value))}")


def _show_model(name: str | None, as_json: bool) -> None:
    from tadan.models import load_model
    from tadan.schedule import get_schedule
    from tadan.schedule.cost import encoder_cost

    model = load_model(name)
    costs = _decoder_costs(model)
    if as_json:
        facts = {"name": model.name, "id": model.id_hex, **model.describe(), "decoder_kmac_per_pixel": costs}
        typer.echo(json.dumps(facts, default=str))
        return
    typer.echo(printable(f"{model.name}  {model.id_hex}"))
    _print_facts({key: value for key, value in model.describe().items() if key not in ("name", "id")})
    typer.echo("decoder, kMAC per pixel by schedule")
    _print_facts({schedule: f"{cost:6.2f}" for schedule, cost in costs.items()})
    encoder = encoder_cost(get_schedule("balanced"), model.config).total
    typer.echo(f"encoder, kMAC per pixel: {encoder:.2f} with balanced")


def _decoder_costs(model: Model) -> dict[str, float]:
    """Arithmetic of decoding in kMAC per pixel, for every named schedule that the model can run."""
    from tadan.errors import InvalidInput
    from tadan.schedule import get_schedule, schedule_names
    from tadan.schedule.cost import decoder_cost

    costs = {}
    for name in schedule_names():
        try:
            costs[name] = round(decoder_cost(get_schedule(name), model.config).total, 3)
        except InvalidInput:  # more channel groups than the model tells apart
            continue
    return costs
