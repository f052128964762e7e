"""The rANS coder itself: constriction where it is installed, otherwise the same in plain Python.

constriction has no wheel for some platforms (Linux on ARM, musl) and no source package. Both coders here have the
interface that :mod:`tadan.entropy.coder` needs and give the same bytes: 64-bit state, 32-bit words, probabilities in
units of 2**-24 (R. Bamler, arXiv 2201.01741). The plain one takes about half a microsecond a symbol.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.entropy.constants import CODER_BITS, FREQ_BITS, INITIAL_WORDS

IntArray = NDArray[np.int32]
_SHIFT = CODER_BITS - FREQ_BITS
_MASK = (1 << CODER_BITS) - 1
_WORD = 32


def cumulative(freqs: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Starts and widths of the entries of a table, uint32 (n,) of sum 2**FREQ_BITS, in units of 2**-24."""
    widths = np.left_shift(freqs, _SHIFT, dtype=np.uint32)
    return np.cumsum(widths, dtype=np.uint32) - widths, widths


class Table:
    """Integer probabilities of one table, as :class:`PlainCoder` reads them.

    Args:
        freqs: uint32 (n,), all above 0, of sum 2**FREQ_BITS.
    """

    def __init__(self, freqs: NDArray[np.uint32]) -> None:
        """Form the sums."""
        starts, widths = cumulative(freqs)
        self.starts, self.widths = starts.tolist(), widths.tolist()


class PlainCoder:
    """A stack of symbols; names and meaning as of constriction's ``AnsCoder``.

    Args:
        words: uint32, the last ones on top of the stack; not empty, the last one not 0.
    """

    def __init__(self, words: NDArray[np.uint32]) -> None:
        """Take the two top words as the state."""
        self._words: list[int] = words.tolist()
        self._state = 0
        for _ in range(min(2, len(self._words))):
            self._state = self._state << _WORD | self._words.pop()

    def encode_reverse(self, symbols: IntArray, model: Any, sizes: IntArray | None = None) -> None:
        """Push symbols, the last one first, with one table, or with uniform probabilities over ``sizes`` values."""
        if sizes is None:
            pairs = [(model.starts[symbol], model.widths[symbol]) for symbol in symbols.tolist()]
        else:
            widths = [1 << CODER_BITS - (size.bit_length() - 1) for size in sizes.tolist()]
            pairs = [(symbol * width, width) for symbol, width in zip(symbols.tolist(), widths, strict=True)]
        state, words = self._state, self._words
        for start, width in reversed(pairs):
            if state >> 2 * _WORD - CODER_BITS >= width:
                words.append(state & 0xFFFFFFFF)
                state >>= _WORD
            state = (state // width << CODER_BITS) + start + state % width
        self._state = state

    def decode(self, model: Any, amount: int | IntArray) -> IntArray:
        """Pop symbols: a number of them with one table, or one for each size with uniform probabilities."""
        state, words, symbols = self._state, self._words, []
        if isinstance(amount, np.ndarray):
            for size in amount.tolist():
                bits = CODER_BITS - (size.bit_length() - 1)
                quantile = state & _MASK
                symbols.append(quantile >> bits)
                state = ((state >> CODER_BITS) << bits) + (quantile & (1 << bits) - 1)
                if state >> _WORD == 0 and words:
                    state = state << _WORD | words.pop()
        else:
            starts, widths = model.starts, model.widths
            for _ in range(amount):
                quantile = state & _MASK
                symbol = bisect_right(starts, quantile) - 1
                symbols.append(symbol)
                state = (state >> CODER_BITS) * widths[symbol] + quantile - starts[symbol]
                if state >> _WORD == 0 and words:
                    state = state << _WORD | words.pop()
        self._state = state
        return np.array(symbols, np.int32)

    def pos(self) -> tuple[int, int]:
        """Words below the state, and the state."""
        return len(self._words), self._state

    def get_compressed(self) -> NDArray[np.uint32]:
        """All words, the state's on top."""
        return np.array([*self._words, self._state & 0xFFFFFFFF, self._state >> _WORD], np.uint32)


def _constriction_table(freqs: NDArray[np.uint32]) -> Any:
    """Build constriction's model of one table, holding exactly the probabilities freqs / 2**FREQ_BITS.

    With ``perfect=False``, constriction turns n float weights w into the 24-bit cumulative
    ``floor(cumsum(w)[i] * ((2**24 - n) / sum(w))) + i``. (``perfect=True`` would search iteratively, in floating point;
    ``lazy`` only chooses when the sums are formed.) The weights f * 2**8 - 1 sum to exactly 2**24 - n, so the factor is
    exactly 1.0, and the cumulative is 2**8 * cumsum(f)[i]. All values are integers below 2**53: float64
    computes each of them without rounding, in any order of summation, on every machine.
    """
    weights = freqs.astype(np.float64) * (1 << _SHIFT) - 1
    return _constriction.stream.model.Categorical(weights, lazy=False, perfect=False)


try:
    import constriction as _constriction
except ImportError:
    CODER = "plain Python, slow; constriction is not installed"
    AnsCoder: Any = PlainCoder
    table_of: Any = Table
    RAW: Any = None
else:
    CODER = "constriction"
    AnsCoder = _constriction.stream.stack.AnsCoder
    table_of = _constriction_table
    RAW = _constriction.stream.model.Uniform()  # sizes are powers of two <= 2**20: every value has 1 / size exactly


def new_coder() -> Any:
    """An empty stack, in the state that :class:`tadan.entropy.StageDecoder` expects at its end."""
    return AnsCoder(np.array(INITIAL_WORDS, np.uint32))
