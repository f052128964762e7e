"""Integer products on floating-point hardware: the overflow proof, and bit-exactness against plain integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tadan.errors import Corrupt, InvalidInput
from tadan.exact.constants import FLOAT32_EXACT, FLOAT64_EXACT, MAX_SPLITS
from tadan.exact.convert import BIAS_LIMIT, INT32_MAX, by_quality, fractions_for, to_integer
from tadan.exact.linear import MAX_SHIFT, ExactLayer, ExactProduct, prove, requantise

RNG = np.random.default_rng(2)


def weights(rows, cols, largest):
    return RNG.integers(-largest, largest, (rows, cols), endpoint=True).astype(np.int64)


def adversaries(weight, limit):
    """Inputs that reach the bound: for every output, +-limit with the sign of its weights; and all +-limit."""
    worst = limit * np.sign(weight.T)
    flat = np.full((1, len(weight)), limit)
    return np.concatenate([worst, -worst, flat, -flat])


# --- the proof --------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(-300, 300), min_size=3, max_size=3), min_size=1, max_size=12), st.integers(1, 2047)
)
def test_total_is_the_maximum_over_all_inputs(rows, limit):
    weight = np.array(rows)
    assert prove(weight, limit).total == np.abs(adversaries(weight, limit) @ weight).max()


@pytest.mark.parametrize("splits", range(1, MAX_SPLITS + 1))
def test_bound_is_the_maximum_over_all_inputs_of_the_worst_piece(splits):
    rows = MAX_SPLITS * 16
    weight = np.full((rows, 2), (FLOAT32_EXACT - 1) // -(-rows // splits))
    proof = prove(weight, 1)
    assert (proof.splits, proof.wide) == (splits, False)
    pieces = np.array_split(weight, splits)
    assert proof.bound == max(np.abs(adversaries(piece, 1) @ piece).max() for piece in pieces) < FLOAT32_EXACT


def test_the_number_of_pieces_is_the_least_that_fits():
    half = FLOAT32_EXACT // 2
    assert prove(np.array([[half], [half - 1]]), 1).splits == 1
    assert prove(np.array([[half], [half]]), 1).splits == 2
    assert prove(np.array([[-half], [half]]), 1).splits == 2  # signs do not help: an input has any sign
    assert prove(np.array([[half, 0], [0, half]]), 1).splits == 1  # channels are counted apart


@pytest.mark.parametrize("weight", [np.array([[FLOAT32_EXACT]]), np.full((MAX_SPLITS + 1, 1), FLOAT32_EXACT - 1)])
def test_what_does_not_fit_float32_in_few_pieces_runs_in_float64(weight):
    proof = prove(weight, 1)
    assert (proof.splits, proof.wide, proof.bound) == (1, True, proof.total)


def test_products_beyond_float64_are_refused():
    weight = np.full((2**10, 1), 2**22, np.int64)
    assert prove(weight, 2**21 - 1).wide
    with pytest.raises(Corrupt, match="export it again"):
        prove(weight, 2**21)


def test_a_product_without_inputs_or_outputs():
    assert ExactProduct(np.zeros((0, 3), np.int64), 5)(np.zeros((2, 0), np.float32)).tolist() == [[0] * 3] * 2
    assert ExactProduct(np.zeros((3, 0), np.int64), 5)(np.zeros((2, 3), np.float32)).shape == (2, 0)


# --- the product ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "largest", "limit", "splits", "wide"),
    [
        (64, 127, 2047, 1, False),
        (352, 127, 2047, None, False),
        (9, 3, 1, 1, False),
        (352, 32767, 2047, 1, True),
        (80, 32767, 2**17 - 1, 1, True),
    ],
)
def test_product_equals_integers_bit_for_bit(inputs, largest, limit, splits, wide):
    weight = weights(inputs, 24, largest)
    product = ExactProduct(weight, limit)
    assert product.proof.wide == wide
    assert product.proof.splits == splits or (splits is None and product.proof.splits > 1)
    x = np.concatenate([RNG.integers(-limit, limit, (100, inputs), endpoint=True), adversaries(weight, limit)])
    out = product(x.astype(np.float32))
    assert out.dtype == np.float64
    np.testing.assert_array_equal(out.astype(np.int64), x @ weight)


@pytest.mark.parametrize("splits", range(1, MAX_SPLITS + 1))
def test_pieces_at_the_bound_in_any_order_of_summation(splits):
    """All inputs at the limit, so that float32 sums come as close to 2**24 as the proof allows."""
    rows = MAX_SPLITS * 37 + 3
    weight = weights(rows, 8, 255) | 1
    limit = (FLOAT32_EXACT - 1) // max(int(np.abs(p).sum(axis=0).max()) for p in np.array_split(weight, splits))
    product = ExactProduct(weight, limit)
    assert product.proof.splits == splits
    assert product.proof.bound > 0.99 * FLOAT32_EXACT
    x = adversaries(weight, limit)
    for order in (slice(None), slice(None, None, -1)):

        def one_after_the_other(a, b, order=order):
            total = np.zeros((len(a), b.shape[1]), a.dtype)
            for k in range(a.shape[1])[order]:
                total += a[:, k, None] * b[k]
            return total

        np.testing.assert_array_equal(product(x.astype(np.float32), one_after_the_other), x @ weight)
    np.testing.assert_array_equal(product(x.astype(np.float32)), x @ weight)


@settings(max_examples=50)
@given(st.integers(1, 300), st.integers(1, 2**15 - 1), st.integers(1, 2**17 - 1), st.integers(0, 2**32 - 1))
def test_product_of_any_size_equals_integers(inputs, largest, limit, seed):
    rng = np.random.default_rng(seed)
    weight = rng.integers(-largest, largest, (inputs, 3), endpoint=True)
    x = np.concatenate([rng.integers(-limit, limit, (4, inputs), endpoint=True), adversaries(weight, limit)])
    np.testing.assert_array_equal(ExactProduct(weight, limit)(x.astype(np.float32)), x @ weight)


# --- requantisation and layers ----------------------------------------------------------------------------------------


def shifted(total, shift, low, high):
    """The documented integer arithmetic, in Python's unbounded integers."""
    return min(max((total + (1 << shift >> 1)) >> shift, low), high)


@given(st.lists(st.tuples(st.integers(-(2**51), 2**51), st.integers(0, MAX_SHIFT)), min_size=1, max_size=30))
def test_requantise_is_an_arithmetic_shift_with_rounding(pairs):
    totals, shifts = (np.array(column) for column in zip(*pairs, strict=True))
    for low, high in ((-(2**52), 2**52), (-100, 2047), (0, 0)):
        got = requantise(totals.astype(np.float64)[None], shifts, low, high)[0]
        assert got.astype(np.int64).tolist() == [shifted(t, s, low, high) for t, s in pairs]


@pytest.mark.parametrize("shift", [0, 1, 2, 5, 40])
def test_requantise_around_halves_and_negatives(shift):
    near = np.arange(-9, 10)
    totals = np.concatenate([near, near + (1 << shift >> 1), near - (1 << shift >> 1), near + (3 << shift)])
    got = requantise(totals.astype(np.float64), shift, -(2**45), 2**45)
    assert got.tolist() == [shifted(t, shift, -(2**45), 2**45) for t in totals.tolist()]


def test_layer_equals_integers():
    weight, limit = weights(352, 40, 2**15 - 1), 2047
    bias, shift = RNG.integers(-(2**33), 2**33, 40), RNG.integers(0, 25, 40)
    low, high = np.where(np.arange(40) < 20, -(2**17), 0), np.where(np.arange(40) < 20, 2**17, 63)
    layer = ExactLayer(weight, bias, shift, limit, low, high)
    x = np.concatenate([RNG.integers(0, limit, (50, 352), endpoint=True), adversaries(weight, limit)])
    for own in (None, RNG.integers(-(2**31), 2**31, 40)):
        sums = x @ weight + (bias if own is None else own)
        expected = np.clip((sums + ((1 << shift) >> 1)) >> shift, low, high)
        got = layer(x.astype(np.float32), bias=None if own is None else own.astype(np.float64))
        np.testing.assert_array_equal(got, expected)


GOOD = (weights(4, 3, 100), np.zeros(3, np.int64), np.full(3, 5))


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, np.full((4, 3), 2**50), "export it again"),
        (0, weights(4, 2, 100), "do not fit"),
        (0, weights(4, 3, 100).ravel(), "do not fit"),
        (1, np.zeros(2, np.int64), "do not fit"),
        (1, np.array([0, 2**52, 0]), "overflow"),
        (1, np.array([0, -(2**63), 0]), "overflow"),
        (2, np.array([5, 5]), "do not fit"),
        (2, np.array([5, -1, 5]), "shift outside"),
        (2, np.array([5, 41, 5]), "shift outside"),
    ],
)
def test_a_wrong_export_is_refused(position, value, message):
    ExactLayer(*GOOD, 10, -100, 100)
    parts = list(GOOD)
    parts[position] = value
    with pytest.raises(Corrupt, match=message):
        ExactLayer(*parts, 10, -100, 100)


# --- float to integer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_rounding_error_of_to_integer(bits):
    """Half a unit for each weight times its input, half for the bias, half for the output."""
    inputs, outputs, k_out, limit = 50, 12, RNG.integers(2, 10, 12), 2047
    k_in = RNG.integers(3, 8, inputs)
    weight, bias = RNG.normal(0, 0.1, (inputs, outputs)), RNG.normal(0, 1, outputs)
    integer = to_integer(weight, bias, k_in, k_out, bits)
    assert integer.weight.dtype == np.int16
    assert np.abs(integer.weight).max() <= 2 ** (bits - 1) - 1
    layer = ExactLayer(integer.weight, integer.bias, integer.shift, limit, -(2**40), 2**40)
    a = RNG.integers(-limit, limit, (200, inputs), endpoint=True)
    exact = (a * 2.0**-k_in) @ weight + bias
    got = layer(a.astype(np.float32)) * 2.0**-k_out
    unit = 2.0 ** -(k_out + integer.shift)
    allowed = 0.5 * unit * (np.abs(a).sum(axis=1, keepdims=True) + 1) + 0.5 * 2.0**-k_out
    assert (np.abs(got - exact) <= allowed * (1 + 1e-9)).all()


def test_weights_use_the_bits_they_are_given():
    """The shift is the largest that fits: one more would overflow."""
    weight = RNG.normal(0, 1, (30, 10))
    largest = np.abs(to_integer(weight, np.zeros(10), 4, 4, 8).weight).max(axis=0)
    assert ((largest > 62) & (largest <= 127)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e6])
def test_to_integer_refuses_what_does_not_fit(bad):
    with pytest.raises(InvalidInput):
        to_integer(np.array([[bad]]), np.zeros(1), 0, 0, 16)


def test_to_integer_refuses_a_bias_that_is_not_finite():
    with pytest.raises(InvalidInput, match="train it again"):
        to_integer(np.ones((1, 1)), np.array([np.nan]), 0, 0, 16)


@pytest.mark.parametrize(("limit", "size"), [(INT32_MAX, 300.0), (BIAS_LIMIT, 3e9)])
def test_a_bias_beside_tiny_weights_fits_its_limit(limit, size):
    """Weights near zero would take the largest shift that there is; the bias of any row must not overflow with it."""
    weight = np.outer(np.ones(4), [0.0, 1e-12, 1e-3, 1.0])
    rows = RNG.uniform(-size, size, (7, 4))
    integer = to_integer(weight, rows, 4, 6, 16, limit)
    assert integer.bias.shape == rows.shape
    largest = np.abs(integer.bias).max(axis=0)
    assert (largest <= limit).all()
    assert (largest[:2] > limit / 3).all()  # the cap gives no more away than it must
    np.testing.assert_allclose(integer.bias * 2.0 ** -(6 + integer.shift), rows, atol=2.0**-6)
    with pytest.raises(InvalidInput, match="a bias of"):
        to_integer(weight, rows * limit, 4, 6, 16, limit)


def test_fractions_leave_the_promised_headroom():
    maximum = np.array([0.0, 1e-9, 0.3, 1.0, 17.0, 1000.0])
    k = fractions_for(maximum, 2047)
    assert (2 * maximum * 2.0**k <= 2047).all()
    assert (4 * maximum[2:] * 2.0 ** k[2:] >= 2047 / 2).sum() >= 2
    assert (2 * maximum[4:] * 2.0 ** (k[4:] + 1) > 2047).all()


def test_a_layer_that_never_fires_has_a_format_that_weights_fit():
    """As h_s behind a z that training gave up."""
    k = fractions_for(np.zeros(5), 2**15 - 1)
    layer = to_integer(RNG.normal(0, 3, (7, 5)), np.full(5, -0.5), 8, k, 16)
    assert np.abs(layer.weight).max() > 2**12


def test_by_quality_passes_through_its_knots():
    knots = RNG.normal(0, 1, (9, 4))
    rows = by_quality(knots, 97)  # 8 intervals of 12 steps
    assert rows.shape == (97, 4)
    np.testing.assert_allclose(rows[::12], knots, atol=1e-12)
    np.testing.assert_allclose(rows[6], (knots[0] + knots[1]) / 2, atol=1e-12)


def test_the_range_of_float64_is_the_one_that_is_claimed():
    assert np.float64(FLOAT64_EXACT - 1) + 1 == FLOAT64_EXACT
    assert np.float64(FLOAT64_EXACT) + 1 == FLOAT64_EXACT
    assert np.float32(FLOAT32_EXACT) + np.float32(1) == FLOAT32_EXACT
