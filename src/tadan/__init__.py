"""Tadan: a learned image codec that decodes bit-exactly on every machine.

>>> import tadan
>>> data = tadan.encode("photo.jpg", quality=75)
>>> tadan.decode(data).save("photo.png")
>>> tadan.inspect(data).width
768

Importing this package loads neither numpy nor a network; both come with the first use. It makes ``.tdn`` known to
Pillow: ``Image.open("photo.tdn")`` and ``image.save("photo.tdn", quality=60)`` work (docs/pictures.md).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tadan.registration import register_with_pillow

if TYPE_CHECKING:
    from tadan.codec.codec import Codec, Verification, decode, encode, salvage
    from tadan.codec.info import Info, inspect
    from tadan.codec.salvage import Salvaged

__version__ = "0.1.0"
__all__ = ["Codec", "Info", "Salvaged", "Verification", "__version__", "decode", "encode", "inspect", "salvage"]

_HOME = {
    "Codec": "tadan.codec.codec",
    "Info": "tadan.codec.info",
    "Salvaged": "tadan.codec.salvage",
    "Verification": "tadan.codec.codec",
    "decode": "tadan.codec.codec",
    "encode": "tadan.codec.codec",
    "inspect": "tadan.codec.info",
    "salvage": "tadan.codec.codec",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'tadan' has no attribute {name!r}")


register_with_pillow()
