"""Coding latents: round trips, batches, prefixes, damaged payloads, and what a trial tells."""

import numpy as np
import pytest

from naive_examples import random_latents
from tadan.entropy import rate_slope
from tadan.errors import Corrupt
from tadan.latents.coder import UNIT, LatentCoder, residual_symbols
from tadan.latents.plane import LatentPlane
from tadan.schedule import PatternSchedule
from twin_examples import CONFIG, SCHEDULES, coder, real_latents, twin

MODEL = coder()


def plain(shape, seed=0):
    """Float y and z in quantisation steps, between the integers, a few of them far out."""
    y, z = random_latents(np.random.default_rng(seed), CONFIG, *shape)
    return np.clip(y, -(2**18), 2**18).astype(np.float32) / 70, z.astype(np.float32) / 70


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 3)], ids=str)
@pytest.mark.parametrize("name", SCHEDULES)
def test_latents_survive_the_round_trip(name, shape):
    schedule, (y, z) = SCHEDULES[name], plain(shape, len(name))
    payload, latents, bits = LatentCoder(MODEL, 60, schedule).encode(y, z)
    [decoded] = LatentCoder(MODEL, 60, schedule).decode([payload], shape)
    np.testing.assert_array_equal(decoded.y_hat, latents.y_hat)
    np.testing.assert_array_equal(decoded.z_hat, latents.z_hat)
    near = np.abs(y) < 8000  # beyond, symbols saturate
    assert np.abs(latents.y_hat / UNIT - y)[near].max() <= 0.51
    assert bits / 8 <= len(payload) <= bits / 8 + 9


def test_the_latents_of_a_photograph_survive_the_round_trip():
    y_hat, z_hat = (one[0].astype(np.float32) / UNIT for one in real_latents())
    for schedule in SCHEDULES.values():
        payload, latents, bits = LatentCoder(MODEL, 60, schedule).encode(y_hat, z_hat)
        assert 0 < bits <= 8 * len(payload)
        assert latents.checksum() == LatentCoder(MODEL, 60, schedule).decode([payload], (4, 8))[0].checksum()


@pytest.mark.parametrize("name", SCHEDULES)
def test_planes_of_a_batch_do_not_influence_each_other(name):
    schedule, shape = SCHEDULES[name], (5, 3)
    coded = [LatentCoder(MODEL, 40, schedule).encode(*plain(shape, seed)) for seed in range(3)]
    together = LatentCoder(MODEL, 40, schedule).decode([payload for payload, _, _ in coded], shape)
    for got, (_, expected, _) in zip(together, coded, strict=True):
        np.testing.assert_array_equal(got.y_hat, expected.y_hat)
        np.testing.assert_array_equal(got.z_hat, expected.z_hat)


@pytest.mark.parametrize("name", SCHEDULES)
def test_steps_hold_every_latent_once_in_the_documented_order(name):
    """Stage, then model group, then schedule group and phase, position, channel (docs/SPEC.md, section 8.5)."""
    schedule, (height, width) = SCHEDULES[name], (5, 6)
    own, ends = CONFIG.groups // schedule.groups, np.cumsum(CONFIG.group_sizes)
    stages = np.repeat(schedule.stage_map(height, width), own, axis=0)
    group_of = np.searchsorted(ends, np.arange(CONFIG.latent), side="right")
    rows, cols = schedule.period
    order = sorted(
        (
            (stages[group_of[c], i, j], group_of[c], i % rows * cols + j % cols, i * width + j, c)
            for i, j, c in np.ndindex(height, width, CONFIG.latent)
        ),
    )
    number = np.arange(height * width * CONFIG.latent).reshape(-1, CONFIG.latent)
    steps = list(twin().steps(schedule, (height, width)))
    got = np.concatenate([step.take(number) for step in steps])
    np.testing.assert_array_equal(got, [position * CONFIG.latent + c for _, _, _, position, c in order])
    assert len(steps) == len({key[:2] for key in order})
    counts = [step.stage for step in steps]
    assert counts == sorted(counts)
    assert set(counts) == set(range(schedule.stage_count(height, width)))
    back = np.zeros_like(number)
    for step in steps:
        step.put(back, step.take(number))
    np.testing.assert_array_equal(back, number)


@pytest.mark.parametrize("name", ["4x4-opt-4", "four"])
def test_a_trial_tells_what_is_coded(name):
    """Means, indices and bits of a trial are those of the decoder; a payload tells every step, z first."""
    schedule, (y, z) = SCHEDULES[name], plain((5, 6), 2)
    coder_ = LatentCoder(MODEL, 70, schedule)
    z_hat = coder_.round_z(z)[1]
    trial = coder_.price(y, z_hat, coder_.hyper(z_hat))
    again = coder_.price(y, z_hat)
    for one, other in ((trial.y_hat, again.y_hat), (trial.mean, again.mean), (trial.index, again.index)):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(trial.y_hat, residual_symbols(y, trial.mean) * UNIT + trial.mean)
    payload, latents, bits = coder_.write(trial, z)
    told = coder_.symbols_of(payload, (5, 6))
    steps = list(MODEL.twin.steps(schedule, (5, 6)))
    assert len(told) == 1 + len(steps)
    z_bits = MODEL.tables.bits(*told[0]).sum()
    assert bits == pytest.approx(z_bits + trial.bits)
    plane = LatentPlane(MODEL.twin, latents.z_hat[None], (5, 6), schedule.groups, 70)
    for one, (symbols, index) in zip(plane.walk(schedule), told[1:], strict=True):
        np.testing.assert_array_equal(one.mean[0], one.step.take(trial.mean.reshape(-1, CONFIG.latent)))
        np.testing.assert_array_equal(one.index[0], index)
        one.settle(symbols[None])
    np.testing.assert_array_equal(LatentCoder(MODEL, 70, schedule).decode([payload], (5, 6))[0].y_hat, trial.y_hat)
    assert rate_slope(MODEL.tables, y, trial.mean, trial.index, 9).shape == y.shape


def test_the_hyper_input_of_a_trial_is_not_changed():
    """An encoder's search hands the same array to every trial."""
    y, z = plain((4, 4))
    z_hat = LatentCoder(MODEL, 30, SCHEDULES["hyper"]).round_z(z)[1]
    hyper = MODEL.twin.hyper(z_hat[None], 30)
    kept = hyper.copy()
    for name in ("hyper", "2x2-rotated"):
        LatentCoder(MODEL, 30, SCHEDULES[name]).price(y, z_hat, hyper)
        np.testing.assert_array_equal(hyper, kept)


@pytest.mark.parametrize("name", ["4x4-opt-4", "2x2-rotated", "pair", "hyper"])
def test_latents_that_arrived_are_exact_and_the_rest_takes_its_means(name):
    schedule, (y, z), shape = SCHEDULES[name], plain((5, 6), 4), (5, 6)
    payload, whole, _ = LatentCoder(MODEL, 70, schedule).encode(y, z)
    steps, counts = list(twin().steps(schedule, shape)), []
    rows = whole.y_hat.reshape(-1, CONFIG.latent)
    for length in (0, 3, 9, *np.linspace(12, len(payload), 20).astype(int)):
        latents, count = LatentCoder(MODEL, 70, schedule).decode_prefix(payload[:length], shape)
        counts.append(count)
        got = latents.y_hat.reshape(-1, CONFIG.latent)
        for step in steps:
            if step.stage < count:
                np.testing.assert_array_equal(step.take(got), step.take(rows))
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (-1, schedule.stage_count(*shape))


@pytest.mark.parametrize("name", ["4x4-opt-4", "four", "hyper"])
def test_a_prefix_ends_at_the_stage_that_was_asked_for(name):
    schedule, (y, z), shape = SCHEDULES[name], plain((5, 6), 5), (5, 6)
    payload, whole, _ = LatentCoder(MODEL, 70, schedule).encode(y, z)
    total = schedule.stage_count(*shape)
    for stages in range(total + 2):
        latents, count = LatentCoder(MODEL, 70, schedule).decode_prefix(payload, shape, stages)
        assert count == min(stages, total)
        plane = LatentPlane(MODEL.twin, whole.z_hat[None], shape, schedule.groups, 70)
        for one in plane.walk(schedule):  # zeros from there on: the means, one group's after the other's
            exact = (one.step.take(whole.y_hat.reshape(-1, CONFIG.latent))[None] - one.mean) // UNIT
            one.settle(exact if one.step.stage < stages else np.zeros_like(exact))
        np.testing.assert_array_equal(latents.y_hat, plane.decoded()[0])


def test_damaged_payloads_are_reported():
    y, z = plain((5, 6), 6)
    payload, _, _ = LatentCoder(MODEL, 50, SCHEDULES["4x4-opt-4"]).encode(y, z)
    for wrong in (payload[:-4], payload[:-1], payload[:8], b"", payload + payload[-4:]):
        with pytest.raises(Corrupt):
            LatentCoder(MODEL, 50, SCHEDULES["4x4-opt-4"]).decode([wrong], (5, 6))
        with pytest.raises(Corrupt):
            LatentCoder(MODEL, 50, SCHEDULES["4x4-opt-4"]).decode([payload, wrong], (5, 6))


@pytest.mark.parametrize("name", ["4x4-opt-4", "four"])
def test_what_is_predicted_of_a_cell_is_what_its_first_group_is_coded_with(name):
    """The look ahead changes nothing, and telling whole cells leaves the same plane as telling steps."""
    schedule, shape = SCHEDULES[name], (4, 5)
    y_hat, z_hat = random_latents(np.random.default_rng(1), CONFIG, *shape)
    rows = y_hat.reshape(-1, CONFIG.latent)
    plane = LatentPlane(MODEL.twin, z_hat[None], shape, schedule.groups, 50)
    for number, stage in enumerate(schedule.plan(*shape, CONFIG.radius)):
        before = plane.y_hat.copy()
        first = next(step for step in plane.steps(schedule) if step.stage == number)
        mean, _ = plane.predict_step(first)
        means = np.concatenate([plane.predict(cell)[0] for cell in first.cells], axis=1)
        size = first.channels.stop - first.channels.start
        np.testing.assert_array_equal(means[..., :size].reshape(1, -1), mean)
        np.testing.assert_array_equal(plane.y_hat, before)
        for cell in stage:
            plane.reveal(cell, rows[None, cell.positions, plane.channels(cell)])
    np.testing.assert_array_equal(plane.y_hat[0], rows)


def test_schedules_of_any_number_of_groups_that_divides_are_coded():
    for groups in (1, 2, 4):
        schedule = PatternSchedule(np.arange(groups)[:, None, None])
        y, z = plain((2, 3), groups)
        payload, latents, _ = LatentCoder(MODEL, 20, schedule).encode(y, z)
        [decoded] = LatentCoder(MODEL, 20, schedule).decode([payload], (2, 3))
        np.testing.assert_array_equal(decoded.y_hat, latents.y_hat)


def test_sampled_positions_have_the_parameters_of_the_plane():
    """What measures orders (tadan.tune) asks for single positions, all groups at once."""
    twin_, schedule, shape = MODEL.twin, SCHEDULES["4x4-opt-4"], (5, 6)
    y_hat, z_hat = random_latents(np.random.default_rng(9), CONFIG, *shape)
    rows = y_hat.reshape(-1, CONFIG.latent)
    plane = LatentPlane(twin_, z_hat[None], shape, schedule.groups, 50)
    mean, index = np.zeros(rows.shape, np.int32), np.zeros(rows.shape, np.uint8)
    for one in plane.walk(schedule):
        one.step.put(mean, one.mean[0])
        one.step.put(index, one.index[0])
        plane.reveal_step(one.step, one.step.take(rows)[None])
    pad = CONFIG.radius
    embedded = np.pad(twin_.embed_rows(rows).reshape(*shape, -1), ((pad, pad), (pad, pad), (0, 0)))
    for cell in (cell for stage in schedule.plan(*shape, pad) for cell in stage):
        row, col = np.divmod(cell.positions, shape[1])
        kernel = twin_.kernel(cell.visible)
        down, right = kernel.taps.T + pad
        context = embedded[row[:, None] + down, col[:, None] + right].reshape(len(row), -1)
        pre = twin_.hyper(z_hat[None], 50)[0, row, col]
        got = twin_.parameters_of(pre, context, kernel, 50, rows[cell.positions])
        for one, expected in zip(got, (mean, index), strict=True):
            np.testing.assert_array_equal(one, expected[cell.positions])
