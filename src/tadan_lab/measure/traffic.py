"""The four scenarios of MLPerf Inference over anything that answers: single stream, multi stream, server, offline.

P. Mattson, V. J. Reddi et al., *MLPerf Inference Benchmark* (ISCA 2020), section IV. A query of the single stream is
sent when the one before is answered; one of the multi stream holds eight samples; queries of the server scenario come
as a Poisson process, whether earlier ones are answered or not; offline, all samples are there from the beginning.
Durations are the caller's: MLPerf's own runs are longer.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import islice

Ask = Callable[[int], Awaitable[bool]]  # has a sample worked on; whether the answer is a good one
STREAMS = 8  # samples of a query of the multi stream


@dataclass(frozen=True)
class Query:
    """One query: seconds since the scenario began at which it was due, until its answer from then, and if it is good.

    The clock starts when a query is due, not when it could be sent: a sender that is late hides nothing.
    """

    due: float
    seconds: float
    good: bool


def arrivals(rate: float, seconds: float, chance: random.Random) -> Iterator[float]:
    """Times of a Poisson process of ``rate`` events a second, ascending, below ``seconds``."""
    due = chance.expovariate(rate)
    while due < seconds:
        yield due
        due += chance.expovariate(rate)


def draws(count: int, chance: random.Random) -> Iterator[int]:
    """Samples at random, each as likely as any other, for ever."""
    while True:
        yield chance.randrange(count)


async def single_stream(ask: Ask, samples: Iterator[int], seconds: float) -> list[Query]:
    """One query after the other; the last one begins within ``seconds``, and there is one at least."""
    return await _in_turn(ask, samples, seconds, 1)


async def multi_stream(ask: Ask, samples: Iterator[int], seconds: float, streams: int = STREAMS) -> list[Query]:
    """As :func:`single_stream`, with queries of ``streams`` samples at once; a query ends with its last sample."""
    return await _in_turn(ask, samples, seconds, streams)


async def _in_turn(ask: Ask, samples: Iterator[int], seconds: float, width: int) -> list[Query]:
    begun = time.perf_counter()
    queries: list[Query] = []
    while not queries or time.perf_counter() - begun < seconds:
        due = time.perf_counter()
        good = all(await asyncio.gather(*(ask(one) for one in islice(samples, width))))
        queries.append(Query(due - begun, time.perf_counter() - due, good))
    return queries


async def offline(ask: Ask, samples: Iterator[int], count: int, in_flight: int) -> tuple[list[Query], float]:
    """All of ``count`` samples as fast as they go, with so many under way; the queries and the seconds that it took."""
    room, begun = asyncio.Semaphore(in_flight), time.perf_counter()

    async def one(sample: int) -> Query:
        async with room:
            due = time.perf_counter()
            good = await ask(sample)
            return Query(due - begun, time.perf_counter() - due, good)

    queries = await asyncio.gather(*(one(sample) for sample in islice(samples, count)))
    return list(queries), time.perf_counter() - begun


async def server(ask: Ask, samples: Iterator[int], rate: float, seconds: float, chance: random.Random) -> list[Query]:
    """Poisson arrivals for some seconds; every answer is waited for, however late."""
    begun, running = time.perf_counter(), []

    async def one(due: float, sample: int) -> Query:
        good = await ask(sample)
        return Query(due, time.perf_counter() - begun - due, good)

    for due in arrivals(rate, seconds, chance):
        await asyncio.sleep(max(0.0, begun + due - time.perf_counter()))
        running.append(asyncio.create_task(one(due, next(samples))))
    return list(await asyncio.gather(*running))
