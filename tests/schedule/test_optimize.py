"""The search for the best decoding order: against brute force, under symmetries, with a budget."""

from functools import cache
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule_examples import patterns
from tadan.errors import InvalidInput
from tadan.schedule import PatternSchedule, get_schedule, schedule_names
from tadan.schedule.optimize import (
    PatchCosts,
    best_schedules,
    least_budget,
    relative_subset,
    search,
    subset_visible,
    used_subsets,
)

SMALL = [(1, 1), (1, 4), (2, 2), (2, 3), (3, 1)]
seeds = st.integers(0, 2**32 - 1)


def presence(positions):
    """Row per relative subset, column per neighbour: 1.0 where it is visible."""
    return (np.arange(2**positions)[:, None] >> np.arange(1, positions) & 1).astype(float)


def example_costs(shape, seed, noise=0.05):
    """Every neighbour helps, the more are there the less, and some noise, as if measured."""
    rng, positions = np.random.default_rng(seed), shape[0] * shape[1]
    helps = rng.random(positions - 1)
    bits = 0.5 + np.exp(-presence(positions) @ helps) + noise * rng.standard_normal(2**positions)
    return PatchCosts(shape, bits)


@cache
def stage_maps(positions, most=16):
    """Every way to give ``positions`` stages without gaps, at most ``most`` of them: (maps, positions)."""
    maps = np.array(list(product(range(min(positions, most)), repeat=positions)))
    stages = maps.max(axis=1) + 1
    used = sum((maps == stage).any(axis=1).astype(int) for stage in range(maps.max() + 1))
    return maps[used == stages]


def prices(costs, maps):
    """Mean bits per latent of every stage map, from the definition."""
    total, weights = np.zeros(len(maps)), 1 << np.arange(maps.shape[1])
    for position in range(maps.shape[1]):
        total += costs.of(position, (maps < maps[:, position : position + 1]) @ weights)
    return total / maps.shape[1]


def flat(best):
    return best.schedule.pattern.reshape(1, -1)


# --- against brute force ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SMALL, ids=str)
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_the_least_of_all_ordered_partitions_is_found(shape, seed):
    costs = example_costs(shape, seed)
    maps = stage_maps(shape[0] * shape[1])
    price, stages = prices(costs, maps), maps.max(axis=1) + 1
    for best in best_schedules(costs):
        assert best.bits == pytest.approx(price[stages == best.stages].min(), rel=1e-12)


def test_the_least_of_all_orders_of_nine_positions_is_found():
    costs = example_costs((3, 3), 1)
    found = best_schedules(costs)
    orders = np.fromiter((one for order in permutations(range(9)) for one in order), np.int64).reshape(-1, 9)
    assert found[8].bits == pytest.approx(prices(costs, orders).min(), rel=1e-12)
    maps = stage_maps(9, 3)
    price = prices(costs, maps)
    for stages in (1, 2, 3):
        assert found[stages - 1].bits == pytest.approx(price[maps.max(axis=1) + 1 == stages].min(), rel=1e-12)


# --- what a result says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [*SMALL, (3, 3), (2, 4)], ids=str)
def test_a_result_costs_what_it_says_and_uses_all_its_stages(shape):
    costs = example_costs(shape, 7)
    found = best_schedules(costs)
    assert [best.stages for best in found] == list(range(1, shape[0] * shape[1] + 1))
    for best in found:
        pattern = best.schedule.pattern[0]
        assert pattern.shape == shape
        assert set(pattern.flat) == set(range(best.stages))
        assert pattern[0, 0] == 0
        assert costs.rate(pattern) == pytest.approx(best.bits, rel=1e-12)
        assert prices(costs, flat(best))[0] == pytest.approx(best.bits, rel=1e-12)


def test_ties_are_broken_the_same_way_every_time():
    costs = PatchCosts((2, 3), np.full(64, 0.25))
    first, second = best_schedules(costs), best_schedules(PatchCosts((2, 3), np.full(64, 0.25)))
    assert [best.schedule for best in first] == [best.schedule for best in second]
    assert [best.bits for best in first] == [0.25] * 6
    assert [int(best.schedule.pattern.max()) + 1 for best in first] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (4, 4)], ids=str)
@settings(max_examples=1, deadline=None)
@given(seed=seeds)
def test_no_listed_order_is_better(shape, seed):
    costs = example_costs(shape, seed)
    least = {best.stages: best.bits for best in best_schedules(costs)}
    compared = set()
    for name in schedule_names():
        schedule = get_schedule(name)
        if isinstance(schedule, PatternSchedule) and schedule.groups == 1:
            rows, cols = schedule.period
            if shape[0] % rows == 0 and shape[1] % cols == 0:
                stages = int(schedule.pattern.max()) + 1
                price = costs.rate(schedule.pattern[0])
                assert price == pytest.approx(costs.rate(schedule.stage_map(*shape)[0]), rel=1e-12), "tiled"
                assert least[stages] <= price + 1e-12, name
                compared.add(name)
    assert compared > {"hyper"}
    assert shape != (4, 4) or compared >= {"checkerboard", "2x2", "4x4", "4x4-raster", "4x4-8"}


# --- symmetries -------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(patterns(), seeds, st.integers(0, 4), st.integers(0, 4))
def test_a_translated_pattern_costs_the_same(schedule, seed, down, right):
    pattern = schedule.pattern[0, :3, :4]
    pattern = np.unique(pattern, return_inverse=True)[1].reshape(pattern.shape)
    costs = example_costs(pattern.shape, seed)
    rolled = np.roll(pattern, (down, right), axis=(0, 1))
    assert costs.rate(rolled) == pytest.approx(costs.rate(pattern), rel=1e-12)
    shares, moved = used_subsets(pattern.shape, pattern), used_subsets(pattern.shape, rolled)
    assert shares == pytest.approx(moved)
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (2, 4)], ids=str)
def test_a_mirrored_problem_has_mirrored_solutions(shape):
    costs = example_costs(shape, 3)
    places = np.arange(shape[0] * shape[1]).reshape(shape)
    subsets = np.arange(2**places.size)
    for relabelled in (places.T, np.roll(places[::-1], 1, axis=0), np.roll(places[:, ::-1], 1, axis=1)):
        assert relabelled[0, 0] == 0
        moved = sum((subsets >> source & 1) << target for target, source in enumerate(relabelled.flat))
        bits = np.empty_like(costs.bits)
        bits[moved] = costs.bits
        expected = best_schedules(costs)
        for best, other in zip(expected, best_schedules(PatchCosts(relabelled.shape, bits)), strict=True):
            assert other.bits == pytest.approx(best.bits, rel=1e-12)
            back = np.empty(places.size, np.int64)
            back[relabelled.ravel()] = other.schedule.pattern.ravel()
            assert costs.rate(back.reshape(shape)) == pytest.approx(best.bits, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(patterns(), st.integers(0, 3))
def test_relative_subsets_are_what_a_schedule_shows(schedule, radius):
    pattern = schedule.pattern[0, :4, :4]
    schedule = PatternSchedule(np.unique(pattern, return_inverse=True)[1].reshape(pattern.shape))
    stages, shape = schedule.pattern.ravel(), schedule.period
    for position, stage in enumerate(stages):
        decoded = int(sum(1 << other for other in np.flatnonzero(stages < stage).tolist()))
        subset = int(relative_subset(shape, position, decoded))
        assert subset % 2 == 0, "a latent never sees itself"
        expected = schedule.visible(0, *divmod(position, shape[1]), radius)
        np.testing.assert_array_equal(subset_visible(shape, subset, radius), expected)


@settings(max_examples=40, deadline=None)
@given(patterns(), st.integers(1, 3), st.integers(1, 3))
def test_reduced_patterns_are_the_same_order(schedule, down, right):
    larger = PatternSchedule(np.tile(schedule.pattern, (1, down, right))) if down * right < 16 else schedule
    reduced = larger.reduced()
    assert reduced == schedule.reduced() == reduced.reduced()
    assert all(whole % part == 0 for whole, part in zip(schedule.period, reduced.period, strict=True))
    np.testing.assert_array_equal(reduced.stage_map(7, 9), schedule.stage_map(7, 9))


# --- with a budget ----------------------------------------------------------------------------------------------------


class CountingMeasure:
    """Values of a table, and which were asked for."""

    def __init__(self, bits):
        self.bits, self.asked = bits, []

    def __call__(self, subsets):
        self.asked += subsets
        return self.bits[list(subsets)]


def model_costs(shape, seed):
    """Exactly a sum over visible positions, pairs and triples."""
    rng, x = np.random.default_rng(seed), presence(shape[0] * shape[1])
    first = -0.3 * rng.random(x.shape[1])
    bits = 2 + x @ first
    for size, scale in ((2, 0.05), (3, 0.02)):
        for _ in range(3 * x.shape[1]):
            chosen = rng.choice(x.shape[1], size, replace=False)
            bits = bits + scale * rng.random() * x[:, chosen].prod(axis=1)
    return PatchCosts(shape, bits)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_whatever_a_winner_rests_on_was_measured(noise):
    shape, budget = (3, 4), 500
    truth = model_costs(shape, 0)
    measure = CountingMeasure(truth.bits + noise * np.random.default_rng(1).standard_normal(len(truth.bits)))
    seen = []
    found = search(shape, measure, budget, seed=3, progress=lambda done, total: seen.append((done, total)))
    assert len(measure.asked) == len(set(measure.asked)) == found.measured
    assert budget <= found.measured < found.subsets == 2**11
    for best in found.best:
        assert used_subsets(shape, best.schedule.pattern[0]).keys() <= set(measure.asked)
        own = PatchCosts(shape, measure.bits)
        assert own.rate(best.schedule.pattern[0]) == pytest.approx(best.bits, rel=1e-12)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (found.measured, found.measured)
    assert found.model_error < (0.02 if not noise else 0.2)
    again = search(shape, CountingMeasure(measure.bits), budget, seed=3)
    assert [best.schedule for best in again.best] == [best.schedule for best in found.best]


@pytest.mark.parametrize("seed", [0, 4])
def test_costs_that_follow_the_model_give_the_true_optimum(seed):
    """But for the shrinkage of the regression, which may exchange two orders that cost almost the same."""
    truth = model_costs((3, 4), seed)
    found = search((3, 4), CountingMeasure(truth.bits), 500)
    assert found.model_r2 > 0.99
    excess = [best.bits / true.bits - 1 for best, true in zip(found.best, best_schedules(truth), strict=True)]
    assert max(excess) < 5e-4
    assert np.median(excess) < 1e-12


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3)], ids=str)
def test_all_subsets_are_measured_when_the_budget_allows(shape):
    truth = example_costs(shape, 5)
    measure = CountingMeasure(truth.bits)
    found = search(shape, measure)
    assert sorted(measure.asked) == list(range(0, len(truth.bits), 2))
    assert (found.measured, found.model_error, found.model_r2) == (found.subsets, 0, 1)
    assert [best.bits for best in found.best] == [best.bits for best in best_schedules(truth)]


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0, 2), (3, 6), (17, 1), (-4, -4)], ids=str)
def test_patches_that_cannot_be_searched(shape):
    with pytest.raises(InvalidInput, match="1 to 16 positions"):
        search(shape, lambda subsets: np.zeros(len(subsets)))
    with pytest.raises(InvalidInput, match="1 to 16 positions"):
        PatchCosts(shape, np.zeros(4))


@pytest.mark.parametrize(("shape", "least"), [((1, 1), 1), ((2, 2), 8), ((3, 3), 186), ((4, 4), 1152)], ids=str)
def test_a_budget_below_the_least_is_refused_before_anything_is_measured(shape, least):
    assert least_budget(shape) == least
    measure = CountingMeasure(np.ones(2**16))
    with pytest.raises(InvalidInput, match=f"at least {least} measured subsets, not {least - 1}"):
        search(shape, measure, least - 1)
    assert measure.asked == []
    if least < 200:
        assert search(shape, measure, least).measured >= least


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_costs_must_be_finite(value):
    bits = np.ones(16)
    bits[6] = value
    with pytest.raises(InvalidInput, match="finite"):
        PatchCosts((2, 2), bits)
    with pytest.raises(InvalidInput, match="finite"):
        search((2, 2), CountingMeasure(bits))
    bits[6], bits[7] = 1, value  # says nothing: a latent does not see itself
    assert best_schedules(PatchCosts((2, 2), bits))[3].bits == 1


def test_costs_and_patterns_must_fit_the_patch():
    with pytest.raises(InvalidInput, match=r"2\*\*4 finite"):
        PatchCosts((2, 2), np.ones(8))
    costs = example_costs((2, 4), 0)
    assert costs.rate([[0, 1], [1, 0]]) == pytest.approx(costs.rate([[0, 1, 0, 1], [1, 0, 1, 0]]))
    for pattern in ([[0, 1, 2]], [[0], [1], [2]], [0, 1], np.zeros((1, 2, 4), int)):
        with pytest.raises(InvalidInput, match="does not tile"):
            costs.rate(pattern)
