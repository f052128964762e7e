"""``tadan encode``: pictures in, ``.tdn`` files out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tadan.cli import encoding, files, options, pictures
from tadan.cli.report import Done, Report
from tadan.codec.options import DEFAULT_EFFORT, EncodeOptions

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
    quality: encoding.Quality = None,
    target_size: encoding.TargetSize = None,
    target_psnr: encoding.TargetPsnr = None,
    target_score: encoding.TargetScore = None,
    lossless: encoding.Lossless = False,
    lossless_jpeg: encoding.LosslessJpeg = False,
    schedule: encoding.Schedule = "balanced",
    effort: encoding.Effort = DEFAULT_EFFORT,
    tune: encoding.Tune = None,
    verify: encoding.Verify = False,
    fallback: encoding.Fallback = True,
    strip: encoding.Strip = False,
    keep_hidden: encoding.KeepHidden = False,
    tile: encoding.Tile = None,
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
    target = encoding.one_target(target_size, target_psnr, target_score)
    own = options.ProfileChoice(profile, context)
    chosen = encoding.chosen_options(
        target,
        quality,
        lossless_jpeg,
        usual=own("quality", quality),
        lossless=lossless,
        schedule=own("schedule", schedule),
        effort=own("effort", effort),
        tile=own("tile", tile),
        strip=strip,
        tune=own("tune", tune),
        fallback=fallback,
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
