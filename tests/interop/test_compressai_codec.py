"""The latent codec for CompressAI: who sees whom, what comes back, what stays the same in a batch."""

import pytest
import torch
from torch import nn

from compressai_examples import codec, latents, needs_compressai

needs_compressai()

from tadan.errors import InvalidInput, Truncated  # noqa: E402
from tadan.interop.compressai import MultistageContext, MultistageLatentCodec  # noqa: E402
from tadan.interop.compressai.walk import patterns, walk  # noqa: E402
from tadan.schedule import ScanSchedule, get_schedule  # noqa: E402

SCHEDULES = ["hyper", "checkerboard", "2x2", "4x4", "4x4-opt-8", "3x3", "2x2-rotated", "wavefront", "raster"]
SIZES = [(1, 1), (3, 5), (6, 7)]


def parameters(made, y, side):
    """What the network predicts for every latent, when all of y is known: (B, P, h, w)."""
    seen = []
    made.y.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    made(y, side)
    return seen[-1]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_latent_is_told_nothing_of_what_is_decoded_with_it_or_later(name):
    made, (y, side) = codec(name, forward_method="onepass"), latents(None, 5, 6)
    stages = torch.from_numpy(made.schedule.stage_map(5, 6).copy())
    groups, per_group = len(stages), 8 // len(stages)
    before = parameters(made, y, side).unflatten(1, (2, groups, per_group))
    for group, row, col in [(0, 2, 3), (groups - 1, 3, 2), (0, 0, 0), (groups - 1, 4, 5)]:
        changed = y.clone()
        changed[0, group * per_group : (group + 1) * per_group, row, col] += 7
        moved = (parameters(made, changed, side).unflatten(1, (2, groups, per_group)) != before)[0].any(2).any(0)
        later = stages > stages[group, row, col]
        assert not (moved & ~later).any()
        rows, cols = torch.meshgrid(torch.arange(5), torch.arange(6), indexing="ij")
        inside = ((rows - row).abs() <= 2) & ((cols - col).abs() <= 2)
        assert torch.equal(moved, later & inside)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("size", SIZES)
def test_every_latent_is_decoded_once(name, size):
    found = walk(get_schedule(name), *size, 2, torch.device("cpu"))
    rows = torch.cat([step.targets for step in found.steps])
    assert torch.equal(rows.sort().values, found.inner.flatten().sort().values)
    for step in found.steps:
        assert torch.equal(
            torch.cat([part.places for part in step.parts]).sort().values,
            torch.arange(len(rows))[: len(step.positions)],
        )


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("size", SIZES)
def test_streams_come_back(name, size):
    made, (y, side) = codec(name), latents(None, *size, batch=3)
    coded = made.compress(y, side)
    assert len(coded["strings"]) == 1
    assert [len(one) for one in coded["strings"]] == [3]
    assert tuple(coded["shape"]) == (8, *size)
    for shape in (coded["shape"], size):
        assert torch.equal(made.decompress(coded["strings"], shape, side)["y_hat"], coded["y_hat"])
    assert (coded["y_hat"] - y).abs().max() <= 0.5001


@pytest.mark.parametrize("name", ["checkerboard", "4x4", "2x2-rotated"])
def test_one_stream_a_stage_even_where_a_plane_leaves_stages_empty(name):
    made = codec(name, streams="stage")
    for size in [(1, 2), (4, 6)]:
        y, side = latents(None, *size, batch=2)
        coded = made.compress(y, side)
        assert len(coded["strings"]) == get_schedule(name).pattern.max() + 1
        assert torch.equal(made.decompress(coded["strings"], coded["shape"], side)["y_hat"], coded["y_hat"])


def test_one_stream_costs_less_than_one_a_stage():
    y, side = latents(None, 8, 8)
    joint = codec("4x4").compress(y, side)["strings"]
    single = codec("4x4", streams="stage").compress(y, side)["strings"]
    saved = sum(len(one[0]) for one in single) - len(joint[0][0])
    assert 15 * 4 <= saved <= 15 * 12


@pytest.mark.parametrize("name", ["2x2", "wavefront"])
def test_a_batch_does_not_change_a_stream(name):
    made, (y, side) = codec(name), latents(None, 9, 7, batch=3)
    together = made.compress(y, side)["strings"][0]
    alone = [made.compress(y[i : i + 1], side[i : i + 1])["strings"][0][0] for i in range(3)]
    assert together == alone


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    made = codec("4x4").to(dtype)
    y, side = (one.to(dtype) for one in latents(None, 6, 5, batch=2))
    coded = made.compress(y, side)
    decoded = made.decompress(coded["strings"], coded["shape"], side)["y_hat"]
    assert decoded.dtype == dtype
    assert torch.equal(decoded, coded["y_hat"])


@pytest.mark.parametrize("name", ["checkerboard", "4x4", "2x2-rotated", "raster"])
def test_training_rounds_and_predicts_as_coding_does(name):
    """Likelihoods of forward are those of the stream's symbols, and its latents are the stream's."""
    made, (y, side) = codec(name, forward_method="multipass"), latents(None, 6, 5, batch=2)
    coded, out = made.compress(y, side), made(y, side)
    torch.testing.assert_close(out["y_hat"], coded["y_hat"], atol=1e-4, rtol=0)
    bits = -out["likelihoods"]["y"].log2().sum().item()
    coded_bits = 8 * sum(len(data) for data in coded["strings"][0])
    assert 0.98 * bits < coded_bits < 1.03 * bits + 2 * 96


@pytest.mark.parametrize("method", ["onepass", "multipass"])
@pytest.mark.parametrize("name", ["4x4", "2x2-rotated"])
def test_gradients_reach_every_weight(method, name):
    made, (y, side) = codec(name, forward_method=method).train(), latents(None, 8, 8)
    out = made(y.requires_grad_(), side.requires_grad_())
    (out["likelihoods"]["y"].log().sum() + out["y_hat"].sum()).backward()
    for parameter in [*made.parameters(), y, side]:
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_gathered_contexts_are_those_of_masked_convolutions():
    made, (y, side) = codec("4x4-opt-8", forward_method="onepass"), latents(None, 7, 9, batch=2)
    expected = parameters(codec("4x4-opt-8", forward_method="onepass", compute="dense"), y, side)
    torch.testing.assert_close(parameters(made, y, side), expected, atol=1e-5, rtol=1e-5)


def test_only_visible_weights_exist():
    context, schedule = MultistageContext(8, 16, "4x4"), get_schedule("4x4")
    seen = [len(one.rows) for one in patterns(schedule, 2)]
    assert [len(weight) for weight in context.weights] == seen
    assert len(seen) == 15


def test_a_layer_of_its_own_runs_as_well_as_known_ones():
    class Doubled(nn.Module):
        def forward(self, x):
            return 2 * x

    made, (y, side) = codec("2x2"), latents(None, 6, 6)
    made.entropy_parameters = nn.Sequential(*made.entropy_parameters, Doubled())
    coded = made.compress(y, side)
    assert torch.equal(made.decompress(coded["strings"], coded["shape"], side)["y_hat"], coded["y_hat"])


def test_the_window_of_parameters_may_be_larger_than_the_plane():
    made, (y, side) = codec("2x2"), latents(None, 8, 8)
    small = made.compress(y[..., :5, :6], side)
    assert torch.equal(made.decompress(small["strings"], small["shape"], side)["y_hat"], small["y_hat"])


def test_checkpoints_know_their_schedule():
    made = codec("4x4")
    fresh = MultistageContext(8, 16, "4x4")
    fresh.load_state_dict(made.context_prediction.state_dict())
    for other in ("2x2", "raster", ScanSchedule(4), "0,1/2,3"):
        with pytest.raises(InvalidInput, match="schedule"):
            MultistageContext(8, 16, other).set_extra_state(made.context_prediction.get_extra_state())
        again = MultistageContext(8, 16, other)
        again.set_extra_state(again.get_extra_state())


def test_what_does_not_fit_is_refused_with_a_way_out():
    context = MultistageContext(8, 16, "2x2")
    with pytest.raises(InvalidInput, match="1x1"):
        MultistageLatentCodec(entropy_parameters=nn.Conv2d(32, 16, 3), context_prediction=context)
    with pytest.raises(InvalidInput, match="context_prediction"):
        MultistageLatentCodec()
    with pytest.raises(InvalidInput, match="joint"):
        codec("raster", streams="stage")
    with pytest.raises(InvalidInput, match="gather"):
        codec("2x2-rotated", compute="dense")
    with pytest.raises(InvalidInput, match="odd"):
        MultistageContext(8, 16, "2x2", kernel_size=4)
    with pytest.raises(InvalidInput, match="groups"):
        MultistageContext(6, 12, "2x2-rotated")
    made, (y, side) = codec("2x2"), latents(None, 4, 4)
    strings = made.compress(y, side)["strings"]
    with pytest.raises(InvalidInput, match="streams"):
        made.decompress(strings * 2, (4, 4), side)
    with pytest.raises(Truncated):
        made.decompress([[strings[0][0][:5]]], (4, 4), side)
    made.y.gaussian_conditional._quantized_cdf = torch.IntTensor()
    with pytest.raises(InvalidInput, match="update"):
        made.compress(y, side)


def test_a_shortened_stream_gives_latents_of_its_own_and_ends():
    made, (y, side) = codec("4x4"), latents(None, 8, 8)
    data = made.compress(y, side)["strings"][0][0]
    assert made.decompress([[data[:8]]], (8, 8), side)["y_hat"].shape == y.shape
