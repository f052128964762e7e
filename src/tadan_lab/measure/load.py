"""A service under load: requests come at random, whether earlier ones are answered or not, at multiples of capacity."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from tadan.errors import ToolFailed
from tadan_lab.measure.traffic import arrivals

if TYPE_CHECKING:
    import httpx

_CONCURRENT = 4  # requests under way while capacity is found
LOST = 0  # stands for the status of a request that got no answer


@dataclass(frozen=True)
class LoadRow:
    """One rate of arrivals.

    Attributes:
        multiple: of the capacity.
        offered: requests a second.
        goodput: answers with status 200 a second.
        p50: seconds of these, median; None if there were none.
        p99: seconds that one in a hundred exceeds.
        statuses: how many answers of each status; 0: no answer came.
        memory: bytes of the service's processes afterwards; None if nobody looked.
    """

    multiple: float
    offered: float
    goodput: float
    p50: float | None
    p99: float | None
    statuses: dict[int, int]
    memory: int | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


@dataclass(frozen=True)
class Target:
    """What is asked: a POST of ``body`` to ``url``, with ``headers``."""

    url: str
    body: bytes
    headers: dict[str, str]


async def _ask(client: httpx.AsyncClient, target: Target) -> tuple[int, float]:
    import httpx

    begun = time.perf_counter()
    try:
        answer = await client.post(target.url, content=target.body, headers=target.headers)
        status = answer.status_code
    except httpx.HTTPError:
        status = LOST
    return status, time.perf_counter() - begun


async def _capacity(client: httpx.AsyncClient, target: Target, seconds: float) -> float:
    """Answers a second while a few requests are always under way."""
    begun, done = time.perf_counter(), 0

    async def serve() -> None:
        nonlocal done
        while time.perf_counter() - begun < seconds:
            status, _ = await _ask(client, target)
            if status != 200:
                raise ToolFailed(
                    f"{target.url} answered {status or 'nothing'}; is the service there, and the token right?"
                )
            done += 1

    await asyncio.gather(*(serve() for _ in range(_CONCURRENT)))
    return done / (time.perf_counter() - begun)


async def _at_rate(
    client: httpx.AsyncClient, target: Target, rate: float, seconds: float, chance: random.Random
) -> tuple[list[tuple[int, float]], float]:
    """Poisson arrivals for some seconds; every answer is waited for."""
    begun, running = time.perf_counter(), []
    for due in arrivals(rate, seconds, chance):
        await asyncio.sleep(max(0.0, begun + due - time.perf_counter()))
        running.append(asyncio.create_task(_ask(client, target)))
    results = await asyncio.gather(*running)
    return results, max(seconds, time.perf_counter() - begun)


def measure_load(
    target: Target,
    multiples: Sequence[float],
    seconds: float,
    seed: int = 1,
    pid: int | None = None,
    on_row: Callable[[LoadRow], None] = lambda row: None,
) -> tuple[float, list[LoadRow]]:
    """Find the capacity of a service, then load it.

    Args:
        target: what is asked.
        multiples: of the capacity, in this order.
        seconds: of arrivals at each.
        seed: of the arrivals.
        pid: of the service, to look at its memory.
        on_row: called after each rate.

    Returns:
        capacity in answers a second, and a row for every multiple.

    Raises:
        ToolFailed: the service does not answer with 200 when nothing else is asked of it.
    """
    return asyncio.run(_measure(target, multiples, seconds, seed, pid, on_row))


async def _measure(
    target: Target,
    multiples: Sequence[float],
    seconds: float,
    seed: int,
    pid: int | None,
    on_row: Callable[[LoadRow], None],
) -> tuple[float, list[LoadRow]]:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    rows, chance = [], random.Random(seed)
    async with httpx.AsyncClient(timeout=300, limits=limits) as client:
        capacity = await _capacity(client, target, min(seconds, 10))
        for multiple in multiples:
            results, took = await _at_rate(client, target, multiple * capacity, seconds, chance)
            good = sorted(time for status, time in results if status == 200)
            middle, late = (None, None) if len(good) < 2 else (quantiles(good, n=100)[i] for i in (49, 98))
            statuses = dict(sorted(Counter(status for status, _ in results).items()))
            row = LoadRow(multiple, multiple * capacity, len(good) / took, middle, late, statuses, _memory(pid))
            rows.append(row)
            on_row(row)
    return capacity, rows


def _memory(pid: int | None) -> int | None:
    """Resident bytes of a process and all below it."""
    if pid is None:
        return None
    import psutil

    try:
        own = psutil.Process(pid)
        return sum(int(one.memory_info().rss) for one in (own, *own.children(recursive=True)))
    except psutil.Error as error:
        raise ToolFailed(f"there is no process {pid} to look at ({error}); name that of the service") from error
