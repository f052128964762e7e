"""Pictures in and out: Pillow images, arrays and paths to RGB planes, alpha and metadata, and back."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from tadan.errors import Corrupt, InvalidInput, LimitExceeded, UnreadableInput

Picture = Image.Image | NDArray[np.uint8] | str | PathLike[str]
METADATA = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}  # section -> key of Image.info
_ARRAY_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Planes:
    """A picture as it is coded.

    Attributes:
        rgb: uint8 (H, W, 3); grey pictures have three equal channels.
        mode: "L", "LA", "RGB" or "RGBA": what decoding gives back.
        alpha: uint8 (H, W) or None.
        metadata: "icc", "exif" and "xmp" bytes that are present.
    """

    rgb: NDArray[np.uint8]
    mode: str
    alpha: NDArray[np.uint8] | None
    metadata: Mapping[str, bytes] = field(default_factory=dict)


def read_picture(picture: Picture, max_pixels: int) -> Planes:
    """Take in a picture. EXIF orientation is applied and reset; 16-bit grey is rounded to 8 bits with a warning.

    Args:
        picture: Pillow image, uint8 array of shape (H, W) or (H, W, 1..4), or path.
        max_pixels: a picture of more is refused before its pixels are read or copied.

    Raises:
        UnreadableInput: a path that cannot be opened as a picture.
        InvalidInput: an array of another type or shape, an empty picture, a mode that cannot be converted.
        LimitExceeded: the picture has more pixels than ``max_pixels``, or than Pillow accepts.
    """
    if isinstance(picture, Image.Image):
        return _from_image(picture, max_pixels)
    if isinstance(picture, np.ndarray):
        return _from_array(picture, max_pixels)
    if not isinstance(picture, str | PathLike):
        raise InvalidInput(f"a picture is a Pillow image, a uint8 array or a path, not {type(picture).__name__}")
    path = Path(picture)
    try:
        with Image.open(path) as image:
            return _from_image(image, max_pixels)
    except UnidentifiedImageError as error:
        raise UnreadableInput(f"{path} is not a picture that Pillow can read; convert it to PNG or JPEG") from error
    except Image.DecompressionBombError as error:
        raise LimitExceeded(f"{path}: {error}; raise PIL.Image.MAX_IMAGE_PIXELS if you trust it") from error
    except (OSError, SyntaxError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnreadableInput(f"cannot read {path}: {reason}; check the name and whether the file is whole") from error


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise LimitExceeded(
            f"a picture of {width}x{height} is above the limit of {max_pixels} pixels; "
            "raise Limits.max_pixels or make it smaller"
        )


def _from_array(array: NDArray[Any], max_pixels: int) -> Planes:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape:
        raise InvalidInput(
            f"an array is uint8 of shape (H, W) or (H, W, 1..4), not {array.dtype} {array.shape}; convert it first"
        )
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[2] not in _ARRAY_MODES:
        raise InvalidInput(f"an array has 1 to 4 channels in its last dimension, not {array.shape[2]}")
    _check_size(array.shape[1], array.shape[0], max_pixels)
    return _split(np.ascontiguousarray(array), {})


def _split(array: NDArray[np.uint8], metadata: Mapping[str, bytes]) -> Planes:
    mode = _ARRAY_MODES[array.shape[2]]
    alpha = array[:, :, -1] if mode.endswith("A") else None
    colour = array[:, :, :1].repeat(3, axis=2) if mode.startswith("L") else array[:, :, :3]
    return Planes(np.ascontiguousarray(colour), mode, alpha, metadata)


def _from_image(image: Image.Image, max_pixels: int) -> Planes:
    if 0 in image.size:
        raise InvalidInput(f"the picture has no pixels ({image.width}x{image.height}); give at least one")
    _check_size(image.width, image.height, max_pixels)
    if getattr(image, "n_frames", 1) > 1:
        warnings.warn("the picture has several frames; only the first is encoded", stacklevel=4)
        image.seek(0)
    upright = ImageOps.exif_transpose(image)
    metadata = {name: upright.info[key] for name, key in METADATA.items() if upright.info.get(key)}
    exif = upright.getexif()
    if exif:
        metadata["exif"] = exif.tobytes()
    metadata = {name: value.encode() if isinstance(value, str) else bytes(value) for name, value in metadata.items()}
    mode = upright.mode
    if mode.startswith("I;16"):
        warnings.warn("16-bit samples are rounded to 8 bits", stacklevel=4)
        array = np.rint(np.asarray(upright, np.float64) * (255 / 65535)).astype(np.uint8)
        return _split(array[:, :, None], metadata)
    if mode in ("I", "F"):
        raise InvalidInput(f"pictures of mode {mode} have no defined range; convert the picture to L or RGB first")
    transparent = mode in ("PA", "La", "RGBa") or ("transparency" in upright.info and mode in ("1", "L", "P", "RGB"))
    if transparent or mode not in ("L", "LA", "RGB", "RGBA"):
        upright = upright.convert(("L" if mode in ("1", "L", "La") else "RGB") + ("A" if transparent else ""))
        if mode == "CMYK":
            metadata.pop("icc", None)  # it describes ink, not the RGB that is coded
    array = np.asarray(upright)
    return _split(array[:, :, None] if array.ndim == 2 else array, metadata)


def to_image(planes: Planes) -> Image.Image:
    """Inverse of :func:`read_picture`; metadata goes to ``info`` under Pillow's names."""
    colour = planes.rgb
    if planes.mode.startswith("L"):
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
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, Corrupt):
            raise
        raise Corrupt(f"the alpha plane cannot be read: {error}; get another copy of the file") from error
