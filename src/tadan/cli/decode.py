"""``tadan decode``: ``.tdn`` files in, pictures out, in whatever format Pillow writes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tadan.cli import files, options, pictures
from tadan.cli.report import Done, Report
from tadan.codec.options import check_reduce
from tadan.errors import InvalidInput
from tadan.pictures.writing import Saving, save_picture

if TYPE_CHECKING:
    from tadan.codec.salvage import Salvaged

STATES = ("intact", "partial", "lost")


def decode(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="IN [OUT]",
            help="A Tadan file and the picture to write; with --out-dir any number of files. '-' is a pipe.",
            show_default=False,
        ),
    ],
    output: options.Output = None,
    out_dir: options.OutDir = None,
    picture_format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="NAME", help="Format of the picture: png, jpg, webp, tif, ppm.", show_default="by OUT"
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            "-q",
            "--quality",
            min=1,
            max=100,
            help="Quality of a JPEG, WebP or AVIF to write.",
            show_default="95, WebP lossless",
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", help="Decode only this part, in pixels, from the tiles that it needs."),
    ] = None,
    preview: Annotated[
        int | None,
        typer.Option(metavar="K", min=0, help="Decode the first K stages only; what comes later is predicted."),
    ] = None,
    reduce: Annotated[
        int | None,
        typer.Option(metavar="N", help="Make it 4, 8 or 16 times smaller; fast for large pictures.", show_default="1"),
    ] = None,
    salvage: Annotated[
        bool,
        typer.Option(
            "--salvage",
            help="Show what is left of damaged files, lost tiles in grey; exit code 1 unless all are whole.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --salvage: print one JSON object per file and line.")
    ] = False,
    force: options.Force = None,
    jobs: options.Jobs = 1,
    threads: options.Threads = None,
    model: options.ModelName = None,
    decoder: options.Decoder = None,
    max_pixels: options.MaxPixels = None,
    memory: options.Memory = None,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Decode a .tdn file into a picture whose ending chooses the format, or many of them below a folder."""
    part = None if region is None else _parse_region(region)
    if salvage and (part is not None or preview is not None or reduce is not None):
        raise InvalidInput("--salvage shows all that is left; leave out --region, --preview and --reduce")
    if reduce is not None:
        check_reduce(reduce)
    if as_json and not salvage:
        raise InvalidInput("--json is the report of --salvage; add --salvage")
    inputs, output = files.split_output(paths, output, out_dir, None)
    suffix = pictures.DEFAULT_SUFFIX if picture_format is None else pictures.suffix_named(picture_format)
    destination = files.Destination(suffix, output, out_dir, force)
    piped = output == files.STANDARD_STREAM or (output is None and inputs == [files.STANDARD_STREAM])
    report = Report(quiet or as_json, piped, not no_progress)
    planned = files.plan(files.expand(inputs, files.STREAMS, report), destination, report)
    if planned:
        named = suffix if picture_format is not None else pictures.suffix_of(planned[0].target)  # all have the same
        saving = Saving.of(named, quality)
        choice = options.CodecChoice(model, threads, jobs, max_pixels, memory, decoder=decoder)
        whole = quality is None and part is None and preview is None and not salvage and (reduce or 1) == 1
        work = _Decoding(choice, named, saving, destination, part, preview, reduce or 1, salvage, as_json, whole)
        report.each(planned, lambda job: job.source, work, jobs)
    report.finish()


@dataclass(frozen=True)
class _Decoding:
    """Decodes one file after the other, in whatever process it finds itself.

    Attributes:
        choice: the codec.
        named: ending of the pictures to write.
        saving: how to write them.
        destination: where they go.
        region: to decode; None: all.
        stages: to decode; None: all.
        reduce: how many times smaller the picture is made.
        salvage: whether to show what is left of damaged files.
        as_json: whether to tell of that as JSON.
        whole: whether nothing was asked for that a JPEG kept byte for byte would not be.
    """

    choice: options.CodecChoice
    named: str
    saving: Saving
    destination: files.Destination
    region: list[int] | None
    stages: int | None
    reduce: int
    salvage: bool
    as_json: bool
    whole: bool

    def __call__(self, job: files.Job) -> Done:
        data = files.read_source(job.source)
        start = time.perf_counter()
        if self.whole:
            kept = pictures.kept_jpeg(self.choice.codec, data, self.named)
            if kept is not None:
                files.write_target(job.target, kept, self.destination)
                return Done((pictures.kept_line(job, kept, time.perf_counter() - start),))
        left: Salvaged | None = None
        if self.salvage:
            left = self.choice.codec.salvage(data)
            image = left.image
        else:
            image = pictures.decoded(self.choice.codec, data, self.region, self.stages, self.reduce)
        seconds = time.perf_counter() - start
        files.write_target(job.target, lambda file: save_picture(image, self.saving, file), self.destination)
        found = "" if left is None or left.whole else f"  {_summary(left)}"
        line = f"{pictures.picture_line(job, image, seconds)}{found}"
        document = None
        if self.as_json and left is not None:
            document = json.dumps({"file": str(job.source), "output": str(job.target), **left.to_dict()})
        return Done((line,), document, wanting=left is not None and not left.whole)


def _parse_region(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidInput(
            f"a region is X,Y,WIDTH,HEIGHT in whole pixels, such as 100,50,640,480, not {text}"
        ) from error


def _summary(left: Salvaged) -> str:
    states = [f"{count} of {len(left.tiles)} tiles {state}" for state in STATES if (count := left.count(state))]
    return "; ".join([*states, *left.notes])
