"""A small float model with random weights in every layer, exported as trained ones are, for tests across the two."""

import copy
from functools import cache

import numpy as np
import torch

from photo_examples import photo
from tadan.entropy import ScaleTables
from tadan.models import ModelConfig, read_model, save_model
from tadan.nn.model import TadanModel
from tadan.train.export import WeightBits, calibrate, export_tensors

CONFIG = ModelConfig(
    latent=16,
    width=12,
    analysis_blocks=1,
    synthesis_blocks=1,
    expansion=2,
    z_channels=8,
    hyper_widths=(16, 12, 10),
    groups=4,
    embed=5,
    hidden=24,
    mask_hidden=8,
    knots=3,
)
NAMES = ("hyper", "checkerboard", "2x2", "4x4", "2x2-rotated", "raster")


@cache
def float_model():
    """Random weights, none of them zero: what a layer ignores at the start of training counts here."""
    torch.manual_seed(7)
    model = TadanModel(CONFIG)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.abs().max() == 0 and not name.startswith("log_"):
                value.normal_(0, 0.2)
        model.g_a.outlet.weight.mul_(25)  # latents of several quantisation steps
        model.entropy.h_a.third.weight.mul_(8)
        model.log_gain.values.copy_(torch.linspace(-0.5, 0.5, CONFIG.knots)[:, None].expand(-1, CONFIG.latent))
        model.log_inverse_gain.values.copy_(-model.log_gain.values - 2.5)
        model.entropy.outlet.weight.mul_(8)
        model.entropy.outlet_bias.values[:, CONFIG.latent :] += 0.5
    return model.eval()


def rounded_to_half(model):
    """The model with the weights of its graphs as the file stores them."""
    out = copy.deepcopy(model)
    with torch.no_grad():
        for part in (out.g_a, out.g_s, out.entropy.h_a):
            for name, value in part.named_parameters():
                if ".log_gain" not in name:  # these become rows of the model file, not weights of a graph
                    value.copy_(value.half().float())
    return out


def batch(*names):
    return torch.from_numpy(np.stack([photo(name, 64, 128) for name in names])).float() / 255


@cache
def calibration():
    return calibrate(float_model(), [batch("chelsea", "coffee")])


@cache
def exported_bytes(bits=16):
    widths = WeightBits(bits, bits, bits, bits, bits, max(bits, 12))
    tensors = export_tensors(float_model(), calibration(), widths, ScaleTables.gaussian(), batch("chelsea"))
    return save_model(CONFIG, tensors, {"name": "small"})


def exported(folder, bits=16):
    path = folder / f"small{bits}.safetensors"
    path.write_bytes(exported_bytes(bits))
    return read_model(path)
