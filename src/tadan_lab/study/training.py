"""Training and evaluating entropy networks on frozen latents."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tadan.exact.constants import LATENT_FRACTION
from tadan.nn.entropy_model import EntropyModel, gaussian_bits
from tadan.nn.model import lambdas
from tadan.schedule import PatternSchedule, Schedule
from tadan.train.device import multiplies_bf16
from tadan_lab.study.latents import Picture, TrainingLatents


@dataclass(frozen=True)
class Fit:
    """How long and how fast a network of the study is trained; equal for all specialised ones.

    ``batch`` counts training crops of 512x512 pixels, each at a quality drawn for it, ``draws`` the schedules that
    a step averages over, each with its own batch.
    """

    steps: int
    lr: float
    batch: int = 4
    draws: int = 1
    lr_end: float = 1e-5
    warmup: int = 50
    clip: float = 1.0
    save_every: int = 250
    log_every: int = 50


Draw = Callable[[np.random.Generator], Schedule]
Log = Callable[[dict[str, Any]], None]


def train(
    network: EntropyModel, latents: TrainingLatents, draw: Draw, fit: Fit, seed: int, state: Path, log: Log
) -> None:
    """Train everything behind z_hat on the rate of y; goes on from ``state`` if that file exists.

    Batches follow from seed and step alone: networks trained with one seed see the same latents in the same order.

    Args:
        network: changed in place; h_a, which is frozen, is left out.
        latents: training latents.
        draw: schedule of a batch.
        fit: length and step size.
        seed: of the batches.
        state: checkpoint, written every ``fit.save_every`` steps and removed at the end.
        log: called with facts every ``fit.log_every`` steps.
    """
    trained = {n: p for n, p in network.named_parameters() if not n.startswith(("h_a.", "z_"))}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trained)
    optimizer = torch.optim.Adam(trained.values(), fit.lr, (0.9, 0.98), fused=True)
    step = _load(state, trained, optimizer) if state.exists() else 0
    lost: list[float] = []
    mark = time.monotonic()
    while step < fit.steps:
        rng = np.random.default_rng((seed, step))
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(fit, step)
        optimizer.zero_grad(set_to_none=True)
        for _ in range(fit.draws):
            y, z, quality = _batch(latents, fit.batch, rng)
            lam = lambdas(network.config, quality)
            with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bf16(torch.device("cpu"))):
                predicted = network.parameters_for(y, z, draw(rng), quality)
            bits = gaussian_bits(y - predicted.mean, predicted.log_scale).sum((1, 2, 3)) / (y.shape[1] * y.shape[2])
            # The rate grows about as sqrt(lambda): one per cent then weighs the same at every quality.
            loss = (bits * lam.rsqrt()).mean() / (1000 * fit.draws)
            loss.backward()
            lost.append(float(loss.detach()) * fit.draws)
        norm = torch.nn.utils.clip_grad_norm_(trained.values(), fit.clip)
        if bool(torch.isfinite(norm)):
            optimizer.step()
        step += 1
        if step % fit.log_every == 0:
            seconds, mark = (time.monotonic() - mark) / fit.log_every, time.monotonic()
            log({"step": step, "loss": round(float(np.mean(lost)), 5), "seconds_per_step": round(seconds, 4)})
            lost.clear()
        if step % fit.save_every == 0:
            _save(state, trained, optimizer, step)
    state.unlink(missing_ok=True)


def _batch(latents: TrainingLatents, batch: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    numbers = rng.integers(latents.trained, size=batch)
    qualities = rng.choice(latents.qualities, size=batch)
    y = np.stack([latents.y[q][n] for q, n in zip(qualities.tolist(), numbers.tolist(), strict=True)])
    z = np.stack([latents.z[q][n] for q, n in zip(qualities.tolist(), numbers.tolist(), strict=True)])
    return as_steps(y, 0), as_steps(z, LATENT_FRACTION), torch.from_numpy(qualities).float()


def as_steps(values: Any, fraction: int) -> Tensor:
    """Integer array in units of 2**-fraction steps -> float32 tensor in steps."""
    return torch.from_numpy(values.astype(np.float32)) / 2**fraction


def _learning_rate(fit: Fit, step: int) -> float:
    if step < fit.warmup:
        return fit.lr * (step + 1) / fit.warmup
    progress = (step - fit.warmup) / max(1, fit.steps - fit.warmup)
    return fit.lr_end + (fit.lr - fit.lr_end) * 0.5 * (1 + math.cos(math.pi * progress))


def _save(path: Path, trained: dict[str, Any], optimizer: torch.optim.Optimizer, step: int) -> None:
    tensors = {f"model/{name}": value.detach() for name, value in trained.items()}
    for name, value in trained.items():
        tensors |= {f"{key}/{name}": torch.as_tensor(one) for key, one in optimizer.state.get(value, {}).items()}
    save_weights(path, tensors, {"step": str(step)})


def _load(path: Path, trained: dict[str, Any], optimizer: torch.optim.Optimizer) -> int:
    with safe_open(path, "pt") as file, torch.no_grad():
        for full in file.keys():  # noqa: SIM118 (not a mapping)
            key, name = full.split("/")
            if key == "model":
                trained[name].copy_(file.get_tensor(full))
            else:
                optimizer.state[trained[name]][key] = file.get_tensor(full)
        return int(file.metadata()["step"])


def save_weights(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file through a temporary one."""
    temporary = path.with_suffix(".part")
    save_file({name: value.contiguous() for name, value in tensors.items()}, temporary, metadata)
    os.replace(temporary, path)


def parameter_count(network: EntropyModel) -> int:
    """Weights of everything behind z_hat."""
    return sum(p.numel() for n, p in network.named_parameters() if not n.startswith(("h_a.", "z_")))


@torch.no_grad()
def evaluate(network: EntropyModel, schedule: Schedule, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """Rate of every picture under a schedule, ideal code lengths of y; float32.

    Returns:
        for each picture ``name``, ``quality``, ``bpp`` (y and z) and ``stages``, bits per latent of each stage (of all
        together for scans).
    """
    rows = []
    for picture in pictures:
        y, z = as_steps(picture.y_hat[None], 0), as_steps(picture.z_hat[None], LATENT_FRACTION)
        predicted = network.parameters_for(y, z, schedule, torch.tensor([float(picture.quality)]))
        bits = gaussian_bits(y - predicted.mean, predicted.log_scale)[0].double().numpy()
        rows.append(
            {
                "name": picture.name,
                "quality": picture.quality,
                "bpp": (float(bits.sum()) + picture.z_bits) / picture.pixels,
                "stages": _by_stage(bits, schedule),
            }
        )
    return rows


def _by_stage(bits: Any, schedule: Schedule) -> list[float]:
    if not isinstance(schedule, PatternSchedule):
        return [float(bits.mean())]
    h, w, _ = bits.shape
    groups = np.stack(np.split(bits, schedule.groups, axis=2))
    stage = schedule.stage_map(h, w)
    return [float(groups[stage == one].mean()) for one in range(int(schedule.pattern.max()) + 1)]
