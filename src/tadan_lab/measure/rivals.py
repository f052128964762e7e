"""The codecs that users could pick instead, through Pillow and two optional plugins.

Optimised Huffman tables for JPEG, method 6 for WebP, speed 6 for AVIF, preset slow for HEVC, effort 7 for JPEG XL. AVIF
comes as libavif tunes it, for the eye (version 1.4.2 with libaom 3.14.1: ``tune=iq``), and, as ``-psnr``, for PSNR.

Other packages add rivals by the entry point group ``tadan.rivals``: a callable of the threads to use (or None) that
returns an iterable of :class:`PictureCodec`.
"""

from __future__ import annotations

import importlib
import io
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol

import PIL
from PIL import Image, features

from tadan.errors import Corrupt, InvalidInput

ENTRY_POINTS = "tadan.rivals"
_JPEG_POINTS = (5, 8, 12, 18, 25, 40, 55, 70, 80, 88, 93, 95)
_PERCENT_POINTS = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)


@dataclass(frozen=True)
class PillowCodec:
    """A format that Pillow writes and reads; see :class:`tadan_lab.measure.PictureCodec` for the fields.

    ``save_options(image, quality)`` are the keyword arguments of ``Image.save``.
    """

    name: str
    description: str
    extension: str
    qualities: range
    points: tuple[int, ...]
    pillow_format: str
    save_options: Callable[[Image.Image, int], dict[str, Any]]

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """Return the file of ``image`` at ``quality``; InvalidInput if the quality or the picture is not accepted."""
        if quality not in self.qualities:
            raise InvalidInput(f"{self.name} takes quality {self.qualities[0]} to {self.qualities[-1]}, got {quality}.")
        buffer = io.BytesIO()
        try:
            image.save(buffer, format=self.pillow_format, **self.save_options(image, quality))
        except (OSError, ValueError, RuntimeError) as error:
            size = f"{image.width}x{image.height}"
            raise InvalidInput(
                f"{self.name} cannot encode this {size} picture at quality {quality}: {error}"
            ) from error
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        """Return the picture as RGB with its pixels loaded; Corrupt if Pillow cannot read it."""
        try:
            with Image.open(io.BytesIO(data)) as image:
                return image.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise Corrupt(f"{self.name} cannot decode {len(data)} bytes: {error}") from error


def available_rivals(threads: int | None = None) -> dict[str, PictureCodec]:
    """Return the rivals that run here, by name: jpeg, jpeg-444, webp, avif, avif-444, avif-psnr, avif-444-psnr,
    jpeg2000, heic, jxl.

    ``threads`` limits AVIF (None: as many as the machine has); the other libraries choose for themselves.
    """
    return {codec.name: codec for codec, reason in _all_rivals(threads) if reason is None}


def missing_rivals() -> dict[str, str]:
    """Return the rivals that do not run here, by name, each with the words that tell how to get it."""
    return {codec.name: reason for codec, reason in _all_rivals(None) if reason is not None}


def choose_rivals(names: str, threads: int | None = None) -> tuple[list[PictureCodec], list[str]]:
    """Read ``"jpeg,webp"`` (or "none"): the rivals that run here, and a line for each that does not.

    InvalidInput for a name that is no rival at all.
    """
    available, missing = available_rivals(threads), missing_rivals()
    wanted = [name for name in re.split(r"[,\s]+", names.lower()) if name and name != "none"]
    unknown = [name for name in wanted if name not in available and name not in missing]
    if unknown:
        raise InvalidInput(f"Unknown codec {unknown[0]!r}; choose from {', '.join([*available, *missing])}, or none.")
    chosen = [available[name] for name in dict.fromkeys(wanted) if name in available]
    return chosen, [f"{name} skipped: {missing[name]}" for name in dict.fromkeys(wanted) if name in missing]


def _all_rivals(threads: int | None) -> Iterator[tuple[PictureCodec, str | None]]:
    for codec in _pillow_rivals(threads):
        feature = {"JPEG": "jpg", "JPEG2000": "jpg_2000", "WEBP": "webp", "AVIF": "avif"}[codec.pillow_format]
        built_in = features.check(feature)
        yield codec, None if built_in else f"this Pillow was built without {feature}; run: pip install -U Pillow"
    for codec, module, package in _plugin_rivals():
        yield codec, _register(module, package)
    for added in entry_points(group=ENTRY_POINTS):
        for rival in added.load()(threads):
            yield rival, None


def _register(module: str, package: str) -> str | None:
    """Import a Pillow plugin; None when it works, otherwise how to install it."""
    try:
        plugin = importlib.import_module(module)
    except ImportError:
        return f"not installed; run: pip install {package}"
    if module == "pillow_heif":
        plugin.register_heif_opener()
    return None


def _pillow_rivals(threads: int | None) -> Iterator[PillowCodec]:
    for name, subsampling in (("jpeg", "4:2:0"), ("jpeg-444", "4:4:4")):
        yield PillowCodec(
            name,
            _describe("libjpeg_turbo", f"save(quality=q, subsampling={subsampling}, optimize=True)"),
            ".jpg",
            range(1, 101),
            _JPEG_POINTS,
            "JPEG",
            _fixed(subsampling=subsampling, optimize=True),
        )
    yield PillowCodec(
        "webp",
        _describe("webp", "save(quality=q, method=6)"),
        ".webp",
        range(0, 101),
        _PERCENT_POINTS,
        "WEBP",
        _fixed(method=6),
    )
    limit = {} if threads is None else {"max_threads": threads}
    for name, subsampling, advanced in (
        ("avif", "4:2:0", {}),
        ("avif-444", "4:4:4", {}),
        ("avif-psnr", "4:2:0", {"tune": "psnr"}),
        ("avif-444-psnr", "4:4:4", {"tune": "psnr"}),
    ):
        settings = {"subsampling": subsampling, "speed": 6, "advanced": advanced}
        yield PillowCodec(
            name,
            _describe("avif", f"save(quality=q, subsampling={subsampling}, speed=6, advanced={advanced})"),
            ".avif",
            range(0, 101),
            (10, 18, 26, 34, 42, 50, 58, 66, 74, 82, 90, 95),
            "AVIF",
            _fixed(**settings, **limit),
        )
    yield PillowCodec(
        "jpeg2000",
        _describe("jpg_2000", "save(irreversible=True, mct=1, quality_mode='dB', quality_layers=[q])"),
        ".jp2",
        range(18, 56),
        (22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42, 44),
        "JPEG2000",
        _jpeg2000_options,
    )


def _plugin_rivals() -> Iterator[tuple[PillowCodec, str, str]]:
    heic = PillowCodec(
        "heic",
        "pillow_heif, x265: save(quality=q, chroma=420, enc_params={'preset': 'slow', 'tune': 'psnr'})",
        ".heic",
        range(1, 101),
        (2, 6, 10, 14, 18, 22, 26, 30, 36, 42, 48, 54),
        "HEIF",
        _fixed(chroma=420, enc_params={"preset": "slow", "tune": "psnr"}),
    )
    yield heic, "pillow_heif", "pillow-heif"
    jxl = PillowCodec(
        "jxl",
        "pillow_jxl, libjxl: save(quality=q, effort=7)",
        ".jxl",
        range(1, 100),  # 100 means lossless
        (5, 12, 20, 28, 36, 44, 52, 60, 68, 76, 84, 90),
        "JXL",
        _fixed(effort=7),
    )
    yield jxl, "pillow_jxl", "pillow-jxl-plugin"


def _fixed(**options: Any) -> Callable[[Image.Image, int], dict[str, Any]]:
    return lambda _image, quality: {"quality": quality, **options}


def _jpeg2000_options(image: Image.Image, quality: int) -> dict[str, Any]:
    resolutions = min(6, math.floor(math.log2(min(image.size))) + 1)  # OpenJPEG refuses more halvings than pixels
    return {
        "irreversible": True,
        "mct": 1,
        "quality_mode": "dB",
        "quality_layers": [quality],
        "num_resolutions": resolutions,
    }


def _describe(feature: str, call: str) -> str:
    return f"Pillow {PIL.__version__}, {feature} {features.version(feature) or 'missing'}: {call}"


class PictureCodec(Protocol):
    """A lossy picture codec with one integer knob.

    ``encode`` turns an RGB picture into the bytes of a complete file, ``decode`` turns them back into a picture whose
    pixels are loaded; both may raise TadanError.
    """

    @property
    def name(self) -> str:
        """Short name, also used in file names: ``webp``, ``avif-444``."""
        ...

    @property
    def description(self) -> str:
        """Library versions and settings, enough to repeat the measurement."""
        ...

    @property
    def extension(self) -> str:
        """Suffix of its files, with the dot."""
        ...

    @property
    def qualities(self) -> range:
        """Every quality it accepts, ascending; a higher one gives (as a rule) a bigger file."""
        ...

    @property
    def points(self) -> tuple[int, ...]:
        """A dozen of the qualities that cover about 0.1 to 2 bits per pixel of a photograph."""
        ...

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """Return the file of ``image`` (mode RGB) at ``quality``."""
        ...

    def decode(self, data: bytes) -> Image.Image:
        """Return the picture in ``data``, pixels loaded."""
        ...
