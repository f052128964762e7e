"""Where the bytes of a file come from: bytes themselves, a path, or a binary file object."""

from __future__ import annotations

from os import PathLike
from typing import IO

from tadan.errors import InvalidInput
from tadan.files import read_bytes

Source = bytes | bytearray | memoryview | str | PathLike[str] | IO[bytes]


def bytes_of(source: Source) -> bytes:
    """All bytes of a source; a file object is read to its end.

    Raises:
        UnreadableInput: a path that cannot be read.
        InvalidInput: something else, or a file object that gives text.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | PathLike):
        return read_bytes(source)
    read = getattr(source, "read", None)
    data = read() if callable(read) else None
    if not isinstance(data, bytes):
        given = "a file object that gives text" if isinstance(data, str) else type(source).__name__
        raise InvalidInput(f"a .tdn file is given as bytes, path or binary file object, not {given}")
    return data
