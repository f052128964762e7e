"""``tadan model``: what models are installed, what one is, and how to get one of your own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tadan.cli import options
from tadan.cli.report import print_error, printable
from tadan.cli.train import export, finetune, lite, train
from tadan.cli.verify import fact_lines
from tadan.errors import ModelMissing, TadanError

if TYPE_CHECKING:
    from tadan.models import Model

app = typer.Typer(help="List and describe models; train, fine-tune and export your own.", no_args_is_help=True)


@app.command("list")
def list_(as_json: options.Json = False) -> None:
    """List the models of this installation, then those in your own folder."""
    from tadan.models.store import DEFAULT_MODEL, installed_models, store_folder

    for name, path, model in installed_models():
        if isinstance(model, TadanError):
            print_error(f"{path}: {model}")
            continue
        facts = {"name": name, "id": model.id_hex, "file": str(path), "bytes": path.stat().st_size, "tune": model.tune}
        facts |= {"default": name == DEFAULT_MODEL, "encodes": model.has_encoder}
        if as_json:
            typer.echo(json.dumps(facts))
            continue
        notes = ["default"] * bool(facts["default"]) + ["decodes only"] * (not model.has_encoder)
        about = f"{name}  {model.id_hex}  {path.stat().st_size / 1e6:.1f} MB  for {model.tune}  {', '.join(notes)}"
        typer.echo(printable(about.rstrip()))
    if not as_json:
        typer.echo(printable(f"your own models go into {store_folder()}"))


@app.command("info")
def info(
    name: Annotated[str | None, typer.Argument(metavar="MODEL", help="Name or file.", show_default="bundled")] = None,
    as_json: options.Json = False,
) -> None:
    """Describe a model: what it was trained for, its sizes, and the arithmetic that it costs."""
    _show_model(name, as_json)


app.command()(finetune)
app.command()(lite)
app.command()(train)
app.command()(export)


def _show_model(name: str | None, as_json: bool) -> None:
    from tadan.models import load_model
    from tadan.models.macs import EXAMPLE_HEIGHT, EXAMPLE_WIDTH, encoder_cost
    from tadan.schedule import get_schedule

    model = load_model(name)
    costs = _decoder_costs(model)
    encoder = asdict(encoder_cost(get_schedule("balanced"), model.config))
    lite = _lite_facts(model)
    if as_json:
        facts = {
            "name": model.name,
            "id": model.id_hex,
            **model.describe(),
            "decoder_kmac_per_pixel": {name: cost.total for name, cost in costs.items()},
            "decoder_parts": {name: _rounded(cost.parts) for name, cost in costs.items()},
            "encoder_parts": _rounded(encoder),
            "lite_decoder": lite,
            "stages": {name: cost.stages for name, cost in costs.items()},
            "sequential_steps": {name: cost.steps for name, cost in costs.items()},
        }
        typer.echo(json.dumps(facts, default=str))
        return
    typer.echo(printable(f"{model.name}  {model.id_hex}"))
    for line in fact_lines({key: value for key, value in model.describe().items() if key not in ("name", "id")}):
        typer.echo(printable(line))
    typer.echo(
        f"decoder, kMAC per pixel by schedule; stages, and steps that wait for each other, of {EXAMPLE_WIDTH}x"
        f"{EXAMPLE_HEIGHT} pixels"
    )
    _print_costs(costs)
    parts = ", ".join(f"{part} {value:.2f}" for part, value in encoder.items())
    typer.echo(f"encoder, kMAC per pixel: {sum(encoder.values()):.2f} with balanced ({parts})")
    if lite:
        typer.echo(
            f"lite decoder {lite['id']}: {lite['bytes']:,} bytes, g_s {lite['kmac_per_pixel']:.2f} kMAC per pixel"
        )


def _lite_facts(model: Model) -> dict[str, Any] | None:
    """Of the model's lite decoder, if there is one."""
    from tadan.models.lite import find_lite
    from tadan.models.macs import g_s_macs_per_pixel

    try:
        lite = find_lite(model)
    except ModelMissing:
        return None
    return {"id": lite.id_hex, "bytes": lite.nbytes, "kmac_per_pixel": round(g_s_macs_per_pixel(lite.config) / 1000, 3)}


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
