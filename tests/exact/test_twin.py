"""The integer twin of a small model: against the float network, against whole masked planes, and who sees whom."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from naive_examples import NaiveTwin, random_latents
from tadan.entropy import N_SCALES, SCALE_MIN
from tadan.errors import Corrupt, InvalidInput
from tadan.exact.network import EntropyTwin, TwinSizes
from tadan.latents.plane import LatentPlane
from tadan.models import Model, ModelConfig
from tadan.nn.entropy_model import EntropyModel
from tadan.nn.model import TadanModel
from tadan.schedule import PatternSchedule
from tadan.train.twin import LOG_STEP, fill_entropy
from twin_examples import (
    CONFIG,
    FOUR,
    GROUPS,
    PAIR,
    SCHEDULES,
    exact_arrays,
    float_model,
    real_latents,
    stored,
    tensors,
    twin,
)

SIZES = TwinSizes.of(CONFIG)


def told(y_hat, z_hat, schedule, quality=60, known=None, **options):
    """Mean and scale index of all latents when every step is told ``known``, y_hat if not given: (h, w, latent)."""
    plane = LatentPlane(twin(), z_hat[None], y_hat.shape[:2], schedule.groups, quality, **options)
    rows = (y_hat if known is None else known).reshape(-1, CONFIG.latent)
    mean, index = np.zeros(rows.shape, np.int32), np.zeros(rows.shape, np.uint8)
    for one in plane.walk(schedule):
        one.step.put(mean, one.mean[0])
        one.step.put(index, one.index[0])
        plane.reveal_step(one.step, one.step.take(rows)[None])
    np.testing.assert_array_equal(plane.y_hat[0], rows)
    return mean.reshape(y_hat.shape), index.reshape(y_hat.shape)


# --- float network ----------------------------------------------------------------------------------------------------


def float_parameters(entropy, y_hat, z_hat, schedule, quality=60.0):
    with torch.no_grad():
        return entropy.parameters_for(y_hat, z_hat, schedule, torch.tensor([quality]))


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_one_pass_of_the_float_network_equals_step_after_step(count):
    """Every step is predicted from a plane that holds what is decoded by then, and garbage elsewhere."""
    config = ModelConfig(
        group_sizes=(1, 2, 1, 3, 2, 1, 4, 2), embed_sizes=(1, 2, 1, 2, 2, 1, 1, 2), z_channels=3, hidden=12, late=5,
        hyper_widths=(4, 5, 6), mask_hidden=4, knots=3,
    )  # fmt: skip
    torch.manual_seed(count)
    entropy = EntropyModel(config)
    with torch.no_grad():
        for value in entropy.parameters():
            value.add_(torch.randn_like(value) * 0.2)
        entropy.context.spread.uniform_(1, 3)
    rng = np.random.default_rng(count)
    stages = rng.permuted(np.arange(4 * count) // max(1, count // 2)).reshape(count, 2, 2)
    schedule = PatternSchedule(np.unique(stages, return_inverse=True)[1].reshape(stages.shape))
    shape = (3, 5)
    y, z = torch.randn(1, *shape, config.latent) * 3, torch.randn(1, 1, 2, config.z_channels)
    whole = float_parameters(entropy, y, z, schedule)
    seen, checked = torch.randn_like(y) * 50, 0
    sizes = TwinSizes.of(config)
    arrays = SimpleNamespace(sizes=sizes)
    for step in EntropyTwin.steps(arrays, schedule, shape):
        partial = float_parameters(entropy, seen, z, schedule)
        for got, expected in zip(partial, whole, strict=True):
            got, expected = (step.take(one.numpy().reshape(-1, config.latent)) for one in (got, expected))
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
            checked += got.size
        step.put(seen.numpy().reshape(-1, config.latent), step.take(y.numpy().reshape(-1, config.latent)))
    assert checked == 2 * y.numel()


@pytest.mark.parametrize(("bits", "mean_error", "index_error"), [(16, 0.12, 1), (8, 1.5, 8)])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_twin_is_near_the_float_network(name, bits, mean_error, index_error):
    """On a photograph, each step predicted from the same latents."""
    schedule, (y_hat, z_hat), quality = SCHEDULES[name], real_latents(), 60
    expected = float_parameters(
        float_model().entropy, torch.from_numpy(y_hat) / 64, torch.from_numpy(z_hat) / 64, schedule
    )
    plane = LatentPlane(twin(bits), z_hat, y_hat.shape[1:3], schedule.groups, quality)
    mean, index = np.zeros(plane.y_hat.shape, np.int32), np.zeros(plane.y_hat.shape, np.uint8)
    for one in plane.walk(schedule):
        one.step.put(mean, one.mean)
        one.step.put(index, one.index)
        plane.reveal_step(one.step, one.step.take(y_hat.reshape(plane.y_hat.shape)))
    float_mean = expected.mean.numpy().reshape(mean.shape)
    steps = (expected.log_scale.numpy().reshape(mean.shape) - math.log(SCALE_MIN)) / LOG_STEP
    assert np.abs(float_mean).max() > 0.5  # else the test says nothing
    assert np.ptp(steps) > 5
    assert np.abs(mean / 64 - float_mean).max() < mean_error
    assert np.abs(index - np.clip(np.rint(steps), 0, N_SCALES - 1)).max() <= index_error


def test_a_model_file_gives_its_float_network_back():
    network, (y_hat, z_hat) = TadanModel(CONFIG), real_latents()
    with torch.no_grad():
        network.entropy.context.spread.fill_(7.0)
    fill_entropy(Model(CONFIG, stored(), {"name": "small"}), network)
    y, z = torch.from_numpy(y_hat) / 64, torch.from_numpy(z_hat) / 64
    for schedule in (SCHEDULES["checkerboard"], FOUR):
        for quality in (1.0, 70.0, 100.0):
            ours = float_parameters(network.entropy, y, z, schedule, quality)
            theirs = float_parameters(float_model().entropy, y, z, schedule, quality)
            for mine, other in zip(ours, theirs, strict=True):
                assert float((mine - other).abs().max()) < 5e-3 * float(other.abs().max())
    for name in ("z_mean", "z_log_scale"):
        mine, other = (getattr(one.entropy, name).values.detach() for one in (network, float_model()))
        assert float((mine - other).abs().max()) < 0.1
    with pytest.raises(InvalidInput, match="export it again"):
        fill_entropy(Model(CONFIG, {}, {"name": "old"}), network)


# --- fast path == naive path ------------------------------------------------------------------------------------------


def einsum_matmul(a, b):
    """Without BLAS, in another order of summation."""
    return np.einsum("nk,km->nm", a[:, ::-1], b[::-1])


def int64_matmul(a, b):
    return (a.astype(np.int64) @ b.astype(np.int64)).astype(a.dtype)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 3)], ids=str)
@pytest.mark.parametrize("name", SCHEDULES)
def test_gathered_path_equals_whole_masked_planes_bit_for_bit(name, shape):
    schedule, quality = SCHEDULES[name], 1 + 13 * len(name) % 100
    y_hat, z_hat = random_latents(np.random.default_rng(len(name)), CONFIG, *shape)
    naive = NaiveTwin(SimpleNamespace(config=CONFIG, tensors=tensors()))
    expected = naive.everything(y_hat, z_hat, schedule, quality)
    for matmul in (np.matmul, einsum_matmul, int64_matmul):
        got = told(y_hat, z_hat, schedule, quality, matmul=matmul)
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_every_limit_saturates_as_in_integers():
    """Latents and weights at their extremes: what is clipped is clipped alike."""
    naive = NaiveTwin(SimpleNamespace(config=CONFIG, tensors=tensors()))
    for value in (-(2**20), 2**20):
        y_hat, z_hat = np.full((2, 3, CONFIG.latent), value), np.full((1, 1, CONFIG.z_channels), value // 8)
        y_hat, z_hat = y_hat.astype(np.int32), z_hat.astype(np.int32)
        for one, other in zip(told(y_hat, z_hat, PAIR, 100), naive.everything(y_hat, z_hat, PAIR, 100), strict=True):
            np.testing.assert_array_equal(one, other)


# --- who sees whom ----------------------------------------------------------------------------------------------------


def random_patterns():
    """A pattern of its own for every group, several positions and groups to a stage."""
    stages = np.random.default_rng(8).integers(0, 5, (GROUPS, 3, 2))
    return PatternSchedule(np.unique(stages, return_inverse=True)[1].reshape(stages.shape))


@pytest.mark.parametrize("name", [*SCHEDULES, "random"])
def test_only_and_all_visible_latents_are_noticed(name):
    """Change one latent: whoever may not see it keeps its parameters, and somebody who may see it does not."""
    schedule, shape = (random_patterns() if name == "random" else SCHEDULES[name]), (5, 6)
    y_hat, z_hat = random_latents(np.random.default_rng(3), CONFIG, *shape)
    y_hat //= 8
    own = GROUPS // schedule.groups
    visible = schedule.visibility(*shape, CONFIG.radius)
    stages = np.repeat(schedule.stage_map(*shape), own, axis=0)
    before = told(y_hat, z_hat, schedule)
    for group, row, col in [(GROUPS - 1, 0, 0), (0, 2, 2), (1, 2, 3), (2, 3, 2), (GROUPS - 1, 3, 3), (0, 4, 5)]:
        changed = y_hat.copy()
        changed[row, col, SIZES.channels(group)] += 40 * 16
        after = told(changed, z_hat, schedule)
        differs = (after[0] != before[0]) | (after[1] != before[1])
        windows = here = 0
        for viewer, i, j in np.ndindex(GROUPS, *shape):
            dy, dx = row - i, col - j
            sees = max(abs(dy), abs(dx)) <= CONFIG.radius
            sees = sees and visible[viewer // own, i, j, group // own, dy + CONFIG.radius, dx + CONFIG.radius]
            mine, theirs = (stages[viewer, i, j], viewer), (stages[group, row, col], group)
            late = (i, j) == (row, col) and theirs < mine
            different = differs[i, j, SIZES.channels(viewer)].any()
            assert sees or late or not different, f"{viewer} {i} {j} notices {group} {row} {col}"
            if late:
                assert different, f"{viewer} {i} {j} does not notice {group} at its own position"
            windows += bool(sees and different)
            here += bool(sees)
        assert (windows > 0) == (here > 0)


@pytest.mark.parametrize("name", [*SCHEDULES, "random"])
def test_garbage_in_what_is_not_decoded_changes_nothing(name):
    """Parameters of a step depend on what the plane was told before it, whatever is told after it."""
    schedule, shape = (random_patterns() if name == "random" else SCHEDULES[name]), (4, 5)
    rng = np.random.default_rng(5)
    (y_hat, z_hat), (other, _) = random_latents(rng, CONFIG, *shape), random_latents(rng, CONFIG, *shape)
    steps = list(twin().steps(schedule, shape))
    whole = told(y_hat, z_hat, schedule)
    for number in rng.choice(len(steps), min(6, len(steps)), replace=False):
        mixed = other.copy()
        for step in steps[:number]:
            step.put(mixed.reshape(-1, CONFIG.latent), step.take(y_hat.reshape(-1, CONFIG.latent)))
        for one, expected in zip(told(mixed, z_hat, schedule), whole, strict=True):
            rows = (steps[number].take(values.reshape(-1, CONFIG.latent)) for values in (one, expected))
            np.testing.assert_array_equal(*rows)


# --- a twin that cannot be built --------------------------------------------------------------------------------------


def test_every_layer_is_proven():
    for bits in (8, 16):
        proofs = twin(bits).proofs()
        layers = {"conv1", "up1", "conv2", "up2", "hyper", "mask_in", "mask_mix", "mask_bias", "hidden", "late_in"}
        assert set(proofs) == layers | {f"{n}{g}" for n in ("embed", "late_out", "outlet") for g in range(GROUPS)}
        assert all(proof.bound < (2**53 if proof.wide else 2**24) for proof in proofs.values())


NAMES = sorted(
    [f"{layer}.{part}" for layer in ("conv1", "up1", "conv2", "up2", "hyper", "mask_in", "mask_mix", "mask_bias",
                                     "hidden", *(f"embed{g}" for g in range(GROUPS)), "late_in")
     for part in ("weight", "bias", "shift")]
    + ["magnitude", "bases.weight", "bases.shift", "late_out.weight", "late_out.shift", "outlet.weight"]
    + ["outlet.shift", "quality.hidden", "quality.outlet", "quality.z_mean", "quality.z_index"]
)  # fmt: skip


def test_the_export_writes_exactly_what_the_twin_reads():
    assert sorted(exact_arrays()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_tensor_is_named_and_another_shape_refused(name):
    with pytest.raises(Corrupt, match=rf"exact\.{name}"):
        EntropyTwin(exact_arrays(**{name: None}), SIZES)
    right = exact_arrays()[name]
    for wrong in (right[:0], right[..., :-1], right[None], right.ravel()[0], np.concatenate([right, right])):
        with pytest.raises(Corrupt, match="fetch"):
            EntropyTwin(exact_arrays(**{name: wrong}), SIZES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("late_in.bias", -(2**63)),
        ("late_in.bias", 2**52),
        ("late_in.shift", -1),
        ("late_out.shift", 41),
        ("bases.shift", 41),
        ("quality.z_index", 64),
        ("magnitude", 2**13),
        ("hidden.bias", 2**62),
    ],
)
def test_values_that_could_overflow_are_refused(name, value):
    wrong = exact_arrays()[name].copy()
    wrong.reshape(-1)[-1] = value
    with pytest.raises(Corrupt, match=r"fetch|export"):
        EntropyTwin(exact_arrays(**{name: wrong}), SIZES)


def test_late_weights_that_only_together_overflow_are_refused():
    wrong = np.full_like(exact_arrays()["late_in.weight"], 2**15 - 1, np.int64) * 2**14
    with pytest.raises(Corrupt, match="export it again"):
        EntropyTwin(exact_arrays(**{"late_in.weight": wrong}), SIZES)


def test_sizes_without_an_embedding_per_group_are_refused():
    for groups, embeds in (((), ()), ((4, 4), (2,))):
        config = ModelConfig(group_sizes=groups, embed_sizes=embeds)
        with pytest.raises(Corrupt, match="fetch it again"):
            TwinSizes.of(config)


def test_schedules_that_the_model_cannot_follow_are_refused():
    z_hat = np.zeros((1, 1, 1, CONFIG.z_channels), np.int32)
    for groups in (3, 8, 16):
        pattern = PatternSchedule(np.arange(groups)[:, None, None])
        with pytest.raises(InvalidInput, match="1, 2, 4 channel groups"):
            LatentPlane(twin(), z_hat, (2, 2), pattern.groups, 50)
        with pytest.raises(InvalidInput, match="1, 2, 4 channel groups"):
            list(twin().steps(pattern, (2, 2)))


def test_kernels_are_cached_up_to_a_bound(monkeypatch):
    rng, first = np.random.default_rng(0), np.zeros((1, 5, 5), bool)
    one = EntropyTwin(exact_arrays(), SIZES)
    kernel = one.kernel(first)
    assert one.kernel(first.copy()) is kernel
    monkeypatch.setattr("tadan.exact.linear.MAX_KERNEL_BYTES", 10**5)
    for _ in range(30):
        latest = one.kernel(rng.random((1, 5, 5)) < 0.3)
        assert sum(kept.nbytes for kept in one.kernel._kept.values()) <= 10**5 + latest.nbytes
    assert len(one.kernel._kept) > 1
    assert one.kernel(first) is not kernel
    with pytest.raises(InvalidInput, match="window of 5x5"):
        one.kernel(np.zeros((1, 3, 3), bool))
