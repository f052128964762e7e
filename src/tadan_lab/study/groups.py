"""Channel groups against fewer of them: entropy models that differ in nothing else, trained for equal steps.

All see the same frozen latents in the same order under the same schedules, which tell no groups apart. What the groups
of a position tell each other inside a stage is then the whole difference: in rate, steps, arithmetic and time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tadan.codec.transforms import Transforms
from tadan.entropy import ScaleTables
from tadan.errors import Corrupt, InvalidInput
from tadan.exact.constants import LATENT_FRACTION
from tadan.latents.coder import LatentCoder
from tadan.models import Model, ModelConfig
from tadan.models.config import QUALITY_MAX, QUALITY_MIN
from tadan.models.macs import decoder_cost, sequential_steps
from tadan.nn.entropy_model import EntropyModel
from tadan.nn.model import TadanModel
from tadan.pictures.folder import open_rgb
from tadan.schedule import Schedule, get_schedule
from tadan.train.calibration import calibrate
from tadan.train.export import WeightBits
from tadan.train.restore import restore
from tadan.train.twin import entropy_tensors
from tadan_lab.measure.metrics import psnr
from tadan_lab.study.latents import Picture, TrainingLatents
from tadan_lab.study.plan import CODED
from tadan_lab.study.training import evaluate, parameter_count

SCHEDULES = ("hyper", "checkerboard", "4x4-opt-4", "4x4-opt-8")
CALIBRATION_SIZE = 256  # pixels a side of the training crops that the integer networks are calibrated on
LEAST_DEVIATION = 1e-2  # of a latent that is nearly always zero


def merged(config: ModelConfig, groups: int) -> ModelConfig:
    """The configuration with neighbouring channel groups joined; a window shows as many embedded values as before.

    Raises:
        InvalidInput: ``groups`` does not divide the groups of the configuration.
    """
    if groups not in config.schedule_groups:
        allowed = ", ".join(map(str, config.schedule_groups))
        raise InvalidInput(f"{groups} channel groups cannot be joined from {config.groups}; choose from: {allowed}")
    sizes, embeds = (
        tuple(np.reshape(one, (groups, -1)).sum(axis=1).tolist()) for one in (config.group_sizes, config.embed_sizes)
    )
    return replace(config, group_sizes=sizes, embed_sizes=embeds)


@torch.no_grad()
def fresh(config: ModelConfig, network: EntropyModel, latents: TrainingLatents) -> EntropyModel:
    """Entropy model with random weights that starts at the spread of the latents; the same for all configurations.

    Args:
        config: of the new model.
        network: whose h_a, which is frozen, and whose probabilities of z are taken over.
        latents: training latents.
    """
    torch.manual_seed(0)
    out = EntropyModel(config)
    spreads = [np.std(latents.y[q][: latents.trained], axis=(0, 1, 2)) for q in latents.qualities]
    logs = np.log(np.maximum(np.array(spreads), LEAST_DEVIATION))
    out.set_spread(torch.from_numpy(np.exp(logs.mean(axis=0))).float())
    knots = np.linspace(QUALITY_MIN, QUALITY_MAX, config.knots)
    scales = np.stack([np.interp(knots, latents.qualities, column) for column in logs.T], axis=1)
    out.outlet_bias.values[:, config.latent :] = torch.from_numpy(scales).float()
    for part in ("h_a", "z_mean", "z_log_scale"):
        out.get_submodule(part).load_state_dict(network.get_submodule(part).state_dict())
    return out


def crops(pictures: Sequence[Path], size: int) -> list[Tensor]:
    """Centres of pictures, float32 (1, size, size, 3) in 0..1, to calibrate on; never evaluation pictures."""
    out = []
    for path in pictures:
        rgb = np.asarray(open_rgb(path))
        top, left = (rgb.shape[0] - size) // 2, (rgb.shape[1] - size) // 2
        out.append(torch.from_numpy(rgb[top : top + size, left : left + size].copy()).float()[None] / 255)
    return out


def integer_model(model: Model, entropy: EntropyModel, calibration: Sequence[Tensor]) -> Model:
    """The integer networks of an entropy model as a model that codes latents, and nothing else."""
    network: TadanModel = restore(model)
    network.entropy = entropy
    tensors = entropy_tensors(network, calibrate(network, calibration), WeightBits())
    tables = {f"tables.{name}": value for name, value in ScaleTables.gaussian().to_arrays().items()}
    return Model(entropy.config, {**tensors, **tables}, {"name": f"{entropy.config.groups} channel groups"})


def decode_seconds(model: Model, picture: Picture, schedule: Schedule, repeat: int) -> float:
    """Median time of the entropy decoder, networks included, for the latents of a picture; single-threaded products.

    Raises:
        Corrupt: what was coded does not decode to the same latents.
    """
    y, z = picture.y_hat.astype(np.float32), picture.z_hat.astype(np.float32) / 2**LATENT_FRACTION
    coder = LatentCoder(model, picture.quality, schedule)
    payload, latents, _ = coder.encode(y, z)
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        [decoded] = coder.decode([payload], (y.shape[0], y.shape[1]))
        times.append(time.perf_counter() - began)
        if decoded.checksum() != latents.checksum():
            raise Corrupt("the integer networks just made do not decode what they coded; report this error")
    return median(times)


def coded(model: Model, exact: Model, originals: Sequence[Path], qualities: Sequence[int]) -> dict[str, Any]:
    """Real streams under :data:`CODED`: latents rounded around the means that the integer networks predict.

    Args:
        model: whose transforms make latents and pictures.
        exact: the integer networks.
        originals: evaluation pictures.
        qualities: 1..100 each.

    Returns:
        ``bpp`` of the streams of latents, and ``psnr`` in dB of what they decode to; by quality, means over pictures.

    Raises:
        Corrupt: a stream does not decode to the latents that it was made of.
    """
    transforms, schedule, bpp, quality_of = Transforms(model), get_schedule(CODED), {}, {}
    for quality in qualities:
        coder, rates, levels = LatentCoder(exact, quality, schedule), [], []
        for path in originals:
            rgb = np.asarray(open_rgb(path))
            y, z = transforms.analyse(rgb, quality)
            payload, latents, _ = coder.encode(y, z)
            [decoded] = coder.decode([payload], y.shape[:2])
            if decoded.checksum() != latents.checksum():
                raise Corrupt(f"{path.name} does not decode to what was coded; report this error")
            shown = transforms.synthesise(decoded.y_hat, quality)
            rates.append(8 * len(payload) / (rgb.shape[0] * rgb.shape[1]))
            levels.append(psnr(rgb, shown[: rgb.shape[0], : rgb.shape[1]]))
        bpp[str(quality)], quality_of[str(quality)] = round(fmean(rates), 6), round(fmean(levels), 4)
    return {"bpp": bpp, "psnr": quality_of}


def measure(
    model: Model,
    entropy: EntropyModel,
    calibration: Sequence[Tensor],
    pictures: Sequence[Picture],
    originals: Sequence[Path],
    repeat: int,
) -> dict[str, Any]:
    """Rates of a trained entropy model under :data:`SCHEDULES`, and what decoding costs.

    Args:
        model: whose transforms gave the latents.
        entropy: the trained model.
        calibration: training crops.
        pictures: latents of evaluation pictures at all qualities; decoding is timed on the middle one.
        originals: the evaluation pictures.
        repeat: rounds of timing.

    Returns:
        ``group_sizes``, ``parameters``, and by schedule ``rows`` as of :func:`tadan_lab.study.training.evaluate`,
        ``stages`` and ``steps`` of the picture that is timed, ``kmac`` per pixel of the entropy model, and ``ms``;
        ``coded`` as of :func:`coded`.
    """
    config, timed = entropy.config, pictures[len(pictures) // 2]
    exact, out = integer_model(model, entropy, calibration), {}
    height, width = timed.y_hat.shape[:2]
    for name in SCHEDULES:
        schedule = get_schedule(name)
        cost = decoder_cost(schedule, config)
        out[name] = {
            "rows": evaluate(entropy, schedule, pictures),
            "stages": schedule.stage_count(height, width),
            "steps": sequential_steps(schedule, config, height, width),
            "kmac": round(cost.total - cost.g_s, 4),
            "ms": round(1000 * decode_seconds(exact, timed, schedule, repeat), 3),
        }
    facts = {"group_sizes": list(config.group_sizes), "parameters": parameter_count(entropy)}
    streams = coded(model, exact, originals, sorted({one.quality for one in pictures}))
    return {**facts, "timed": [timed.name, timed.quality], "schedules": out, "coded": streams}
