"""The likeness of Butteraugli: it ranks as the metric does, and it can be trained on."""

import io

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from evaluate_examples import needs_program
from tadan.nn.butteraugli import butteraugli, price_of_a_unit
from tadan_lab.measure import metrics

needs_butteraugli = needs_program("butteraugli_main")


def photograph(name):
    return np.ascontiguousarray(getattr(skimage.data, name)()[:256, :320])


def coded(picture, form, quality):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, form, quality=quality)
    return np.array(Image.open(file).convert("RGB"))


def tensor(picture):
    return torch.from_numpy(picture).float()[None] / 255


@needs_butteraugli
def test_it_ranks_as_the_metric_does():
    ours, theirs = [], []
    for name in ("coffee", "astronaut", "chelsea"):
        picture = photograph(name)
        for form, quality in (("JPEG", 10), ("JPEG", 30), ("JPEG", 80), ("WEBP", 10), ("WEBP", 60)):
            decoded = coded(picture, form, quality)
            ours.append(float(butteraugli(tensor(picture), tensor(decoded))))
            theirs.append(metrics.butteraugli(picture, decoded))
    assert np.corrcoef(np.log(ours), np.log(theirs))[0, 1] > 0.95
    assert np.exp(np.abs(np.log(ours) - np.log(theirs)).mean()) < 1.5


def test_equal_pictures_are_at_no_distance_and_have_a_finite_gradient():
    picture = tensor(photograph("coffee"))
    shown = picture.clone().requires_grad_()
    distance = butteraugli(picture, shown)
    distance.sum().backward()
    assert distance.item() < 1e-3
    assert shown.grad.isfinite().all()


def test_samples_outside_the_range_are_judged_as_shown():
    picture = tensor(photograph("astronaut"))
    beyond = picture * 3 - 1
    assert torch.equal(butteraugli(picture, beyond), butteraugli(picture, beyond.clamp(0, 1)))


@pytest.mark.parametrize("shape", [(16, 24), (33, 65)])
def test_any_crop_has_a_distance(shape):
    picture = torch.rand(2, *shape, 3)
    assert (butteraugli(picture, picture.flip(1)) > 0).all()


def test_a_unit_is_worth_more_bits_at_higher_qualities():
    assert (price_of_a_unit(torch.tensor([1.0, 10.0, 37.0, 90.0, 100.0])).diff() > 0).all()


@needs_butteraugli
def test_descent_on_the_likeness_lowers_the_metric():
    picture = photograph("coffee")
    decoded = coded(picture, "JPEG", 20)
    shown = tensor(decoded).requires_grad_()
    optimizer = torch.optim.Adam([shown], lr=2e-3)
    for _ in range(12):
        optimizer.zero_grad()
        butteraugli(tensor(picture), shown).sum().backward()
        optimizer.step()
    better = (shown.detach()[0].clamp(0, 1) * 255).round().byte().numpy()
    assert metrics.butteraugli(picture, better) < 0.9 * metrics.butteraugli(picture, decoded)
