"""``tadan lab demo``: one photograph through Tadan and, at about the same size, through JPEG, WebP and AVIF."""

from pathlib import Path
from typing import Annotated

import typer

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

    from tadan.cli.progress import progress_bar
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
