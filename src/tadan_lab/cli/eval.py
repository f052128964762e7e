"""``tadan lab eval``: rate-distortion curves of Tadan and its rivals on pictures, BD-rates, and a report."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tadan.errors import InvalidInput

if TYPE_CHECKING:
    from tadan_lab.measure import Curve

_CODING = (
    "qualities",
    "schedule",
    "effort",
    "model",
    "against",
    "points",
    "metrics",
    "display",
    "limit",
    "pictures",
    "threads",
)


def evaluate(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(help="Folder with pictures, or one picture; not with --from.", show_default=False)
    ] = None,
    qualities: Annotated[
        str | None, typer.Option("--qualities", "-q", help="Tadan's qualities, 1 to 100; default: twelve of them.")
    ] = None,
    schedule: Annotated[
        str, typer.Option(help="Order of decoding for Tadan: a name, an alias or a pattern.")
    ] = "balanced",
    effort: Annotated[
        int | None,
        typer.Option(
            "--effort", "-e", min=0, max=9, help="How long Tadan's encoder may search, 0 to 9; default: its own choice."
        ),
    ] = None,
    tune: Annotated[
        str | None, typer.Option(help="What Tadan's search lowers: eye or psnr; default: as its model was trained.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Tadan's model, name or path; default: the bundled one.")] = None,
    against: Annotated[
        str,
        typer.Option(
            help="Rivals: jpeg, jpeg-444, webp, avif, avif-444, avif-psnr, avif-444-psnr, jpeg2000, heic, jxl; or none."
        ),
    ] = "jpeg,webp",
    points: Annotated[
        int | None, typer.Option(min=1, help="Only N of the dozen qualities of each codec, evenly spread.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="psnr, ms-ssim, ssimulacra2, butteraugli, cvvdp; default: all but cvvdp, butteraugli if it is there."
        ),
    ] = None,
    display: Annotated[str, typer.Option(help="Display that cvvdp assumes, a name of that package.")] = "standard_4k",
    anchor: Annotated[
        list[Path] | None, typer.Option(help="JSON of a curve on the same pictures; may be repeated.")
    ] = None,
    saved: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Code nothing, report on this saved curve; repeat for rivals. The first is ours."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for report, plots and curves.")] = Path("report"),
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N pictures.")] = None,
    pictures: Annotated[int, typer.Option(min=0, help="Pictures side by side in the report; 0 for none.")] = 4,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of Tadan and AVIF; default: as each chooses.")
    ] = None,
) -> None:
    """Measure bytes, quality and seconds over a folder; BD-rate by every metric against rivals and given curves.

    Leaves report.html (open it in a browser), the plot as SVG and PNG, bd-rates.json, and a JSON curve for each codec.
    """
    from rich.console import Console

    from tadan.cli.report import progress_bar
    from tadan.machine import machine_facts
    from tadan.optional import parse_qualities, require
    from tadan_lab.measure import TadanCodec, load_curve
    from tadan_lab.measure.bdrate import compare, other_pictures
    from tadan_lab.measure.curve import curve_file
    from tadan_lab.measure.gallery import Exhibit
    from tadan_lab.measure.report import comparison_line, curve_table
    from tadan_lab.measure.rivals import choose_rivals
    from tadan_lab.measure.session import Run, count_trials, measure, spread, write_results
    from tadan_lab.measure.yardsticks import choose_metrics

    console = Console()

    def say(words: str, style: str | None = None) -> None:
        console.print(words, style=style, markup=False, highlight=False, soft_wrap=True)

    for module in ("matplotlib.figure", "bjontegaard"):  # before minutes of coding, not after
        require(module, "lab", "tadan lab eval")
    given = [load_curve(path) for path in anchor or []]
    anchors = [replace(curve, name=f"{curve.name} ({_origin(curve)})") for curve in given]
    command = shlex.join(["tadan", *sys.argv[1:]])
    written: list[str] = []
    exhibits: list[Exhibit] = []
    if saved:
        _check_redrawing(context, folder)
        curves = [load_curve(path) for path in saved]
    elif folder is None:
        raise InvalidInput("Nothing to evaluate: give a folder with pictures, or saved curves with --from CURVE.json.")
    else:
        ours = TadanCodec(schedule=schedule, model=model, threads=threads, effort=effort, tune=tune)
        rivals, skipped = choose_rivals(against, threads)
        chosen, unmeasured = choose_metrics(metrics, display)
        for line in [*skipped, *unmeasured]:
            say(line, "yellow")
        wanted = parse_qualities(qualities, ours.qualities) if qualities else spread(ours.points, points)
        runs: list[Run] = [(ours, wanted), *((rival, spread(rival.points, points)) for rival in rivals)]
        about: dict[str, Any] = {"command": command, "measured": {**machine_facts(), "model": ours.model_id}}
        if any(metric.name == "cvvdp" for metric in chosen):
            about["cvvdp_display"] = display
        with progress_bar("coding", count_trials(runs, folder, limit, pictures)) as step:
            curves, exhibits = measure(
                runs, folder, out, about, limit=limit, metrics=chosen, shown=pictures, on_trial=step
            )
        written = [curve_file(codec.name) for codec, _ in runs]
    comparisons = compare(curves[0], [*curves[1:], *anchors])
    files = write_results(out, [*curves, *anchors], comparisons, exhibits, command)
    console.print(curve_table(curves))
    for comparison in comparisons:
        say(comparison_line(curves[0], comparison))
        warning = other_pictures(curves[0], comparison.anchor)
        if warning:
            say(warning, "yellow")
    few = curves[0].meta.get("pictures_with_fewer_ms_ssim_scales")
    if few and "ms-ssim-rgb" in curves[0].results:
        say(f"MS-SSIM of {few} small picture(s) uses fewer than five scales.", "yellow")
    say(f"Wrote into {out}/: {', '.join([*files, *written])}")
    say(f"Look at {out / 'report.html'}")


def _origin(curve: Curve) -> str:
    return f"given: {curve.meta['dataset']}" if "dataset" in curve.meta else "given"


def _check_redrawing(context: typer.Context, folder: Path | None) -> None:
    """Refuse what has no effect on curves that are measured already."""
    if folder is not None:
        raise InvalidInput(f"--from codes nothing, so the folder {folder} has no use; leave out one of the two.")
    sources = {name: context.get_parameter_source(name) for name in _CODING}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        raise InvalidInput(f"--from codes nothing, so --{given[0]} has no effect; leave it out.")
