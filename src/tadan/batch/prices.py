"""What a million pictures cost, from rates that were measured and prices that the user gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tadan.errors import InvalidInput
from tadan.files import read_bytes
from tadan.toml import read_toml

_MILLION, _GIGABYTE, _HOUR = 1e6, 1e9, 3600.0
_GETS, _PUTS = 2, 1  # requests for a picture: its source and whether its output is there; its output


@dataclass(frozen=True)
class Prices:
    """A price table, flat in JSON or TOML; dollars stand for any one currency.

    Attributes:
        dollars_per_hour: of one machine.
        cores: of a machine; one worker works on each.
        speed: of such a core against one of the machine that was measured.
        get_per_1000: requests that read or ask.
        put_per_1000: requests that write.
        read_per_gigabyte: transfer of sources.
        month_per_gigabyte: keeping a gigabyte for a month.
    """

    dollars_per_hour: float
    cores: float
    speed: float = 1.0
    get_per_1000: float = 0.0
    put_per_1000: float = 0.0
    read_per_gigabyte: float = 0.0
    month_per_gigabyte: float = 0.0

    def __post_init__(self) -> None:
        """Raise InvalidInput unless all are numbers that make sense."""
        for name, value in asdict(self).items():
            positive = name in ("cores", "speed")
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or (positive and not value):
                raise InvalidInput(
                    f"the price table: {name} is a number {'above' if positive else 'from'} 0, not {value!r}"
                )


@dataclass(frozen=True)
class Rates:
    """Means of pictures that were encoded.

    Attributes:
        seconds: of a worker for a picture: reading that nothing else hides, encoding, writing.
        bytes_in: of a source.
        bytes_out: of an output.
    """

    seconds: float
    bytes_in: float
    bytes_out: float


def read_prices(path: Path) -> Prices:
    """The price table in a .toml or .json file.

    Raises:
        UnreadableInput: there is no such file.
        InvalidInput: it is none, or lacks a name.
    """
    found: Any
    if path.suffix.lower() == ".json":
        try:
            found = json.loads(read_bytes(path))
        except ValueError as error:
            raise InvalidInput(f"cannot read the price table {path}: {error}; write TOML or JSON") from error
    else:
        found = read_toml(path, "a price table")
    known = {one.name for one in fields(Prices)}
    if not isinstance(found, Mapping) or not {"dollars_per_hour", "cores"} <= set(found) <= known:
        raise InvalidInput(
            f"the price table {path} needs dollars_per_hour and cores, and may have: {', '.join(sorted(known))}"
        )
    return Prices(**found)


def dollars_per_million(rates: Rates, prices: Prices) -> dict[str, float]:
    """Dollars for a million pictures by what they are paid for, and their sum without storage."""
    hours = _MILLION * rates.seconds / prices.speed / prices.cores / _HOUR
    spent = {
        "machines": hours * prices.dollars_per_hour,
        "requests": _MILLION / 1000 * (_GETS * prices.get_per_1000 + _PUTS * prices.put_per_1000),
        "transfer": _MILLION * rates.bytes_in / _GIGABYTE * prices.read_per_gigabyte,
    }
    kept = _MILLION / _GIGABYTE * prices.month_per_gigabyte
    return {
        **spent,
        "sum": sum(spent.values()),
        "storage_of_sources_a_month": kept * rates.bytes_in,
        "storage_of_outputs_a_month": kept * rates.bytes_out,
    }
