"""TOML documents: written with comments, which the library's reader has no counterpart for, and read strictly."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any

from tadan.errors import InvalidInput
from tadan.files import read_bytes

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def dumps(document: Mapping[str, Any], heading: Sequence[str] = ()) -> str:
    """Write nested tables of strings, numbers, booleans and lists of them.

    Args:
        document: tables are mappings; plain values come before tables. None is left out: TOML has no word for it.
        heading: lines of a comment at the top.

    Raises:
        TypeError: a value of another kind.
    """
    lines = [f"# {line}".rstrip() for line in heading]
    _table(document, (), lines)
    return "\n".join(lines).strip("\n") + "\n"


def read_toml(path: str | PathLike[str], what: str) -> dict[str, Any]:
    """Tables of a file.

    Args:
        path: of it.
        what: kind of file, for messages, such as "a profile".

    Raises:
        UnreadableInput: it cannot be read.
        InvalidInput: it is no TOML.
    """
    try:
        return tomllib.loads(read_bytes(path).decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(
            f"{fspath(path)} is not {what} in TOML: {error}; correct that line or make it anew"
        ) from error


def _table(table: Mapping[str, Any], name: tuple[str, ...], lines: list[str]) -> None:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping) and value is not None}
    if name and (plain or not table):
        lines += ["", f"[{'.'.join(map(_key, name))}]"]
    elif not name and lines and plain:
        lines.append("")
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, Mapping):
            _table(value, (*name, key), lines)


def _key(key: str) -> str:
    return key if key and set(key) <= _BARE else _string(key)


def _string(text: str) -> str:
    """A basic string. JSON's escapes are TOML's, but for DEL, and lone surrogates of undecodable file names."""
    clean = text.encode("utf-8", "replace").decode()
    return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    raise TypeError(f"TOML has no {type(value).__name__}")
