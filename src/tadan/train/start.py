"""Where a run begins: fresh, from given weights, or where it stopped; which settings then hold.

A fresh model is the linear transform codec that suits the training pictures (:mod:`tadan.nn.klt`). One that starts from
another may have more residual blocks than that: they change nothing until they have learned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tadan.errors import Corrupt, InvalidInput, UnreadableInput
from tadan.models import ModelConfig, load_model
from tadan.nn.klt import start, start_small
from tadan.nn.model import TadanModel
from tadan.train.data import Pictures, draw_crops
from tadan.train.recipe import SHARES, Recipe, read_settings
from tadan.train.restore import initial_weights

#: Sizes that may rise when a run starts from a model.
GROWING = ("analysis_blocks", "body_blocks", "grid_blocks")


@dataclass(frozen=True)
class Start:
    """Settings and weights of a run; ``weights`` None for a fresh model, and for a run that goes on."""

    recipe: Recipe
    config: ModelConfig
    weights: dict[str, Tensor] | None
    resumed: bool


def begin(folder: Path, init: str | None, settings: Mapping[str, Any], sizes: Mapping[str, Any]) -> Start:
    """Settle how a run starts.

    A run that goes on keeps the settings that it had, but for those that ``settings`` name; the sizes of its model are
    fixed. So are those of a model that ``init`` names, but for :data:`GROWING`, which may rise. One that starts from a
    model for the eye trains for the eye.

    Args:
        folder: of the run.
        init: name or path of a model, or another run's ``ema.safetensors``; ignored by a run that goes on.
        settings: of the recipe.
        sizes: fields of the configuration of a fresh or a grown model.

    Raises:
        InvalidInput: ``sizes`` contradict the model that stands already, or are impossible together.
    """
    if (folder / "state.safetensors").exists():
        recipe, config = read_settings(folder)
        _same(config, sizes, f"the run in {folder}")
        return Start(replace(recipe, **settings), config, None, True)
    if init is None:
        return Start(Recipe(**settings), _fresh(sizes), None, False)
    stands, shares = _facts_of(init)
    config = replace(stands, **{name: sizes[name] for name in GROWING if sizes.get(name, 0) > getattr(stands, name)})
    _same(config, sizes, f"the model {init}")
    recipe, weights = Recipe(**{**shares, **settings}), initial_weights(init)
    return Start(recipe, config, weights if config == stands else _grown(weights, config, recipe.seed), False)


def _grown(weights: Mapping[str, Tensor], config: ModelConfig, seed: int) -> dict[str, Tensor]:
    """``weights`` and, as ``config`` has more blocks, fresh ones behind the others: their branches end in zeros."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {**TadanModel(config).state_dict(), **weights}


def _facts_of(init: str) -> tuple[ModelConfig, dict[str, float]]:
    """Sizes of what :func:`~tadan.train.restore.initial_weights` loads, and the shares of a recipe that suits it."""
    path = Path(init)
    if path.name != "ema.safetensors":
        model = load_model(init)
        return model.config, SHARES[model.tune]
    try:
        with safe_open(path, "np") as file:
            facts = file.metadata() or {}
            return ModelConfig.from_dict(json.loads(facts["config"])), SHARES[facts.get("tune", "psnr")]
    except (OSError, SafetensorError, KeyError) as error:
        raise UnreadableInput(f"cannot read averaged weights from {path}: {error}; check the path") from error


def _fresh(sizes: Mapping[str, Any]) -> ModelConfig:
    try:
        return ModelConfig.from_dict({**ModelConfig().to_dict(), **sizes})
    except Corrupt as error:
        raise InvalidInput(f"no model has these sizes: {error}") from error


def _same(config: ModelConfig, sizes: Mapping[str, Any], what: str) -> None:
    stands = asdict(config)
    other = sorted(name for name, value in sizes.items() if stands[name] != value)
    if other:
        raise InvalidInput(f"{what} has other sizes: {', '.join(other)}; start afresh with another --run and no --init")


LITE_SAMPLES = 4_000_000  # pixels that a lite g_s starts from
SAMPLES = 4_000_000  # eighths of the pixels that the principal components are fitted to
BATCH = 8


def start_linear(model: TadanModel, pictures: Pictures, recipe: Recipe) -> None:
    """Set the transforms, gains and first scales of ``model``, on the CPU, from crops of ``pictures``."""
    rng, size = np.random.default_rng(recipe.seed), recipe.largest_size
    draws = (draw_crops(pictures.shapes, BATCH, size, rng) for _ in range(SAMPLES // size**2))
    samples = (pictures.cut(draw, torch.device("cpu")) for draw in draws)
    model.set_start(start(model.g_a, model.g_s, samples))


@torch.no_grad()
def start_lite(model: TadanModel, teacher: TadanModel, pictures: Pictures, recipe: Recipe) -> None:
    """Give ``model`` all that ``teacher`` has but g_s, and a linear g_s for its latents, fitted to ``pictures``."""
    given = {name: value for name, value in teacher.state_dict().items() if not name.startswith("g_s.")}
    model.load_state_dict({**model.state_dict(), **given})
    rng, size = np.random.default_rng(recipe.seed), recipe.largest_size
    latents, shown = [], []
    for _ in range(LITE_SAMPLES // size**2 // BATCH + 1):
        picture = pictures.cut(draw_crops(pictures.shapes, BATCH, size, rng), torch.device("cpu"))
        quality = torch.from_numpy(rng.uniform(1, 100, BATCH)).float()
        y_hat = torch.round(model.analyse(picture, quality)[0])
        latents.append(y_hat * torch.exp(model.log_inverse_gain(quality)))
        shown.append(picture)
    start_small(model.g_s, torch.cat(latents), torch.cat(shown))
