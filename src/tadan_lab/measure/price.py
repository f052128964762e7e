"""What the integer networks cost: ideal bits under the exported twin against the float networks, same latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tadan.codec.codec import Codec
from tadan.codec.transforms import Transforms
from tadan.entropy import ScaleTables, estimate_bits, scale_values
from tadan.exact.constants import LATENT_FRACTION
from tadan.latents.coder import LatentCoder, Latents
from tadan.nn.model import TadanModel
from tadan.pictures.folder import open_rgb
from tadan.schedule import Schedule, parse_schedule
from tadan.train.checkpoint import load_weights
from tadan.train.restore import restore


@dataclass(frozen=True)
class Price:
    """Bits of all pictures at one quality.

    Attributes:
        quality: 1..100.
        float_bits: float networks with continuous scales, ideal discretised Gaussian.
        float_table_bits: float networks, the scale rounded to the table and the table's frequencies.
        integer_bits: integer twin, same tables; what the file holds but for the coder's overhead.
    """

    quality: int
    float_bits: float
    float_table_bits: float
    integer_bits: float

    @property
    def integer_percent(self) -> float:
        """Integer arithmetic alone: twin against float networks with the same tables."""
        return 100 * (self.integer_bits / self.float_table_bits - 1)

    @property
    def total_percent(self) -> float:
        """Twin and tables against the float networks with ideal Gaussians."""
        return 100 * (self.integer_bits / self.float_bits - 1)


@torch.no_grad()
def measure_price(
    pictures: Sequence[Path],
    qualities: Sequence[int],
    schedule: str,
    model_name: str | None = None,
    weights: Path | None = None,
) -> list[Price]:
    """Compare rates of y; z has fixed tables in both.

    Args:
        pictures: files.
        qualities: 1..100 each.
        schedule: name or pattern, see :func:`tadan.schedule.parse_schedule`.
        model_name: exported model; None for the bundled one.
        weights: ``ema.safetensors`` of the run that was exported; without it the float network is restored from the
            model file, whose weights are those of the run in fewer bits.
    """
    codec = Codec(model_name)
    model = codec.model
    network = restore(model)
    if weights is not None:
        network.load_state_dict(load_weights(weights))
    transforms, plan = Transforms(model), parse_schedule(schedule)
    prices = []
    for quality in qualities:
        totals = np.zeros(3)
        for path in pictures:
            y, z = transforms.analyse(np.asarray(open_rgb(path)), quality)
            coder = LatentCoder(model, quality, plan)
            trial = coder.price(y, coder.round_z(z)[1])
            latents = coder.write(trial, z).latents
            totals += [*_float_bits(network, model.tables, y, latents, quality, plan), trial.bits]
        prices.append(Price(quality, *totals.tolist()))
    return prices


def _float_bits(
    network: TadanModel, tables: ScaleTables, y: NDArray[np.float32], latents: Latents, quality: int, plan: Schedule
) -> tuple[float, float]:
    y_hat, z_hat = (
        torch.from_numpy(v[None].astype(np.float32)) / 2**LATENT_FRACTION for v in (latents.y_hat, latents.z_hat)
    )
    predicted = network.entropy.parameters_for(y_hat, z_hat, plan, torch.tensor([float(quality)]))
    mean, log_scale = predicted.mean[0].double().numpy(), predicted.log_scale[0].double().numpy()
    symbols = np.rint(y - mean)
    scale = np.exp(log_scale) * math.sqrt(2)
    erf = torch.special.erfc
    low, high = ((np.abs(symbols) + d) / scale for d in (-0.5, 0.5))
    chance = 0.5 * (erf(torch.from_numpy(low)) - erf(torch.from_numpy(high))).numpy()
    ideal = -np.log2(np.maximum(chance, 2.0**-24)).sum()
    steps = np.log(scale_values())
    index = np.clip(np.rint((log_scale - steps[0]) / (steps[1] - steps[0])), 0, len(steps) - 1).astype(np.uint8)
    return float(ideal), estimate_bits(tables, symbols.astype(np.int32).ravel(), index.ravel())
