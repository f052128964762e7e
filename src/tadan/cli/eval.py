"""``tadan eval``: rate-distortion curves of Tadan and its rivals on a folder of pictures, and their BD-rates."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder with pictures, or one picture.")],
    qualities: Annotated[
        str | None, typer.Option("--qualities", "-q", help="Tadan's qualities, 1 to 100; default: twelve of them.")
    ] = None,
    schedule: Annotated[str, typer.Option(help="Tadan's schedule.")] = "balanced",
    model: Annotated[str | None, typer.Option(help="Tadan's model, name or path; default: the bundled one.")] = None,
    against: Annotated[
        str, typer.Option(help="Rivals: jpeg, jpeg-444, webp, avif, avif-444, jpeg2000, heic, jxl; or none.")
    ] = "jpeg,webp",
    anchor: Annotated[
        list[Path] | None, typer.Option(help="JSON of a curve on the same pictures; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the curves and the plot.")] = Path("report"),
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N pictures.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of Tadan and AVIF; default: as each chooses.")
    ] = None,
) -> None:
    """Measure bytes, PSNR, MS-SSIM and seconds over a folder; BD-rate against rivals and given curves."""
    from rich.console import Console

    from tadan.evaluate import BDRate, TadanCodec, load_curve, run_curve, save_curve
    from tadan.evaluate.codecs import PictureCodec
    from tadan.evaluate.extras import parse_qualities, require
    from tadan.evaluate.pictures import list_pictures
    from tadan.evaluate.report import bd_rate_lines, curve_table, progress_bar, rd_plot
    from tadan.evaluate.rivals import choose_rivals
    from tadan.files import make_folder, write_atomically

    console = Console()
    for module in ("matplotlib.figure", "bjontegaard"):  # before minutes of coding, not after
        require(module, "eval", "tadan eval")
    ours = TadanCodec(schedule=schedule, model=model, threads=threads)
    rivals, skipped = choose_rivals(against, threads)
    for line in skipped:
        console.print(line, style="yellow", markup=False)
    given = [load_curve(path) for path in anchor or []]
    anchors = [replace(curve, name=f"{curve.name} (given: {curve.meta.get('dataset', '?')})") for curve in given]
    wanted = parse_qualities(qualities, ours.qualities) if qualities else list(ours.points)
    runs: list[tuple[PictureCodec, list[int]]] = [(ours, wanted), *((rival, list(rival.points)) for rival in rivals)]
    pictures = len(list_pictures(folder, limit))
    make_folder(out)
    curves = []
    with progress_bar("coding", pictures * sum(len(points) for _, points in runs)) as step:
        for codec, points in runs:
            curve = run_curve(codec, folder, points, limit=limit, on_trial=step)
            save_curve(curve, out / f"{codec.name}.json")
            curves.append(curve)
    write_atomically(out / "rate-distortion.png", rd_plot([*curves, *anchors], curves[0].meta["dataset"]))
    console.print(curve_table(curves))
    for name, value in bd_rate_lines(curves[0], [*curves[1:], *anchors]):
        words = f"BD-rate of {ours.name} against {name}: {value}" if isinstance(value, BDRate) else value
        console.print(words, markup=False, highlight=False, soft_wrap=True)
    few = curves[0].meta["pictures_with_fewer_ms_ssim_scales"]
    if few:
        console.print(f"MS-SSIM of {few} small picture(s) uses fewer than five scales.", style="yellow")
    written = ", ".join([*(f"{codec.name}.json" for codec, _ in runs), "rate-distortion.png"])
    console.print(f"Wrote into {out}/: {written}", markup=False, highlight=False, soft_wrap=True)
