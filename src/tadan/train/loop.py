"""The training loop: resumable, one model for all qualities, evaluated on held-out pictures while it runs."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tadan.errors import InvalidInput
from tadan.models.config import ModelConfig, quality_lambda
from tadan.nn.context import SpecialisedContext
from tadan.nn.klt import start
from tadan.nn.model import LAMBDA_REFERENCE, TadanModel
from tadan.schedule import get_schedule
from tadan.train.data import crops, draw_schedule, load_pictures

HELD_OUT = 24  # pictures at the end of the list that are never trained on
Z_PRICE_START = 0.05
START_SAMPLES = 4_000_000  # eighths of the pixels that the principal components are fitted to
EVALUATED = (10, 30, 50, 70, 90)


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run. Times and sizes: steps, pictures, pixels.

    ``size`` applies up to the share ``switch`` of all steps, then ``late_size`` and ``late_batch``.
    ``specialise`` names a schedule: its own context network with a kernel per pattern replaces the any-schedule one.
    ``finetune`` trains the entropy networks alone, with hard rounding, from weights that already stand.
    """

    steps: int = 24_000
    batch: int = 8
    size: int = 128
    switch: float = 0.7
    late_batch: int = 5
    late_size: int = 192
    lr: float = 1e-3
    lr_end: float = 1e-5
    warmup: int = 200
    clip: float = 1.0
    z_warmup: int = 4000
    ema: float = 0.999
    precision: str = "bf16"
    muon: bool = True  # orthogonalised updates for the inner matrices; Adam alone otherwise
    threads: int = 2
    seed: int = 1
    log_every: int = 200
    save_every: int = 1000
    finetune: bool = False
    specialise: str = ""


class Trainer:
    """Holds model, average, optimiser and position; :meth:`run` goes on from the last checkpoint in ``folder``.

    Files in ``folder``: ``state.safetensors`` (resume), ``ema.safetensors`` (averaged weights, what is exported),
    ``log.jsonl`` (one line per report), ``recipe.json``.
    """

    def __init__(
        self, folder: Path, data: Path, recipe: Recipe, config: ModelConfig, init: dict[str, Tensor] | None = None
    ) -> None:
        torch.set_num_threads(recipe.threads)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.recipe, self.config = folder, recipe, config
        pictures = load_pictures(data, max(recipe.size, recipe.late_size))
        if len(pictures) <= HELD_OUT:
            raise InvalidInput(f"{len(pictures)} pictures below {data}; training needs more than {HELD_OUT}")
        self.pictures, self.held_out = pictures[:-HELD_OUT], pictures[-HELD_OUT:]
        torch.manual_seed(recipe.seed)
        self.model = build_model(config, recipe)
        self.step = 0
        self.trained = {
            name: value
            for name, value in self.model.named_parameters()
            if not recipe.finetune or (name.startswith("entropy.") and not name.startswith("entropy.h_a."))
        }
        for name, value in self.model.named_parameters():
            value.requires_grad_(name in self.trained)
        self.optimizers = _optimizers(self.trained, recipe)
        state = folder / "state.safetensors"
        if state.exists():
            self._load(state)
        elif init is not None:
            self.model.load_state_dict(init)
        else:
            rng, size = np.random.default_rng(recipe.seed), max(recipe.size, recipe.late_size)
            samples = (crops(self.pictures, 8, size, rng) for _ in range(START_SAMPLES // size**2))
            self.model.set_start(start(self.model.g_a, self.model.g_s, samples))
        if not state.exists():
            self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        (folder / "recipe.json").write_text(
            json.dumps({"recipe": asdict(recipe), "config": config.to_dict()}, indent=1)
        )

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to ``lr_end``."""
        recipe = self.recipe
        if step < recipe.warmup:
            return recipe.lr * (step + 1) / recipe.warmup
        progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
        return recipe.lr_end + (recipe.lr - recipe.lr_end) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def run(self, seconds: float = math.inf) -> None:
        """Train until all steps are done or ``seconds`` have passed; the position is saved either way."""
        begun, mark, lost, skipped = time.monotonic(), time.monotonic(), [], 0
        while self.step < self.recipe.steps and time.monotonic() - begun < seconds:
            loss = self._one_step()
            if loss is None:
                skipped += 1
            else:
                lost.append(loss)
            self.step += 1
            if self.step % self.recipe.log_every == 0:
                elapsed, mark = time.monotonic() - mark, time.monotonic()
                self._report(
                    {
                        "step": self.step,
                        "loss": round(float(np.mean(lost or [math.nan])), 5),
                        "skipped": skipped,
                        "seconds_per_step": round(elapsed / self.recipe.log_every, 4),
                    }
                )
                lost.clear()
            if self.step % self.recipe.save_every == 0:
                self.save()
                self._report({"step": self.step, "held_out": self.evaluate()})
        self.save()

    def _one_step(self) -> float | None:
        recipe = self.recipe
        rng = np.random.default_rng((recipe.seed, self.step))  # a resumed run sees the batches it would have seen
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)
        late = self.step >= recipe.switch * recipe.steps
        batch, size = (recipe.late_batch, recipe.late_size) if late else (recipe.batch, recipe.size)
        picture = crops(self.pictures, batch, size, rng)
        quality = torch.from_numpy(rng.uniform(1, 100, batch)).float()
        schedule = get_schedule(recipe.specialise) if recipe.specialise else draw_schedule(rng)
        lam = torch.tensor([quality_lambda(self.config, q) for q in quality.tolist()])
        with self._autocast():
            losses = self.model(picture, quality, schedule, hard=recipe.finetune)
        # An expensive z is given up before h_s has learned to use it ("posterior collapse"): let its price rise slowly.
        risen = 1.0 if recipe.finetune else min(1.0, self.step / max(1, recipe.z_warmup))
        z_price = Z_PRICE_START + (1 - Z_PRICE_START) * risen
        rate = losses.y_bpp + z_price * losses.z_bpp
        # J grows about as sqrt(lambda); dividing makes one per cent weigh the same at every quality.
        weight = (lam / LAMBDA_REFERENCE).rsqrt()
        distortion = 0 if recipe.finetune else lam * 255**2 * losses.mse
        loss = (weight * (distortion + rate)).mean()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate(self.step)
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.trained.values(), recipe.clip)
        if not torch.isfinite(norm):
            return None
        for optimizer in self.optimizers:
            optimizer.step()
        decay = min(recipe.ema, (self.step + 1) / (self.step + 20))
        with torch.no_grad():
            mine = [self.average[name] for name in self.trained]
            torch._foreach_lerp_(mine, [value.detach() for value in self.trained.values()], 1 - decay)
        return float(loss.detach())

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bf16")

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        """Hard-rounded bpp and PSNR of the average on the held-out pictures, at some qualities, schedule 2x2."""
        model = build_model(self.config, self.recipe)
        model.load_state_dict(self.average)
        size = min(256, *(min(picture.shape[:2]) for picture in self.held_out)) // 64 * 64
        picture = crops(self.held_out, HELD_OUT, size, np.random.default_rng(0))
        schedule = get_schedule(self.recipe.specialise or "2x2")
        rows: dict[str, Any] = {}
        total = 0.0
        for quality in EVALUATED:
            with self._autocast():
                losses = model(picture, torch.full((HELD_OUT,), float(quality)), schedule, hard=True)
            lam = quality_lambda(self.config, quality)
            rate, mse = losses.y_bpp + losses.z_bpp, losses.mse
            score = float((lam * 255**2 * mse + rate).mean())
            total += math.log(score)
            rows[str(quality)] = [
                round(float(rate.mean()), 4),
                round(float(losses.z_bpp.mean()), 4),
                round(float(-10 * mse.log10().mean()), 3),
                round(score, 4),
            ]
        return {"bpp_zbpp_psnr_J": rows, "mean_log_J": round(total / len(EVALUATED), 5)}

    def _report(self, row: Mapping[str, Any]) -> None:
        line = json.dumps({"time": time.strftime("%Y-%m-%d %H:%M:%S"), **row})
        with open(self.folder / "log.jsonl", "a") as log:
            log.write(line + "\n")
        print(line, flush=True)

    def save(self) -> None:
        """Write the resume state and the averaged weights, each to a temporary file that is then renamed."""
        tensors: dict[str, Tensor] = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.average.items()}
        for name, value in self.trained.items():
            for optimizer in self.optimizers:
                for key, moment in optimizer.state.get(value, {}).items():
                    tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(moment)
        _save(self.folder / "state.safetensors", tensors, {"step": str(self.step)})
        _save(self.folder / "ema.safetensors", self.average, {"config": json.dumps(self.config.to_dict())})

    def _load(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            self.step = int(file.metadata()["step"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        self.model.load_state_dict({n[6:]: v for n, v in tensors.items() if n.startswith("model/")})
        self.average = {n[8:]: v for n, v in tensors.items() if n.startswith("average/")}
        owner = {value: opt for opt in self.optimizers for group in opt.param_groups for value in group["params"]}
        for full, moment in tensors.items():
            if full.startswith("optimizer/"):
                _, key, name = full.split("/")
                owner[self.trained[name]].state[self.trained[name]][key] = moment


def build_model(config: ModelConfig, recipe: Recipe) -> TadanModel:
    """Model with random weights; with the context network that the recipe asks for."""
    model = TadanModel(config)
    if recipe.specialise:
        model.entropy.context = SpecialisedContext(config, get_schedule(recipe.specialise))
    return model


def _optimizers(trained: Mapping[str, torch.nn.Parameter], recipe: Recipe) -> list[torch.optim.Optimizer]:
    inner = {name for name in trained if recipe.muon and name.endswith(".weight") and _is_inner(name)}
    adam = torch.optim.Adam([v for n, v in trained.items() if n not in inner], recipe.lr, (0.9, 0.98), fused=True)
    if not inner:
        return [adam]
    matrices = [trained[name] for name in sorted(inner)]
    muon = torch.optim.Muon(matrices, recipe.lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    return [adam, muon]


def _is_inner(name: str) -> bool:
    """Matrices between hidden layers; what touches pixels, latents, probabilities or biases stays with Adam."""
    return ".expand." in name or ".project." in name or name == "entropy.layer.weight"


def load_weights(path: Path) -> dict[str, Tensor]:
    """Averaged weights of a run (``ema.safetensors``)."""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    temporary = path.with_suffix(".tmp")
    save_file({name: value.detach().contiguous() for name, value in tensors.items()}, temporary, metadata)
    os.replace(temporary, path)
