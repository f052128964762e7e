"""``tadan transcode``: pictures of any format in, pictures of any other out, ``.tdn`` files on either side."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tadan.bitstream import is_tdn, read_header
from tadan.bitstream.fields import JPEG_FILE, MAGIC
from tadan.cli import files, options, pictures
from tadan.cli.report import Done, Report
from tadan.codec.options import DEFAULT_QUALITY, EFFORT_MAX, EFFORT_MIN, EncodeOptions
from tadan.errors import InvalidInput
from tadan.files import read_bytes
from tadan.pictures.writing import Saving, save_picture, scaled_down

if TYPE_CHECKING:
    from PIL.Image import Image


def transcode(
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
    picture_format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="NAME", help="Format to write: tdn, png, jpg, webp, avif, tif.", show_default="by OUT"
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            "-q",
            "--quality",
            min=1,
            max=100,
            help="Quality of the .tdn, JPEG, WebP or AVIF to write.",
            show_default=f"{DEFAULT_QUALITY} for .tdn, 95, WebP lossless",
        ),
    ] = None,
    effort: Annotated[
        int | None,
        typer.Option(
            "--effort",
            "-e",
            min=EFFORT_MIN,
            max=EFFORT_MAX,
            help=f"{EFFORT_MIN} (fastest) to {EFFORT_MAX}: how long to search for a smaller .tdn file.",
        ),
    ] = None,
    lossless: Annotated[
        bool, typer.Option("--lossless", help="Keep every sample, in a format that can: tdn, png, webp, tif.")
    ] = False,
    max_side: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", min=1, help="Scale larger pictures down to so many pixels a side at most."),
    ] = None,
    force: options.Force = None,
    jobs: options.Jobs = 1,
    threads: options.Threads = None,
    model: options.ModelName = None,
    max_pixels: options.MaxPixels = None,
    memory: options.Memory = None,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Turn a picture of any format into one of another, .tdn included; ICC profile, EXIF and XMP are kept."""
    if lossless and quality is not None:
        raise InvalidInput("-q, --lossless exclude each other: each says how good the picture is; give one of them")
    inputs, output = files.split_output(paths, output, out_dir, None, excluded=frozenset())
    suffix = _suffix(picture_format, output)
    asked = {"quality": quality, "effort": effort, "lossless": lossless or None}
    fields = {name: value for name, value in asked.items() if value is not None}
    saving = None if suffix == files.STREAM_SUFFIX else Saving.of(suffix, quality, lossless)
    if saving is not None and effort is not None:
        raise InvalidInput(f"-e is the effort for .tdn files and {saving.name} has none; leave it out")
    destination = files.Destination(suffix, output, out_dir, force)
    piped = output == files.STANDARD_STREAM or (output is None and inputs == [files.STANDARD_STREAM])
    report = Report(quiet, piped, not no_progress)
    planned = files.plan(files.expand(inputs, files.PICTURES | files.STREAMS, report), destination, report)
    if planned:
        choice = options.CodecChoice(model, threads, jobs, max_pixels, memory, encodes=saving is None)
        work = _Transcoding(choice, suffix, saving, fields, max_side, destination)
        report.each(planned, lambda job: job.source, work, jobs)
    report.finish()


def _suffix(picture_format: str | None, output: Path | None) -> str:
    """Extension of the format to write; InvalidInput if nothing says which."""
    if picture_format is not None:
        return pictures.suffix_named(picture_format)
    if output is None or output == files.STANDARD_STREAM or not output.suffix:
        raise InvalidInput("nothing says which format to write; add --format, for example --format png")
    return output.suffix.lower()


@dataclass(frozen=True)
class _Transcoding:
    """Transcodes one picture after the other, in whatever process it finds itself.

    Attributes:
        choice: the codec.
        suffix: ending of what is written.
        saving: how to write the picture; None: as a ``.tdn`` file.
        fields: of EncodeOptions, as far as they were given.
        max_side: of the picture to write, in pixels; None: as it is.
        destination: where it goes.
    """

    choice: options.CodecChoice
    suffix: str
    saving: Saving | None
    fields: dict[str, Any]
    max_side: int | None
    destination: files.Destination

    def __call__(self, job: files.Job) -> Done:
        start = time.perf_counter()
        source = _source(job.source)
        if self.saving is None:
            return self._to_stream(job, source, start)
        if isinstance(source, bytes) and not self.fields and self.max_side is None:
            kept = pictures.kept_jpeg(self.choice.codec, source, self.suffix)
            if kept is not None:
                files.write_target(job.target, kept, self.destination)
                return Done((pictures.kept_line(job, kept, time.perf_counter() - start),))
        saving, image = self.saving, self._image(source)
        seconds = time.perf_counter() - start
        files.write_target(job.target, lambda file: save_picture(image, saving, file), self.destination)
        return Done((pictures.picture_line(job, image, seconds),))

    def _to_stream(self, job: files.Job, source: Path | Image | bytes, start: float) -> Done:
        fields, again = self.fields, isinstance(source, bytes)
        if isinstance(source, bytes):
            fields = {"quality": self._quality_of(source, job.source), **fields}
        # The encoder reads a picture itself, which takes less memory, unless it has to be changed before.
        image = self._image(source) if isinstance(source, bytes) or self.max_side is not None else source
        coded = self.choice.codec.encode_picture(image, EncodeOptions(**fields))
        seconds = time.perf_counter() - start
        files.write_target(job.target, coded.data, self.destination)
        return Done((pictures.encoded_line(job, coded.data, seconds, again and "lossless" not in fields),))

    def _quality_of(self, stream: bytes, path: Path) -> int:
        """Quality of a ``.tdn`` file that is to be encoded again; InvalidInput if no option asks for that."""
        if not self.fields and self.max_side is None:
            raise InvalidInput(
                f"{path} is a .tdn file already, and encoding it again would lose quality; copy it, "
                "or say what is to change with -q, -e, --lossless or --max-side"
            )
        from tadan.codec.info import inspect

        facts = inspect(stream, self.choice.codec.limits)
        return DEFAULT_QUALITY if facts.content == JPEG_FILE else facts.quality

    def _image(self, source: Path | Image | bytes) -> Image:
        """The pixels, upright, of 8 bits, with the metadata in ``info``, as a decoded ``.tdn`` file has them."""
        if isinstance(source, bytes):
            reduce = 1
            if self.max_side is not None:
                from tadan.codec.reduced import factor_for

                header = read_header(source, self.choice.codec.limits)
                reduce = factor_for(header.width, header.height, (self.max_side, self.max_side))
            image = pictures.decoded(self.choice.codec, source, reduce=reduce)
        else:
            from tadan.pictures.reading import read_picture, to_image

            image = to_image(read_picture(source, self.choice.codec.limits.max_pixels))
        return image if self.max_side is None else scaled_down(image, self.max_side, self.max_side)


def _source(path: Path) -> Path | Image | bytes:
    """A ``.tdn`` file as bytes; a picture of another format as its path, or as an image if it can be read only once."""
    named = path.suffix.lower() == files.STREAM_SUFFIX
    if path != files.STANDARD_STREAM and path.is_file():
        return files.read_source(path) if named or is_tdn(read_bytes(path, len(MAGIC))) else path
    data = files.read_source(path)
    if named or is_tdn(data):
        return data
    from tadan.pictures.reading import opened

    return opened(data, "standard input" if path == files.STANDARD_STREAM else str(path))
