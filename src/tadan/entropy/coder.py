"""Stage coder: rANS over fixed integer tables, the latents of a stage grouped by scale index.

A stage holds the latents that are decoded together. Its symbols are stably sorted by scale index, and each group is
coded in one call with the one table of its index; escape payloads follow. Per stage, in decoding order::

    group of index 0 | group of index 1 | ... | length classes of all escapes | low bits and signs of all escapes

(Escapes in order of position in the stage; see ``ESCAPE_LENGTH_FREQS``.) rANS is a stack, so the encoder collects all
stages and codes them backwards; words are written so that the decoder consumes the bytes front to back: a file
cut short still yields every stage that was complete.

The coder is that of ``constriction`` (R. Bamler, "Understanding Entropy Coding With Asymmetric Numeral Systems",
arXiv 2201.01741): 64-bit state, 32-bit words, 24-bit probabilities. The format does not depend on the library:
:mod:`tadan.entropy.ans` does without it, and the tests hold another implementation in 20 lines of integers.
"""

import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from tadan.core import StepOf, library
from tadan.entropy import ans
from tadan.entropy.constants import (
    ESCAPE_LENGTH_FREQS,
    INITIAL_STATE,
    INITIAL_WORDS,
    MAX_MAGNITUDE,
)
from tadan.entropy.native import ENDED, TOO_LARGE, CoreStack
from tadan.entropy.tables import ScaleTables
from tadan.errors import Corrupt, InvalidInput
from tadan.fork import ForkLock
from tadan.team import Strength

_ENDED, _TOO_LARGE = "the data ended before the last stage", f"an escaped symbol exceeds {MAX_MAGNITUDE}"
OUT_OF_RANGE = "a latent is out of range"
IntArray = npt.NDArray[np.int32]
IndexArray = npt.NDArray[np.uint8]


_ESCAPE_LENGTHS = ans.table_of(np.array(ESCAPE_LENGTH_FREQS, np.uint32))
_models: "weakref.WeakKeyDictionary[ScaleTables, tuple[Any, ...]]" = weakref.WeakKeyDictionary()
_models_lock = ForkLock()


def _models_of(tables: ScaleTables) -> tuple[Any, ...]:
    """Return the models of all tables, built once per content (0.2 ms); immutable, so all threads share them."""
    with _models_lock:
        models = _models.get(tables)
        if models is None:
            models = tuple(ans.table_of(tables.table(i)) for i in range(tables.n_scales))
            _models[tables] = models
        return models


def _group(index: IndexArray, n_scales: int) -> tuple[npt.NDArray[np.intp], list[tuple[int, int, int]]]:
    """Sort a stage by scale index: the order, and (scale index, start, stop) of every group that is not empty."""
    order = np.argsort(index, kind="stable")  # a radix sort for uint8
    starts = np.searchsorted(index[order], np.arange(n_scales, dtype=np.uint8)).tolist()
    stops = [*starts[1:], len(index)]
    return order, [(i, a, b) for i, (a, b) in enumerate(zip(starts, stops, strict=True)) if a < b]


class StageEncoder:
    """Collects stages in decoding order and codes them into one stream.

    >>> encoder = StageEncoder(ScaleTables.gaussian())
    >>> encoder.push(np.array([0, -3], np.int32), np.array([5, 40], np.uint8))
    >>> data = encoder.finish()
    """

    def __init__(self, tables: ScaleTables) -> None:
        """Start an empty stream over ``tables``."""
        self._tables = tables
        self._models = _models_of(tables)
        self._stages: list[tuple[IntArray, list[tuple[int, int, int]], IntArray]] = []

    def push(self, symbols: IntArray, index: IndexArray) -> None:
        """Record the next stage.

        Args:
            symbols: int32[n], residual symbols, n >= 0; copied.
            index: uint8[n], their scale indices.

        Raises:
            InvalidInput: not one-dimensional, or see :meth:`ScaleTables.check`.
        """
        if index.ndim != 1:
            raise InvalidInput(f"a stage is one-dimensional, not of shape {index.shape}; flatten it first")
        self._tables.check(symbols, index)
        half = self._tables.half_widths[index]
        slots = symbols + half
        escaped = np.flatnonzero((slots < 0) | (slots > 2 * half))
        slots[escaped] = 2 * half[escaped] + 1
        values = symbols[escaped]
        excess = np.sign(values) * (np.abs(values) - half[escaped])
        order, groups = _group(index, self._tables.n_scales)
        self._stages.append((slots[order], groups, excess))

    def finish(self) -> bytes:
        """Return the stream of all recorded stages: little-endian uint32 words, 4 to 8 bytes above the ideal."""
        coder = ans.new_coder()
        for slots, groups, excess in reversed(self._stages):
            if len(excess):
                length, size = _escape_classes(np.abs(excess))
                raw = 2 * (np.abs(excess) - (size >> 1)) + (excess < 0)
                coder.encode_reverse(raw.astype(np.int32), ans.RAW, size)
                coder.encode_reverse(length, _ESCAPE_LENGTHS)
            for i, start, stop in reversed(groups):
                coder.encode_reverse(slots[start:stop], self._models[i])
        words: npt.NDArray[np.uint32] = coder.get_compressed()
        return words[::-1].astype("<u4").tobytes()


def _escape_classes(excess: IntArray) -> tuple[IntArray, IntArray]:
    """Length class k = floor(log2(excess)) and alphabet 2**(k + 1) of its low bits and sign."""
    length = (np.frexp(excess.astype(np.float64))[1] - 1).astype(np.int32)
    return length, np.int32(2) << length


def damaged(reason: str) -> Corrupt:
    """The error of a stream that no encoder wrote."""
    return Corrupt(f"entropy-coded data: {reason}; it is truncated or damaged, get the file again")


class StageDecoder:
    """Decodes the stages of a stream, in the order in which they were pushed.

    Stages that :meth:`pull` returns from a stream cut short (to a multiple of 4 bytes) are those that were pushed; the
    first one that needs a missing byte raises. Changed bytes are often, not always, noticed: an entropy coder is no
    checksum, since nearly every string of bytes is the code of *some* symbols (a flipped bit of an escape payload
    only changes that symbol). Detecting them is the container's CRC's task; here they can do no other harm.
    """

    def __init__(self, tables: ScaleTables, data: bytes) -> None:
        """Open a stream.

        Args:
            tables: the tables it was encoded with.
            data: what ``StageEncoder.finish`` returned.

        Raises:
            Corrupt: not a whole number of words, shorter than two words, or starting with a zero word.
        """
        if len(data) % 4 or len(data) < 4 * len(INITIAL_WORDS):
            raise Corrupt(f"entropy-coded data of {len(data)} bytes; a multiple of 4 and at least 8 are needed")
        words = np.frombuffer(data, "<u4")[::-1].astype(np.uint32)
        if words[-1] == 0:
            raise Corrupt("entropy-coded data starts with a zero word, which no encoder writes")
        self._core = None if library() is None else CoreStack(tables, words)
        self._coder: Any = self._core or ans.AnsCoder(words)
        self._tables = tables
        self._models = () if self._core is not None else _models_of(tables)
        self._failure: str | None = None

    def pull(self, index: IndexArray) -> IntArray:
        """Decode the next stage. Memory and time are proportional to ``len(index)``, whatever the data.

        Args:
            index: uint8[n], the scale indices of the stage, n >= 0.

        Returns:
            int32[n], its residual symbols.

        Raises:
            Corrupt: the data ended, or a symbol is out of range; every later call raises it too.
            InvalidInput: ``index`` is not one-dimensional, not uint8, or >= n_scales somewhere.
        """
        if index.ndim != 1:
            raise InvalidInput(f"a stage is one-dimensional, not of shape {index.shape}; flatten it first")
        self._tables.check_index(index)
        self._raise_failure()
        if self._core is not None:
            symbols, code = self._core.pull(index)
            if code:
                self._failure = _ENDED if code == ENDED else _TOO_LARGE
                self._raise_failure()
            return symbols
        order, groups = _group(index, self._tables.n_scales)
        by_index = np.empty(len(index), np.int32)
        for i, start, stop in groups:
            slots = self._coder.decode(self._models[i], stop - start)
            np.subtract(slots, self._tables.half_widths[i], out=by_index[start:stop])
        self._check_not_exhausted()
        symbols = np.empty(len(index), np.int32)
        symbols[order] = by_index
        half = self._tables.half_widths[index]
        escaped = np.flatnonzero(symbols > half)
        if len(escaped):
            symbols[escaped] = self._pull_escapes(half[escaped])
        return symbols

    @property
    def in_core(self) -> bool:
        """Whether :meth:`pull_step` can be used."""
        return self._core is not None

    def pull_step(self, step: StepOf, strength: Strength) -> None:
        """Decode a whole step in the core: predict, pull and take in (``tadan_decode_step``).

        Raises:
            Corrupt: as :meth:`pull`, or a symbol exceeds what latents can be.
        """
        self._raise_failure()
        if self._core is None:
            raise RuntimeError("whole steps are decoded in the core alone")
        code = self._core.pull_step(step, strength)
        if code:
            self._failure = {ENDED: _ENDED, TOO_LARGE: _TOO_LARGE}.get(code, OUT_OF_RANGE)
            self._raise_failure()

    def _pull_escapes(self, half: IntArray) -> IntArray:
        length = self._coder.decode(_ESCAPE_LENGTHS, len(half))
        size = np.int32(2) << length
        raw = self._coder.decode(ans.RAW, size)
        self._check_not_exhausted()
        magnitude = (size >> 1) + (raw >> 1) + half
        if int(magnitude.max()) > MAX_MAGNITUDE:
            self._failure = _TOO_LARGE
            self._raise_failure()
        signed: IntArray = np.where(raw & 1, -magnitude, magnitude).astype(np.int32)
        return signed

    def _check_not_exhausted(self) -> None:
        """The encoder starts from INITIAL_STATE, so that a valid state is never below it."""
        position, state = self._coder.pos()
        if position == 0 and state < INITIAL_STATE:
            self._failure = _ENDED
            self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure:
            raise damaged(self._failure)

    def finish(self) -> None:
        """Check that all data was used and nothing is left.

        Raises:
            Corrupt: an earlier stage failed, or stages or data are left over.
        """
        self._raise_failure()
        if self._coder.pos() != (0, INITIAL_STATE):
            self._failure = "data is left after the last stage"
            self._raise_failure()
