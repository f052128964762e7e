"""Stored tiles: complete PNG, WebP (lossless) or JPEG files inside the container, for pictures unlike photographs.

Writing and reading of docs/SPEC.md, section 13; no model takes part. ``pixels`` are uint8 (H, W) of grey and (H, W, 3)
of RGB pictures throughout.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from tadan.bitstream import Header, Tile
from tadan.bitstream.fields import JPEG_FILE
from tadan.codec import jpeg_file
from tadan.errors import Corrupt
from tadan.pictures.reading import too_large_for_pillow

Pixels = NDArray[np.uint8]
_WEBP_MAX_SIDE = 16_383
_JPEG_MAX_SIDE = 65_500  # of libjpeg
_NO_MEMORY = ("encoding error 1", "encoding error 2")  # of libwebp, in Pillow's words
_OTHER_COPY = "the file was damaged, or not made by tadan; get another copy"


def _saved(pixels: Pixels, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def as_png(pixels: Pixels) -> bytes:
    """Lossless, 8 bits per sample, grey or RGB."""
    return _saved(pixels, "PNG", optimize=True)


def can_be_webp(pixels: Pixels) -> bool:
    """Whether Pillow has WebP, and no side is too long for it."""
    return max(pixels.shape[:2]) <= _WEBP_MAX_SIDE and bool(features.check("webp"))


def as_webp(pixels: Pixels) -> bytes:
    """Lossless; of pixels for which :func:`can_be_webp` holds."""
    try:
        return _saved(pixels, "WEBP", lossless=True)
    except ValueError as error:
        if str(error) in _NO_MEMORY:
            raise MemoryError from error
        raise


def can_be_jpeg(pixels: Pixels) -> bool:
    """Whether no side is too long for it."""
    return max(pixels.shape[:2]) <= _JPEG_MAX_SIDE


def as_jpeg(pixels: Pixels, quality: int, subsampling: int = 0) -> bytes:
    """JPEG with optimised tables; ``subsampling`` is 0 (4:4:4) or 2 (4:2:0), ``quality`` 1 to 100 as in Pillow."""
    options = {"quality": quality, **({"subsampling": subsampling} if pixels.ndim == 3 else {})}
    plain = _saved(pixels, "JPEG", **options)
    # Optimising needs all of the file in Pillow's buffer of one byte per pixel (or 64 KiB), else libjpeg fails loudly.
    if len(plain) + 1024 > max(pixels.shape[0] * pixels.shape[1], 2**16):
        return plain
    return min(plain, _saved(pixels, "JPEG", optimize=True, **options), key=len)


def tile_of(form: str, payload: bytes, pixels: Pixels, alpha: bytes | None) -> Tile:
    """The tile that stores ``payload``, made from ``pixels`` (equal to them if the format is lossless)."""
    return Tile(_checksum(form, payload, lambda: _rgb(pixels)), payload, alpha)


def read_tile(form: str, tile: Tile, grey: bool, width: int, height: int) -> Pixels:
    """Tile of a stored stream -> uint8 (height, width, 3), of three equal channels if ``grey`` and lossless.

    Raises:
        Corrupt: the payload is no such picture, or does not match its checksum.
        LimitExceeded: the picture is larger than Pillow accepts.
    """
    if not _begins_well(form, tile.payload, grey, width, height):
        raise Corrupt(
            f"a tile is not the {width}x{height} {form.upper()} picture that the header announces: {_OTHER_COPY}"
        )
    try:
        with Image.open(io.BytesIO(tile.payload), formats=[form.upper()]) as image:
            modes = ("RGB",) if form == "webp" or not grey else ("L",)
            if image.size != (width, height) or image.mode not in modes or getattr(image, "n_frames", 1) != 1:
                raise Corrupt(
                    f"a tile holds a {form.upper()} of {image.width}x{image.height} {image.mode} where the header "
                    f"announces {width}x{height}: {_OTHER_COPY}"
                )
            rgb = _rgb(np.asarray(image))
    except Image.DecompressionBombError as error:
        raise too_large_for_pillow(f"the stored {form.upper()} picture", error) from error
    except (Corrupt, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise many kinds on bad data; all mean the same here
        raise Corrupt(f"the stored {form.upper()} picture cannot be read ({error}): {_OTHER_COPY}") from error
    if _checksum(form, tile.payload, lambda: rgb) != tile.content_crc:
        raise Corrupt(f"the stored {form.upper()} picture does not match its checksum: {_OTHER_COPY}")
    return rgb


def stored_picture(header: Header, tile: Tile, width: int, height: int) -> tuple[Pixels, Mapping[str, bytes]]:
    """As :func:`read_tile`, of the form and the mode that the header names; and metadata that stands in the tile."""
    if header.content == JPEG_FILE:
        planes = jpeg_file.picture(header, tile)
        return planes.rgb, planes.metadata
    return read_tile(header.content, tile, header.mode.is_grey, width, height), {}


def _rgb(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels if pixels.ndim == 3 else pixels[:, :, None].repeat(3, axis=2))


def _checksum(form: str, payload: bytes, rgb: Callable[[], Pixels]) -> int:
    """Of the pixels where every decoder gives the same ones, of the bytes for JPEG, where a level may differ."""
    return zlib.crc32(payload if form == "jpeg" else rgb().data)


def _begins_well(form: str, payload: bytes, grey: bool, width: int, height: int) -> bool:
    """Compare the size in the payload with the header's before any decoder may allocate for it."""
    if form == "png":  # signature and IHDR: size, 8 bits, grey or RGB, no interlace
        size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
        return payload.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + size + bytes((8, 0 if grey else 2, 0, 0, 0)))
    if form == "webp" and max(width, height) > _WEBP_MAX_SIDE + 1:
        return False  # its fields of 14 bits cannot say so
    if form == "webp":  # the simple lossless layout: one VP8L chunk, whose first 28 bits after 0x2f are the size
        size = (width - 1 | height - 1 << 14).to_bytes(4, "little")
        return payload[:4] == b"RIFF" and payload[8:16] == b"WEBPVP8L" and payload[20:25] == b"\x2f" + size
    if payload.count(b"\xff\xda") > jpeg_file.MOST_SCANS:
        return False  # each costs a pass over the picture: a hostile file of 1 MB would take hours
    return payload.startswith(jpeg_file.MAGIC)  # Pillow allocates for a JPEG only when its pixels are asked for
