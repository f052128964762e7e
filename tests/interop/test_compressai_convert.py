"""Models of CompressAI under other schedules: the same bytes where nothing changed, the same weights elsewhere."""

import copy

import pytest
import torch

from compressai_examples import autoregressive, checkerboard, elic, needs_compressai, picture

needs_compressai()

from compressai.latent_codecs import ChannelGroupsLatentCodec  # noqa: E402
from compressai.models import Cheng2020Anchor, MeanScaleHyperprior  # noqa: E402
from compressai.models.sensetime import Cheng2020AnchorCheckerboard  # noqa: E402

from tadan.errors import InvalidInput  # noqa: E402
from tadan.interop.compressai import (  # noqa: E402
    Cheng2020AnchorMultistage,
    MultistageLatentCodec,
    convert,
    from_checkerboard,
)
from tadan.interop.compressai.layouts import hyper_parts, renamed, shape_of_z  # noqa: E402


@torch.no_grad()
def coded_and_back(model, x):
    coded = model.compress(x)
    return coded, model.decompress(coded["strings"], coded["shape"])["x_hat"]


@pytest.mark.parametrize("make", [checkerboard, elic])
@torch.no_grad()
def test_a_converted_checkerboard_writes_the_same_bytes(make):
    x = picture(batch=2)
    ours, theirs = convert(make(), "checkerboard"), make()
    coded, pixels = coded_and_back(ours, x)
    expected, expected_pixels = coded_and_back(theirs, x)
    assert coded["strings"] == expected["strings"]
    assert coded["shape"] == expected["shape"]
    assert sum(len(one) for streams in coded["strings"] for one in streams) > 1000
    assert torch.equal(pixels, expected_pixels)
    assert torch.equal(theirs.decompress(coded["strings"], coded["shape"])["x_hat"], pixels)
    mine, other = ours(x), theirs(x)
    assert torch.equal(mine["x_hat"], other["x_hat"])
    assert all(torch.equal(mine["likelihoods"][key], other["likelihoods"][key]) for key in "yz")


@pytest.mark.parametrize("parity", ["even", "odd"])
@pytest.mark.parametrize("method", ["onepass", "twopass", "twopass_faster"])
@torch.no_grad()
def test_parity_and_rounding_of_a_checkerboard_are_kept(parity, method):
    theirs = copy.deepcopy(checkerboard().latent_codec.y)
    theirs.anchor_parity, theirs.forward_method = parity, method
    theirs.non_anchor_parity = {"odd": "even", "even": "odd"}[parity]
    ours = from_checkerboard(theirs)
    y, side = torch.randn(2, 16, 6, 8) * 5, torch.randn(2, 32, 6, 8)
    assert ours.compress(y, side)["strings"] == theirs.compress(y, side)["strings"]
    mine, other = ours(y, side), theirs(y, side)
    assert torch.equal(mine["likelihoods"]["y"], other["likelihoods"]["y"])
    if method != "twopass_faster":  # which gives y_hat of non-anchors as its Gaussian rounds them
        assert torch.equal(mine["y_hat"], other["y_hat"])


@torch.no_grad()
def test_a_converted_autoregressive_model_writes_the_same_bytes():
    x = picture(64, 64)
    ours, theirs = convert(autoregressive(), "raster"), autoregressive()
    coded, pixels = coded_and_back(ours, x)
    expected, expected_pixels = coded_and_back(theirs, x)
    assert coded["strings"] == expected["strings"]
    assert coded["shape"] == expected["shape"]
    torch.testing.assert_close(pixels, expected_pixels, atol=1e-6, rtol=0)
    read = theirs.decompress(coded["strings"], coded["shape"])["x_hat"]
    torch.testing.assert_close(read, pixels, atol=1e-6, rtol=0)
    mine, other = ours(x), theirs(x)
    assert torch.equal(mine["x_hat"], other["x_hat"])
    assert all(torch.equal(mine["likelihoods"][key], other["likelihoods"][key]) for key in "yz")


@torch.no_grad()
def test_diagonals_carry_the_bits_of_raster_order():
    x = picture()
    raster = convert(autoregressive(), "raster", compute="gather")
    diagonals = convert(autoregressive(), "wavefront")
    one, other = coded_and_back(raster, x), coded_and_back(diagonals, x)
    assert abs(len(one[0]["strings"][0][0]) - len(other[0]["strings"][0][0])) <= 8
    torch.testing.assert_close(one[0]["y_hat"], other[0]["y_hat"], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("make", [autoregressive, checkerboard, elic])
def test_every_weight_but_those_of_contexts_stays(make):
    theirs, ours = make().state_dict(), convert(make(), "4x4")
    own = ours.state_dict()
    kept = {key: value for key, value in renamed(theirs, ours).items() if "context_prediction" not in key}
    assert {key for key in own if "context_prediction" not in key} == set(kept)
    assert all(torch.equal(own[key], value) for key, value in kept.items())


def test_a_new_context_starts_with_the_weights_that_the_old_one_had():
    [old] = [m for m in autoregressive().modules() if type(m).__name__ == "MaskedConv2d"]
    context = convert(autoregressive(), "2x2").latent_codec.y.context_prediction
    for number, seen in enumerate(context.patterns):
        assert torch.equal(
            context.weights[number], (old.weight * old.mask)[:, :, seen.rows, seen.cols].permute(2, 1, 0)
        )


def test_the_original_is_left_as_it_was():
    before = {key: value.clone() for key, value in elic().state_dict().items()}
    made = convert(elic(), "4x4")
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(1)
    assert all(torch.equal(value, before[key]) for key, value in elic().state_dict().items())
    assert type(elic().latent_codec.y.latent_codec["y0"]).__name__ == "CheckerboardLatentCodec"


@torch.no_grad()
def test_groups_of_channels_may_have_schedules_of_their_own():
    made = convert(elic(), ["4x4", "2x2", "checkerboard", "hyper"])
    assert isinstance(made.latent_codec.y, ChannelGroupsLatentCodec)
    names = [codec.schedule.name for codec in made.modules() if isinstance(codec, MultistageLatentCodec)]
    assert names == ["4x4", "2x2", "checkerboard", "hyper"]
    x = picture(batch=3)
    made = convert(elic(), ["4x4", "2x2", "checkerboard", "hyper"], streams="joint")
    coded, pixels = coded_and_back(made, x)
    assert len(coded["strings"]) == 4 + 1
    assert torch.equal(pixels, made.g_s(coded["y_hat"]).clamp(0, 1))


@pytest.mark.parametrize("size", [(64, 128), (80, 112), (33, 47)])
@torch.no_grad()
def test_pictures_of_any_size_come_back(size):
    made, x = convert(autoregressive(), "4x4"), picture(*size, batch=3)
    coded, pixels = coded_and_back(made, x)
    whole = size[0] % 64 == size[1] % 64 == 0
    assert isinstance(coded["shape"], dict) != whole
    assert shape_of_z(coded["shape"]) == tuple(-(-side // 64) for side in size)
    assert torch.equal(pixels, made.g_s(coded["y_hat"]).clamp(0, 1))


def test_checkpoints_of_the_original_load_under_the_same_schedule():
    theirs = autoregressive().state_dict()
    made = Cheng2020AnchorMultistage(16, "raster")
    made.load_state_dict({key: value for key, value in theirs.items() if "context" not in key}, strict=False)
    assert torch.equal(made.latent_codec.y.entropy_parameters[0].weight, theirs["entropy_parameters.0.weight"])
    entropy_bottleneck, h_a, h_s = hyper_parts(made.latent_codec)
    assert torch.equal(h_s[0].weight, theirs["h_s.0.weight"])
    assert torch.equal(h_a[0].weight, theirs["h_a.0.weight"])
    assert torch.equal(entropy_bottleneck.quantiles, theirs["entropy_bottleneck.quantiles"])


def test_models_without_a_spatial_context_are_refused():
    with pytest.raises(InvalidInput, match="no spatial context"):
        convert(MeanScaleHyperprior(8, 8), "4x4")
    with pytest.raises(InvalidInput, match="4 contexts"):
        convert(elic(), ["4x4", "2x2"])
    with pytest.raises(InvalidInput, match="no schedule"):
        convert(Cheng2020Anchor(8), "5x5")
    with pytest.raises(InvalidInput, match="whole models"):
        from_checkerboard(Cheng2020AnchorCheckerboard(8))
