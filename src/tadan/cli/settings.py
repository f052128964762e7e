"""``name=value`` options that become fields of a frozen dataclass, or of the configuration of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from tadan.errors import InvalidInput

_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def parse_settings(text: Sequence[str], defaults: Any) -> dict[str, Any]:
    """Values of ``name=value`` texts, each of the type that the field has in ``defaults``.

    Args:
        text: as typed; tuples are written with commas.
        defaults: dataclass instance whose fields may be named; tuples that its ``free_lengths`` names may be of any
            length.

    Raises:
        InvalidInput: a name is unknown or a value has another type; the message lists what would do.
    """
    types = {field.name: getattr(defaults, field.name) for field in fields(defaults)}
    free = getattr(defaults, "free_lengths", ())
    values: dict[str, Any] = {}
    for item in text:
        name, equals, value = item.partition("=")
        if name not in types or not equals:
            raise InvalidInput(f"there is no setting {item!r}; write name=value with one of: {', '.join(types)}")
        try:
            values[name] = _convert(value.strip(), types[name], name in free)
        except (ValueError, KeyError) as error:
            kind = type(types[name]).__name__
            raise InvalidInput(f"{name} takes a value like {types[name]!r} ({kind}), not {value!r}") from error
    return values


def _convert(value: str, default: Any, any_length: bool = False) -> Any:
    if isinstance(default, bool):
        return _BOOLEANS[value.lower()]
    if isinstance(default, tuple):
        parts = value.split(",")
        if len(parts) != len(default) and not any_length:
            raise ValueError(value)
        return tuple(_convert(part, default[0]) for part in parts)
    return type(default)(value)
