"""Streams of stages: exact, as short as promised, the same bytes for ever."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_examples import GAUSSIAN, TINY, check_round_trip, encode, histogram, mixture, reference_encode, stages_of
from tadan.entropy import MAX_MAGNITUDE, N_SCALES, ScaleTables, StageEncoder, estimate_bits

GOLDEN_STAGES = [
    ([0, 0, 1, -2, 2, -1, 0], [0, 0, 0, 1, 1, 1, 1]),
    ([], []),
    ([5, -1000, 0, 2], [1, 0, 1, 0]),
    ([1], [1]),
]
GOLDEN = "a5150000a1bf81d4e7a8347d0068a756"


magnitudes = st.one_of(
    st.integers(-3, 3), st.integers(-2000, 2000), st.sampled_from([-MAX_MAGNITUDE, MAX_MAGNITUDE, MAX_MAGNITUDE - 1])
)
stage = st.lists(st.tuples(magnitudes, st.integers(0, N_SCALES - 1)), max_size=40)


@given(st.lists(stage, max_size=6))
@settings(max_examples=150, deadline=None)
def test_round_trip(pairs):
    check_round_trip(GAUSSIAN, stages_of([list(zip(*p, strict=True)) or ([], []) for p in pairs]))


@pytest.mark.parametrize("n", [0, 1, 2, 255, 256, 70_000])
def test_round_trip_of_sizes(n):
    symbols, index = mixture(np.random.default_rng(n), n)
    check_round_trip(GAUSSIAN, [(symbols, index), (symbols[:0], index[:0]), (symbols[::-1], index[::-1])])


def test_round_trip_of_stages_that_are_all_escapes():
    rng = np.random.default_rng(3)
    index = rng.integers(0, N_SCALES, 3000).astype(np.uint8)
    excess = np.minimum(np.exp2(rng.uniform(0, 20, 3000)).astype(np.int32), MAX_MAGNITUDE - 1026)
    symbols = (rng.choice([-1, 1], 3000) * (GAUSSIAN.half_widths[index] + excess)).astype(np.int32)
    data = check_round_trip(GAUSSIAN, [(symbols, index)])
    assert len(data) * 8 == pytest.approx(estimate_bits(GAUSSIAN, symbols, index) + 48, abs=17)


def test_every_escape_length_is_coded_at_its_price():
    """At both ends of each length class, for the widest and the narrowest table."""
    for i in (0, N_SCALES - 1):
        half = int(GAUSSIAN.half_widths[i])
        edges = {e for k in range(20) for e in (1 << k, (2 << k) - 1)} | {MAX_MAGNITUDE - half}
        values = np.array([half + e for e in sorted(edges) if half + e <= MAX_MAGNITUDE], np.int32)
        symbols = np.concatenate([values, -values])
        check_round_trip(GAUSSIAN, [(symbols, np.full(len(symbols), i, np.uint8))])


@pytest.mark.parametrize("n_stages", [1, 4, 16])
def test_length_is_the_estimate(n_stages):
    """The estimate is a lower bound, tight to 8 bytes; the promise is 1 % and 16 bytes."""
    symbols, index = mixture(np.random.default_rng(1), 100_000, spread=1.1)
    data = encode(GAUSSIAN, [(symbols[k::n_stages], index[k::n_stages]) for k in range(n_stages)])
    estimate = estimate_bits(GAUSSIAN, symbols, index) / 8
    assert estimate <= len(data) <= estimate * 1.01 + 16
    assert len(data) <= estimate + 9


def test_golden_bytes():
    """The format of version 1, for ever. If this fails, the streams of all users have become unreadable."""
    stages = stages_of(GOLDEN_STAGES)
    assert check_round_trip(TINY, stages).hex() == GOLDEN
    assert encode(TINY, []).hex() == "0100000000000000"


@given(st.lists(st.lists(st.tuples(magnitudes, st.integers(0, N_SCALES - 1)), max_size=30), max_size=4))
@settings(max_examples=40, deadline=None)
def test_bytes_equal_a_reference_coder_in_plain_integers(pairs):
    stages = stages_of([list(zip(*p, strict=True)) or ([], []) for p in pairs])
    assert encode(GAUSSIAN, stages) == reference_encode(GAUSSIAN, stages)


def test_reference_coder_on_fitted_tables():
    symbols, index = mixture(np.random.default_rng(8), 3000, spread=1.5)
    fitted = ScaleTables.from_counts(*histogram(symbols, index, 1500))
    assert encode(fitted, [(symbols, index)]) == reference_encode(fitted, [(symbols, index)])


def test_threads_share_tables():
    rng = np.random.default_rng(2)
    symbols, index = mixture(rng, 30_000)
    stages = [(symbols[k::4], index[k::4]) for k in range(4)]
    tables = ScaleTables.from_counts(*histogram(symbols, index, 1500))  # fresh: models are built by the threads
    with ThreadPoolExecutor(8) as pool:
        streams = list(pool.map(lambda _: check_round_trip(tables, stages), range(32)))
    assert set(streams) == {encode(tables, stages)}


def test_push_copies_and_finish_repeats():
    symbols, index = mixture(np.random.default_rng(7), 500)
    encoder = StageEncoder(GAUSSIAN)
    encoder.push(symbols, index)
    first = encoder.finish()
    kept = symbols.copy(), index.copy()
    symbols += 1
    index[:] = 0
    assert encoder.finish() == first == encode(GAUSSIAN, [kept])


def test_two_hundred_fifty_six_tables():
    tables = ScaleTables.gaussian(np.geomspace(0.1, 20, 256))
    symbols = np.array(list(itertools.islice(itertools.cycle(range(-9, 10)), 512)), np.int32)
    check_round_trip(tables, [(symbols, np.tile(np.arange(256, dtype=np.uint8), 2))])
