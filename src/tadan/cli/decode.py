"""``tadan decode``: ``.tdn`` files in, pictures out, in whatever format Pillow writes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from tadan.cli import files
from tadan.cli.report import Report
from tadan.errors import Corrupt, InvalidInput, Truncated

if TYPE_CHECKING:
    from PIL.Image import Image

    from tadan.codec.codec import Codec
    from tadan.codec.salvage import Salvaged

EXIT_INCOMPLETE = 1  # pictures were written, but not all of them are whole
STATES = ("intact", "partial", "lost")
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
    region: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", help="Decode only this part, in pixels, from the tiles that it needs."),
    ] = None,
    preview: Annotated[
        int | None,
        typer.Option(metavar="K", min=0, help="Decode the first K stages only; what comes later is predicted."),
    ] = None,
    salvage: Annotated[
        bool,
        typer.Option(
            "--salvage",
            help="Show what is left of damaged files, lost tiles in grey; exit code 1 unless all are whole.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --salvage: one JSON object per file and line says what is left.")
    ] = False,
    force: files.ForceOption = None,
    threads: files.ThreadsOption = None,
    model: files.ModelOption = None,
    quiet: files.QuietOption = False,
) -> None:
    """Decode .tdn files into pictures; the extension of OUT chooses the format, PNG is the default."""
    part = None if region is None else _parse_region(region)
    if salvage and (part is not None or preview is not None):
        raise InvalidInput("--salvage shows all that is left; leave out --region and --preview")
    if as_json and not salvage:
        raise InvalidInput("--json is the report of --salvage; add --salvage")
    names_output = paths[-1].suffix.lower() not in ("", files.STREAM_SUFFIX) and not paths[-1].is_dir()
    inputs, output = files.split_output(paths, output, out_dir, names_output)
    destination = files.Destination(_DEFAULT_SUFFIX, output, out_dir, force, protect=True)
    report = Report(
        quiet or as_json, stdout_is_data=output == files.STANDARD_STREAM or inputs == [files.STANDARD_STREAM]
    )
    jobs = files.plan(files.expand(inputs, files.STREAMS, report), destination, report)
    if jobs:
        picture_format = _format_of(jobs[0].target)  # all targets have the same suffix
        codec = files.open_codec(model, threads)
        incomplete = 0

        def work(job: files.Job) -> None:
            nonlocal incomplete
            data = files.read_source(job.source)
            start = time.perf_counter()
            if salvage:
                left = codec.salvage(data)
                image, found = left.image, "" if left.whole else f"  {_summary(left)}"
                incomplete += not left.whole
            else:
                image, found = _decoded(codec, data, part, preview), ""
            seconds = time.perf_counter() - start
            files.write_target(job.target, lambda file: _save(image, picture_format, file), out_dir)
            size = f"{image.width} x {image.height} {image.mode}"
            report.line(f"{job.source} -> {job.target}  {size}  {seconds:.2f} s{found}")
            if as_json:
                typer.echo(json.dumps({"file": str(job.source), "output": str(job.target), **left.to_dict()}))

        report.each(jobs, lambda job: job.source, work)
        report.finish()
        if incomplete:
            raise typer.Exit(EXIT_INCOMPLETE)
    report.finish()


def _decoded(codec: Codec, data: bytes, region: list[int] | None, stages: int | None) -> Image:
    try:
        return codec.decode(data, region=region, stages=stages)
    except (Corrupt, Truncated) as error:
        raise type(error)(f"{str(error).rstrip('.')}; or see what is left with: tadan decode --salvage") from error


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


def _format_of(target: Path) -> str:
    """Pillow's name of the format that the extension stands for; PNG for standard output."""
    from PIL import Image

    suffix = _DEFAULT_SUFFIX if target == files.STANDARD_STREAM else target.suffix.lower()
    name = Image.registered_extensions().get(suffix)
    if name is None or name not in Image.SAVE or suffix == files.STREAM_SUFFIX:
        raise InvalidInput(f"no picture format to write has the extension {suffix!r}; use .png, .jpg, .webp or .tif.")
    return name


def _save(image: Image, picture_format: str, file: IO[bytes]) -> None:
    """Encode ``image``, its ICC profile, EXIF and XMP included where the format has a place for them."""
    options = {**_SAVE_OPTIONS.get(picture_format, {}), **_metadata_options(image.info, picture_format)}
    try:
        image.save(file, picture_format, **options)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the format
            raise
        raise InvalidInput(
            f"{picture_format} cannot hold this {image.width} x {image.height} {image.mode} picture ({error}); "
            "choose .png as extension of the output."
        ) from error


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
