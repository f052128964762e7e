"""Pictures to files of other formats, with the metadata that these have a place for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from tadan.errors import InvalidInput
from tadan.pictures import PILLOW_ERRORS

if TYPE_CHECKING:
    from PIL.Image import Image

OWN_SUFFIX = ".tdn"
_EXIF_PREFIX = b"Exif\0\0"
_TIFF_XMP_TAG = 700
# A decoded picture should not lose more on the way to disk; PNG and TIFF are lossless anyway.
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "AVIF": {"quality": 95},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
}
_QUALITY_OPTIONS: dict[str, dict[str, Any]] = {"AVIF": {}, "JPEG": {"subsampling": 0}, "WEBP": {"lossless": False}}
# What keeps every sample, hidden colours of transparent pixels included, and what has to be said for it.
_LOSSLESS_OPTIONS: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("BMP", "PNG", "PPM", "TGA", "TIFF")},
    "JPEG2000": {"irreversible": False},
    "WEBP": {"lossless": True, "exact": True},
}


def scaled_down(image: Image, width: int | None, height: int | None) -> Image:
    """The picture with at most so many pixels (None: any number), in its shape; smaller ones as they are."""
    ratio = min([1.0, *(most / side for most, side in ((width, image.width), (height, image.height)) if most)])
    return resized(image, (max(1, round(image.width * ratio)), max(1, round(image.height * ratio))))


def resized(image: Image, size: tuple[int, int]) -> Image:
    """The picture in another size, its metadata kept."""
    from PIL import Image as Pillow

    if size == image.size:
        return image
    other = image.resize(size, Pillow.Resampling.LANCZOS, reducing_gap=3.0)
    other.info = image.info
    return other


@dataclass(frozen=True)
class Saving:
    """How Pillow writes a picture."""

    name: str
    options: dict[str, Any]

    @staticmethod
    def of(suffix: str, quality: int | None, lossless: bool = False) -> Saving:
        """What an extension stands for.

        Args:
            suffix: extension with its dot, lower case.
            quality: 1 to 100 for formats that have one; None: hardly any loss.
            lossless: every sample is to be kept; ``quality`` is None then.

        Raises:
            InvalidInput: Pillow writes no such format, or it has no quality and one was given, or it loses samples and
                must not.
        """
        from PIL import Image

        name = Image.registered_extensions().get(suffix)
        if name is None or name not in Image.SAVE or suffix == OWN_SUFFIX:
            raise InvalidInput(
                f"no picture format to write has the extension {suffix!r}; use .png, .jpg, .webp or .tif."
            )
        if lossless:
            if name not in _LOSSLESS_OPTIONS:
                raise InvalidInput(f"{name} files are not written without loss; choose .png, .webp, .tif or .tdn")
            return Saving(name, _LOSSLESS_OPTIONS[name])
        if quality is None:
            return Saving(name, _SAVE_OPTIONS.get(name, {}))
        if name not in _QUALITY_OPTIONS:
            raise InvalidInput(f"{name} has no quality; leave -q out, or write .jpg, .webp or .avif")
        return Saving(name, {"quality": quality, **_QUALITY_OPTIONS[name]})


def save_picture(image: Image, saving: Saving, file: IO[bytes]) -> None:
    """Encode ``image``, its ICC profile, EXIF and XMP included where the format has a place for them."""
    refused = _refusal(image, saving, file, image.info)
    if refused is not None and "exif" in image.info:
        file.seek(0)
        file.truncate()
        plain = {key: value for key, value in image.info.items() if key != "exif"}
        exif, refused = refused, _refusal(image, saving, file, plain)
        if refused is None:
            message = f"{saving.name} cannot hold the EXIF data of the file ({exif}); they are left out"
            warnings.warn(message, stacklevel=2)
    if refused is not None:
        raise InvalidInput(
            f"{saving.name} cannot hold this {image.width} x {image.height} {image.mode} picture ({refused}); "
            "choose .png as extension of the output."
        ) from refused


def _refusal(image: Image, saving: Saving, file: IO[bytes], info: dict[Any, Any]) -> Exception | None:
    """Write the picture with the metadata ``info``; why Pillow cannot, if it cannot."""
    try:
        image.save(file, saving.name, **saving.options, **_metadata_options(info, saving.name))
    except PILLOW_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the format
            raise
        return error
    return None


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
