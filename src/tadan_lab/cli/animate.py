"""``tadan lab animate``: a photograph as it can be shown while it is decoded, stage by stage."""

from pathlib import Path
from typing import Annotated

import typer

from tadan.cli.options import ModelName, Threads
from tadan.errors import UnwritableOutput


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
