"""Section money: storage, transfer and processors with Tadan and with a rival, and after how many reads it pays.

For one picture, in the currency of the price file, with B bytes of the rival and b of Tadan at equal visual quality:

* storage saved   S = (B - b) / 10^9 * price of a GB and month * months
* transfer saved  E = (B - b) / 10^9 * price of a GB, for every read that is sent as ``.tdn``
* encoding        C = CPU seconds of an encode / 3600 * price of a core and hour, once; the rival's is not counted
* decoding        D = CPU seconds of a decode / 3600 * price of a core and hour, for every read decoded by the service

Clients that decode (step 4 of the rollout): n reads give S - C + n E; it pays from (C - S) / E reads on.
A service that decodes (step 3, a cache hit costs nothing): n reads give S - C - n D; it pays up to (S - C) / D reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tadan.errors import InvalidInput
from tadan.toml import read_toml

NEEDS = ("pictures", "bytes", "latency")  # sections that it follows from
_GB = 1e9
_HOUR = 3600.0


@dataclass(frozen=True)
class Prices:
    """What things cost. The defaults are examples of list prices of large clouds, to be replaced by one's own.

    Attributes:
        as_of: date of the prices.
        source: where they are from.
        currency: unit of all prices.
        storage_per_gb_month: of a gigabyte (10^9 bytes) for a month.
        egress_per_gb: of a gigabyte sent.
        cpu_per_core_hour: of one core for an hour.
        months: that pictures are kept.
        pictures: that there are.
        reads_per_month: of one picture, on average.
        cache_hit_percent: reads that a cache answers: the service does not decode then.
    """

    as_of: str = "2026-11"
    source: str = "examples near list prices of large clouds; replace them by yours with --prices"
    currency: str = "USD"
    storage_per_gb_month: float = 0.023
    egress_per_gb: float = 0.09
    cpu_per_core_hour: float = 0.04
    months: float = 36
    pictures: int = 1_000_000
    reads_per_month: float = 1.0
    cache_hit_percent: float = 0.0

    def __post_init__(self) -> None:
        """Raise InvalidInput for what is no price."""
        for one in fields(self):
            value = getattr(self, one.name)
            if one.type == "str":
                if not isinstance(value, str):
                    raise InvalidInput(f"{one.name} is a text, not {value!r}")
            elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise InvalidInput(f"{one.name} is a number from 0 on, not {value!r}")
        if self.cache_hit_percent > 100:
            raise InvalidInput(f"cache_hit_percent is at most 100, not {self.cache_hit_percent:g}")


def read_prices(path: Path) -> Prices:
    """Prices of a TOML file whose keys are the fields of :class:`Prices`; what it leaves out is as in the examples.

    Raises:
        UnreadableInput: it cannot be read.
        InvalidInput: it is no TOML, or has a key or a value that is none.
    """
    found = read_toml(path, "a price file")
    known = [one.name for one in fields(Prices)]
    unknown = [key for key in found if key not in known]
    if unknown:
        raise InvalidInput(f"{path}: there is no price {unknown[0]!r}; choose from {', '.join(known)}")
    if "as_of" not in found:
        raise InvalidInput(f'{path} lacks a date; add as_of = "2026-11" or the like')
    return Prices(**{"source": path.name, **found})


@dataclass(frozen=True)
class Balance:
    """Money of one picture against one rival; formulas above. Negative savings are costs.

    Attributes:
        rival: name.
        rival_bytes: of the rival's file.
        bytes: of Tadan's.
        storage: saved over the months.
        encode: cost of encoding once.
        egress_per_read: saved by a read that is sent as ``.tdn``.
        decode_per_read: cost of a decode by the service.
        pays_from_reads: clients decode: reads from which on it pays; 0: at once; None: never.
        pays_up_to_reads: the service decodes: reads up to which it pays; 0: never; None: always.
        clients: saved by all pictures over the months if clients decode.
        service: saved by all of them if the service decodes what no cache answers.
    """

    rival: str
    rival_bytes: float
    bytes: float
    storage: float
    encode: float
    egress_per_read: float
    decode_per_read: float
    pays_from_reads: float | None
    pays_up_to_reads: float | None
    clients: float
    service: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def balance(
    prices: Prices, rival: str, rival_bytes: float, own_bytes: float, encode_s: float, decode_s: float
) -> Balance:
    """The balance of one picture; bytes of both files and CPU seconds of encoding and decoding are means."""
    saved = (rival_bytes - own_bytes) / _GB
    storage = saved * prices.storage_per_gb_month * prices.months
    egress = saved * prices.egress_per_gb
    encode, decode = (seconds / _HOUR * prices.cpu_per_core_hour for seconds in (encode_s, decode_s))
    reads = prices.reads_per_month * prices.months
    decoded = reads * (1 - prices.cache_hit_percent / 100)
    return Balance(
        rival,
        rival_bytes,
        own_bytes,
        storage,
        encode,
        egress,
        decode,
        break_even(storage - encode, egress),
        last_paying(storage - encode, decode),
        prices.pictures * (storage - encode + reads * egress),
        prices.pictures * (storage - encode - decoded * decode),
    )


def break_even(once: float, per_read: float) -> float | None:
    """Reads n >= 0 from which on ``once + n * per_read`` is not negative for ever; None: never."""
    if per_read < 0 or (per_read == 0 and once < 0):
        return None
    return max(0.0, -once / per_read) if per_read else 0.0


def last_paying(once: float, cost: float) -> float | None:
    """Reads up to which ``once - n * cost`` is not negative; 0 if it never is, None if it always is."""
    if once < 0:
        return 0.0
    return once / cost if cost > 0 else None


def measure_money(prices: Prices, results: Mapping[str, Any]) -> dict[str, Any]:
    """The section, from what the sections pictures, bytes and latency found.

    Bytes are bits per pixel at equal quality times the mean pixels of the whole folder, CPU seconds likewise.

    Raises:
        InvalidInput: one of these sections was not run.
    """
    missing = [name for name in NEEDS if results.get(name) is None]
    if missing:
        raise InvalidInput(f"money needs the section {missing[0]}; run it too, or leave out money with --skip money")
    pixels, warm = results["pictures"]["mean_pixels"], results["latency"]["warm"]
    seconds = [warm[kind]["cpu_per_megapixel"] * pixels / 1e6 for kind in ("encode", "decode")]
    score = results["bytes"]["score"]
    rows = [row for row in results["bytes"]["equal"] if row["score"] == score and row["bpp"] is not None]
    found = [
        balance(prices, row["rival"], row["rival_bpp"] * pixels / 8, row["bpp"] * pixels / 8, *seconds).to_dict()
        for row in rows
    ]
    return {"prices": asdict(prices), "encode_cpu_s": seconds[0], "decode_cpu_s": seconds[1], "rows": found}
