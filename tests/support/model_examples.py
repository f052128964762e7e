"""A small float model, exported as trained ones are, for tests of transforms and files."""

import copy
import math
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from photo_examples import photo
from tadan.entropy import ScaleTables
from tadan.models import ModelConfig, read_model, save_model
from tadan.models.weights import from_eight_bits
from tadan.nn.klt import start
from tadan.nn.layers import gains_of
from tadan.nn.model import TadanModel
from tadan.nn.onnx_graph import to_eight_bits
from tadan.train.calibration import calibrate
from tadan.train.export import WeightBits, export_tensors

CONFIG = ModelConfig(
    group_sizes=(2, 2, 4, 8),
    analysis_width=64,
    analysis_blocks=1,
    analysis_expansion=1,
    body_width=24,
    body_blocks=1,
    body_expansion=2,
    kernel=3,
    grid=48,
    grid_hidden=12,
    grid_blocks=2,
    z_channels=6,
    hyper_widths=(10, 8, 12),
    embed_sizes=(3, 2, 4, 3),
    hidden=20,
    late=9,
    mask_hidden=8,
    knots=3,
)


def batch(*names, height=64, width=128):
    """float (B, height, width, 3) in 0..1."""
    return torch.from_numpy(np.stack([photo(name, height, width) for name in names])).float() / 255


def random_model(**sizes):
    """The linear start, then random weights wherever it leaves zeros: what they do counts in the tests."""
    torch.manual_seed(5)
    model = TadanModel(replace(CONFIG, **sizes))
    model.set_start(start(model.g_a, model.g_s, [batch("chelsea", "coffee", "astronaut")]))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.abs().max() == 0 and not name.startswith("log_"):
                value.normal_(0, 0.02)
        model.entropy.outlet.weight.mul_(8)
        model.entropy.layer.bias += 1  # activations of the size that training gives them
        _, z = model.analyse(batch("chelsea"), torch.tensor([60.0]))
        for value in model.entropy.h_a.third.parameters():
            value.mul_(float(3 / z.std()))
        model.entropy.z_log_scale.values.fill_(math.log(3))
    return model.eval()


@cache
def float_model():
    return random_model()


def rounded_as_stored(model):
    """The model with the weights of its graphs as the file stores them."""
    out = copy.deepcopy(model)
    with torch.no_grad():
        for part in (out.g_a, out.g_s, out.entropy.h_a):
            elsewhere = {id(by.values) for by in gains_of(part)}  # these are stored by themselves
            for name, value in part.named_parameters():
                if id(value) in elsewhere:
                    continue
                if value.dim() == 2 and name.startswith(("blocks.", "renderer.")):
                    value.copy_(torch.from_numpy(from_eight_bits(*to_eight_bits(value.numpy()))))
                else:
                    value.copy_(value.half().float())
    return out


@cache
def exported_bytes(**sizes):
    return file_of(random_model(**sizes) if sizes else float_model())


def file_of(model):
    """Model file of a float model, as a run's is made."""
    maxima = calibrate(model, [batch("chelsea", "coffee")])
    tensors = export_tensors(model, maxima, WeightBits(), ScaleTables.gaussian(), batch("chelsea"))
    return save_model(model.config, tensors, {"name": "small"})


def exported(folder, **sizes):
    path = folder / "small.safetensors"
    path.write_bytes(exported_bytes(**sizes))
    return read_model(path)
