"""A small float model with random weights in every layer, and its integer twin."""

from functools import cache
from types import SimpleNamespace

import torch

from photo_examples import photo
from tadan.entropy import ScaleTables
from tadan.exact.network import EntropyTwin, TwinSizes
from tadan.models import Model, ModelConfig
from tadan.nn.model import TadanModel
from tadan.schedule import PatternSchedule, get_schedule
from tadan.train.calibration import calibrate
from tadan.train.export import WeightBits
from tadan.train.twin import entropy_tensors

CONFIG = ModelConfig(
    group_sizes=(2, 2, 4, 8),
    analysis_width=48,
    analysis_blocks=1,
    analysis_expansion=1,
    body_width=48,
    body_blocks=1,
    body_expansion=1,
    grid=48,
    grid_hidden=8,
    grid_blocks=1,
    z_channels=6,
    hyper_widths=(10, 8, 12),
    embed_sizes=(3, 2, 4, 3),
    hidden=20,
    late=9,
    mask_hidden=8,
    knots=3,
)
GROUPS = CONFIG.groups
#: Two and four groups that share stages, in patterns of their own.
PAIR = PatternSchedule([[[0, 1], [1, 0]], [[1, 2], [0, 2]]])
FOUR = PatternSchedule([[[2, 0], [1, 1]], [[1, 1], [0, 2]], [[0, 3], [2, 0]], [[1, 1], [1, 1]]])
SCHEDULES = {
    **{name: get_schedule(name) for name in ("hyper", "checkerboard", "4x4-opt-4", "2x2-rotated", "raster")},
    "pair": PAIR,
    "four": FOUR,
}


@cache
def float_model():
    """Random weights, none of them zero: what a layer ignores at the start of training counts here."""
    torch.manual_seed(11)
    model = TadanModel(CONFIG)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.abs().max() == 0 and not name.startswith("log_"):
                value.normal_(0, 0.2)
        model.entropy.context.spread.uniform_(1, 4)
        model.entropy.outlet.weight.mul_(8)
        model.entropy.outlet_bias.values[:, CONFIG.latent :] += 0.5
        y, _ = model.analyse(picture(), torch.tensor([60.0]))
        model.log_gain.values += float(torch.log(6 / y.std()))  # latents of several quantisation steps
        _, z = model.analyse(picture(), torch.tensor([60.0]))
        for value in model.entropy.h_a.third.parameters():
            value.mul_(float(3 / z.std()))
    return model.eval()


def picture(name="chelsea"):
    return torch.from_numpy(photo(name, 64, 128)[None]).float() / 255


@cache
def real_latents(quality=60):
    """Rounded y and z of a photograph as integers in Q6: int32 (1, 4, 8, latent) and (1, 1, 2, z_channels)."""
    with torch.no_grad():
        y, z = float_model().analyse(picture(), torch.tensor([float(quality)]))
    return (torch.round(y) * 64).int().numpy(), torch.round(z * 64).int().numpy()


@cache
def stored(bits=16):
    """Tensors of a model file."""
    maxima = calibrate(float_model(), [picture("chelsea"), picture("coffee")])
    return entropy_tensors(float_model(), maxima, WeightBits(bits, bits, bits, bits, bits, max(bits, 12)))


@cache
def tensors(bits=16):
    """The integer networks of a model file, unpacked, under the names of the tensors."""
    return {f"exact.{name}": value for name, value in Model(CONFIG, stored(bits), {}).exact_arrays().items()}


def exact_arrays(bits=16, **changed):
    """Arrays as the twin takes them; a changed one that is None is left out."""
    arrays = {name[6:]: value for name, value in tensors(bits).items()} | changed
    return {name: value for name, value in arrays.items() if value is not None}


@cache
def twin(bits=16):
    return EntropyTwin(exact_arrays(bits), TwinSizes.of(CONFIG))


def coder(bits=16):
    """What the functions of tadan.latents.coder ask of a model."""
    return SimpleNamespace(name="small", twin=twin(bits), tables=ScaleTables.gaussian(), config=CONFIG)
