"""Tadan: a learned image codec that decodes bit-exactly on every machine.

>>> import tadan
>>> data = tadan.encode("photo.jpg", quality=60)
>>> tadan.decode(data).save("photo.png")  # bytes, a path or a file object
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
    from tadan.bitstream import Limits
    from tadan.codec.codec import Codec, decode, encode, read, salvage, write
    from tadan.codec.info import Info, inspect
    from tadan.codec.options import EncodeOptions
    from tadan.codec.reader import Verification
    from tadan.codec.salvage import Salvaged
    from tadan.errors import (
        Corrupt,
        InvalidInput,
        LimitExceeded,
        MissingPackage,
        ModelMissing,
        NotOurFile,
        OutputExists,
        TadanError,
        TargetMissed,
        ToolFailed,
        Truncated,
        UnreadableInput,
        UnsupportedVersion,
        UnwritableOutput,
    )
    from tadan.schedule import PatternSchedule, Schedule

__version__ = "0.2.0"

_NAMES = {
    "tadan.bitstream": ("Limits",),
    "tadan.codec.codec": ("Codec", "decode", "encode", "read", "salvage", "write"),
    "tadan.codec.info": ("Info", "inspect"),
    "tadan.codec.options": ("EncodeOptions",),
    "tadan.codec.reader": ("Verification",),
    "tadan.codec.salvage": ("Salvaged",),
    "tadan.errors": (
        "Corrupt",
        "InvalidInput",
        "LimitExceeded",
        "MissingPackage",
        "ModelMissing",
        "NotOurFile",
        "OutputExists",
        "TadanError",
        "TargetMissed",
        "ToolFailed",
        "Truncated",
        "UnreadableInput",
        "UnsupportedVersion",
        "UnwritableOutput",
    ),
    "tadan.schedule": ("PatternSchedule", "Schedule"),
}
_HOME = {name: home for home, names in _NAMES.items() for name in names}
__all__ = [
    "Codec",
    "Corrupt",
    "EncodeOptions",
    "Info",
    "InvalidInput",
    "LimitExceeded",
    "Limits",
    "MissingPackage",
    "ModelMissing",
    "NotOurFile",
    "OutputExists",
    "PatternSchedule",
    "Salvaged",
    "Schedule",
    "TadanError",
    "TargetMissed",
    "ToolFailed",
    "Truncated",
    "UnreadableInput",
    "UnsupportedVersion",
    "UnwritableOutput",
    "Verification",
    "__version__",
    "decode",
    "encode",
    "inspect",
    "read",
    "salvage",
    "write",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in ("errors",):
        return import_module(f"tadan.{name}")
    raise AttributeError(f"module 'tadan' has no attribute {name!r}")


register_with_pillow()
