"""Tadan: a learned image codec that decodes bit-exactly on every machine.

>>> import tadan
>>> data = tadan.encode("photo.jpg", quality=75)
>>> tadan.decode(data).save("photo.png")
>>> tadan.inspect(data).width
768

Importing this package loads neither numpy nor a network; both come with the first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tadan.codec.codec import Codec, Verification, decode, encode
    from tadan.codec.info import Info, inspect

__version__ = "0.1.0"
__all__ = ["Codec", "Info", "Verification", "__version__", "decode", "encode", "inspect"]

_HOME = {
    "Codec": "tadan.codec.codec",
    "Info": "tadan.codec.info",
    "Verification": "tadan.codec.codec",
    "decode": "tadan.codec.codec",
    "encode": "tadan.codec.codec",
    "inspect": "tadan.codec.info",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'tadan' has no attribute {name!r}")
