"""Small tables, latents like those of a picture, and a second coder, for the tests of tadan.entropy."""

import numpy as np

from tadan.entropy import FREQ_BITS, N_SCALES, ScaleTables, StageDecoder, StageEncoder, scale_values
from tadan.entropy.constants import ESCAPE_LENGTH_FREQS

GAUSSIAN = ScaleTables.gaussian()
# Written out, so that golden bytes do not hang on the C library's erfc: {-1, 0, 1, escape} and {-2..2, escape}.
TINY = ScaleTables(
    np.array([100, 65000, 400, 36, 5000, 15000, 25000, 15000, 5000, 536], np.uint32), np.array([1, 2], np.int32)
)


def stages_of(pairs):
    return [(np.array(symbols, np.int32), np.array(index, np.uint8)) for symbols, index in pairs]


def encode(tables, stages):
    encoder = StageEncoder(tables)
    for symbols, index in stages:
        encoder.push(symbols, index)
    return encoder.finish()


def decode(tables, data, indices):
    decoder = StageDecoder(tables, data)
    pulled = [decoder.pull(index) for index in indices]
    decoder.finish()
    return pulled


def check_round_trip(tables, stages):
    data = encode(tables, stages)
    pulled = decode(tables, data, [index for _, index in stages])
    for (symbols, _), got in zip(stages, pulled, strict=True):
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, symbols)
    return data


def mixture(rng, n, spread=1.0):
    """Like the latents of a picture: most at the smallest scale, a long tail of larger ones."""
    index = np.where(rng.random(n) < 0.7, 0, np.minimum(rng.gamma(1.3, 9.0, n), N_SCALES - 1)).astype(np.uint8)
    return np.round(rng.normal(0, 1, n) * spread * scale_values()[index]).astype(np.int32), index


def histogram(symbols, index, reach):
    counts = np.zeros((N_SCALES, 2 * reach + 1), np.int64)
    inside = np.abs(symbols) <= reach
    np.add.at(counts, (index[inside], symbols[inside] + reach), 1)
    return counts, np.bincount(index[~inside], minlength=N_SCALES)


def reference_encode(tables, stages):
    """The format in plain integers: rANS with a 64-bit state, 32-bit words, 24-bit probabilities."""
    sequence = []  # (cumulative, frequency) in units of 2**-24, in decoding order

    def put(freqs, slot):
        shift = 24 - FREQ_BITS
        sequence.append((int(sum(map(int, freqs[:slot]))) << shift, int(freqs[slot]) << shift))

    for symbols, index in stages:
        escapes = []
        for i in range(tables.n_scales):
            half = int(tables.half_widths[i])
            for symbol in map(int, symbols[index == i]):
                put(tables.table(i), symbol + half if abs(symbol) <= half else 2 * half + 1)
        for symbol, i in zip(map(int, symbols), index, strict=True):
            excess = abs(symbol) - int(tables.half_widths[i])
            if excess > 0:
                escapes.append((excess, symbol < 0))
        for excess, _ in escapes:
            put(ESCAPE_LENGTH_FREQS, excess.bit_length() - 1)
        for excess, negative in escapes:
            bits = excess.bit_length()
            low = excess - (1 << (bits - 1))
            sequence.append(((2 * low + negative) << (24 - bits), 1 << (24 - bits)))
    state, words = 1 << 32, []
    for cumulative, frequency in reversed(sequence):
        if state >> 40 >= frequency:
            words.append(state & 0xFFFFFFFF)
            state >>= 32
        state = (state // frequency << 24) + cumulative + state % frequency
    words += [state & 0xFFFFFFFF, state >> 32]
    return b"".join(word.to_bytes(4, "little") for word in reversed(words))
