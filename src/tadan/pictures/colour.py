"""ICC profiles: pixels of any profile to sRGB, the colours that a picture without a profile is taken to have."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

from tadan.errors import InvalidInput

ToSrgb = Callable[[Image.Image], Image.Image]

_SAME = 1  # levels of 255; what two wordings of the same profile differ by
_GRID = 17  # samples per channel of the cube on which profiles are compared


def to_srgb(icc: bytes, mode: str) -> ToSrgb | None:
    """Conversion from an ICC profile to sRGB: relative colorimetric with black point compensation.

    Args:
        icc: ICC profile.
        mode: "L", "RGB", "CMYK" or "LAB": mode of the pictures that carry it.

    Returns:
        A function from pictures of ``mode`` to pictures of mode L (for "L") or RGB; None if the profile is sRGB
        already, which it is if no colour changes by more than one level.

    Raises:
        InvalidInput: the profile is damaged or made for other colours, or this Pillow has no LittleCMS.
    """
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImportError, OSError, ValueError, TypeError, ImageCms.PyCMSError) as error:
        raise InvalidInput(f"the ICC profile cannot be applied ({error}); convert the picture to sRGB first") from error

    def convert(image: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(image, transform)
        if converted is None:
            raise InvalidInput("the ICC profile cannot be applied; convert the picture to sRGB first")
        return converted.getchannel("G") if mode == "L" else converted

    return None if mode in ("L", "RGB") and _changes_little(convert, mode) else convert


def _changes_little(convert: ToSrgb, mode: str) -> bool:
    if mode == "L":
        samples = np.arange(256, dtype=np.uint8)[None]
    else:
        levels = np.rint(np.linspace(0, 255, _GRID)).astype(np.uint8)
        samples = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(_GRID, -1, 3)
    converted = np.asarray(convert(Image.fromarray(samples)))
    return int(np.abs(converted.astype(np.int16) - samples).max()) <= _SAME
