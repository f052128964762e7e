"""``tadan schedule optimize``: the decoding order that costs least on the user's own pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tadan.cli import options
from tadan.errors import InvalidInput, UnwritableOutput

if TYPE_CHECKING:
    from rich.table import Table

    from tadan.cli.report import Step
    from tadan.tune import Candidate

BUDGET = 1500  # of the 32,768 subsets of a 4x4 patch; smaller patches are measured completely


def optimize(
    pictures: Annotated[Path, typer.Argument(help="Folder with pictures, or one picture.")],
    size: Annotated[int, typer.Option(min=2, max=4, help="Rows and columns of the pattern.")] = 4,
    name: Annotated[
        str | None, typer.Option(help="Store the orders: NAME the cheapest, NAME-K the one of K stages.")
    ] = None,
    qualities: Annotated[
        str, typer.Option("--qualities", "-q", help="Qualities from 1 to 100, separated by commas.")
    ] = "20,40,60",
    samples: Annotated[
        int, typer.Option(min=2, help="Latent positions to look at in all; half of them choose.")
    ] = 2048,
    budget: Annotated[
        int | None,
        typer.Option(min=1, help=f"Neighbourhoods to measure; default: all for size 2 and 3, {BUDGET} for 4."),
    ] = None,
    model: options.ModelName = None,
    threads: options.Threads = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the samples and of the neighbourhoods.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write everything to this JSON file.")] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace stored schedules of these names.")] = False,
) -> None:
    """Find the decoding order of least rate on your pictures, for every number of stages.

    Needs no training: the context model reads any order. Minutes for size 4, seconds for 2.
    """
    from rich.console import Console

    from tadan.cli.report import progress_bar
    from tadan.files import write_atomically
    from tadan.models import load_model
    from tadan.optional import parse_qualities
    from tadan.pictures.folder import list_pictures
    from tadan.schedule.optimize import search
    from tadan.tune import TwinCosts, found_orders, listed_orders, tiling

    shape = size, size
    limit = _checked_budget(shape, budget)
    if name is not None:
        _check_names(name, size * size, force)
    if out is not None and not out.absolute().parent.is_dir():
        raise UnwritableOutput(f"cannot write {out}: its folder does not exist; create it or name another file")
    paths, wanted, used = list_pictures(pictures), parse_qualities(qualities, range(1, 101)), load_model(model)

    with progress_bar("coding", len(paths) * len(wanted)) as step:
        costs = TwinCosts(used, shape, paths, wanted, samples, seed, threads, step)
    with progress_bar("measuring", limit) as step:
        found = search(shape, costs, limit, seed, _advance(step))
    with progress_bar("validating", size * size + len(tiling(shape))) as step:
        orders, listed = found_orders(costs, found, step), listed_orders(costs, step)

    console = Console()
    console.print(_table(orders, listed))
    console.print(f"measured {found.measured:,} of {found.subsets:,} neighbourhoods", highlight=False)
    if found.measured < found.subsets:
        error = found.model_error / orders[0].bits
        console.print(
            f"the others are predicted: error {error:.2%} of a latent's bits, R2 {found.model_r2:.3f}", highlight=False
        )
    about: dict[str, Any] = {
        "model": used.name,
        "model_id": used.id_hex,
        "pictures": len(paths),
        "qualities": wanted,
        "samples": {"measuring": _count(costs.measuring), "validating": _count(costs.held)},
        "seed": seed,
    }
    cheapest = min(orders, key=lambda order: order.bits)
    if name is not None:
        _store(name, orders, cheapest, about)
    console.print(
        f"use it: tadan encode photo.jpg photo.tdn --schedule {name or cheapest.text}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if out is not None:
        content = {
            "shape": shape,
            **about,
            "measured": found.measured,
            "subsets": found.subsets,
            "model_error": found.model_error,
            "model_r2": found.model_r2,
            "best": [order.to_dict() for order in orders],
            "listed": {str(order.schedule.name): order.to_dict() for order in listed},
        }
        write_atomically(out, json.dumps(content, indent=1).encode() + b"\n")


def _checked_budget(shape: tuple[int, int], budget: int | None) -> int:
    """Subsets to measure; refused here rather than after the pictures are coded."""
    from tadan.schedule.optimize import least_budget

    every: int = 2 ** (shape[0] * shape[1] - 1)
    least = least_budget(shape)
    if budget is not None and budget < least:
        raise InvalidInput(f"--budget {budget} is too small for {shape[0]}x{shape[1]}; give at least {least}")
    return min(every, budget or (BUDGET if shape == (4, 4) else every))


def _names(name: str, positions: int) -> list[str]:
    return [name, *(f"{name}-{stages}" for stages in range(2, positions + 1))]


def _check_names(name: str, positions: int, force: bool) -> None:
    from tadan.schedule import stored_names
    from tadan.schedule.store import check_name

    names = _names(name, positions)
    for one in names:
        check_name(one)
    taken = sorted(set(names) & set(stored_names()))
    if taken and not force:
        raise InvalidInput(
            f"there are stored schedules {', '.join(taken)}; replace them with --force, or take another --name"
        )


def _store(name: str, orders: Sequence[Candidate], cheapest: Candidate, about: dict[str, Any]) -> None:
    from tadan.schedule import save_schedule

    for one, order in zip(_names(name, len(orders)), [cheapest, *orders[1:]], strict=True):
        saving = {"stages": order.stages, "saving_percent": round(_saving(order, orders[0]), 3)}
        save_schedule(one, order.schedule, {**about, **saving})


def _advance(step: Step) -> Callable[[int, int], None]:
    """Progress of a search, which counts and whose total grows, on a bar that is moved."""
    last = 0

    def show(done: int, total: int) -> None:
        nonlocal last
        step(advance=done - last, total=total)
        last = done

    return show


def _saving(order: Candidate, single: Candidate) -> float:
    return 100 * (1 - order.validated_bits / single.validated_bits)


def _table(orders: Sequence[Candidate], listed: Sequence[Candidate]) -> Table:
    from rich.table import Table

    table = Table(caption="saving against 1 stage in the bits of y, on latents that did not choose the orders")
    table.add_column("stages", justify="right")
    table.add_column("saving", justify="right")
    table.add_column("order", overflow="fold")
    table.add_column("in the catalogue")
    for order in orders:
        table.add_row(str(order.stages), f"{_saving(order, orders[0]):.2f} %", order.text, order.schedule.name or "")
    table.add_section()
    for order in listed:
        table.add_row(str(order.stages), f"{_saving(order, orders[0]):.2f} %", order.text, order.schedule.name)
    return table


def _count(parts: Sequence[Any]) -> int:
    return sum(len(part.y) for part in parts)
