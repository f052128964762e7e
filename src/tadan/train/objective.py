"""What training lowers: J = distortion + rate, by the settings of a recipe."""

from __future__ import annotations

from torch import Tensor

from tadan.models import ModelConfig
from tadan.nn.model import Losses, lambdas
from tadan.nn.visual import price_of_a_point
from tadan.train.recipe import Recipe


def distortion(losses: Losses, config: ModelConfig, recipe: Recipe, quality: Tensor) -> Tensor:
    """Of every picture, bits per pixel that its error is worth: ``lambda * 255² * MSE``, and a share that is seen.

    Args:
        losses: of the batch, with ``unseen`` if the recipe has an ``eye``.
        config: which lambdas the qualities stand for.
        recipe: its ``eye`` is the share.
        quality: (B,) in 1..100, on any device.
    """
    plain = lambdas(config, quality.to(losses.mse.device)) * 255**2 * losses.mse
    if losses.unseen is None:
        return plain
    point = price_of_a_point(quality.cpu()).to(plain.device)
    return (1 - recipe.eye) * plain + recipe.eye * point * losses.unseen
