"""The term of the loss that the eye judges by: it is the metric, and it can be trained on."""

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from tadan.errors import InvalidInput
from tadan.nn import visual
from tadan.nn.visual import price_of_a_point, score, unseen
from tadan.train import start as beginning
from tadan_lab.measure.metrics import ssimulacra2
from training_examples import CONFIG, RECIPE, trainer, write_pictures


def photograph(name):
    return np.ascontiguousarray(getattr(skimage.data, name)()[:256, :320])


def as_jpeg(picture, quality):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def tensor(picture):
    return torch.from_numpy(picture).float()[None] / 255


@pytest.mark.parametrize("name", ["coffee", "astronaut"])
def test_the_score_is_the_metric_within_two_points(name):
    picture = photograph(name)
    losses = []
    for quality in (15, 40, 70, 92):
        decoded = as_jpeg(picture, quality)
        ours = float(score(tensor(picture), tensor(decoded)))
        assert ours == pytest.approx(ssimulacra2(picture, decoded), abs=2)
        losses.append(float(unseen(tensor(picture), tensor(decoded))))
    assert losses == sorted(losses, reverse=True)


def test_equal_pictures_cost_nothing_and_have_a_finite_gradient():
    picture = tensor(photograph("coffee"))
    shown = picture.clone().requires_grad_()
    unseen(picture, shown).sum().backward()
    assert unseen(picture, picture).item() < 0.5
    assert shown.grad.isfinite().all()


def test_samples_outside_the_range_are_judged_as_shown():
    picture = tensor(photograph("astronaut"))
    assert torch.equal(unseen(picture, picture * 3 - 1), unseen(picture, (picture * 3 - 1).clamp(0, 1)))


def test_small_crops_use_fewer_scales():
    picture = torch.rand(2, 16, 24, 3)
    assert unseen(picture, picture.flip(1)).shape == (2,)


def test_a_point_is_worth_more_bits_at_higher_qualities():
    prices = price_of_a_point(torch.tensor([1.0, 10.0, 37.0, 90.0, 100.0]))
    assert (prices.diff() > 0).all()


def test_a_missing_package_is_named(monkeypatch):
    visual._weights.cache_clear()
    monkeypatch.setitem(sys.modules, "ssimulacra2", None)
    with pytest.raises(InvalidInput, match="pip install"):
        unseen(torch.rand(1, 64, 64, 3), torch.rand(1, 64, 64, 3))


def test_descent_on_the_loss_raises_the_metric():
    picture = photograph("coffee")
    decoded = as_jpeg(picture, 20)
    shown = tensor(decoded).requires_grad_()
    optimizer = torch.optim.Adam([shown], lr=2e-3)
    for _ in range(12):
        optimizer.zero_grad()
        unseen(tensor(picture), shown).sum().backward()
        optimizer.step()
    better = (shown.detach()[0].clamp(0, 1) * 255).round().byte().numpy()
    assert ssimulacra2(picture, better) > ssimulacra2(picture, decoded) + 3


def test_a_recipe_for_the_eye_trains_on_what_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(beginning, "SAMPLES", 5 * 64**2)
    folder = write_pictures(tmp_path / "pictures")
    facts, weights = {}, {}
    for eye in (0.0, 0.7):
        run = trainer(tmp_path / f"{eye}", folder, replace(RECIPE, eye=eye), CONFIG)
        facts[eye], _ = run.one_step()
        weights[eye] = run.model.state_dict()
        rows = run.evaluate()["bpp_zbpp_psnr_J"].values()
        assert {len(row) for row in rows} == {5 if eye else 4}
    assert facts[0.0].psnr == facts[0.7].psnr  # the same first step, judged by other rules
    assert facts[0.0].loss != facts[0.7].loss
    assert not torch.equal(weights[0.0]["g_s.outlet.weight"], weights[0.7]["g_s.outlet.weight"])
