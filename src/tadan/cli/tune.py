"""``tadan tune``: the setting for one's own pictures, machine and target."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tadan.cli import files, options
from tadan.codec.options import DEFAULT_QUALITY
from tadan.errors import InvalidInput, TadanError, UnwritableOutput

if TYPE_CHECKING:
    from rich.table import Table

    from tadan.models import Model
    from tadan.tune.album import Album
    from tadan.tune.machine import MachineProfile
    from tadan.tune.search import Space, Tuned

PROFILE = Path("tadan-profile.toml")
MINUTES = 4.0
_ROWS = 16  # of the table
_ORDER_STAGES = (4, 8, 16)
_ORDER_BUDGET = 1200  # neighbourhoods; see tadan schedule optimize


def tune(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder with pictures, or one picture.", show_default=False)
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="TARGET",
            help=(
                "A goal (bytes, speed, decode-speed), then conditions: encode<1s, decode<200ms, memory<500M, "
                "bytes<+2%, speed>5/s, score>70 or psnr>35."
            ),
            show_default=False,
        ),
    ] = None,
    output: options.Output = None,
    measure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Only measure this machine, into a file; to plan for it elsewhere."),
    ] = None,
    machine: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Plan for the machine of this file.", show_default="this machine"),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            "-q",
            "--quality",
            min=1,
            max=100,
            help="Compare at this quality, where the target has no score and no psnr.",
            show_default=str(DEFAULT_QUALITY),
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="That the search may take; less looks at smaller parts.")
    ] = MINUTES,
    sample: Annotated[int, typer.Option(min=1, help="Pictures of the folder that are coded.")] = 12,
    schedules: Annotated[
        str | None,
        typer.Option(help="Decoding orders to try, separated by blanks.", show_default="six of the catalogue"),
    ] = None,
    efforts: Annotated[str, typer.Option(help="Efforts to try, separated by commas.")] = "0,1,2,3,4,5,6,7,8,9",
    orders: Annotated[
        bool, typer.Option("--orders", help="Also find the best orders for these pictures first, and try them.")
    ] = False,
    models: Annotated[
        str | None, typer.Option(help="Models to try, separated by commas.", show_default="bundled")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw the front, as PNG or SVG.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample and of the parts.")] = 0,
    as_json: options.Json = False,
    force: options.Force = None,
    quiet: options.Quiet = False,
) -> None:
    """Find the setting for your pictures, your machine and a target, and write it as a profile.

    A goal comes first: "bytes" (smallest files), "speed" or "decode-speed" (most pictures a second of all processes).
    Conditions follow: --for "bytes, decode<200ms", --for "speed, bytes<+2%", --for "bytes, encode<1s, score>70".

    Seconds hold for nine pictures in ten; memory is that of all processes; score (SSIMULACRA2) and psnr are means.

    The first run measures the machine, which takes about two minutes. What was measured is kept: after Ctrl-C, the same
    command goes on where it ended.
    """
    say = _Teller(quiet or as_json)
    if measure is not None:
        if folder is not None or target is not None:
            raise InvalidInput("--measure takes no pictures and no --for: it only measures this machine")
        _free(_writable(measure), force, "--measure FILE")
        _measured(_models(models)[0], say).save(measure)
        say(f"{measure}: plan for this machine with: tadan tune FOLDER --for TARGET --machine {measure.name}")
        return
    if folder is None or target is None:
        raise InvalidInput('tune takes a folder and a target: tadan tune FOLDER --for "bytes, decode<200ms"')
    _search(
        folder, target, output or PROFILE, machine, quality, minutes, sample, (schedules, efforts, orders, models),
        plot, seed, as_json, force, say,
    )  # fmt: skip


def _search(
    folder: Path,
    target: str,
    output: Path,
    machine: Path | None,
    quality: int | None,
    minutes: float,
    sample: int,
    space: tuple[str | None, str, bool, str | None],
    plot: Path | None,
    seed: int,
    as_json: bool,
    force: bool | None,
    say: _Teller,
) -> None:
    from tadan.cli.report import progress_bar
    from tadan.files import user_folder, write_atomically
    from tadan.optional import require
    from tadan.toml import dumps
    from tadan.tune.album import open_album
    from tadan.tune.machine import load_machine
    from tadan.tune.outcome import plot as draw
    from tadan.tune.outcome import profile_of
    from tadan.tune.rates import Memo, Rates
    from tadan.tune.search import Tuner
    from tadan.tune.target import parse_target

    tuning = parse_target(target)
    if tuning.score is not None:
        require("ssimulacra2.ssimulacra2", "lab", "SSIMULACRA2")
    piped = output == files.STANDARD_STREAM
    if not piped:
        _free(_writable(output), force, "-o")
    form = None if plot is None else _plot_form(_writable(plot))
    planned = None if machine is None else load_machine(machine)
    album = open_album(folder, sample, seed)
    if album.unread:
        say(f"{len(album.unread)} files were left out, as they cannot be read: {', '.join(album.unread[:3])}")
    wanted = _models(space[3])
    searched = _space(space, wanted, album, say)
    here = _this_machine(wanted[0], say)
    begun = time.perf_counter()
    tuner = Tuner(album, tuning, planned or here, here, searched, quality or DEFAULT_QUALITY, say)
    pixels = tuner.part_pixels(60 * minutes)
    expected = tuner.estimate(pixels)
    say(f"{len(album.sample)} of {album.count} pictures, at most about {max(1, round(expected / 60))} minutes")
    try:
        with progress_bar("coding", 1) as step:
            memo = Memo(user_folder("cache") / "tune-rates.jsonl")
            rates = Rates(album, pixels, tuner.metric, memo, seed=seed, progress=_counting(step), model=wanted[0])
            tuned = tuner.run(rates)
    except KeyboardInterrupt:
        say("interrupted; what was measured is kept, and the same command goes on from there")
        raise
    profile = profile_of(tuned, album, tuner.machine, tuner.metric, seed)
    if piped:
        typer.echo(dumps(profile.to_dict()), nl=False)
        return
    profile.save(output, replace=bool(force))
    if plot is not None and form is not None:
        write_atomically(plot, draw(tuned, form))
    _tell(tuned, tuner.metric, output, time.perf_counter() - begun, as_json, say)


class _Teller:
    """Says on standard error what goes on."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def __call__(self, what: str) -> None:
        from tadan.cli.report import printable

        if not self.quiet:
            typer.echo(printable(what), err=True)


def _counting(step: Any) -> Callable[[], None]:
    """Files that were made, without an end that is known."""
    made = 0

    def one() -> None:
        nonlocal made
        made += 1
        step(description=f"coding, {made} files", advance=0)

    return one


def _models(names: str | None) -> list[str | None]:
    """Names of models that can encode; the first one is measured with."""
    from tadan.models import load_model

    wanted: list[str | None] = [None] if names is None else [word.strip() for word in names.split(",") if word.strip()]
    if not wanted:
        raise InvalidInput("--models names none; give names or files, separated by commas")
    for name in wanted:
        load_model(name).check_encoder()
    return wanted


def _space(
    space: tuple[str | None, str, bool, str | None], models: Sequence[str | None], album: Album, say: _Teller
) -> Space:
    from tadan.codec.options import EFFORT_MAX
    from tadan.optional import parse_qualities
    from tadan.schedule import parse_schedule
    from tadan.tune.search import Space
    from tadan.tune.setting import SCHEDULES

    schedules, efforts, orders, _ = space
    named = list(SCHEDULES) if schedules is None else schedules.split()
    if orders:
        named += _own_orders(models[0], album, say)
    for name in named:
        parse_schedule(name)
    tried = parse_qualities(efforts, range(EFFORT_MAX + 1), "Efforts")
    return Space(tuple(dict.fromkeys(named)), tuple(tried), models=tuple(models))


def _own_orders(model: str | None, album: Album, say: _Teller) -> list[str]:
    """The best orders for these pictures by the exact search, as patterns."""
    from tadan.cli.report import progress_bar
    from tadan.latents.coder import Y_STRIDE
    from tadan.models import load_model
    from tadan.schedule.optimize import search
    from tadan.tune import TwinCosts, found_orders
    from tadan.tune.search import PART_PIXELS

    say("the best orders for these pictures")
    used = load_model(model)
    least = Y_STRIDE * (2 * used.config.radius + 1)  # pixels of a context window
    parts = [one.part(PART_PIXELS[0]) for one in album.sample if min(one.size) >= least]
    with progress_bar("coding", 3 * len(parts)) as step:
        costs = TwinCosts(used, (4, 4), parts, progress=step)
    found = found_orders(costs, search((4, 4), costs, _ORDER_BUDGET))
    return [one.schedule.name or one.text for one in found if one.stages in _ORDER_STAGES]


def _this_machine(model: str | None, say: _Teller) -> MachineProfile:
    """Profile of this machine: the kept one if versions, processor and model are the same, else measured now."""
    from tadan.files import make_folder, user_folder
    from tadan.models import load_model
    from tadan.tune.benchmark import facts_here
    from tadan.tune.machine import load_machine

    used: Model = load_model(model)
    path = user_folder("machines") / f"this-{used.id_hex[:8]}.toml"
    if path.is_file():
        try:
            kept = load_machine(path)
        except TadanError:
            kept = None
        facts = {name: value for name, value in facts_here().items() if name != "date"}
        if kept is not None and facts.items() <= kept.facts.items() and kept.model.get("id") == used.id_hex:
            return kept
    profile = _measured(model, say)
    make_folder(path.parent)
    profile.save(path)
    return profile


def _measured(model: str | None, say: _Teller) -> MachineProfile:
    from tadan.models import load_model
    from tadan.tune.benchmark import measure_machine

    say("measuring this machine, which takes about two minutes")
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if busy > 0.5:
        say(
            f"warning: others work here, too (load {busy:.1f}): seconds will be too high; measure again when it is idle"
        )
    return measure_machine(load_model(model), say=lambda what: say(f"  {what}"))


def _writable(path: Path) -> Path:
    if not path.absolute().parent.is_dir():
        raise UnwritableOutput(f"cannot write {path}: its folder does not exist; create it or name another file")
    return path


def _free(path: Path, force: bool | None, option: str) -> None:
    if path.exists() and not force:
        raise InvalidInput(f"{path} exists and is left as it is; replace it with -f, or name another with {option}")


def _plot_form(path: Path) -> str:
    form = path.suffix.lower().removeprefix(".")
    if form not in ("png", "svg"):
        raise InvalidInput(f"--plot {path} ends in .png or .svg; name it so")
    from tadan.optional import require

    require("matplotlib.figure", "lab", "The plot of the front")
    return form


def _tell(tuned: Tuned, metric: str, output: Path, seconds: float, as_json: bool, say: _Teller) -> None:
    from tadan.tune.outcome import METRIC_NAMES, entry_values, front, percent

    chosen, figures = tuned.chosen, tuned.chosen.figures
    if as_json:
        document = {
            "target": str(tuned.tuning),
            "chosen": entry_values(chosen),
            "bits_per_pixel": tuned.bpp,
            "quality_metric": METRIC_NAMES[metric],
            "quality_mean": tuned.value,
            "stored_share": tuned.stored,
            "front": [entry_values(one) for one in front(tuned)],
            "seconds": round(seconds, 1),
            "profile": str(output),
        }
        typer.echo(json.dumps(document))
        return
    if say.quiet:
        return
    from rich.console import Console

    console = Console()
    console.print(_table(tuned))
    if tuned.stored:
        say(f"{tuned.stored:.0%} of the sample is stored in another format, whatever the setting")
    lines = (
        f"chosen: {chosen.setting}, {chosen.way.jobs} processes of {chosen.way.threads} threads",
        f"predicted: encode {figures.encode:.3g} s, decode {figures.decode:.3g} s (nine pictures in ten), "
        f"{figures.speed:.3g} encoded and {figures.decode_speed:.3g} decoded a second, {figures.memory / 1e6:.0f} MB",
        f"files: {tuned.bpp:.3f} bits a pixel, {percent(chosen.log_ratio):+.2f} % against effort 0 at equal quality, "
        f"{METRIC_NAMES[metric]} {tuned.value:.2f} (lowest {tuned.lowest:.2f})",
        f"{output}: tadan encode FOLDER --out-dir CODED --profile {output}   ({seconds:.0f} s)",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(tuned: Tuned) -> Table:
    from rich.table import Table

    from tadan.tune.outcome import front, percent

    table = Table(caption="nothing that was tried beats these in bytes, encoding and decoding at once; *: chosen")
    for heading in ("", "schedule", "effort", "tile", "bytes", "encode, s", "decode, s", "a second", "pictures"):
        table.add_column(heading, justify="left" if heading in ("", "schedule") else "right")
    rows = front(tuned)
    if len(rows) > _ROWS:  # evenly from all of it, the ends among them
        rows = [rows[round(at * (len(rows) - 1) / (_ROWS - 1))] for at in range(_ROWS)]
    for one in rows:
        setting, figures = one.setting, one.figures
        tile = "by size" if setting.tile is None else str(setting.tile or "whole")
        table.add_row(
            "*" if replace(setting, quality=tuned.chosen.setting.quality) == tuned.chosen.setting else "",
            setting.schedule,
            str(setting.effort),
            tile,
            f"{percent(one.log_ratio):+.2f} %",
            f"{figures.encode:.3g}",
            f"{figures.decode:.3g}",
            f"{figures.speed:.3g}",
            str(one.pictures),
        )
    return table
