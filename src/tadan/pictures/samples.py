"""Samples of a picture: bit depths and channels, ICC profiles, and colours that nobody can see.

Pixels of any profile become sRGB, the colours that a picture without a profile is taken to have.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tadan.errors import InvalidInput

ROUNDED = "16-bit samples are rounded to 8 bits"
CUT = (
    "16-bit samples are cut to 8 bits, because Pillow gives their high bytes only (at most one level off); "
    "give a uint16 array to have them rounded"
)

_BLOCK = 16  # pixels a side of the areas whose mean colour fills what is hidden in them
_BAND = 2**20  # samples rounded together; bounds the temporary memory
_TIFF_BITS, _TIFF_PLANES = 258, 284
_SEPARATE = 2
_12_BITS = "I;12"  # raw mode that Pillow delivers as I;16 without scaling


def round_to_8(samples: NDArray[Any], white: int = 65535) -> NDArray[np.uint8]:
    """Unsigned samples from 0 to ``white`` (above is clipped) -> uint8 of the same shape, rounded to nearest."""
    rounded = np.empty(samples.shape, np.uint8)
    rows = max(1, _BAND // max(1, samples[:1].size))
    for top in range(0, len(samples), rows):
        band = np.clip(samples[top : top + rows], 0, white).astype(np.uint32)
        rounded[top : top + rows] = (band * 255 + white // 2) // white
    return rounded


def raw_modes(image: Image.Image) -> list[str]:
    """How the samples lie in the file of an image that is not loaded yet, in Pillow's words; empty if it is loaded."""
    names = []
    for tile in getattr(image, "tile", []):
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        names += [str(tile[0]), *(argument for argument in arguments if isinstance(argument, str))]
    return names


def white_level(image: Image.Image) -> int:
    """Sample value that stands for white in an image of mode I;16 that is not loaded yet."""
    return 4095 if _12_BITS in raw_modes(image) else 65535


def deep_message(image: Image.Image) -> str | None:
    """What becomes of the 16-bit samples of an image that is not loaded yet; None if it has none that Pillow shows.

    Raises:
        InvalidInput: Pillow would read noise (TIFF files of 16 bits in separate planes).
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return ROUNDED
    bits = getattr(image, "tag_v2", {}).get(_TIFF_BITS, ())
    if max(bits, default=8) > 8 and image.mode in ("L", "LA", "RGB", "RGBA", "RGBX", "CMYK"):
        if image.tag_v2.get(_TIFF_PLANES) == _SEPARATE:  # type: ignore[attr-defined]
            raise InvalidInput(
                "Pillow cannot read TIFF files with 16-bit samples in separate planes; save it with interleaved "
                "channels or 8 bits, or give a uint16 array"
            )
        return CUT
    if image.format == "PPM" and any(isinstance(depth, int) and depth > 255 for depth in _arguments(image)):
        return ROUNDED  # by Pillow
    if image.format == "JPEG2000" and _jpeg2000_bits(image) > 8:
        return CUT
    return CUT if any(";16" in name or name == "SGI16" for name in raw_modes(image)) else None


def _arguments(image: Image.Image) -> list[Any]:
    return [argument for tile in getattr(image, "tile", []) if isinstance(tile[3], tuple) for argument in tile[3]]


def _jpeg2000_bits(image: Image.Image) -> int:
    """Bits of the first component, from the SIZ marker (ISO/IEC 15444-1, A.5.1); 8 if it is not found."""
    file = getattr(image, "fp", None)
    if file is None:
        return 8
    position = file.tell()
    file.seek(0)
    start = file.read(2**16)
    file.seek(position)
    marker = start.find(b"\xff\x4f\xff\x51")
    return (start[marker + 42] & 0x7F) + 1 if 0 <= marker < len(start) - 42 else 8


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


def fill_hidden(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> None:
    """Give pixels that nobody can see the mean colour around them, in place: it costs few bits and tells nothing.

    Args:
        rgb: (H, W, 3).
        alpha: (H, W); pixels of 0 are filled, all others stay as they are.
    """
    if alpha.all():
        return
    starts = np.arange(0, rgb.shape[1], _BLOCK)
    sums = np.empty((-(-rgb.shape[0] // _BLOCK), len(starts), 4))
    for block, row in enumerate(sums):
        strip = slice(_BLOCK * block, _BLOCK * (block + 1))
        seen = (alpha[strip] != 0)[:, :, None]
        row[:, :3] = np.add.reduceat((rgb[strip] * seen).sum(axis=0, dtype=np.uint32), starts)
        row[:, 3:] = np.add.reduceat(seen.sum(axis=0, dtype=np.uint32), starts)
    colours = np.rint(_spread(sums)).astype(np.uint8)
    for block, row in enumerate(colours):
        strip = slice(_BLOCK * block, _BLOCK * (block + 1))
        hidden = alpha[strip] == 0
        filling = row.repeat(_BLOCK, axis=0)[: rgb.shape[1]]
        rgb[strip] = np.where(hidden[:, :, None], filling, rgb[strip])


def _spread(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums and counts (h, w, 3 + 1) -> means (h, w, 3); where the count is 0, those of the surroundings."""
    count = sums[:, :, 3:]
    means = sums[:, :, :3] / np.maximum(count, 1)
    if count.all() or sums.shape[:2] == (1, 1):
        return means
    padded = np.pad(sums, ((0, sums.shape[0] % 2), (0, sums.shape[1] % 2), (0, 0)))
    coarse = _spread(padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2, 4).sum(axis=(1, 3)))
    around = coarse.repeat(2, axis=0).repeat(2, axis=1)[: sums.shape[0], : sums.shape[1]]
    return np.where(count > 0, means, around)
