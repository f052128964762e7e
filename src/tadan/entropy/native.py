"""Stages of symbols in the core: the same bytes and symbols as :mod:`tadan.entropy.ans`, a stage in one call."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.core import Stack, StepOf, Tables, library
from tadan.entropy.ans import cumulative
from tadan.entropy.constants import ESCAPE_LENGTH_FREQS, MAX_MAGNITUDE
from tadan.entropy.fit import escape_bits
from tadan.entropy.tables import ScaleTables
from tadan.fork import ForkLock
from tadan.team import Strength

ENDED, TOO_LARGE, OUTSIDE = -1, -2, -3  # what tadan_pull and tadan_decode_step return


_ESCAPES = cumulative(np.array(ESCAPE_LENGTH_FREQS, np.uint32))


class CoreTables:
    """All tables as the core reads them."""

    def __init__(self, tables: ScaleTables) -> None:
        pairs = [cumulative(tables.table(i)) for i in range(tables.n_scales)]
        starts, widths = (np.ascontiguousarray(np.concatenate(one)) for one in zip(*pairs, strict=True))
        buckets = np.arange(256, dtype=np.uint32) << 16
        guess = np.stack([np.searchsorted(start, buckets, side="right") - 1 for start, _ in pairs]).astype(np.uint16)
        offsets = np.ascontiguousarray(tables.offsets, np.int64)
        half = np.ascontiguousarray(tables.half_widths, np.int32)
        self._kept = (starts, widths, offsets, guess, half)
        self.entry_bits = np.ascontiguousarray(tables.entry_bits)
        self.class_bits = escape_bits(np.int64(1) << np.arange(len(ESCAPE_LENGTH_FREQS)))
        self.struct = Tables(*(one.ctypes.data for one in self._kept), tables.n_scales)


_tables: weakref.WeakKeyDictionary[ScaleTables, CoreTables] = weakref.WeakKeyDictionary()
_lock = ForkLock()


def tables_of(tables: ScaleTables) -> CoreTables:
    """Tables as the core reads them, made once."""
    with _lock:
        if tables not in _tables:
            _tables[tables] = CoreTables(tables)
        return _tables[tables]


class CoreStack:
    """Words of a stream, popped stage by stage.

    Args:
        tables: that it was encoded with.
        words: uint32, the first to be read last.
    """

    def __init__(self, tables: ScaleTables, words: NDArray[np.uint32]) -> None:
        self._tables, self._words = tables_of(tables), words
        self._stack = Stack(int(words[-1]) << 32 | int(words[-2]), len(words) - 2)

    def pull(self, index: NDArray[np.uint8]) -> tuple[NDArray[np.int32], int]:
        """Symbols of a stage by their scale indices (checked), and 0, ENDED or TOO_LARGE."""
        index = np.ascontiguousarray(index)
        symbols, order = np.empty(len(index), np.int32), np.empty(len(index), np.int32)
        escapes = (*(one.ctypes.data for one in _ESCAPES), len(ESCAPE_LENGTH_FREQS))
        first = (ctypes.byref(self._stack), self._words.ctypes.data, ctypes.byref(self._tables.struct))
        rest: tuple[Any, ...] = (index.ctypes.data, len(index), MAX_MAGNITUDE, order.ctypes.data, symbols.ctypes.data)
        return symbols, int(library().tadan_pull(*first, *escapes, *rest))

    def pull_step(self, step: StepOf, strength: Strength) -> int:
        """Predict a step, decode its symbols and take them in: 0, ENDED, TOO_LARGE or OUTSIDE."""
        escapes = (*(one.ctypes.data for one in _ESCAPES), len(ESCAPE_LENGTH_FREQS))
        first = (strength.address, ctypes.byref(step), ctypes.byref(self._stack), self._words.ctypes.data)
        tables = ctypes.byref(self._tables.struct)
        return int(library().tadan_decode_step(*first, tables, *escapes, MAX_MAGNITUDE))

    def pos(self) -> tuple[int, int]:
        """Words below the state, and the state."""
        return int(self._stack.count), int(self._stack.state)
