"""``tadan info``: what the header of a file says, or the facts of a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
    shown = {key: value for key, value in shown.items() if value is not None}
    if "model_id" not in shown:
        shown["content"] = f"stored as {shown['content'].upper()}, no model needed"
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
    from tadan.models.macs import EXAMPLE_HEIGHT, EXAMPLE_WIDTH, encoder_cost
    from tadan.schedule import get_schedule

    model = load_model(name)
    costs = _decoder_costs(model)
    encoder = asdict(encoder_cost(get_schedule("balanced"), model.config))
    if as_json:
        facts = {
            "name": model.name,
            "id": model.id_hex,
            **model.describe(),
            "decoder_kmac_per_pixel": {name: cost.total for name, cost in costs.items()},
            "decoder_parts": {name: _rounded(cost.parts) for name, cost in costs.items()},
            "encoder_parts": _rounded(encoder),
            "stages": {name: cost.stages for name, cost in costs.items()},
            "sequential_steps": {name: cost.steps for name, cost in costs.items()},
        }
        typer.echo(json.dumps(facts, default=str))
        return
    typer.echo(printable(f"{model.name}  {model.id_hex}"))
    _print_facts({key: value for key, value in model.describe().items() if key not in ("name", "id")})
    typer.echo(
        f"decoder, kMAC per pixel by schedule; stages, and steps that wait for each other, of {EXAMPLE_WIDTH}x"
        f"{EXAMPLE_HEIGHT} pixels"
    )
    _print_costs(costs)
    parts = ", ".join(f"{part} {value:.2f}" for part, value in encoder.items())
    typer.echo(f"encoder, kMAC per pixel: {sum(encoder.values()):.2f} with balanced ({parts})")


@dataclass(frozen=True)
class _Costs:
    """Decoding under one schedule: kMAC per pixel by part, stages and sequential steps of the example picture."""

    parts: Mapping[str, float]
    stages: int
    steps: int

    @property
    def total(self) -> float:
        """KMAC per pixel."""
        return round(sum(self.parts.values()), 3)


def _decoder_costs(model: Model) -> dict[str, _Costs]:
    """Costs of decoding for every named schedule that the model can run."""
    from tadan.models.macs import EXAMPLE_PLANE, decoder_cost, sequential_steps
    from tadan.schedule import get_schedule, schedule_names

    costs, config = {}, model.config
    for name in schedule_names():
        schedule = get_schedule(name)
        if schedule.groups in config.schedule_groups:
            steps = sequential_steps(schedule, config, *EXAMPLE_PLANE)
            parts = asdict(decoder_cost(schedule, config))
            costs[name] = _Costs(parts, schedule.stage_count(*EXAMPLE_PLANE), steps)
    return costs


def _print_costs(costs: Mapping[str, _Costs]) -> None:
    """One line a schedule: the sum, its parts, stages and steps."""
    parts = list(next(iter(costs.values())).parts)
    headings = ["total", *parts, "stages", "steps"]
    width = max(map(len, costs))
    typer.echo("  ".join([" " * (width + 2), *(f"{heading:>6}" for heading in headings)]))
    for name, cost in costs.items():
        numbers = [f"{value:.2f}" for value in (cost.total, *cost.parts.values())] + [f"{cost.stages}", f"{cost.steps}"]
        cells = (f"{text:>{max(6, len(heading))}}" for text, heading in zip(numbers, headings, strict=True))
        typer.echo("  ".join([f"  {name:{width}}", *cells]))


def _rounded(parts: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in parts.items()}
