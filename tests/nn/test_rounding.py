"""What latents cost in training: as much as in a file, with a slope that rounding does not have."""

import numpy as np
import pytest
import torch
from skimage import data as pictures

import model_examples
from tadan.nn.entropy_model import gaussian_bits, rounded_bits
from tadan.nn.model import TadanModel
from tadan.schedule import get_schedule

OFFSETS = torch.linspace(-3.2, 3.3, 41, dtype=torch.float32)


@pytest.mark.parametrize("scale", [0.12, 0.5, 3.0, 40.0])
@pytest.mark.parametrize("learnt", [True, False])
def test_bits_are_those_of_what_is_coded(scale, learnt):
    log_scale = torch.full_like(OFFSETS, np.log(scale))
    assert torch.allclose(rounded_bits(OFFSETS, log_scale, learnt), gaussian_bits(torch.round(OFFSETS), log_scale))


@pytest.mark.parametrize("scale", [0.3, 0.5, 3.0, 40.0])
def test_their_slope_is_that_of_the_mean_over_noise(scale):
    """Against the mean over a fine grid of noise, differentiated by torch."""
    offsets = OFFSETS.clone().requires_grad_()
    log_scale = torch.full_like(OFFSETS, np.log(scale))
    noise = ((torch.arange(4000) + 0.5) / 4000 - 0.5)[:, None]
    gaussian_bits(offsets + noise, log_scale).mean(0).sum().backward()
    expected = offsets.grad.clone()
    offsets.grad = None
    rounded_bits(offsets, log_scale, True).sum().backward()
    assert torch.allclose(offsets.grad, expected, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("learnt", [True, False])
def test_scales_learn_from_what_is_coded(learnt):
    """Where everything is rounded to zero the best scale is the least; noise would ask for a wider one."""
    offsets = 0.9 * (torch.arange(200) / 200 - 0.5)
    log_scale = torch.full((200,), np.log(0.3), requires_grad=True)
    rounded_bits(offsets, log_scale, learnt).sum().backward()
    assert (log_scale.grad > 0).all()


def test_means_of_latents_that_stand_follow_what_is_coded():
    """Latents of a search lie where zero is coded; a mean that went after them would leave it."""
    offsets = torch.linspace(-0.45, 0.45, 19, requires_grad=True)
    rounded_bits(offsets, torch.full_like(offsets, np.log(0.3)), learnt=False).sum().backward()
    assert float(offsets.grad.abs().max()) < 1e-4


def test_training_and_judging_see_the_same_rate():
    """Nothing is drawn: other random numbers change nothing, and the rate has a slope by what makes latents."""
    torch.manual_seed(1)
    model = TadanModel(model_examples.CONFIG)
    picture = torch.from_numpy(pictures.astronaut()[None, :128, 128:256] / np.float32(255))
    quality, schedule = torch.tensor([40.0]), get_schedule("2x2")
    first = model(picture, quality, schedule)
    torch.manual_seed(2)
    second = model.eval()(picture, quality, schedule)
    assert torch.equal(first.y_bpp, second.y_bpp)
    assert torch.equal(first.z_bpp, second.z_bpp)
    first.y_bpp.sum().backward()
    assert sum(float(value.grad.abs().sum()) for value in model.g_a.parameters() if value.grad is not None) > 0
