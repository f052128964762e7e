"""The encoder's search for cheaper latents (:mod:`tadan.codec.effort`) inside training, for decoders that know it.

Differences to the encoder: latents of the last trial stand for the context, and no step is taken back; each picture
keeps the best of its trials.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tadan.models.search_rule import AXES, CELL, CURVATURE_FLOOR, FIRST_SIZE, FORCE_LIMIT, RATE_FORCE, error_weights
from tadan.nn.entropy_model import gaussian_bits
from tadan.nn.model import TadanModel, lambdas
from tadan.schedule import Schedule

CURVATURE_QUALITIES = (10, 50, 90)


def curvature(model: TadanModel, pictures: Tensor) -> NDArray[np.float32]:
    """How much one latent changes the picture, float32 (latent,): squared levels per squared unit before g_s.

    Mean squared columns of the Jacobian J of g_s, by random projections: E (J^T v)² = diag(J^T J) for random signs v.

    Args:
        model: float model.
        pictures: (B, H, W, 3) in 0..1, H and W multiples of 64; never evaluation pictures.
    """
    total = torch.zeros(model.config.latent, dtype=torch.float64)
    count = 0
    for value in CURVATURE_QUALITIES:
        quality = torch.full((len(pictures),), float(value), device=pictures.device)
        with torch.no_grad():
            y_hat = torch.round(model.analyse(pictures, quality)[0]) * torch.exp(model.log_inverse_gain(quality))
        y_hat.requires_grad_()
        with torch.enable_grad():
            shown = model.g_s(y_hat, quality) * 255
            generator = torch.Generator().manual_seed(value)
            signs = torch.randint(0, 2, shown.shape, generator=generator).to(shown) * 2.0 - 1
            (gradient,) = torch.autograd.grad((shown * signs).sum(), y_hat)
        total += gradient.double().square().sum((0, 1, 2)).cpu()
        count += gradient[..., 0].numel()
    return (total / count).float().numpy()


@dataclass(frozen=True)
class Search:
    """Settings of a search: number of steps, what :func:`curvature` gave, and whose error is lowered."""

    steps: int
    curvature: Tensor
    tune: str = "psnr"

    @torch.no_grad()
    def __call__(
        self, model: TadanModel, picture: Tensor, quality: Tensor, schedule: Schedule, y: Tensor, z_hat: Tensor
    ) -> Tensor:
        """y (B, h, w, latent) of g_a -> y whose rounding costs less, same shape, without gradient."""
        weight = (lambdas(model.config, quality) * 255**2 / 3)[:, None, None, None]
        per_unit = self.curvature.to(y.device) / 255**2
        curved = (weight * per_unit * torch.exp(2 * model.log_inverse_gain(quality))).clamp_min(CURVATURE_FLOOR)
        weights, axes = self._weights(picture, quality), torch.from_numpy(AXES).to(picture)
        best, lowest, seen = y, torch.full((len(y),), math.inf, device=y.device), torch.round(y)
        for step in range(self.steps + 1):
            predicted = model.entropy.parameters_for(seen, z_hat, schedule, quality)
            offset = y - predicted.mean
            with torch.enable_grad():
                y_hat = (torch.round(offset) + predicted.mean).requires_grad_()
                shown = model.synthesise(y_hat, quality).clamp(0, 1)
                error = (weight * weights * ((shown - picture) @ axes.T).square()).sum((1, 2, 3))
                (gradient,) = torch.autograd.grad(error.sum(), y_hat)
            bits = gaussian_bits(torch.round(offset), predicted.log_scale).sum((1, 2, 3))
            cost = error.detach() + bits
            better = (cost < lowest)[:, None, None, None]
            best, lowest = torch.where(better, y, best), torch.minimum(cost, lowest)
            if step == self.steps:
                break
            below = torch.floor(offset)
            slope = gaussian_bits(below + 1, predicted.log_scale) - gaussian_bits(below, predicted.log_scale)
            pull = (gradient + RATE_FORCE * slope).clamp(-FORCE_LIMIT, FORCE_LIMIT)
            seen = y_hat.detach()
            y = y - FIRST_SIZE * (pull / (2 * curved) + (y - seen))
        return best

    def _weights(self, picture: Tensor, quality: Tensor) -> Tensor:
        """Of the error of every pixel along the axes, as the encoder has them: float32 (B, H, W, 3)."""
        levels = (picture * 255).round().clamp(0, 255).byte().cpu().numpy()
        each = zip(levels, quality.tolist(), strict=True)
        cells = torch.from_numpy(np.stack([error_weights(one, self.tune, at) for one, at in each])).to(picture)
        whole = cells.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)
        return whole[:, : picture.shape[1], : picture.shape[2]]


def moved(
    search: Search | None, model: TadanModel, picture: Tensor, quality: Tensor, schedule: Schedule
) -> tuple[Tensor, Tensor]:
    """y and z of a batch, y moved as an encoder with effort does if there is a search; g_a then learns nothing."""
    y, z = model.analyse(picture, quality)
    if search is not None:
        y = search(model, picture, quality, schedule, y, model.round_z(z, quality).detach())
    return y, z
