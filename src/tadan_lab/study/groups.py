"""Channel groups against fewer of them: entropy models that differ in nothing else, trained for equal steps.

All see the same frozen latents in the same order under the same schedules, which tell no groups apart. What the groups
of a position tell each other inside a stage is then the whole difference: in rate, steps, arithmetic and time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
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
from tadan.schedule import get_schedule
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


def decode_times(models: Mapping[int, Model], picture: Picture, repeat: int) -> dict[str, dict[str, float]]:
    """Milliseconds of the entropy decoder, networks included, for the latents of a picture; medians.

    Models are timed in turn, so that whatever else the machine does meets them alike.

    Args:
        models: by number of channel groups.
        picture: what is coded.
        repeat: rounds.

    Returns:
        by schedule of :data:`SCHEDULES` and number of groups.

    Raises:
        Corrupt: what was coded does not decode to the same latents.
    """
    y, z = picture.y_hat.astype(np.float32), picture.z_hat.astype(np.float32) / 2**LATENT_FRACTION
    out: dict[str, dict[str, float]] = {}
    for name in SCHEDULES:
        coders = {count: LatentCoder(one, picture.quality, get_schedule(name)) for count, one in models.items()}
        coded = {count: coder.encode(y, z) for count, coder in coders.items()}
        seconds: dict[int, list[float]] = {count: [] for count in coders}
        for _ in range(repeat):
            for count, coder in coders.items():
                began = time.perf_counter()
                [decoded] = coder.decode([coded[count].words], (y.shape[0], y.shape[1]))
                seconds[count].append(time.perf_counter() - began)
                if decoded.checksum() != coded[count].latents.checksum():
                    raise Corrupt("the integer networks just made do not decode what they coded; report this error")
        out[name] = {str(count): round(1000 * median(row), 3) for count, row in seconds.items()}
    return out


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
    exact: Model,
    entropy: EntropyModel,
    pictures: Sequence[Picture],
    originals: Sequence[Path],
) -> dict[str, Any]:
    """Rates of a trained entropy model under :data:`SCHEDULES`, and the arithmetic of decoding.

    Args:
        model: whose transforms gave the latents.
        exact: its integer networks (:func:`integer_model`).
        entropy: the trained model.
        pictures: latents of evaluation pictures at all qualities.
        originals: the evaluation pictures.

    Returns:
        ``group_sizes``, ``parameters``, and by schedule ``rows`` as of :func:`tadan_lab.study.training.evaluate`,
        ``stages`` and ``steps`` of the picture that is timed, and ``kmac`` per pixel of the entropy model; ``coded``
        as of :func:`coded`.
    """
    config, out = entropy.config, {}
    height, width = timed_picture(pictures).y_hat.shape[:2]
    for name in SCHEDULES:
        schedule = get_schedule(name)
        cost = decoder_cost(schedule, config)
        out[name] = {
            "rows": evaluate(entropy, schedule, pictures),
            "stages": schedule.stage_count(height, width),
            "steps": sequential_steps(schedule, config, height, width),
            "kmac": round(cost.total - cost.g_s, 4),
        }
    facts = {"group_sizes": list(config.group_sizes), "parameters": parameter_count(entropy)}
    streams = coded(model, exact, originals, sorted({one.quality for one in pictures}))
    return {**facts, "schedules": out, "coded": streams}


def timed_picture(pictures: Sequence[Picture]) -> Picture:
    """The one that decoding is timed on."""
    return pictures[len(pictures) // 2]
