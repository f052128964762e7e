"""Integer-exact streams for converted models: they come back, cost next to nothing, and any product gives the same."""

import numpy as np
import pytest
import torch
from torch import nn

from compressai_examples import autoregressive, calm, checkerboard, elic, lively, needs_compressai, picture

needs_compressai()

from compressai.models import JointAutoregressiveHierarchicalPriors  # noqa: E402

from tadan.errors import Corrupt, InvalidInput  # noqa: E402
from tadan.exact import linear  # noqa: E402
from tadan.interop.compressai import Cheng2020AttentionGMMMultistage, convert  # noqa: E402
from tadan.interop.compressai.exact import ExactEntropy, ExactModel, make_exact  # noqa: E402
from tadan.interop.compressai.integer import IntegerNetwork, Output, export  # noqa: E402


def mbt2018():
    return lively(JointAutoregressiveHierarchicalPriors(16, 24))


MODELS = {
    "cheng2020, 4x4": (autoregressive, "4x4"),
    "cheng2020, diagonals": (autoregressive, "wavefront"),
    "cheng2020, checkerboard": (checkerboard, "checkerboard"),
    "mbt2018, transposed convolutions": (mbt2018, "2x2"),
    "elic, groups": (elic, ["4x4", "2x2", "hyper", "checkerboard"]),
    "channel-rotated": (autoregressive, "2x2-rotated"),
}


@pytest.fixture(scope="module", params=MODELS)
def made(request):
    make, schedule = MODELS[request.param]
    options = {"streams": "joint", "compute": "gather"} if isinstance(schedule, list) else {}
    model = calm(convert(make(), schedule, **options))
    exact = make_exact(model, [picture()])
    return model, exact, exact.compress(picture(batch=2))


def test_exact_streams_come_back_and_cost_nothing(made):
    model, exact, coded = made
    with torch.no_grad():
        floats = model.compress(picture(batch=2))
    ours, theirs = (sum(len(one) for strings in out["strings"] for one in strings) for out in (coded, floats))
    assert theirs > 500
    assert 0.95 * theirs < ours < 1.005 * theirs + 8  # less where the model itself has a stream for each stage or group
    decoded = exact.decompress(coded["strings"], coded["shape"])
    assert torch.equal(decoded["y_hat"], coded["y_hat"])
    steps = (coded["y_hat"] - floats["y_hat"]).abs()
    assert (steps > 0.02).float().mean() < 0.05  # the rest are latents whose rounding fell to the other side


def test_any_way_of_multiplying_gives_the_same_latents(made, monkeypatch):
    """The core, BLAS in floats, and integers with no float at all."""
    _, exact, coded = made
    monkeypatch.setattr(linear, "core_layer", lambda *_: None)
    plain = ExactEntropy(exact.entropy.facts, exact.entropy.arrays)
    assert torch.equal(
        ExactModel(exact.model, plain).decompress(coded["strings"], coded["shape"])["y_hat"], coded["y_hat"]
    )

    def integers(self, x, matmul=np.matmul):
        return (x.astype(np.int64) @ self.weight.astype(np.int64)).astype(np.float64)

    monkeypatch.setattr(linear.ExactProduct, "__call__", integers)
    found = ExactModel(exact.model, plain).decompress(coded["strings"], coded["shape"])["y_hat"]
    assert torch.equal(found, coded["y_hat"])


def test_the_file_of_integers_is_all_that_a_decoder_needs(made, tmp_path):
    _, exact, coded = made
    exact.entropy.save(tmp_path / "exact.safetensors")
    stored = ExactEntropy.load(tmp_path / "exact.safetensors")
    again = ExactModel(exact.model, stored).decompress(coded["strings"], coded["shape"])
    assert torch.equal(again["y_hat"], coded["y_hat"])
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "exact.safetensors").read_bytes()[:-9])
    with pytest.raises(Corrupt, match="export it again"):
        ExactEntropy.load(tmp_path / "cut.safetensors")
    arrays = dict(exact.entropy.arrays)
    del arrays["edges"]
    with pytest.raises(Corrupt, match="lacks"):
        ExactEntropy(exact.entropy.facts, arrays)


def test_the_twin_of_a_network_is_the_network():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.ConvTranspose2d(5, 6, 5, stride=2, padding=2, output_padding=1),
        nn.LeakyReLU(),
        nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.PixelShuffle(2)),
        nn.ReLU(),
        nn.Conv2d(2, 3, 3, padding=1),
    )
    x = torch.randint(-500, 500, (1, 5, 4, 6)) / 64
    maxima, hooks = {}, []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            keep = lambda m, _, out: maxima.update({m: out.detach().abs().amax((0, 2, 3)).double().numpy()})  # noqa: E731
            hooks.append(layer.register_forward_hook(keep))
    expected = network(x)[0].detach().permute(1, 2, 0).numpy()
    last = Output(np.full(3, 10), np.full(3, -(2**20)), np.full(3, 2**20))
    twin = export(network, maxima, "n", np.full(5, 6), 2**14, last)
    found = IntegerNetwork(twin.steps, twin.arrays)((x[0] * 64).permute(1, 2, 0).double().numpy())
    assert found.shape == expected.shape
    np.testing.assert_allclose(found / 2**10, expected, atol=3e-3)


def test_what_has_no_twin_is_refused():
    with pytest.raises(InvalidInput, match="mixtures"):
        make_exact(calm(Cheng2020AttentionGMMMultistage(8)), [picture()])
    with pytest.raises(InvalidInput, match="convert"):
        make_exact(checkerboard(), [picture()])
    with pytest.raises(InvalidInput, match="pictures"):
        make_exact(calm(convert(autoregressive(), "2x2")), [])
    odd = calm(convert(autoregressive(), "2x2"))
    odd.latent_codec.y.entropy_parameters[1] = nn.Tanh()
    with pytest.raises(InvalidInput, match="Tanh"):
        make_exact(odd, [picture()])
