"""``tadan lab crops``: what codecs make of the same places at about the same file size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tadan_lab.cli import options


def crops(
    pictures: options.Pictures,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for a WebP sheet of every picture.")],
    quality: options.Quality = 40,
    against: Annotated[str, typer.Option(help="Rivals by commas, as of `tadan lab eval`.")] = "avif-444",
    metrics: Annotated[
        str, typer.Option(help="Metrics to state for each codec, as of `tadan lab eval`.")
    ] = "psnr,ssimulacra2",
    every: Annotated[int, typer.Option(help="Take every N-th picture, from the first.", min=1)] = 1,
    limit: options.Limit = None,
    threads: options.Threads = None,
    model: options.Model = None,
) -> None:
    """Put crops of the original, of Tadan and of rivals at about the same file size on one sheet, to be looked at."""
    from rich.console import Console

    from tadan.cli.progress import progress_bar
    from tadan.files import make_folder, write_atomically
    from tadan.pictures.folder import list_pictures, open_rgb
    from tadan_lab.measure import PictureCodec, TadanCodec
    from tadan_lab.measure.crops import compare_crops, to_webp
    from tadan_lab.measure.rivals import choose_rivals
    from tadan_lab.measure.yardsticks import choose_metrics

    console = Console()
    rivals, skipped = choose_rivals(against, threads)
    chosen, unmeasured = choose_metrics(metrics, "standard_4k")
    for line in [*skipped, *unmeasured]:
        console.print(line, style="yellow", markup=False)
    codecs: list[PictureCodec] = [TadanCodec(model=model, threads=threads), *rivals]
    paths, folder = list_pictures(pictures, None)[::every][:limit], make_folder(out)
    with progress_bar("coding", len(paths)) as step:
        for path in paths:
            sheet, trials = compare_crops(codecs, open_rgb(path), quality, chosen)
            target = folder / f"{path.stem}-q{quality}.webp"
            write_atomically(target, to_webp(sheet))
            for name, trial in trials:
                values = ", ".join(f"{one.key} {one.shown(trial.values[one.key])}" for one in chosen)
                line = f"{path.stem}  {name} {trial.quality}: {trial.bpp:.3f} bpp, {values}"
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            step()
    console.print(f"Look at the sheets in {folder}/", markup=False, highlight=False)
