"""What the verbs that read or write pictures share: standard input, formats by name, lines about what was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tadan.bitstream import read_header
from tadan.bitstream.fields import JPEG_FILE
from tadan.cli import files
from tadan.errors import Corrupt, Truncated

if TYPE_CHECKING:
    from PIL.Image import Image

    from tadan.codec.codec import Codec

DEFAULT_SUFFIX = ".png"
JPEG_SUFFIXES = (".jpg", ".jpeg")


def decoded(
    codec: Codec, data: bytes, region: Sequence[int] | None = None, stages: int | None = None, reduce: int = 1
) -> Image:
    """As :meth:`Codec.decode`; the error of a damaged file says how to see what is left of it."""
    try:
        return codec.decode(data, region=region, stages=stages, reduce=reduce)
    except (Corrupt, Truncated) as error:
        raise type(error)(f"{str(error).rstrip('.')}; or see what is left with: tadan decode --salvage") from error


def kept_jpeg(codec: Codec, data: bytes, suffix: str) -> bytes | None:
    """The JPEG file that a ``.tdn`` file keeps byte for byte, if a JPEG is to be written; else None."""
    if suffix not in JPEG_SUFFIXES or read_header(data, codec.limits).content != JPEG_FILE:
        return None
    return codec.original(data)


def suffix_named(picture_format: str) -> str:
    """Extension of a format as it was typed: ``"PNG"`` and ``".png"`` are ``".png"``."""
    return f".{picture_format.lower().removeprefix('.')}"


def suffix_of(target: Path) -> str:
    """Extension that chooses the format; that of PNG for standard output and other places without a name."""
    return DEFAULT_SUFFIX if target == files.STANDARD_STREAM or not target.suffix else target.suffix.lower()


def encoded_line(job: files.Job, data: bytes, seconds: float, say_quality: bool) -> str:
    """What is told of a ``.tdn`` file that was made; its quality where that was searched for or taken over."""
    import tadan

    facts = tadan.inspect(data)
    stored = "" if facts.content == "latents" else f"  stored as {facts.content.upper()}"
    quality = f"  quality {facts.quality}" if say_quality else ""
    return f"{job.source} -> {job.target}  {len(data):,} bytes  {facts.bpp:.3f} bpp{quality}  {seconds:.2f} s{stored}"


def kept_line(job: files.Job, data: bytes, seconds: float) -> str:
    """What is told of a JPEG file that was given back."""
    return f"{job.source} -> {job.target}  {len(data):,} bytes  {seconds:.2f} s  the JPEG as it was"


def picture_line(job: files.Job, image: Image, seconds: float) -> str:
    """What is told of a picture that was written."""
    return f"{job.source} -> {job.target}  {image.width} x {image.height} {image.mode}  {seconds:.2f} s"
