"""Make Pillow, and what is built on it, know ``.tdn`` files. Imported with the package, so it loads next to nothing.

Pillow has no registry that it reads by itself: a plugin is known once it has been registered in the process. The
functions below stand for those of :mod:`tadan.codec.pillow`, which is imported with the first ``.tdn`` file.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

FORMAT, EXTENSION, MIME = "TADAN", ".tdn", "image/x-tadan"
# The readable part of the magic number: files damaged behind it are ours too, and get a message that says how.
_PREFIX = b"\x89TDN"


def register_with_pillow() -> None:
    """Register opening and saving; without Pillow nothing happens, and the first use of the codec says so."""
    try:
        from PIL import Image
    except ImportError:
        return
    Image.register_open(FORMAT, _open, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_save_all(FORMAT, _save_all)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, MIME)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(_PREFIX)


def _open(file: IO[bytes], filename: str | bytes) -> ImageFile:
    from tadan.codec.pillow import open_image

    return open_image(file, filename)


def _save(image: Image, file: IO[bytes], filename: str | bytes) -> None:
    from tadan.codec.pillow import save_image

    save_image(image, file, filename)


def _save_all(image: Image, file: IO[bytes], filename: str | bytes) -> None:
    from tadan.codec.pillow import save_all

    save_all(image, file, filename)
