"""What averaged weights are worth on held-out pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tadan.models import ModelConfig
from tadan.nn.model import TadanModel
from tadan.schedule import get_schedule
from tadan.train.data import HELD_OUT, Pictures, draw_crops
from tadan.train.device import autocast
from tadan.train.objective import distortion
from tadan.train.recipe import CROP_MULTIPLE, Recipe
from tadan.train.search import Search, moved

QUALITIES = (10, 30, 50, 70, 90)
SCHEDULE = "balanced"
LARGEST = 256  # pixels a side of a crop


@torch.no_grad()
def evaluate(
    weights: Mapping[str, Tensor],
    config: ModelConfig,
    recipe: Recipe,
    held_out: Pictures,
    device: torch.device,
    search: Search | None = None,
) -> dict[str, Any]:
    """Rate, distortion and J (:mod:`tadan.train.objective`) on crops of held-out pictures, the same ones every time.

    ``search`` as of :func:`~tadan.train.search.moved`.

    Returns:
        ``bpp_zbpp_psnr_J``: for each quality of :data:`QUALITIES` bits per pixel, of these z, dB, J; means over crops.
            A recipe with an ``eye`` adds a score that rises with SSIMULACRA2, one with a ``near`` the distance.
        ``mean_log_J``: mean of ln J over the qualities.
    """
    model = TadanModel(config).to(device)
    model.load_state_dict(dict(weights))
    smallest = min(min(shape) for shape in held_out.shapes)
    size = min(LARGEST, smallest // CROP_MULTIPLE * CROP_MULTIPLE)
    picture = held_out.cut(draw_crops(held_out.shapes, HELD_OUT, size, np.random.default_rng(0)), device)
    schedule = get_schedule(recipe.specialise or SCHEDULE)
    rows: dict[str, Any] = {}
    total = 0.0
    for quality in QUALITIES:
        with autocast(device, recipe):
            at = torch.full((HELD_OUT,), float(quality), device=device)
            latents = moved(search, model, picture, at, schedule)
            losses = model.losses(picture, at, schedule, latents, eye=recipe.eye > 0, near=recipe.looks_near)
        rate, mse = losses.y_bpp + losses.z_bpp, losses.mse
        score = float((distortion(losses, config, recipe, at) + rate).mean())
        total += math.log(score) if score > 0 else math.nan
        rows[str(quality)] = [
            round(float(rate.mean()), 4),
            round(float(losses.z_bpp.mean()), 4),
            round(float(-10 * mse.log10().mean()), 3),
            round(score, 4),
        ]
        if losses.unseen is not None:
            rows[str(quality)].append(round(100 - float(losses.unseen.mean()), 3))
        if losses.distance is not None:
            rows[str(quality)].append(round(float(losses.distance.mean()), 4))
    return {"bpp_zbpp_psnr_J": rows, "mean_log_J": round(total / len(QUALITIES), 5)}
