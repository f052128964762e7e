"""Damaged streams and wrong arguments: Corrupt or InvalidInput, nothing else, and at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_examples import GAUSSIAN, TINY, encode, mixture, reference_encode, stages_of
from tadan.entropy import MAX_MAGNITUDE, N_SCALES, ScaleTables, StageDecoder, StageEncoder, scale_values
from tadan.errors import Corrupt, InvalidInput


def attempt(tables, data, stages):
    """Decode as a caller would; return the intact leading stages, or None if the whole stream was accepted."""
    intact = 0
    try:
        decoder = StageDecoder(tables, data)
        for symbols, index in stages:
            got = decoder.pull(index)
            assert got.shape == index.shape
            assert got.size == 0 or max(-int(got.min()), int(got.max())) <= MAX_MAGNITUDE
            intact += np.array_equal(got, symbols)
        decoder.finish()
    except Corrupt:
        return intact
    return None


@pytest.fixture(scope="module")
def small_stream():
    symbols, index = mixture(np.random.default_rng(4), 1200)
    symbols[::50] = 77_777
    stages = [(symbols[k::4], index[k::4]) for k in range(4)]
    return stages, encode(GAUSSIAN, stages)


def test_truncation_at_every_byte_is_noticed_and_keeps_whole_stages(small_stream):
    stages, data = small_stream
    kept = [attempt(GAUSSIAN, data[:n], stages) for n in range(len(data))]
    assert None not in kept
    whole = kept[8::4]
    assert whole == sorted(whole)
    assert set(whole) == {0, 1, 2, 3}


def test_bit_flips_raise_corrupt_or_nothing(small_stream):
    """Nothing but Corrupt, and that often: an entropy coder is no checksum (the container has one)."""
    stages, data = small_stream
    rng = np.random.default_rng(6)
    outcomes = []
    for bit in rng.choice(8 * len(data), 600, replace=False):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        outcomes.append(attempt(GAUSSIAN, bytes(flipped), stages))
    assert sum(outcome is not None for outcome in outcomes) > 400


@given(st.binary(max_size=400), st.lists(st.integers(0, 300), max_size=4), st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_random_bytes_raise_corrupt_or_nothing(data, sizes, seed):
    rng = np.random.default_rng(seed)
    stages = [(np.zeros(n, np.int32), rng.integers(0, N_SCALES, n).astype(np.uint8)) for n in sizes]
    attempt(GAUSSIAN, data, stages)
    attempt(GAUSSIAN, data[: len(data) // 4 * 4], stages)


def test_decoding_far_past_the_end_stops_at_once(small_stream):
    _, data = small_stream
    decoder = StageDecoder(GAUSSIAN, data)
    for _ in range(2):
        with pytest.raises(Corrupt, match="ended"):
            decoder.pull(np.zeros(2_000_000, np.uint8) + np.uint8(50))
    with pytest.raises(Corrupt):
        decoder.finish()


def test_leftovers_are_noticed(small_stream):
    stages, data = small_stream
    decoder = StageDecoder(GAUSSIAN, data)
    for _, index in stages[:-1]:
        decoder.pull(index)
    with pytest.raises(Corrupt, match="left"):
        decoder.finish()
    assert attempt(GAUSSIAN, data + b"\x01\x00\x00\x00", stages) is not None
    assert attempt(GAUSSIAN, data + b"\x00\x00\x00\x00", stages) is not None


def test_wrong_tables_or_indices_are_noticed(small_stream):
    stages, data = small_stream
    assert attempt(ScaleTables.gaussian(scale_values() * 1.01), data, stages) is not None
    shifted = [(symbols, np.minimum(index + 1, N_SCALES - 1).astype(np.uint8)) for symbols, index in stages]
    assert attempt(GAUSSIAN, data, shifted) is not None


@pytest.mark.parametrize("data", [b"", b"abc", b"abcd", b"abcdefg", b"\x00" * 8, b"\x00" * 400])
def test_refused_at_once(data):
    with pytest.raises(Corrupt):
        StageDecoder(GAUSSIAN, data)


def test_escape_beyond_the_limit_is_corrupt():
    """A stream that no encoder of ours writes: length class 19 with all bits set, on the wider table."""
    stages = stages_of([([2 + (1 << 20) - 1], [1])])
    with pytest.raises(InvalidInput):
        encode(TINY, stages)
    decoder = StageDecoder(TINY, reference_encode(TINY, stages))
    for _ in range(2):
        with pytest.raises(Corrupt, match="exceeds"):
            decoder.pull(stages[0][1])
    with pytest.raises(Corrupt):
        decoder.finish()


BAD_STAGES = [
    (np.zeros(2, np.int64), np.zeros(2, np.uint8)),
    (np.zeros(2, np.int32), np.zeros(2, np.int32)),
    (np.zeros(2, np.int32), np.zeros(3, np.uint8)),
    (np.zeros((1, 2), np.int32), np.zeros((1, 2), np.uint8)),
    (np.zeros(2, np.int32), np.full(2, N_SCALES, np.uint8)),
    (np.array([MAX_MAGNITUDE + 1], np.int32), np.zeros(1, np.uint8)),
    (np.array([-(2**31)], np.int32), np.zeros(1, np.uint8)),
    (np.array([2**31 - 1], np.int32), np.zeros(1, np.uint8)),
]


@pytest.mark.parametrize(("symbols", "index"), BAD_STAGES)
def test_bad_stages_are_invalid_input(symbols, index):
    encoder = StageEncoder(GAUSSIAN)
    with pytest.raises(InvalidInput):
        encoder.push(symbols, index)
    assert encoder.finish() == encode(GAUSSIAN, [])


@pytest.mark.parametrize(
    "index", [np.zeros(2, np.int64), np.zeros((1, 2), np.uint8), np.full(2, N_SCALES, np.uint8), np.zeros(2)]
)
def test_bad_indices_are_invalid_input(index):
    decoder = StageDecoder(GAUSSIAN, encode(GAUSSIAN, []))
    with pytest.raises(InvalidInput):
        decoder.pull(index)
    decoder.finish()
