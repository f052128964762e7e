"""Threads that share the rows of one call into the core, and the scratch that each of them needs.

How many there are is said where threads are handed out (:class:`tadan.codec.parallel.Workers`) and found where the core
is called. Results never depend on it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.core import Force, library

_current: ContextVar[_Team | None] = ContextVar("tadan-team", default=None)


class _Team:
    def __init__(self, core: Any, threads: int) -> None:
        self._core, self.threads = core, threads
        self.handle: int | None = core.tadan_team_start(threads)
        self._scratch: NDArray[np.uint8] = np.empty(0, np.uint8)

    def scratch(self, each: int) -> NDArray[np.uint8]:
        """Kept from call to call: a team serves one at a time."""
        if self._scratch.size < self.threads * each:
            self._scratch = np.empty(self.threads * each, np.uint8)
        return self._scratch

    def end(self) -> None:
        self._core.tadan_team_end(self.handle)


@contextmanager
def team(threads: int | None) -> Iterator[None]:
    """Let the core use so many threads (None: all cores) for calls from this thread, unless it has a team already."""
    count, core = threads or os.cpu_count() or 1, library()
    if core is None or count == 1 or _current.get() is not None:
        yield
        return
    own = _Team(core, count)
    token = _current.set(own)
    try:
        yield
    finally:
        _current.reset(token)
        own.end()


class Strength:
    """The first argument of a call into the core: its team, if there is one, and ``scratch`` bytes for each thread."""

    def __init__(self, scratch: int) -> None:
        own, each = _current.get(), -(-scratch // 64) * 64
        self._kept = np.empty(each, np.uint8) if own is None else own.scratch(each)
        self._struct = Force(None if own is None else own.handle, self._kept.ctypes.data, each)
        self.address = ctypes.addressof(self._struct)
