"""Metadata of Pillow images: what is kept of EXIF, XMP and ICC profiles, and which way up the pixels are."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from tadan.pictures import PILLOW_ERRORS

METADATA = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}  # section -> key of Image.info

_ORIENTATION = ExifTags.Base.Orientation
_EXIF_PREFIXES = re.compile(rb"^(Exif\0\0){0,2}")  # some writers repeat it
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:="|>))([0-9])')
_SHORT = 3  # EXIF type of two bytes
# Tags of a TIFF file that describe how its own bytes lie, and those that are kept as sections of their own.
_TIFF_LAYOUT = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 280, 281, 284, 290, 291, 292, 293, 297, 301}
    | {317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 334, 336, 337, 338, 339, 340, 341, 347, 700, 34675}
    | set(range(512, 533))
)

_Array = NDArray[np.uint8]
# Orientation -> upright array (h, w, ...) to a view of it in the order of the file's rows and columns.
_VIEWS: dict[int, Callable[[_Array], _Array]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright[:, ::-1].swapaxes(0, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: upright[::-1].swapaxes(0, 1),
}


def as_in_file(upright: _Array, orientation: int) -> _Array:
    """View of an upright picture whose rows and columns are those of the file; writing to it turns the picture.

    Args:
        upright: shape (H, W) or (H, W, C).
        orientation: EXIF orientation, 1 to 8; from 5 on, the view has shape (W, H, ...).
    """
    return _VIEWS[orientation](upright)


def read_metadata(image: Image.Image) -> tuple[dict[str, bytes], int]:
    """Metadata of a loaded image as it is to be written once the pixels are upright, and the orientation they have.

    EXIF is kept byte for byte but for its orientation, which becomes 1; so is that in XMP if the pixels have to be
    turned. EXIF that cannot be read is left out with a warning. Of a TIFF file, tags about its layout are left out.

    Returns:
        "icc", "exif" and "xmp" bytes that are present; orientation from 1 to 8, where 1 stands for unknown ones too.
    """
    found = {name: image.info[key] for name, key in METADATA.items() if image.info.get(key)}
    metadata = {name: value.encode() if isinstance(value, str) else bytes(value) for name, value in found.items()}
    raw = metadata.pop("exif", b"")
    exif = b""
    orientation: int | None = None
    try:
        tags = _tags(image, raw)
        orientation = tags.get(_ORIENTATION)
        exif = _upright(raw) or _serialised(tags, hasattr(image, "tag_v2"))
    except PILLOW_ERRORS as error:
        warnings.warn(f"the EXIF data are damaged ({error}) and are left out", stacklevel=5)
        orientation = None
    orientation = orientation or _orientation_of_xmp(metadata.get("xmp", b""))
    if orientation not in _VIEWS:
        orientation = 1
    if exif:
        metadata["exif"] = exif
    if orientation != 1 and "xmp" in metadata:
        metadata["xmp"] = _XMP_ORIENTATION.sub(rb"\g<1>1", metadata["xmp"])
    return metadata, int(orientation)


def _tags(image: Image.Image, raw: bytes) -> Image.Exif:
    """Tags of the EXIF block, or of what stands for it in a TIFF file or an old PNG file."""
    if not raw and (hasattr(image, "tag_v2") or "Raw profile type exif" in image.info):
        return image.getexif()
    tags = Image.Exif()
    tags.load(raw)
    return tags


def _orientation_of_xmp(xmp: bytes) -> int:
    found = _XMP_ORIENTATION.search(xmp)
    return int(found[2]) if found else 1


def _upright(exif: bytes) -> bytes:
    """The same bytes with orientation 1 if the tag is there; empty if its form is unusual or there are no tags."""
    start = _EXIF_PREFIXES.match(exif).end()  # type: ignore[union-attr]
    order = {b"II": "<", b"MM": ">"}.get(exif[start : start + 2])
    if order is None:
        return b""
    ifd = start + struct.unpack_from(f"{order}I", exif, start + 4)[0]
    for entry in range(ifd + 2, ifd + 2 + 12 * struct.unpack_from(f"{order}H", exif, ifd)[0], 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", exif, entry)
        if tag == _ORIENTATION:
            if (kind, count) != (_SHORT, 1):
                return b""
            return exif[: entry + 8] + struct.pack(f"{order}H", 1) + exif[entry + 10 :]
    return exif


def _serialised(tags: Image.Exif, of_tiff: bool) -> bytes:
    """EXIF block of the tags without orientation; empty if there are no others."""
    kept = Image.Exif()
    kept.load(tags.tobytes())
    for tag in list(kept):
        if tag == _ORIENTATION or (of_tiff and tag in _TIFF_LAYOUT):
            del kept[tag]
    return kept.tobytes() if len(kept) else b""


def with_overrides(image: Image.Image, overrides: dict[str, Any]) -> Image.Image:
    """The same pixels with other metadata; the image itself stays as it is.

    Args:
        image: loaded image.
        overrides: "icc_profile", "exif" and "xmp" -> bytes, ``Image.Exif`` or None (leave out).
    """
    info = dict(image.info)
    if "exif" not in info:
        metadata, _ = read_metadata(image)
        info |= {METADATA[name]: value for name, value in metadata.items() if name == "exif"}
    for key, value in overrides.items():
        info.pop(key, None)
        if value:
            info[key] = value.tobytes() if isinstance(value, Image.Exif) else value
            if isinstance(value, str):
                info[key] = value.encode()
    changed = image._new(image.im)
    changed.info = info
    return changed
