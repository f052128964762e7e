"""Small models of CompressAI whose latents use more than one symbol, and the skip where it is not installed."""

import os
from functools import cache
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from photo_examples import photo


def needs_compressai():
    """Skip a file where CompressAI is missing, unless TADAN_TESTS_NO_SKIP is set (as .ci/run does): then it fails."""
    if find_spec("compressai") is None and "TADAN_TESTS_NO_SKIP" not in os.environ:
        pytest.skip("CompressAI is not installed", allow_module_level=True)
    import tadan.interop.compressai  # noqa: F401  it also finds its way around torchvision


def picture(height=128, width=192, batch=1):
    """Photographs, float32 (batch, 3, height, width) in 0..1, each another one."""
    names = ("astronaut", "chelsea", "coffee", "rocket")
    crops = [photo(names[i % 4], height, width) for i in range(batch)]
    return torch.stack([torch.tensor(crop).permute(2, 0, 1) / 255 for crop in crops])


def lively(model, seed=0):
    """The model with weights drawn anew, such that latents spread over many symbols; tables made, for evaluation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 4 or "weights." in name:
                noise = torch.randn(parameter.shape, generator=generator)
                size = parameter[0].numel() if parameter.ndim == 4 else parameter[..., 0].numel()
                parameter.copy_(noise * (1.5 / size) ** 0.5)
    for module in model.modules():  # what masked convolutions do on their first call
        if hasattr(module, "mask"):
            module.weight.data *= module.mask
    model.update(force=True)
    return model.eval()


def calm(model, spread=3.0):
    """Small weights, as at the start of a training, with latents and scales of some steps."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.reset_parameters()
    with torch.no_grad():
        gain = spread / model.g_a(picture()).std()
        last = [module for module in model.g_a.modules() if isinstance(module, nn.Conv2d)][-1]
        last.weight.mul_(gain)
        for name, module in model.named_modules():
            if name.endswith("entropy_parameters") and isinstance(module, nn.Sequential):
                module[-1].bias[: module[-1].out_channels // 2] = spread
    model.update(force=True)
    return model.eval()


@cache
def autoregressive():
    """Cheng2020 with 16 channels and its raster context."""
    from compressai.models import Cheng2020Anchor

    return lively(Cheng2020Anchor(16))


@cache
def checkerboard():
    """The same transforms with CompressAI's checkerboard."""
    from compressai.models.sensetime import Cheng2020AnchorCheckerboard

    return lively(Cheng2020AnchorCheckerboard(16))


@cache
def elic():
    """ELIC with 16 and 32 channels in four groups."""
    from compressai.models import Elic2022Official

    return lively(Elic2022Official(16, 32, [4, 4, 8, 16]))


def latents(codec, height, width, batch=1, seed=0):
    """Latents and side parameters that a codec of 8 channels takes."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(batch, 8, height, width, generator=generator) * 4
    return y, torch.randn(batch, 16, height, width, generator=generator)


def codec(schedule, channels=8, **options):
    """A latent codec of few channels with random weights and tables."""
    from compressai.models.base import get_scale_table

    from tadan.interop.compressai import MultistageContext, MultistageLatentCodec

    torch.manual_seed(1)
    layers = nn.Conv2d(4 * channels, 24, 1), nn.LeakyReLU(), nn.Conv2d(24, 2 * channels, 1)
    layers[-1].bias.data[:channels] = 3  # scales that fit the latents below
    context = MultistageContext(channels, 2 * channels, schedule)
    made = MultistageLatentCodec(entropy_parameters=nn.Sequential(*layers), context_prediction=context, **options)
    made.y.gaussian_conditional.update_scale_table(get_scale_table())
    return made.eval()
