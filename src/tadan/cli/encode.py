"""``tadan encode``: pictures in, ``.tdn`` files out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tadan.cli import files, options, pictures
from tadan.cli.report import Done, Report
from tadan.codec.options import DEFAULT_EFFORT, DEFAULT_QUALITY, EFFORT_MAX, EFFORT_MIN, EncodeOptions
from tadan.errors import InvalidInput

if TYPE_CHECKING:
    from tadan.codec.target import Target
    from tadan.codec.writer import Encoded

_OUTPUTS = frozenset({files.STREAM_SUFFIX})


def encode(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="IN [OUT]",
            help="A picture and the file to write; with --out-dir any number of pictures and folders. '-' is a pipe.",
            show_default=False,
        ),
    ],
    output: options.Output = None,
    out_dir: options.OutDir = None,
    quality: Annotated[
        int | None,
        typer.Option(
            "-q",
            "--quality",
            min=1,
            max=100,
            help="1 (smallest file) to 100 (best picture).",
            show_default=str(DEFAULT_QUALITY),
        ),
    ] = None,
    target_size: Annotated[
        str | None,
        typer.Option(metavar="BYTES", help="Find the best quality whose file has at most so many bytes: 200k, 1.5M."),
    ] = None,
    target_psnr: Annotated[
        float | None, typer.Option(metavar="DB", help="Find the lowest quality that reaches this PSNR in decibels.")
    ] = None,
    target_score: Annotated[
        float | None, typer.Option(metavar="SCORE", help="Find the lowest quality that reaches this SSIMULACRA2 score.")
    ] = None,
    lossless: Annotated[
        bool, typer.Option("--lossless", help="Keep every sample: store the picture as PNG or lossless WebP.")
    ] = False,
    lossless_jpeg: Annotated[
        bool,
        typer.Option("--lossless-jpeg", help="Keep JPEG files byte for byte, smaller; decode IN OUT.jpg returns them."),
    ] = False,
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
    keep_hidden: Annotated[
        bool,
        typer.Option("--keep-hidden", help="Keep the colours of fully transparent pixels, which nobody can see."),
    ] = False,
    tile: Annotated[
        int | None,
        typer.Option(help="Pixels a side of the tiles, a multiple of 64; 0: one tile.", show_default="by size"),
    ] = None,
    profile: options.ProfileFile = None,
    force: options.Force = None,
    jobs: options.Jobs = 1,
    threads: options.Threads = None,
    model: options.ModelName = None,
    max_pixels: options.MaxPixels = None,
    memory: options.Memory = None,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Compress a picture into a .tdn file, or many of them below a folder."""
    target = _target(target_size, target_psnr, target_score)
    kinds = (("-q", quality is not None), ("--lossless", lossless), ("--lossless-jpeg", lossless_jpeg))
    given = [name for name, used in kinds if used]
    if (target is not None) + len(given) > 1:
        wanted = ", ".join(["a target" if target is not None else "", *given]).removeprefix(", ")
        raise InvalidInput(f"{wanted} exclude each other: each says how good the picture is; give one of them")
    own = options.ProfileChoice(profile, context)
    quality = own("quality", quality)
    chosen = EncodeOptions(
        quality=DEFAULT_QUALITY if quality is None else quality,
        schedule=own("schedule", schedule),
        effort=own("effort", effort),
        tile=own("tile", tile),
        strip=strip,
        tune=own("tune", tune),
        fallback=fallback,
        lossless=lossless,
        keep_hidden=keep_hidden,
        verify=verify,
    )
    inputs, output = files.split_output(paths, output, out_dir, _OUTPUTS)
    destination = files.Destination(files.STREAM_SUFFIX, output, out_dir, force)
    piped = output == files.STANDARD_STREAM or (output is None and inputs == [files.STANDARD_STREAM])
    report = Report(quiet, piped, not no_progress)
    planned = files.plan(files.expand(inputs, files.PICTURES, report), destination, report)
    if planned:
        if not lossless_jpeg:
            model = own.model(model)
        threads = own.of_machine("threads", threads, "jobs")
        jobs = own.of_machine("jobs", jobs, "threads")
        bound = own.of_machine("memory", memory)
        memory = None if bound is None else str(bound)
        choice = options.CodecChoice(model, threads, jobs, max_pixels, memory, encodes=not lossless_jpeg)
        work = _Encoding(choice, chosen, target, destination, lossless_jpeg)
        report.each(planned, lambda job: job.source, work, jobs)
    report.finish()


def _target(size: str | None, psnr: float | None, score: float | None) -> Target | None:
    """The one target that was given, if any."""
    given = [name for name, value in (("size", size), ("psnr", psnr), ("score", score)) if value is not None]
    if len(given) > 1:
        raise InvalidInput(f"--target-{given[0]} and --target-{given[1]} exclude each other; give one of them")
    if not given:
        return None
    from tadan.codec.target import Target

    if size is not None:
        return Target.size(options.parse_size(size, "--target-size"))
    return Target.psnr(psnr) if psnr is not None else Target.score(score or 0.0)


@dataclass(frozen=True)
class _Encoding:
    """Encodes one picture after the other, in whatever process it finds itself."""

    choice: options.CodecChoice
    chosen: EncodeOptions
    target: Target | None
    destination: files.Destination
    lossless_jpeg: bool

    def __call__(self, job: files.Job) -> Done:
        start = time.perf_counter()
        coded = self._coded(job.source)
        seconds = time.perf_counter() - start
        files.write_target(job.target, coded.data, self.destination)
        return Done((pictures.encoded_line(job, coded.data, seconds, say_quality=self.target is not None),))

    def _coded(self, source: Path) -> Encoded:
        if self.lossless_jpeg:
            return self.choice.codec.keep_jpeg(files.read_source(source))  # which is checked as it is made
        from tadan.pictures.reading import opened

        piped = source == files.STANDARD_STREAM
        image = opened(files.read_source(source), "standard input") if piped else source
        if self.target is None:
            return self.choice.codec.encode_picture(image, self.chosen)
        from tadan.codec.target import encode_to

        return encode_to(self.choice.codec, image, self.target, self.chosen)
