"""Opening photographs as upright 8-bit RGB."""

import os
from pathlib import Path

from PIL import Image, ImageOps

from tadan.errors import UnreadableInput
from tadan.pictures import PILLOW_ERRORS

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".pnm", ".jp2"}
)


def open_rgb(path: str | os.PathLike[str]) -> Image.Image:
    """Open a picture as mode RGB, turned upright by its EXIF orientation; alpha is dropped, grey is repeated.

    UnreadableInput if the file is missing or Pillow cannot open it.
    """
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        raise UnreadableInput(
            f"Cannot open {os.fspath(path)} as a picture: {error}. Give a PNG, JPEG, WebP, TIFF or similar file."
        ) from error


def list_pictures(folder: str | os.PathLike[str], limit: int | None = None) -> list[Path]:
    """Return the picture files directly inside ``folder`` by name, the first ``limit`` of them.

    A path that is itself a file is returned alone. UnreadableInput if there are no pictures.
    """
    root = Path(folder)
    if root.is_file():
        return [root]
    try:
        found = sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    except OSError as error:
        raise UnreadableInput(f"Cannot read the folder {root}: {error.strerror}. Check the name and rights.") from error
    if not found:
        raise UnreadableInput(f"No pictures in {root}; it should hold files such as .png, .jpg or .webp.")
    return found[:limit]
