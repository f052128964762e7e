"""``tadan schedule``: look at decoding orders, their context and their macs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tadan.cli.optimize import optimize
from tadan.cli.options import ModelName
from tadan.cli.report import print_error
from tadan.errors import TadanError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from tadan.models import ModelConfig
    from tadan.schedule import Schedule

app = typer.Typer(help="Decoding orders: what is decoded when, and what it costs.", no_args_is_help=True)
app.command()(optimize)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name, alias, stored name or pattern, such as 4x4, best or 0,2/3,1.")],
    size: Annotated[int, typer.Option(min=1, max=64, help="Rows and columns to draw.")] = 8,
    radius: Annotated[
        int | None, typer.Option(min=0, max=8, help="Radius of the context window; default: that of the model.")
    ] = None,
    model: ModelName = None,
) -> None:
    """Draw a schedule: the stage of every latent, and what each stage sees and costs under a model."""
    from dataclasses import asdict, replace

    from rich.columns import Columns
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table

    from tadan.models import macs
    from tadan.schedule import ScanSchedule, parse_schedule

    schedule, config = parse_schedule(name), _config(model)
    if radius is not None:
        config = replace(config, radius=radius)
    decoder, plane = macs.decoder_cost(schedule, config), macs.EXAMPLE_PLANE
    stages = schedule.stage_map(size, size)
    naive = macs.naive_context_macs_per_pixel(schedule, config, *plane) / 1000
    count, steps = schedule.stage_count(*plane), macs.sequential_steps(schedule, config, *plane)
    window = 2 * config.radius + 1

    console = Console()
    titles = [f"group {group}" for group in range(schedule.groups)] if schedule.groups > 1 else [schedule.name or name]
    grids = [coloured(group.tolist(), int(stages.max()) + 1) for group in stages]
    panels = [Panel(grid, title=title, expand=False) for grid, title in zip(grids, titles, strict=True)]
    console.print(Columns(panels))

    console.print(f"stages for {macs.EXAMPLE_WIDTH}x{macs.EXAMPLE_HEIGHT} pixels  {count}")
    if steps != count:
        console.print(f"steps that wait in turn     {steps}, one a stage and channel group in it")
    console.print(f"anchors (see no neighbour)  {macs.anchor_share(schedule):.2%}")
    visible = macs.mean_visible(schedule, config.radius)
    console.print(f"mean visible neighbours     {visible:.1f} in a window of {window}x{window}")
    parts = ", ".join(f"{part} {value:.2f}" for part, value in asdict(decoder).items())
    console.print(f"decoder, kMAC/pixel         {decoder.total:.2f}")
    console.print(f"  {parts}", highlight=False)
    console.print(f"  (context and parameters recomputed in full at every stage: {naive:.0f})", highlight=False)

    table = Table()
    for heading in ("stage", "latents", "visible neighbours", "kMAC/pixel"):
        table.add_column(heading, justify="right")
    alike = isinstance(schedule, ScanSchedule)
    for stage in macs.stage_costs(schedule, config):
        share = "" if alike else f"{stage.share:.2%}"
        number = "all" if alike else str(stage.stage)
        table.add_row(number, share, f"{stage.visible:.1f}", f"{stage.kmacs_per_pixel:.3f}")
    console.print(table)


@app.command("list")
def list_(model: ModelName = None) -> None:
    """List the named schedules and what they cost under a model: the catalogue, then those stored on this machine."""
    from rich.console import Console

    from tadan.codec.info import schedule_text
    from tadan.latents.schedule_field import schedule_field
    from tadan.schedule import ALIASES, get_schedule, schedule_names, stored_names, stored_schedule

    alias_of = {schedule.name: alias for alias, schedule in ALIASES.items()}
    table, config = _costs_table(), _config(model)
    for alias, meant in ALIASES.items():
        if meant.name is None:
            _add_costs(table, schedule_text(schedule_field(meant)), alias, meant, config)
    for name in schedule_names():
        _add_costs(table, name, alias_of.get(name, ""), get_schedule(name), config)
    if stored_names():
        table.add_section()
    for name in stored_names():
        try:
            schedule = stored_schedule(name)
            if schedule is not None:  # deleted by another process since
                _add_costs(table, name, "stored", schedule, config)
        except TadanError as error:  # one damaged file hides no other
            print_error(error)
    Console().print(table)


def _config(model: str | None) -> ModelConfig:
    """Sizes of a model; those of the bundled one need no file."""
    from tadan.models import ModelConfig, load_model

    return ModelConfig() if model is None else load_model(model).config


def _costs_table() -> Table:
    from rich.table import Table

    from tadan.models.macs import EXAMPLE_HEIGHT, EXAMPLE_WIDTH

    caption = (
        f"stages, and steps that wait for each other, for {EXAMPLE_WIDTH}x{EXAMPLE_HEIGHT} pixels; sees: visible "
        "neighbours; kMAC/pixel of the whole decoder; -: the model cannot follow so many channel groups"
    )
    table = Table(caption=caption)
    table.add_column("name")
    table.add_column("alias")
    for heading in ("stages", "steps", "groups", "anchors", "sees", "kMAC/px"):
        table.add_column(heading, justify="right")
    return table


def _add_costs(table: Table, name: str, note: str, schedule: Schedule, config: ModelConfig) -> None:
    from tadan.models import macs

    plane = macs.EXAMPLE_PLANE
    follows = schedule.groups in config.schedule_groups
    table.add_row(
        name,
        note,
        str(schedule.stage_count(*plane)),
        str(macs.sequential_steps(schedule, config, *plane)) if follows else "-",
        str(schedule.groups),
        f"{macs.anchor_share(schedule):.2%}",
        f"{macs.mean_visible(schedule, config.radius):.1f}",
        f"{macs.decoder_cost(schedule, config).total:.2f}" if follows else "-",
    )


def coloured(stages: list[list[int]], count: int) -> Text:
    """Grid of stage numbers out of ``count``, on a background that grows lighter with the stage."""
    from rich.text import Text

    from tadan.schedule.text import dark, stage_colour

    digits = len(str(count - 1))
    text = Text(no_wrap=True)
    for index, row in enumerate(stages):
        text.append("\n" if index else "")
        for stage in row:
            colour = stage_colour(stage, count)
            ink = "white" if dark(colour) else "black"
            text.append(f" {stage:{digits}} ", style=f"{ink} on rgb({colour[0]},{colour[1]},{colour[2]})")
    return text
