"""Worker processes, each behind a pipe of its own: one that dies, hangs or grows costs one picture and nobody else.

A pool with one queue for all workers would be shorter. But a worker that is killed while it holds the lock of that
queue stops all others, and one that is killed while idle ends the pool of ``pebble``, which the service uses.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from tadan.batch.entries import Entry
from tadan.batch.memory import bound_memory
from tadan.batch.outcome import Outcome, failure
from tadan.batch.unit import Job, Loaded, Unit
from tadan.errors import TadanError

AHEAD = 2  # entries that a worker has: one in work, and the next, whose source it reads meanwhile
LIVES = 2  # workers that a picture may take with it before it is given up
_TICK = 0.2  # seconds between looks at deadlines and at the wish to stop
_STARTS = 3  # workers in a row that may die before they are ready
_REPLACED_AFTER = frozenset({"OutOfMemory", "Unexpected"})  # what these leave behind is not worth keeping


@dataclass(frozen=True)
class Bounds:
    """What one picture may take of its worker.

    Attributes:
        seconds: from the end of the picture before it; reading, waiting between tries and writing included.
        memory: bytes of private memory of the process.
    """

    seconds: float
    memory: int

    def __str__(self) -> str:
        """For the journal: pictures that failed under other bounds are tried again."""
        return f"{self.seconds:g} s, {self.memory} bytes"


@dataclass(eq=False)
class _Worker:
    process: Any
    pipe: Connection
    ready: bool = False
    gone: bool = False  # its end of the pipe is closed, and all that it said was heard
    since: float = 0.0
    has: deque[Entry] = field(default_factory=deque)


class Crew:
    """Workers on this machine.

    Args:
        job: what they do.
        count: of processes, with one thread of the codec each.
        bounds: of each picture.
        unit: what does it, made anew in each process.
        lasting: the processes stay when all entries are done, for others; :meth:`close` ends them.
    """

    def __init__(
        self, job: Job, count: int, bounds: Bounds, unit: Callable[[Job], Unit] = Unit, lasting: bool = False
    ) -> None:
        self._job, self._count, self._bounds, self._unit, self._lasting = job, count, bounds, unit, lasting
        self._context = multiprocessing.get_context("spawn")  # forked ones would inherit threads and locks
        self._workers: list[_Worker] = []
        self._again: deque[Entry] = deque()
        self._deaths: dict[str, int] = {}
        self._unready = 0

    @property
    def processes(self) -> list[int]:
        """Ids of the processes that live now."""
        return [one.process.pid for one in self._workers]

    def outcomes(self, entries: Iterator[Entry], stop: Callable[[], bool] = lambda: False) -> Iterator[Outcome]:
        """Outcomes in the order in which they come.

        Args:
            entries: read as far ahead as workers need.
            stop: when it says so, pictures in work are finished and no others begun.

        Raises:
            TadanError: the workers cannot start.
        """
        stopping, exhausted, finished = False, False, False
        first = next(entries, None)
        if first is None:
            return  # nothing to do is no reason to start processes
        self._again.append(first)
        try:
            self._workers += [self._started() for _ in range(self._count - len(self._workers))]
            while True:
                if not stopping and stop():
                    stopping = True
                    self._send_away()
                if not stopping:
                    exhausted = self._feed(entries)
                if not any(one.has for one in self._workers) and (stopping or (exhausted and not self._again)):
                    finished = True
                    return
                yield from self._events(stopping)
        finally:
            if not (self._lasting and finished):
                self.close()

    def close(self) -> None:
        """End the processes, whatever they do."""
        for one in self._workers:
            one.process.kill()
            one.pipe.close()
        for one in self._workers:
            one.process.join()
            one.process.close()
        self._workers = []
        self._again.clear()

    def _started(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(theirs, self._unit, self._job, self._bounds.memory), name="tadan-batch", daemon=True
        )
        with _no_interrupt():  # the parent tells of an interrupt, once
            process.start()
        theirs.close()  # so that its end is seen here
        return _Worker(process, ours, since=time.monotonic())

    def _feed(self, entries: Iterator[Entry]) -> bool:
        """Give every worker what it may have ahead; whether there is nothing more."""
        for depth in range(AHEAD):
            for one in self._workers:
                if not one.ready or len(one.has) > depth:
                    continue
                if depth and one.has[0].source in self._deaths:
                    continue  # a suspect is alone
                entry = self._again.popleft() if self._again else next(entries, None)
                if entry is None:
                    return True
                if not one.has:
                    one.since = time.monotonic()
                one.has.append(entry)
                with suppress(OSError):  # it died; that is seen soon
                    one.pipe.send(entry)
        return False

    def _events(self, stopping: bool) -> Iterator[Outcome]:
        """What happens within a tick."""
        pipes: dict[Any, _Worker] = {one.pipe: one for one in self._workers}
        for pipe in wait(list(pipes), timeout=_TICK):
            one = pipes[pipe]
            if one in self._workers and not one.gone:
                yield from self._heard(one, stopping)
        now = time.monotonic()
        for one in list(self._workers):
            if one.gone:
                yield from self._lost(one, stopping, died=True)
            elif one.has and now - one.since > self._bounds.seconds:
                yield from self._lost(one, stopping, died=False)

    def _heard(self, one: _Worker, stopping: bool) -> Iterator[Outcome]:
        try:
            said = one.pipe.recv()
        except (EOFError, OSError):
            one.gone = True
            return
        if isinstance(said, TadanError):
            raise said
        if not isinstance(said, Outcome):
            one.ready, self._unready = True, 0
            return
        one.has.popleft()
        one.since = time.monotonic()
        self._deaths.pop(said.source, None)
        if stopping:
            self._replace(one, fresh=False)
        elif said.kind in _REPLACED_AFTER:
            self._replace(one)
        yield said

    def _lost(self, one: _Worker, stopping: bool, died: bool) -> Iterator[Outcome]:
        """A worker died, or its picture took too long."""
        if died:
            one.process.join(_TICK)  # a process closes its pipe a moment before it has ended
        code = one.process.exitcode
        if died and not one.ready:
            self._unready += 1
            if self._unready >= _STARTS:
                raise TadanError(f"workers end before they begin (exit code {code}); is there enough memory for them?")
        head = one.has.popleft() if one.has else None
        self._replace(one, fresh=not stopping)
        if head is None:
            return
        if not died:
            text = f"not done within {self._bounds.seconds:g} seconds; allow more with --deadline"
            yield failure(head.source, "DeadlineExceeded", text)
            return
        self._deaths[head.source] = deaths = self._deaths.get(head.source, 0) + 1
        if deaths < LIVES and not stopping:
            self._again.appendleft(head)  # somebody may have killed it for other reasons
            return
        del self._deaths[head.source]
        if stopping:
            return  # not its fault, maybe; the next run will see
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        text = f"{deaths} processes that worked on it ended by {how}; allow more memory with --worker-memory"
        yield failure(head.source, "WorkerDied", text)

    def _replace(self, one: _Worker, fresh: bool = True) -> None:
        """End a worker, and start another; what it had is somebody else's."""
        self._again.extendleft(reversed(one.has))
        self._workers.remove(one)
        one.process.kill()
        one.process.join()
        one.process.close()
        one.pipe.close()
        if fresh:
            self._workers.append(self._started())

    def _send_away(self) -> None:
        """End workers that have nothing in work; what others have ahead is not begun."""
        for one in list(self._workers):
            if not one.has:
                self._replace(one, fresh=False)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Have processes that start meanwhile never hear of SIGINT."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection, make: Callable[[Job], Unit], job: Job, memory: int) -> None:
    """Body of a worker: one thread reads sources, this one encodes and writes."""
    try:
        unit = make(job)
    except TadanError as error:
        pipe.send(error)
        return
    bound_memory(memory)
    loaded: queue.Queue[Loaded] = queue.Queue(maxsize=1)
    threading.Thread(target=_read, args=(pipe, unit, loaded), daemon=True).start()
    with suppress(BrokenPipeError):
        pipe.send("ready")
        while True:
            pipe.send(unit.finish(loaded.get()))


def _read(pipe: Connection, unit: Unit, loaded: queue.Queue[Loaded]) -> None:
    while True:
        try:
            entry: Entry = pipe.recv()
        except (EOFError, OSError):  # the parent is gone: nothing may be written after it
            os._exit(1)
        loaded.put(unit.read(entry))
