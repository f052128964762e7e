"""Worker processes behind a gate: what is let in is bounded, what takes too long ends, who dies is replaced.

Processes are those of ``pebble``: a task that crashes its process or runs out of time costs that process alone.
"""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_all_start_methods
from typing import TYPE_CHECKING, Any

from tadan.serve.settings import Settings
from tadan.serve.work import Answer, Refused, Task, run, start

if TYPE_CHECKING:
    from tadan.serve.metrics import Metrics

_POLL = 0.2  # seconds between two looks at whether the client is still there


class Problem(Exception):
    """An answer that is no success.

    Attributes:
        status: of HTTP.
        kind: class of the error, for programs.
        message: for people, with the next step.
        headers: of the answer.
    """

    def __init__(self, status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> None:
        self.status, self.kind, self.message, self.headers = status, kind, message, headers or {}
        super().__init__(message)


#: Status of the errors of Tadan; others are a mistake of the service, 500.
STATUS = {
    "InvalidInput": 400,
    "NotOurFile": 415,
    "UnreadableInput": 415,
    "Truncated": 422,
    "Corrupt": 422,
    "UnsupportedVersion": 422,
    "ModelMissing": 422,
    "TargetMissed": 422,
    "LimitExceeded": 413,
    "OutOfMemory": 503,
}


def problem_of(refused: Refused) -> Problem:
    """The answer for an error of Tadan."""
    status = STATUS.get(refused.kind, 500)
    return Problem(status, refused.kind, refused.message, {"Retry-After": "5"} if status == 503 else None)


@dataclass
class Load:
    """What is inside: working or waiting."""

    jobs: int = 0
    bytes: int = 0
    pixels: int = 0


class Gate:
    """Lets requests in while there is room, and says to others when to come again."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self.load = Load()
        self.receiving = 0  # bytes of bodies that are not whole yet
        self.closed = False
        self._pace = 0.5  # seconds of a job, a running mean

    @asynccontextmanager
    async def room(self, size: int, pixels: int) -> AsyncIterator[None]:
        """Be inside with a body of ``size`` bytes and a picture of ``pixels``; Problem 429 or 503 if there is no room.

        What is larger than the whole room is let in when nobody else is there.
        """
        most, load = self._settings, self.load
        if self.closed:
            raise Problem(503, "ShuttingDown", "the service is ending; ask another one", {"Retry-After": "5"})
        full = load.jobs >= most.queue_jobs
        full |= load.jobs > 0 and load.bytes + size > most.queue_bytes
        full |= load.jobs > 0 and load.pixels + pixels > most.queue_pixels
        if full:
            raise self._busy()
        self._enter(1, size, pixels)
        begun = time.monotonic()
        try:
            yield
        finally:
            self._enter(-1, -size, -pixels)
            self._pace = 0.9 * self._pace + 0.1 * (time.monotonic() - begun) / max(1, self.load.jobs + 1)

    def receive(self, had: int, more: int) -> None:
        """Count bytes of a body that is being received; Problem 429 if it and all others are too many.

        Args:
            had: bytes of the same body that were counted before; a body that is alone may have any length.
            more: bytes to count.
        """
        others = self.receiving - had + self.load.bytes
        if others and self.receiving + self.load.bytes + more > self._settings.queue_bytes:
            raise self._busy()
        self.receiving += more

    def _busy(self) -> Problem:
        self._metrics.refused.inc()
        wait = max(1, math.ceil(self._pace * self.load.jobs / self._settings.workers))
        return Problem(429, "Busy", "the service has enough to do; come again later", {"Retry-After": str(wait)})

    def _enter(self, jobs: int, size: int, pixels: int) -> None:
        load = self.load
        load.jobs, load.bytes, load.pixels = load.jobs + jobs, load.bytes + size, load.pixels + pixels
        self._metrics.inside.set(load.jobs)
        self._metrics.inside_bytes.set(load.bytes)


class Workers:
    """The processes."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        from pebble import ProcessPool

        self._settings, self._metrics = settings, metrics
        self._pool = ProcessPool(
            max_workers=settings.workers,
            initializer=start,
            initargs=(settings.model, settings.max_pixels, settings.memory),
            context=multiprocessing.get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn"),
        )

    async def ready(self) -> None:
        """Return when a process has loaded the model; raises what the model raises."""
        await self.do(Task("info", b"TDN?"), _never, expect_refusal=True)

    async def do(self, task: Task, gone: Callable[[], Awaitable[bool]], expect_refusal: bool = False) -> Answer:
        """Have a task done.

        Args:
            task: to do.
            gone: whether the client has left; the work then ends.
            expect_refusal: an error of Tadan is no problem.

        Raises:
            Problem: it could not be done: an error of Tadan, 504 after the deadline, 500 if its process died.
        """
        from pebble import ProcessExpired

        begun = time.monotonic()
        future = self._pool.schedule(run, args=[task])  # the time that it waits counts too, so the pool sets none
        waiting = asyncio.wrap_future(future)
        try:
            while not waiting.done():
                await asyncio.wait([waiting], timeout=_POLL)
                if waiting.done():
                    break
                if time.monotonic() - begun > self._settings.deadline:
                    future.cancel()
                    raise self._late()
                if await gone():
                    future.cancel()
                    raise Problem(499, "ClientGone", "the client left")
            answer: Any = waiting.result()
        except ProcessExpired as error:
            self._metrics.died.inc()
            text = "the process that worked on this ended; another one has taken its place, try again"
            raise Problem(500, "WorkerDied", text) from error
        except (asyncio.CancelledError, CancelledError):
            future.cancel()
            raise
        if isinstance(answer, Refused):
            if expect_refusal:
                return Answer(b"", {}, 0.0)
            if answer.kind == "Corrupt":
                self._metrics.damaged.inc()
            raise problem_of(answer)
        self._metrics.phase("wait", task.kind, time.monotonic() - begun - answer.seconds)
        self._metrics.phase("work", task.kind, answer.seconds)
        return answer

    def _late(self) -> Problem:
        self._metrics.expired.inc()
        text = f"not done within {self._settings.deadline:g} seconds; send a smaller picture or a lower effort"
        return Problem(504, "DeadlineExceeded", text)

    def close(self) -> None:
        """Finish what runs, start nothing more, and end the processes."""
        self._pool.close()
        try:
            self._pool.join(timeout=self._settings.deadline)
        except TimeoutError:
            self._pool.stop()
            self._pool.join()


async def _never() -> bool:
    return False
