"""A small model, a short recipe and a folder of photographs for the tests of training, and one rank of two."""

import os

import numpy as np
import torch
from PIL import Image

from photo_examples import CORNERS, photo
from tadan.models import ModelConfig
from tadan.train import start as beginning
from tadan.train.loop import Trainer
from tadan.train.recipe import Recipe

CONFIG = ModelConfig(
    group_sizes=(4, 4, 8, 48), analysis_width=80, analysis_blocks=1, analysis_expansion=1, body_width=72, body_blocks=1,
    body_expansion=1, grid=48, grid_hidden=16, grid_blocks=1, z_channels=8, hyper_widths=(8, 8, 8),
    embed_sizes=(2, 2, 4, 4), hidden=16, late=8, mask_hidden=8, knots=3,
)  # fmt: skip
RECIPE = Recipe(
    steps=6, batch=2, size=64, late_size=64, late_batch=2, warmup=2, threads=1, save_every=1000, precision="fp32"
)


def write_pictures(folder, count=12, height=80, width=80):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name = [*CORNERS][number % len(CORNERS)]
        Image.fromarray(np.roll(photo(name, height, width), 7 * number, axis=1)).save(folder / f"{number:02}.png")
    return folder


def trainer(run, data, recipe=RECIPE, config=CONFIG, init=None):
    return Trainer(run, data, recipe, config, init, device="cpu")


def without_noise(shaped):
    """In place of ``torch.rand_like``: additive noise of zero, the same for any batch."""
    return torch.full_like(shaped, 0.5)


def one_rank(rank, port, run, data, recipe, poisoned):
    """Join rank 0 as another process and train to the end; a gradient of NaN at the steps in ``poisoned``."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2")
    torch.rand_like = without_noise
    beginning.SAMPLES = 5 * 64**2
    one = trainer(run, data, recipe)
    poison(one, poisoned)
    one.run()
    torch.save(dict(one.model.state_dict()), run / f"rank{rank}.pt")
    one.world.leave()


def poison(one, steps):
    """Let the loss of a trainer be NaN at some steps."""
    losses_of = one.model.compare

    def sick(*arguments, **options):
        losses = losses_of(*arguments, **options)
        return losses._replace(mse=losses.mse * float("nan")) if one.step in steps else losses

    one.model.compare = sick
