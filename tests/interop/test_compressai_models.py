"""Multistage models in CompressAI's registry and zoo, its scripts with them, and its two layouts of a hyperprior."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from compressai_examples import autoregressive, calm, elic, lively, needs_compressai, picture
from photo_examples import photo

needs_compressai()

import compressai  # noqa: E402
from compressai.latent_codecs import EntropyBottleneckLatentCodec, LatentCodec  # noqa: E402
from compressai.models import Cheng2020Anchor, JointAutoregressiveHierarchicalPriors  # noqa: E402

from tadan.errors import InvalidInput  # noqa: E402
from tadan.interop.compressai import MODELS, GaussianMixtureLatentCodec, convert, layouts  # noqa: E402
from tadan.interop.compressai.layouts import renamed  # noqa: E402

SIZES = {"mbt2018": (16, 24), "elic2022": (16, 32, [4, 4, 8, 16])}


def small(name, **options):
    model = compressai.registry.MODELS[name]
    return model(*SIZES.get(name.split("-")[0], (16,)), **options)


FAMILIES = [name for name in MODELS if not name.endswith("-2x2")]


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_every_model_estimates_codes_and_saves(name, tmp_path):
    torch.manual_seed(0)
    model, x = small(name, schedule=["4x4", "2x2", "hyper", "2x2"] if "elic" in name else "2x2"), picture(batch=2)
    lively(model)
    out, coded = model(x), model.compress(x)
    assert out["x_hat"].shape == x.shape
    assert out["likelihoods"]["y"].shape[-2:] == (8, 12)
    assert out["likelihoods"]["z"].shape[-2:] == (2, 3)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    state = torch.load(tmp_path / "model.pth", weights_only=True)
    if "elic" in name:
        with pytest.raises(InvalidInput, match="group without context"):
            type(model).from_state_dict(state)
        again = small(name, schedule=["4x4", "2x2", "hyper", "2x2"])
        again.load_state_dict(state)
    else:
        again = type(model).from_state_dict(state)
    again.eval()
    pixels = again.decompress(coded["strings"], coded["shape"])["x_hat"]
    assert torch.equal(pixels, model.g_s(coded["y_hat"]).clamp(0, 1))


def test_elic_with_a_context_in_every_group_is_rebuilt_from_its_checkpoint():
    model = small("elic2022-multistage", schedule="2x2")
    again = type(model).from_state_dict(model.state_dict())
    assert again.groups == [4, 4, 8, 16]


@pytest.mark.parametrize("name", MODELS)
def test_the_zoo_offers_them_as_its_own(name):
    assert compressai.zoo.image_models[name] is compressai.zoo.models[name] is MODELS[name]
    assert getattr(compressai.zoo, name.replace("-", "_")) is MODELS[name]
    with pytest.raises(InvalidInput, match="published weights"):
        MODELS[name](quality=1, pretrained=True)
    with pytest.raises(InvalidInput, match="qualities"):
        MODELS[name](quality=9)
    with pytest.raises(InvalidInput, match="metric"):
        MODELS[name](quality=1, metric="psnr")


@torch.no_grad()
def test_mixtures_code_what_they_promise():
    torch.manual_seed(0)
    mixture = GaussianMixtureLatentCodec(K=3).eval()
    params = torch.randn(2, 3 * 3 * 6, 20, 30) * 2
    params[:, :18] = params[:, :18].exp() + 0.2  # scales, narrow and wide
    scales, means, logits = (part.unflatten(1, (3, 6)) for part in params.chunk(3, 1))
    chosen = torch.distributions.Categorical(logits=logits.movedim(1, -1)).sample()[:, None]
    y = (means + scales * torch.randn_like(means)).gather(1, chosen)[:, 0]
    y[0, 0, 0, :4] = torch.tensor([-4000.0, 4000.0, 300.0, -70.0])  # far outside every window
    coded, out = mixture.compress(y, params), mixture(y, params)
    decoded = mixture.decompress(coded["strings"], coded["shape"], params)["y_hat"]
    assert torch.equal(decoded, y.round())
    assert torch.equal(out["y_hat"], decoded)
    bits = -out["likelihoods"]["y"].log2().sum().item()
    assert bits < 8 * sum(len(one) for one in coded["strings"][0]) < 1.02 * bits + 1000


class Flat(LatentCodec):
    """A hyperprior put together as CompressAI's main branch does since June 2026: h_a and h_s its own, z a codec."""

    def __init__(self, latent_codec, h_a=None, h_s=None):
        super().__init__()
        self.h_a, self.h_s, self.y, self.z = h_a, h_s, latent_codec["y"], latent_codec["z"]
        assert isinstance(self.z, EntropyBottleneckLatentCodec)

    def forward(self, y):
        z = self.z(self.h_a(y))
        out = self.y(y, self.h_s(z["y_hat"]))
        return {"likelihoods": {"y": out["likelihoods"]["y"], "z": z["likelihoods"]["y"]}, "y_hat": out["y_hat"]}

    def compress(self, y):
        z = self.h_a(y)
        coded = self.z.compress(z)
        out = self.y.compress(y, self.h_s(coded["y_hat"]))
        shape = {"y": out["shape"], "z": z.shape[1:]}
        return {"strings": [*out["strings"], *coded["strings"]], "shape": shape, "y_hat": out["y_hat"]}

    def decompress(self, strings, shape):
        assert len(shape["z"]) == 3
        z_hat = self.z.decompress(strings[-1:], shape["z"][1:])["y_hat"]
        return self.y.decompress(strings[:-1], shape["y"], self.h_s(z_hat))


@torch.no_grad()
def test_both_layouts_of_a_hyperprior_are_filled_and_read(monkeypatch):
    x, nested = picture(batch=2), convert(autoregressive(), "4x4")
    monkeypatch.setattr(layouts, "HyperpriorLatentCodec", Flat)
    flat = convert(autoregressive(), "4x4")
    assert isinstance(flat.latent_codec, Flat)
    one, other = nested.compress(x), flat.compress(x)
    assert one["strings"] == other["strings"]
    assert one["shape"] == other["shape"] == torch.Size((2, 3))
    for shape in (one["shape"], {"y": (16, 8, 12), "z": (16, 2, 3)}):
        assert torch.equal(flat.decompress(one["strings"], shape)["x_hat"], nested.g_s(one["y_hat"]).clamp(0, 1))
    odd = picture(80, 112)
    coded = flat.compress(odd)
    assert set(coded["shape"]) == {"y", "z"}
    assert torch.equal(flat.decompress(coded["strings"], coded["shape"])["x_hat"], flat.g_s(coded["y_hat"]).clamp(0, 1))


def test_checkpoints_go_from_each_layout_to_the_other(monkeypatch):
    nested = convert(autoregressive(), "2x2")
    monkeypatch.setattr(layouts, "HyperpriorLatentCodec", Flat)
    flat = convert(autoregressive(), "2x2")
    assert set(nested.state_dict()) != set(flat.state_dict())
    for source, target in ((nested, flat), (flat, nested)):
        assert set(renamed(source.state_dict(), target)) == set(target.state_dict())
        with torch.no_grad():
            for parameter in target.parameters():
                parameter.add_(1)
        target.load_state_dict(source.state_dict())
        own, given = target.state_dict(), renamed(source.state_dict(), target)
        assert all(torch.equal(own[key], given[key]) for key in own if not key.endswith("_extra_state"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_whole_models_code_in_half_precision(dtype):
    model, x = calm(convert(autoregressive(), "4x4")).to(dtype), picture(64, 64, batch=2).to(dtype)
    coded = model.compress(x)
    pixels = model.decompress(coded["strings"], coded["shape"])["x_hat"]
    assert pixels.dtype == dtype
    assert torch.equal(pixels, model.g_s(coded["y_hat"]).clamp(0, 1))


def test_registered_under_its_name():
    assert compressai.registry.MODULES["MultistageLatentCodec"].__name__ == "MultistageLatentCodec"


@pytest.mark.slow
def test_the_own_scripts_of_compressai_train_and_evaluate_unchanged(tmp_path):
    """examples/train.py as the wheel has it, a few steps; then its evaluation of the checkpoint with real streams."""
    script = Path(compressai.__file__).parents[1] / "examples" / "train.py"
    for part, name in (("train", "astronaut"), ("train", "coffee"), ("test", "chelsea")):
        folder = tmp_path / "pictures" / part
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(name, 168, 168)).save(folder / f"{name}.png")  # MS-SSIM wants more than 160
    name = "mbt2018-multistage-2x2"
    run = [sys.executable, "-m", "tadan.interop.compressai"]
    train = ["-m", name, "-d", "pictures", "-e", "1", "--batch-size", "1", "--patch-size", "64", "64", "-n", "0"]
    done = subprocess.run([*run, script, *train, "--seed", "1"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Test epoch 0" in done.stdout
    evaluate = ["checkpoint", "pictures/test", "-a", name, "-p", "checkpoint.pth.tar"]
    done = subprocess.run(
        [*run, "-m", "compressai.utils.eval_model", *evaluate], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert '"bpp"' in done.stdout


def test_the_originals_are_not_touched():
    assert JointAutoregressiveHierarchicalPriors(8, 8).context_prediction.kernel_size == (5, 5)
    assert isinstance(elic().latent_codec.y.latent_codec["y0"].context_prediction, nn.Conv2d)
    assert Cheng2020Anchor.from_state_dict(Cheng2020Anchor(8).state_dict()).N == 8
