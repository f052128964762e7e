"""Pictures in and out: Pillow images, arrays and paths to RGB planes, alpha and metadata, and back (docs/pictures.md).

A picture of 100 megapixels takes 400 MB in Pillow and 300 MB as planes. It is therefore converted in strips, straight
into the planes and turned upright on the way; nothing else of its size is ever held.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tadan.bitstream.fields import PixelMode
from tadan.errors import Corrupt, InvalidInput, LimitExceeded, TadanError, UnreadableInput
from tadan.pictures import PILLOW_ERRORS
from tadan.pictures.metadata import METADATA, as_in_file, read_metadata
from tadan.pictures.samples import ROUNDED, ToSrgb, deep_message, raw_modes, round_to_8, to_srgb, white_level

Picture = Image.Image | NDArray[np.uint8] | NDArray[np.uint16] | str | PathLike[str]
_ARRAY_MODES = {1: PixelMode.L, 2: PixelMode.LA, 3: PixelMode.RGB, 4: PixelMode.RGBA}
_STRIP = 2**20  # pixels converted together


@dataclass(frozen=True)
class Planes:
    """A picture as it is coded.

    Attributes:
        rgb: uint8 (H, W, 3); grey pictures have three equal channels.
        mode: what decoding gives back.
        alpha: uint8 (H, W) or None.
        metadata: "icc", "exif" and "xmp" bytes that are present.
    """

    rgb: NDArray[np.uint8]
    mode: PixelMode
    alpha: NDArray[np.uint8] | None
    metadata: Mapping[str, bytes] = field(default_factory=dict)


def read_picture(picture: Picture, max_pixels: int, strip: bool = False) -> Planes:
    """Take in a picture: EXIF orientation is applied and reset, 16-bit samples become 8-bit ones with a warning.

    Args:
        picture: Pillow image, uint8 or uint16 array of shape (H, W) or (H, W, 1..4), or path. Of several frames the
            first is taken, with a warning.
        max_pixels: a picture of more is refused before its pixels are read or copied.
        strip: leave out EXIF, XMP and the ICC profile; colours of a profile that is not sRGB are converted to sRGB.

    Raises:
        UnreadableInput: a picture that cannot be opened or is damaged.
        InvalidInput: an array of another type or shape, an empty picture, a mode that cannot be converted.
        LimitExceeded: the picture has more pixels than ``max_pixels``, or than Pillow accepts.
    """
    if isinstance(picture, Image.Image):
        return _from_image(picture, "the picture", max_pixels, strip)
    if isinstance(picture, np.ndarray):
        return _from_array(picture, max_pixels)
    if not isinstance(picture, str | PathLike):
        raise InvalidInput(
            f"a picture is a Pillow image, a uint8 or uint16 array or a path, not {type(picture).__name__}"
        )
    path = Path(picture)
    with _reading(str(path)):
        image = Image.open(path)
    with image:
        return _from_image(image, str(path), max_pixels, strip)


def opened(data: bytes, name: str) -> Image.Image:
    """The picture in ``data``, its pixels not read yet, for :func:`read_picture`.

    Raises:
        UnreadableInput: Pillow knows no such format.
        LimitExceeded: the picture has more pixels than Pillow accepts.
    """
    with _reading(name):
        return Image.open(io.BytesIO(data))


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn what Pillow raises about a file into errors of ours."""
    try:
        yield
    except TadanError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableInput(f"{name} is not a picture that Pillow can read; convert it to PNG or JPEG") from error
    except Image.DecompressionBombError as error:
        raise too_large_for_pillow(name, error) from error
    except PILLOW_ERRORS as error:
        reason = getattr(error, "strerror", None) or error
        raise UnreadableInput(f"cannot read {name}: {reason}; check the name and whether the file is whole") from error


def too_large_for_pillow(name: str, error: Image.DecompressionBombError) -> LimitExceeded:
    """The error for a picture that Pillow's own limit refuses, from Pillow's words about it."""
    found = re.search(r"\d+", str(error))
    most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
    what = f"{name}: {error} (PIL.Image.MAX_IMAGE_PIXELS has to allow it, too)"
    return LimitExceeded(what, "max_pixels", None if found is None else int(found[0]), most)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        what = f"a picture of {width}x{height} is above the limit of {max_pixels} pixels"
        raise LimitExceeded(what, "max_pixels", width * height, max_pixels)


def _from_array(array: NDArray[Any], max_pixels: int) -> Planes:
    deep = array.dtype.kind == "u" and array.dtype.itemsize == 2
    if not (deep or array.dtype == np.uint8) or array.ndim not in (2, 3) or 0 in array.shape:
        raise InvalidInput(
            f"an array is uint8 or uint16 of shape (H, W) or (H, W, 1..4), not {array.dtype} {array.shape}; "
            "convert it first"
        )
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[2] not in _ARRAY_MODES:
        raise InvalidInput(f"an array has 1 to 4 channels in its last dimension, not {array.shape[2]}")
    _check_size(array.shape[1], array.shape[0], max_pixels)
    if deep:
        warnings.warn(ROUNDED, stacklevel=4)
        array = round_to_8(array)
    mode = _ARRAY_MODES[array.shape[2]]
    alpha = np.ascontiguousarray(array[:, :, -1]) if mode.has_alpha else None
    colour = array[:, :, :1].repeat(3, axis=2) if mode.is_grey else array[:, :, :3]
    return Planes(np.ascontiguousarray(colour), mode, alpha)


def _from_image(image: Image.Image, name: str, max_pixels: int, strip: bool) -> Planes:
    if 0 in image.size:
        raise InvalidInput(f"the picture has no pixels ({image.width}x{image.height}); give at least one")
    _check_size(image.width, image.height, max_pixels)
    with _reading(name):
        if getattr(image, "n_frames", 1) > 1:
            warnings.warn("the picture has several frames; only the first is encoded", stacklevel=4)
            image.seek(0)
        message, white, raw = deep_message(image), white_level(image), raw_modes(image)
        image.load()
    if message is not None:
        warnings.warn(message, stacklevel=4)
    elif image.mode in ("I", "F"):
        mode = image.mode
        raise InvalidInput(f"pictures of mode {mode} have no defined range; convert the picture to L or RGB first")
    metadata, orientation = read_metadata(image)
    if image.mode.startswith("I"):
        mode = PixelMode.of(True, "transparency" in image.info)
        samples = _deep_samples(white, image.info.get("transparency"))
    else:
        mode = _coded_mode(image, grey="LA;16B" in raw)
        samples = _samples(image.mode, mode, _colours(image.mode, mode, metadata, strip))
    if strip:
        metadata = {key: value for key, value in metadata.items() if key == "icc"}
    return _planes(image, mode, orientation, samples, metadata)


def _coded_mode(image: Image.Image, grey: bool) -> PixelMode:
    """Mode in which an image of 8 bits is coded; ``grey``: its colour channels are equal."""
    mode = image.mode
    keyed = "transparency" in image.info and mode in ("1", "L", "P", "RGB")
    alpha = keyed or mode in ("LA", "PA", "La", "RGBA", "RGBa")
    return PixelMode.of(grey or mode in ("1", "L", "LA", "La"), alpha)


def _colours(mode: str, coded: PixelMode, metadata: dict[str, bytes], strip: bool) -> ToSrgb | None:
    """Conversion to sRGB where the ICC profile cannot be kept; the profile is then taken out of ``metadata``."""
    ink = mode in ("CMYK", "LAB")  # the profile describes these, not the RGB that is coded
    icc = metadata.get("icc")
    if icc is None or not (ink or strip):
        return None
    try:
        conversion = to_srgb(icc, mode if ink else coded.opaque)
    except InvalidInput as error:
        if not ink:
            warnings.warn(f"the ICC profile is kept, because its colours would be lost: {error}", stacklevel=5)
            return None
        warnings.warn(f"colours are approximate: {error}", stacklevel=5)
        conversion = None
    del metadata["icc"]
    return conversion


_Samples = Callable[[Image.Image], NDArray[np.uint8]]


def _samples(mode: str, coded: PixelMode, conversion: ToSrgb | None) -> _Samples:
    """Function from strips of ``mode`` to uint8 (h, w, channels of ``coded``)."""
    colour = coded.opaque

    def convert(strip: Image.Image) -> NDArray[np.uint8]:
        if conversion is None:
            return np.asarray(strip if mode == coded else strip.convert(coded)).reshape(strip.height, strip.width, -1)
        if mode in ("CMYK", "LAB"):
            return np.asarray(conversion(strip))
        whole = strip.convert(coded)
        converted = np.asarray(conversion(whole.convert(colour))).reshape(strip.height, strip.width, -1)
        return converted if coded == colour else np.dstack([converted, np.asarray(whole.getchannel("A"))])

    return convert


def _deep_samples(white: int, transparent: int | None) -> _Samples:
    """Function from strips of 16-bit grey, of which one level may be transparent, to uint8 (h, w, 1 or 2)."""

    def convert(strip: Image.Image) -> NDArray[np.uint8]:
        samples = np.asarray(strip)
        grey = round_to_8(samples, white)
        if transparent is None:
            return grey[:, :, None]
        return np.dstack([grey, np.where(samples == transparent, 0, 255).astype(np.uint8)])

    return convert


def _planes(
    image: Image.Image, mode: PixelMode, orientation: int, samples: _Samples, metadata: Mapping[str, bytes]
) -> Planes:
    """Fill the planes strip by strip; strips are turned by writing them through a turned view of the planes."""
    height, width = image.size[::-1]
    upright = (height, width) if orientation < 5 else (width, height)
    rgb = np.empty((*upright, 3), np.uint8)
    alpha = np.empty(upright, np.uint8) if mode.has_alpha else None
    channels = 1 if mode.is_grey else 3
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        strip = samples(image.crop((0, top, width, bottom)))
        as_in_file(rgb, orientation)[top:bottom] = strip[:, :, :channels]
        if alpha is not None:
            as_in_file(alpha, orientation)[top:bottom] = strip[:, :, -1]
    return Planes(rgb, mode, alpha, metadata)


def to_image(planes: Planes) -> Image.Image:
    """Inverse of :func:`read_picture`; metadata goes to ``info`` under Pillow's names."""
    colour = planes.rgb
    if planes.mode.is_grey:
        # Rec. 601 luma as Pillow computes it; the three channels differ by the coding error only.
        colour = np.asarray(Image.fromarray(colour).convert("L"))
    image = Image.fromarray(colour)
    if planes.alpha is not None:
        image.putalpha(Image.fromarray(planes.alpha))
    for name, key in METADATA.items():
        if name in planes.metadata:
            image.info[key] = planes.metadata[name]
    return image


def pack_alpha(alpha: NDArray[np.uint8]) -> bytes:
    """uint8 (H, W) -> PNG stream."""
    buffer = io.BytesIO()
    Image.fromarray(alpha).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def unpack_alpha(data: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """PNG stream -> uint8 (height, width).

    Raises:
        Corrupt: it is no grey PNG of that size.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size != (width, height) or image.mode != "L":
                raise Corrupt("the alpha plane has another size than the picture; the file was not made by tadan")
            return np.array(image)
    except (Corrupt, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise many kinds on bad data; all mean the same here
        raise Corrupt(f"the alpha plane cannot be read: {error}; get another copy of the file") from error
