"""``tadan encode``: pictures in, ``.tdn`` files out."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tadan.cli import files
from tadan.cli.report import Report
from tadan.codec.options import DEFAULT_EFFORT, DEFAULT_QUALITY, EFFORT_MAX, EFFORT_MIN
from tadan.errors import UnreadableInput

if TYPE_CHECKING:
    from PIL.Image import Image


def encode(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="IN",
            help="Pictures, folders of pictures or '-'; the second of two is the output if it ends in .tdn.",
            show_default=False,
        ),
    ],
    output: files.OutputOption = None,
    out_dir: files.OutDirOption = None,
    quality: Annotated[
        int, typer.Option("-q", "--quality", min=1, max=100, help="1 (smallest file) to 100 (best picture).")
    ] = DEFAULT_QUALITY,
    schedule: Annotated[
        str,
        typer.Option("--schedule", help="fast, balanced, best, another name of `tadan schedule list`, or a pattern."),
    ] = "balanced",
    effort: Annotated[
        int,
        typer.Option(
            "--effort",
            "-e",
            min=EFFORT_MIN,
            max=EFFORT_MAX,
            help=f"{EFFORT_MIN} (fastest) to {EFFORT_MAX}: how long to search for a smaller file.",
        ),
    ] = DEFAULT_EFFORT,
    tune: Annotated[
        str | None,
        typer.Option(
            help="What the search lowers: eye (error that is seen) or psnr (squared error).",
            show_default="as the model was trained",
        ),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Decode the result and compare its latents.")] = False,
    fallback: Annotated[
        bool,
        typer.Option(
            "--fallback/--no-fallback",
            help="Store screenshots, drawings and the like as WebP, PNG or JPEG where that is better / only warn.",
        ),
    ] = True,
    strip: Annotated[
        bool,
        typer.Option(
            "--strip",
            help="Leave out EXIF, XMP and ICC profile; colours of another profile are converted to sRGB.",
        ),
    ] = False,
    tile: Annotated[
        int | None,
        typer.Option(help="Pixels a side of the tiles, a multiple of 64; 0: one tile.", show_default="by size"),
    ] = None,
    force: files.ForceOption = None,
    threads: files.ThreadsOption = None,
    model: files.ModelOption = None,
    quiet: files.QuietOption = False,
) -> None:
    """Compress pictures into .tdn files; without OUT or --out-dir each goes beside its picture."""
    names_output = paths[-1].suffix.lower() == files.STREAM_SUFFIX
    inputs, output = files.split_output(paths, output, out_dir, names_output)
    destination = files.Destination(files.STREAM_SUFFIX, output, out_dir, force)
    report = Report(quiet, stdout_is_data=output == files.STANDARD_STREAM or inputs == [files.STANDARD_STREAM])
    jobs = files.plan(files.expand(inputs, files.PICTURES, report), destination, report)
    if jobs:
        import tadan
        from tadan.schedule import parse_schedule

        chosen = parse_schedule(schedule)
        codec = files.open_codec(model, threads, encodes=True)

        def work(job: files.Job) -> None:
            start = time.perf_counter()
            image = _standard_input() if job.source == files.STANDARD_STREAM else job.source
            data = codec.encode(
                image,
                quality=quality,
                schedule=chosen,
                verify=verify,
                effort=effort,
                tile=tile,
                strip=strip,
                tune=tune,
                fallback=fallback,
            )
            seconds = time.perf_counter() - start
            files.write_target(job.target, data, out_dir)
            facts = tadan.inspect(data)
            stored = f"  stored as {facts.stored.upper()}" if facts.stored else ""
            report.line(
                f"{job.source} -> {job.target}  {len(data):,} bytes  {facts.bpp:.3f} bpp  {seconds:.2f} s{stored}"
            )

        report.each(jobs, lambda job: job.source, work)
    report.finish()


def _standard_input() -> Image:
    from PIL import Image

    data = files.read_source(files.STANDARD_STREAM)
    try:
        return Image.open(io.BytesIO(data))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableInput(
            f"standard input is not a picture that Pillow can open ({error}); pipe a JPEG, PNG or other picture."
        ) from error
