"""Scale tables: valid immutable values, Gaussian by default, calibrated on data."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_examples import GAUSSIAN, TINY, check_round_trip, encode, histogram, mixture
from tadan.entropy import FREQ_BITS, N_SCALES, SCALE_MAX, SCALE_MIN, ScaleTables, estimate_bits, scale_values
from tadan.errors import Corrupt, InvalidInput


def test_scales_are_log_spaced():
    scales = scale_values()
    assert scales.shape == (N_SCALES,)
    assert (scales[0], scales[-1]) == pytest.approx((SCALE_MIN, SCALE_MAX))
    np.testing.assert_allclose(scales[1:] / scales[:-1], scales[1] / scales[0])


def check_rules(tables):
    for i in range(tables.n_scales):
        table = tables.table(i)
        assert len(table) == 2 * tables.half_widths[i] + 2
        assert table.min() >= 1
        assert int(table.sum()) == 1 << FREQ_BITS
        np.testing.assert_array_equal(table[:-1], table[-2::-1])


def test_gaussian_tables_obey_the_rules():
    check_rules(GAUSSIAN)
    assert GAUSSIAN.n_scales == N_SCALES
    assert len(GAUSSIAN.freqs) == GAUSSIAN.offsets[-1]
    assert np.all(np.diff(GAUSSIAN.half_widths) >= 0)


@given(st.lists(st.floats(1e-6, 512), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_any_scale_makes_valid_tables(scales):
    check_rules(ScaleTables.gaussian(scales))


@pytest.mark.parametrize("scales", [[], [0.0], [-1.0], [float("nan")], [513.0], [1.0] * 257])
def test_bad_scales(scales):
    with pytest.raises(InvalidInput):
        ScaleTables.gaussian(scales)


def test_expected_bits_are_the_entropy_of_the_gaussian():
    """h = log2(scale * sqrt(2 pi e)) for a Gaussian quantised with step 1; within 1 % from scale 1 on."""
    rng = np.random.default_rng(0)
    for i in np.flatnonzero(scale_values() >= 1)[::6]:
        symbols = np.round(rng.normal(0, scale_values()[i], 200_000)).astype(np.int32)
        mean = GAUSSIAN.bits(symbols, np.full(symbols.shape, i, np.uint8)).mean()
        # Rounding adds the variance of a uniform, 1/12; the formula is for a fine step.
        assert mean == pytest.approx(0.5 * np.log2(2 * np.pi * np.e * (scale_values()[i] ** 2 + 1 / 12)), rel=0.01)


def test_bits_grow_with_magnitude_and_with_scale_at_zero():
    magnitudes = np.arange(400, dtype=np.int32)
    for i in (0, 20, 40, 63):
        bits = GAUSSIAN.bits(magnitudes, np.full(400, i, np.uint8))
        inside = bits[: GAUSSIAN.half_widths[i] + 1]
        assert np.all(np.diff(inside) >= 0)
        assert np.all(bits[len(inside) :] > bits[0])
    every = np.arange(N_SCALES, dtype=np.uint8)
    assert np.all(np.diff(GAUSSIAN.bits(np.zeros(N_SCALES, np.int32), every)) > 0)
    assert GAUSSIAN.bits(np.zeros((2, 3), np.int32), np.zeros((2, 3), np.uint8)).shape == (2, 3)


def test_tables_are_immutable_values():
    for array in (GAUSSIAN.freqs, GAUSSIAN.half_widths, GAUSSIAN.table(3)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)
    with pytest.raises(AttributeError):
        GAUSSIAN.freqs = GAUSSIAN.freqs
    freqs = TINY.freqs.copy()
    tables = ScaleTables(freqs, TINY.half_widths)
    freqs[0] += 1
    assert tables == TINY
    assert hash(tables) == hash(TINY)
    assert tables != GAUSSIAN


def test_arrays_and_pickle_bring_equal_tables():
    encode(GAUSSIAN, [])  # coder models now exist; they must not travel
    for copy in (ScaleTables.from_arrays(GAUSSIAN.to_arrays()), pickle.loads(pickle.dumps(GAUSSIAN))):
        assert copy == GAUSSIAN
        assert copy.digest() == GAUSSIAN.digest()
    assert TINY.digest().hex() == "eac37ad570757b7b2c75339b49ea24bf33423e3a52a6c0c5b0a2b720ac39976e"


TAMPERINGS = {
    "sum": lambda a: a["freqs"].__setitem__(0, a["freqs"][0] + 1),
    "moved between tables": lambda a: (a["freqs"].__setitem__(1, 64999), a["freqs"].__setitem__(6, 25001)),
    "zero": lambda a: (a["freqs"].__setitem__(0, 0), a["freqs"].__setitem__(1, 65100)),
    "wraps in 32 bits": lambda a: a["freqs"].__setitem__(slice(0, 3), [1 << 31, 1 << 31, 65500]),
    "short": lambda a: a.update(freqs=a["freqs"][:-1]),
    "empty": lambda a: a.update(freqs=a["freqs"][:0]),
    "no tables": lambda a: a.update(freqs=a["freqs"][:0], half_widths=a["half_widths"][:0]),
    "too many tables": lambda a: a.update(freqs=np.tile(a["freqs"], 129), half_widths=np.tile(a["half_widths"], 129)),
    "negative width": lambda a: a["half_widths"].__setitem__(0, -1),
    "zero width": lambda a: a["half_widths"].__setitem__(0, 0),
    "huge width": lambda a: a["half_widths"].__setitem__(0, 2**31 - 1),
    "dtype": lambda a: a.update(freqs=a["freqs"].astype(np.int64)),
    "float": lambda a: a.update(freqs=a["freqs"].astype(np.float32)),
    "shape": lambda a: a.update(freqs=a["freqs"].reshape(2, -1)),
    "not an array": lambda a: a.update(half_widths=[1, 2]),
    "missing": lambda a: a.pop("freqs"),
    "extra": lambda a: a.update(more=a["freqs"]),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampered_arrays_are_corrupt(name):
    arrays = {key: value.copy() for key, value in TINY.to_arrays().items()}
    assert ScaleTables.from_arrays(arrays) == TINY
    TAMPERINGS[name](arrays)
    with pytest.raises(Corrupt):
        ScaleTables.from_arrays(arrays)


# ---- calibration


@pytest.mark.parametrize("n", [0, 50, 20_000, 1_000_000])
@pytest.mark.parametrize("heavy", [False, True])
def test_fitted_tables_never_lose_on_their_own_data(n, heavy):
    rng = np.random.default_rng(n)
    symbols, index = mixture(rng, n)
    if heavy:
        symbols = np.round(symbols * rng.exponential(1.0, n)).astype(np.int32)
    fitted = ScaleTables.from_counts(*histogram(symbols, index, 3000))
    check_rules(fitted)
    ours, gaussian = estimate_bits(fitted, symbols, index), estimate_bits(GAUSSIAN, symbols, index)
    assert ours <= gaussian + 1e-6 * gaussian
    if heavy and n == 1_000_000:
        assert ours < 0.9 * gaussian
    check_round_trip(fitted, [(symbols, index)])


def test_prior_rules_without_data_and_yields_to_it():
    assert ScaleTables.from_counts(np.zeros((N_SCALES, 3), np.int64)) == GAUSSIAN
    truth = np.array([1, 3, 9, 3, 1]) / 17
    few, many = (
        ScaleTables.from_counts([np.round(truth * n).astype(np.int64)], scales=[0.5]).table(0) / 2**FREQ_BITS
        for n in (17, 17_000_000)
    )
    np.testing.assert_allclose(many[len(many) // 2 - 3 : len(many) // 2 + 2], truth, atol=1e-3)
    assert few[len(few) // 2 - 1] > many[len(many) // 2 - 1]  # still near the Gaussian's 0.68


def test_fit_predicts_new_data_of_the_same_kind_better_than_the_gaussian():
    rng = np.random.default_rng(5)
    (a, ai), (b, bi) = (mixture(rng, 200_000) for _ in range(2))
    a, b = (np.round(v * rng.exponential(1.0, v.shape)).astype(np.int32) for v in (a, b))
    fitted = ScaleTables.from_counts(*histogram(a, ai, 2000))
    assert estimate_bits(fitted, b, bi) < 0.97 * estimate_bits(GAUSSIAN, b, bi)


@pytest.mark.parametrize(
    "arguments",
    [
        {"counts": np.zeros((3, 5), np.int64)},
        {"counts": np.zeros((1, 4), np.int64), "scales": [1.0]},
        {"counts": np.zeros((1, 5)), "scales": [1.0]},
        {"counts": np.full((1, 5), -1), "scales": [1.0]},
        {"counts": np.full((1, 5), 2**60), "scales": [1.0]},
        {"counts": [np.zeros((5, 5), np.int64)], "scales": [1.0]},
        {"counts": np.zeros((1, 5), np.int64), "scales": [1.0], "beyond": [1, 2]},
        {"counts": np.zeros((1, 5), np.int64), "scales": [1.0], "beyond": [-1]},
        {"counts": np.zeros((1, 5), np.int64), "scales": [1.0], "strength": 0.0},
        {"counts": np.zeros((1, 5), np.int64), "scales": [1.0], "strength": float("nan")},
    ],
)
def test_bad_counts(arguments):
    with pytest.raises(InvalidInput):
        ScaleTables.from_counts(**arguments)
