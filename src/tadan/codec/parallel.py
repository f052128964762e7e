"""Tiles in parallel threads, within a bound of memory. Results never depend on how many there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from tadan.fork import ForkLock, renew_in_children
from tadan.team import team

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

MEMORY = 2**30  # bytes that a process aims to stay below: what it takes for a picture of 100 megapixels
BASE_BYTES = 150 * 2**20  # of interpreter, libraries and model
FEW_TILES = 8  # what these leave behind is kept for the next ones: giving it back and forth takes time
Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """Threads that work on tiles, and the threads that each of them may use inside a network.

    Args:
        threads: processor threads to use; None for all cores.
        tiles: how many there are to work on.
        tile_bytes: memory that the work on one tile takes.
        held_bytes: memory that is taken besides, such as that of the picture.
        memory: what all of it should stay below; one tile at a time is always worked on.
    """

    def __init__(
        self, threads: int | None, tiles: int, tile_bytes: int, held_bytes: int = 0, memory: int = MEMORY
    ) -> None:
        self._tiles = tiles
        self._total = total = threads or os.cpu_count() or 1
        room = (memory - BASE_BYTES - held_bytes) // max(1, tile_bytes)
        self.count = max(1, min(total, tiles, room))
        self.inner = max(1, total // self.count)
        self._limit = None if threads is None and self.count == 1 else self.inner
        self._pool: ThreadPoolExecutor | None = None

    @contextmanager
    def open(self) -> Iterator[Workers]:
        """Start the threads; matrix products take :attr:`inner` threads each meanwhile."""
        if self.count == 1:
            with nullcontext() if self._limit is None else _blas_threads(self._limit), team(self.inner):
                yield self
            return
        with _blas_threads(self.inner), ThreadPoolExecutor(self.count, "tadan") as self._pool:
            try:
                yield self
            finally:
                self._pool.shutdown(cancel_futures=True)  # after an error, tiles not begun are not worth doing

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """``work`` on every item; results in the order of items. The first error is raised."""

        def one(item: Item) -> Result:
            try:
                with team(self.inner):
                    return work(item)
            finally:
                if self._tiles > FEW_TILES:
                    release_memory()

        if self._pool is None:
            return [one(item) for item in items]
        return list(self._pool.map(one, items))

    def in_turn(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """As :meth:`map`, one after the other with all threads in each: for work that the core shares evenly."""
        for item in items:
            with team(self._total):
                result = work(item)
            yield result
            if self._tiles > FEW_TILES:
                release_memory()


_blas_lock = ForkLock()
_blas_users: list[Any] = []  # the first one's limit stands until the last one leaves


class _NobodyInside:
    """In a forked child the other threads are gone, and so are their limits."""

    def renew(self) -> None:
        _blas_users.clear()


_nobody = _NobodyInside()
renew_in_children(_nobody)


@contextmanager
def _blas_threads(limit: int) -> Iterator[None]:
    """Limit the threads of matrix products, which is one setting of the process, while any caller is inside."""
    with _blas_lock:
        _blas_users.append(None if _blas_users else _blas().limit(limits=limit, user_api="blas"))
        own = _blas_users[0]
    try:
        yield
    finally:
        with _blas_lock:
            if _blas_users:  # none in a child that was forked meanwhile
                _blas_users.pop()
            if not _blas_users:
                own.restore_original_limits()


@cache
def _blas() -> ThreadpoolController:
    """Libraries of numpy, which is there by now. To find them is to read the list of all: half a millisecond."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def release_memory() -> None:
    """Give free memory back to the system: glibc keeps 150 MB of it between arrays of different sizes."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    import ctypes

    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # another C library
        return None
