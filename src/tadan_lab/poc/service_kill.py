"""A service whose processes are killed (SIGKILL) under load, and uploads that break off."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from tadan_lab.poc.plan import Plan
from tadan_lab.poc.subjects import Body, Service, decode_url, end_group, open_client, running_service

_SETTLE = 1.0  # seconds of load before each kill
_PATIENCE = 60.0  # seconds after which a process that was not replaced counts as lost
_UPLOADS = 24  # pictures put while the service is killed


async def kill_workers(
    plan: Plan, one: Service, samples: Sequence[Body], workers: int, on_kill: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Kill a worker under load, ``plan.kills`` times.

    Returns:
        for every kill seconds until the next good answer to a request that was sent after it, seconds until another
        process stood in its place, and requests that failed; in all: answers, and those with other bytes than before.
    """
    url, chance = decode_url(one.url), random.Random(plan.seed)
    rows: list[dict[str, Any]] = []
    async with open_client() as client:
        expected = [_digest((await client.post(url, content=body.coded)).content) for body in samples]
        log: list[tuple[float, bool, bool]] = []  # sent, good, and whether the bytes are those expected
        running = True

        async def load(number: int) -> None:
            import httpx

            own = random.Random(f"{plan.seed} {number}")
            while running:
                sample, sent = own.randrange(len(samples)), time.perf_counter()
                try:
                    answer = await client.post(url, content=samples[sample].coded)
                    good, same = answer.status_code == 200, _digest(answer.content) == expected[sample]
                except httpx.HTTPError:
                    good = same = False
                log.append((sent, good, same or not good))
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(load(number)) for number in range(2 * workers)]
        for _ in range(plan.kills):
            await asyncio.sleep(_SETTLE)
            rows.append(await _kill_one(one, chance, log))
            on_kill()
        await asyncio.sleep(_SETTLE)
        running = False
        await asyncio.gather(*tasks)
    return {
        "rows": rows,
        "answers": sum(good for _, good, _ in log),
        "failed": sum(not good for _, good, _ in log),
        "wrong": sum(not same for *_, same in log),
    }


async def _kill_one(one: Service, chance: random.Random, log: Sequence[tuple[float, bool, bool]]) -> dict[str, Any]:
    before = one.workers()
    victim = chance.choice(sorted(before, key=lambda process: process.pid))
    failed, killed = sum(not good for _, good, _ in log), time.perf_counter()
    victim.kill()
    answered, replaced = None, None
    known = {process.pid for process in before}
    while time.perf_counter() - killed < _PATIENCE and None in (answered, replaced):
        await asyncio.sleep(0.02)
        now = time.perf_counter() - killed
        if answered is None and any(good and sent > killed for sent, good, _ in log[-200:]):
            answered = now
        if replaced is None and any(process.pid not in known for process in one.workers()):
            replaced = now
    await asyncio.sleep(_SETTLE / 2)
    lost = sum(not good for _, good, _ in log) - failed
    return {"answered_s": answered, "replaced_s": replaced, "failed": lost}


def kill_service(plan: Plan, folder: Path, samples: Sequence[Body], workers: int) -> dict[str, Any]:
    """Kill the whole service while pictures are put into its store, start it again, and look at what it kept.

    Returns:
        ``acknowledged``: puts that were answered well; ``lost``: of these, pictures that are gone or changed; ``torn``:
        pictures without an answer of which something else than the whole is there; ``restart_s``: seconds until the
        new one is ready; ``half_uploads`` and ``half_kept``: uploads that broke off, and those of which a picture came.
    """
    keys = {f"poc/{number}": samples[number % len(samples)].coded for number in range(_UPLOADS)}
    with running_service(plan, folder, workers, store=True) as one:
        acknowledged = asyncio.run(_put_until_killed(one, keys, random.Random(plan.seed)))
    begun = time.perf_counter()
    with running_service(plan, folder, workers, store=True) as one:
        restart = time.perf_counter() - begun
        half = [f"poc/half-{number}" for number in range(len(samples))]
        for key, body in zip(half, samples, strict=True):
            _put_half(one.url, key, body.coded)
        kept = asyncio.run(_kept(one.url, [*keys, *half]))
    lost = sum(kept[key] != keys[key] for key in acknowledged)
    torn = sum(kept[key] not in (None, data) for key, data in keys.items() if key not in acknowledged)
    return {
        "uploads": len(keys),
        "acknowledged": len(acknowledged),
        "lost": lost,
        "torn": torn,
        "restart_s": restart,
        "half_uploads": len(half),
        "half_kept": sum(kept[key] is not None for key in half),
    }


async def _put_until_killed(one: Service, keys: dict[str, bytes], chance: random.Random) -> set[str]:
    """Put pictures, several at a time, and kill the service somewhere in the middle; those that were acknowledged."""
    import httpx

    acknowledged: set[str] = set()
    kill_after = chance.randrange(len(keys) // 4, len(keys) // 2)
    room = asyncio.Semaphore(4)
    async with open_client() as client:

        async def put(key: str, data: bytes) -> None:
            async with room:
                with suppress(httpx.HTTPError):
                    answer = await client.put(f"{one.url}/pictures/{key}", content=data)
                    if answer.status_code in (200, 201, 204):
                        acknowledged.add(key)
                if len(acknowledged) == kill_after:
                    end_group(one.process)

        await asyncio.gather(*(put(key, data) for key, data in keys.items()))
    end_group(one.process)
    return acknowledged


def _put_half(url: str, key: str, data: bytes) -> None:
    """Announce a whole body, send half of it, and leave."""
    address = urlsplit(url)
    head = f"PUT /pictures/{key} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(data)}\r\n\r\n"
    with (
        suppress(OSError),
        socket.create_connection((cast(str, address.hostname), cast(int, address.port)), 60) as line,
    ):
        line.sendall(head.encode() + data[: len(data) // 2])


async def _kept(url: str, keys: Sequence[str]) -> dict[str, bytes | None]:
    """Files of the store by key; None where there is none."""
    found: dict[str, bytes | None] = {}
    async with open_client() as client:
        for key in keys:
            answer = await client.get(f"{url}/pictures/{key}", headers={"Accept": "image/x-tadan"})
            found[key] = answer.content if answer.status_code == 200 else None
    return found


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
