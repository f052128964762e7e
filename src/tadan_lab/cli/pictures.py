"""Verbs that show pictures: ``tadan lab demo``, ``crops`` and ``animate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tadan.cli.options import ModelName, Threads
from tadan.errors import InvalidInput, UnwritableOutput
from tadan_lab.cli import options

RIVALS = ("jpeg", "webp", "avif")


def demo(
    photo: Annotated[
        Path | None, typer.Argument(help="A photograph; default: a cat's, from scikit-image.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the files.")] = Path("tadan-demo"),
    qualities: Annotated[str, typer.Option("--qualities", "-q", help="Tadan's qualities, 1 to 100.")] = "20,45,70",
) -> None:
    """Encode and decode a photograph at a few qualities, beside JPEG, WebP and AVIF at about the same size."""
    from rich.console import Console

    from tadan.cli.report import progress_bar
    from tadan.optional import parse_qualities
    from tadan.pictures.folder import open_rgb
    from tadan_lab.measure import TadanCodec, available_rivals, missing_rivals
    from tadan_lab.measure.demo import default_photograph, demo_table, run_demo

    console = Console()
    ours = TadanCodec()
    wanted = parse_qualities(qualities, ours.qualities)
    image = open_rgb(photo) if photo else default_photograph()
    name = photo.stem if photo else "chelsea"
    available, missing = available_rivals(), missing_rivals()
    for rival in RIVALS:
        if rival in missing:
            console.print(f"{rival}: {missing[rival]}", style="yellow", markup=False)
    rivals = [available[rival] for rival in RIVALS if rival in available]
    with progress_bar(name, len(wanted) * (1 + len(rivals))) as step:
        result = run_demo(ours, rivals, image, wanted, out, name=name, on_step=step)
    console.print(demo_table(result, f"{name}, {image.width}x{image.height}"))
    if not photo:
        console.print('Photograph: "Chelsea the cat", Stefan van der Walt, CC0, from scikit-image.', markup=False)
    console.print(f"Wrote into {out}/:", markup=False, highlight=False)
    for path in result.files:
        console.print(f"  {path.name}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Look at {result.files[-1]}", markup=False, highlight=False, soft_wrap=True)


def crops(
    pictures: options.Pictures,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for a WebP sheet of every picture.")],
    quality: options.Quality = 40,
    against: Annotated[str, typer.Option(help="Rivals by commas, as of `tadan lab eval`.")] = "avif-444",
    metrics: Annotated[
        str, typer.Option(help="Metrics to state for each codec, as of `tadan lab eval`.")
    ] = "psnr,ssimulacra2",
    at: Annotated[
        list[str] | None,
        typer.Option("--at", help="STEM:X,Y, repeatable: only that picture, only the square with that corner."),
    ] = None,
    every: Annotated[int, typer.Option(help="Take every N-th picture, from the first.", min=1)] = 1,
    limit: options.Limit = None,
    threads: options.Threads = None,
    model: options.Model = None,
) -> None:
    """Put crops of the original, of Tadan and of rivals at about the same file size on one sheet, to be looked at."""
    from rich.console import Console

    from tadan.cli.report import progress_bar
    from tadan.files import make_folder, write_atomically
    from tadan.pictures.folder import list_pictures, open_rgb
    from tadan_lab.measure import PictureCodec, TadanCodec
    from tadan_lab.measure.crops import Place, compare_crops, to_webp
    from tadan_lab.measure.rivals import choose_rivals
    from tadan_lab.measure.yardsticks import choose_metrics

    console = Console()
    rivals, skipped = choose_rivals(against, threads)
    chosen, unmeasured = choose_metrics(metrics, "standard_4k")
    for line in [*skipped, *unmeasured]:
        console.print(line, style="yellow", markup=False)
    codecs: list[PictureCodec] = [TadanCodec(model=model, threads=threads), *rivals]
    found, places = list_pictures(pictures, None), [Place.parse(text) for text in at or []]
    stems = {path.stem: path for path in found}
    absent = sorted({place.stem for place in places} - stems.keys())
    if absent:
        raise InvalidInput(f"there is no picture {', '.join(absent)} below {pictures}; look at its names")
    shown: list[tuple[Path, Place | None]] = [(stems[place.stem], place) for place in places]
    shown = shown or [(path, None) for path in found[::every]]
    shown, folder = shown[:limit], make_folder(out)
    with progress_bar("coding", len(shown)) as step:
        for path, place in shown:
            sheet, trials = compare_crops(codecs, open_rgb(path), quality, chosen, place)
            target = folder / f"{path.stem}-q{quality}.webp"
            write_atomically(target, to_webp(sheet))
            for name, trial in trials:
                values = ", ".join(f"{one.key} {one.shown(trial.values[one.key])}" for one in chosen)
                line = f"{path.stem}  {name} {trial.quality}: {trial.bpp:.3f} bpp, {values}"
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            step()
    console.print(f"Look at the sheets in {folder}/", markup=False, highlight=False)


def animate(
    schedule: Annotated[str, typer.Argument(help="Name, alias or pattern, such as 4x4, best or 0,2/3,1.")],
    picture: Annotated[Path, typer.Argument(help="The photograph to decode.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="What to write: .gif, .png (animated) or .webp.", show_default=False)],
    quality: Annotated[
        int, typer.Option("-q", "--quality", min=1, max=100, help="1 (smallest file) to 100 (best picture).")
    ] = 30,
    size: Annotated[
        int, typer.Option(min=16, max=1024, help="Shrink the picture first: pixels of its longer side at most.")
    ] = 384,
    frames: Annotated[int, typer.Option(min=2, max=100, help="Frames at most, evenly spaced over the stages.")] = 24,
    stills: Annotated[
        bool, typer.Option("--stills", help="Also write all frames side by side: OUT-stills.png.")
    ] = False,
    threads: Threads = None,
    model: ModelName = None,
) -> None:
    """Show a photograph being decoded: the picture after every stage, beside a map of its latents.

    Latents that are not decoded yet are replaced by their predicted means.
    """
    from rich.console import Console

    from tadan.files import write_atomically
    from tadan.pictures.folder import open_rgb
    from tadan.schedule import parse_schedule
    from tadan_lab.measure.animate import decoding_frames
    from tadan_lab.measure.film import contact_sheet, draw_frames, film, film_format

    suffix = film_format(out)
    plan = parse_schedule(schedule)
    sheet = out.with_name(f"{out.stem}-stills.png")
    for target in [out, sheet] if stills else [out]:
        if target.resolve() == picture.resolve():
            raise UnwritableOutput(f"the output {target} is the photograph itself; give it another name")
    image = open_rgb(picture)
    image.thumbnail((size, size))
    decoding = decoding_frames(model, image, quality, plan, frames, threads)
    rows, cols = plan.period
    images = draw_frames(decoding, plan.name or f"{rows}x{cols} pattern")
    console = Console()
    for target, data in [(out, film(images, suffix))] + ([(sheet, contact_sheet(images))] if stills else []):
        write_atomically(target, data)
        line = f"{target}  {len(images)} frames  {len(data):,} bytes"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
