"""``tadan decode``: ``.tdn`` files in, pictures out, in whatever format Pillow writes."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tadan.cli import files
from tadan.cli.report import Report
from tadan.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image

_DEFAULT_SUFFIX = ".png"
_EXIF_PREFIX = b"Exif\0\0"
_TIFF_XMP_TAG = 700
# A decoded picture should not lose more on the way to disk; PNG and TIFF are lossless anyway.
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "AVIF": {"quality": 95},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
}


def decode(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="IN",
            help="Tadan files, folders of them or '-'; the second of two is the output if it ends in .png or the like.",
            show_default=False,
        ),
    ],
    output: files.OutputOption = None,
    out_dir: files.OutDirOption = None,
    force: files.ForceOption = None,
    threads: files.ThreadsOption = None,
    model: files.ModelOption = None,
    quiet: files.QuietOption = False,
) -> None:
    """Decode .tdn files into pictures; the extension of OUT chooses the format, PNG is the default."""
    names_output = paths[-1].suffix.lower() not in ("", files.STREAM_SUFFIX) and not paths[-1].is_dir()
    inputs, output = files.split_output(paths, output, out_dir, names_output)
    destination = files.Destination(_DEFAULT_SUFFIX, output, out_dir, force, protect=True)
    report = Report(quiet, stdout_is_data=output == files.STANDARD_STREAM or inputs == [files.STANDARD_STREAM])
    jobs = files.plan(files.expand(inputs, files.STREAMS, report), destination, report)
    if jobs:
        picture_format = _format_of(jobs[0].target)  # all targets have the same suffix
        codec = files.open_codec(model, threads)

        def work(job: files.Job) -> None:
            data = files.read_source(job.source)
            start = time.perf_counter()
            image = codec.decode(data)
            seconds = time.perf_counter() - start
            files.write_target(job.target, _picture_bytes(image, picture_format), out_dir)
            size = f"{image.width} x {image.height} {image.mode}"
            report.line(f"{job.source} -> {job.target}  {size}  {seconds:.2f} s")

        report.each(jobs, lambda job: job.source, work)
    report.finish()


def _format_of(target: Path) -> str:
    """Pillow's name of the format that the extension stands for; PNG for standard output."""
    from PIL import Image

    suffix = _DEFAULT_SUFFIX if target == files.STANDARD_STREAM else target.suffix.lower()
    name = Image.registered_extensions().get(suffix)
    if name is None or name not in Image.SAVE:
        raise InvalidInput(f"no picture format to write has the extension {suffix!r}; use .png, .jpg, .webp or .tif.")
    return name


def _picture_bytes(image: Image, picture_format: str) -> bytes:
    """Encode ``image``, its ICC profile, EXIF and XMP included where the format has a place for them."""
    options = {**_SAVE_OPTIONS.get(picture_format, {}), **_metadata_options(image.info, picture_format)}
    buffer = io.BytesIO()
    try:
        image.save(buffer, picture_format, **options)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(
            f"{picture_format} cannot hold this {image.width} x {image.height} {image.mode} picture ({error}); "
            "choose .png as extension of the output."
        ) from error
    return buffer.getvalue()


def _metadata_options(info: dict[Any, Any], picture_format: str) -> dict[str, Any]:
    """Arguments of Image.save that carry the metadata; Pillow wants them in another shape for some formats."""
    options = {key: info[key] for key in ("icc_profile", "exif", "xmp") if info.get(key)}
    if "exif" in options:
        options["exif"] = _EXIF_PREFIX + options["exif"].removeprefix(_EXIF_PREFIX)  # JPEG needs it, others drop it
    if "xmp" in options and picture_format == "PNG":
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", options["xmp"].decode("utf-8", "replace"))
    elif "xmp" in options and picture_format == "TIFF":
        from PIL.Image import Exif

        tags = Exif()
        tags.load(options.get("exif", b""))
        tags[_TIFF_XMP_TAG] = options["xmp"]
        options["exif"] = tags
    return options
