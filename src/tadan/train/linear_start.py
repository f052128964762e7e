"""The start of a fresh model: the linear transform codec that suits the training pictures (:mod:`tadan.nn.klt`)."""

from __future__ import annotations

import numpy as np
import torch

from tadan.nn.klt import start
from tadan.nn.model import TadanModel
from tadan.train.data import Pictures, draw_crops
from tadan.train.recipe import Recipe

SAMPLES = 4_000_000  # eighths of the pixels that the principal components are fitted to
BATCH = 8


def start_linear(model: TadanModel, pictures: Pictures, recipe: Recipe) -> None:
    """Set the transforms, gains and first scales of ``model``, on the CPU, from crops of ``pictures``."""
    rng, size = np.random.default_rng(recipe.seed), recipe.largest_size
    draws = (draw_crops(pictures.shapes, BATCH, size, rng) for _ in range(SAMPLES // size**2))
    samples = (pictures.cut(draw, torch.device("cpu")) for draw in draws)
    model.set_start(start(model.g_a, model.g_s, samples))
