"""Locks and sessions that go on working in a forked child.

A lock that another thread holds while a process forks stays locked in the child for ever, and the threads of a session
are not there. What registers here is told so in the child, and starts anew. Where there is no ``fork`` nothing happens.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Renewable(Protocol):
    """Something that can start anew."""

    def renew(self) -> None:
        """Replace what has locks or threads; called in a forked child."""
        ...


_renewable: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_in_children(one: Renewable) -> None:
    """Have ``one.renew()`` called in every forked child, as long as it lives."""
    _renewable.add(one)


class ForkLock:
    """A lock that is free in a forked child, whoever held it in the parent."""

    def __init__(self) -> None:
        """Free."""
        self._lock = threading.Lock()
        renew_in_children(self)

    def renew(self) -> None:
        """Be free again."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class ForkGate:
    """Around work that a fork must not cut into: a fork waits until nobody is inside, and nobody enters meanwhile.

    OpenBLAS ends its threads when a process forks; a product that another thread is in the middle of then never ends,
    neither in the child nor in the parent.
    """

    def __init__(self) -> None:
        """Nobody is inside."""
        self.renew()
        renew_in_children(self)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._close, after_in_parent=self._open)

    def renew(self) -> None:
        """Be open, with nobody inside."""
        self._inside, self._changed = 0, threading.Condition(threading.Lock())

    def __enter__(self) -> None:
        with self._changed:
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            if not self._inside:
                self._changed.notify()

    def _close(self) -> None:
        self._changed.acquire()
        self._changed.wait_for(lambda: not self._inside)

    def _open(self) -> None:
        self._changed.release()


def _renew_all() -> None:
    for one in list(_renewable):
        one.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
