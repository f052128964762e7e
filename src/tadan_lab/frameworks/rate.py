"""What a schedule is worth in bits: contexts of CompressAI's shape, trained on the frozen latents of one model.

The latents and z of the bundled model stand still, so distortion is the same for all and the rate is the result. First
h_s and g_ep are trained without context; then, from these and with h_s frozen, every context with g_ep alone, on the
same batches. A small setting: the leading channels of y, one quality, few steps.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tadan.exact.constants import LATENT_FRACTION
from tadan.interop.compressai import MultistageContext, MultistageLatentCodec
from tadan.interop.compressai.loading import load
from tadan.models import load_model
from tadan.pictures.folder import list_pictures
from tadan.schedule import parse_schedule
from tadan_lab.frameworks.attention import WindowedAttentionContext
from tadan_lab.study.latents import TrainingLatents, cache_pictures, cache_training, load_pictures
from tadan_lab.study.run import training_pictures

load()
from compressai.layers import conv3x3, subpel_conv3x3  # noqa: E402

CROP = 512  # pixels a side of a training crop
HELD_OUT = 1


@dataclass(frozen=True)
class RateRecipe:
    """Setting of the comparison.

    Attributes:
        quality: of the model, 1..100.
        channels: leading ones of y, those of the largest variance.
        pictures: for training.
        steps: of each training.
        batch: crops of 512 pixels a side.
        lr: of Adam at the start; falls to a fiftieth along half a cosine.
        window: rows and columns of the context.
        seed: of weights and batches.
    """

    quality: int = 34
    channels: int = 96
    pictures: int = 300
    steps: int = 500
    batch: int = 2
    lr: float = 1e-3
    window: int = 5
    seed: int = 0


#: What is compared, by name: what makes a context of (channels, window).
CONTEXTS: dict[str, Callable[[int, int], nn.Module]] = {
    name: (lambda m, window, name=name: MultistageContext(m, 2 * m, name, window))  # type: ignore[misc]
    for name in ("hyper", "checkerboard", "2x2", "4x4", "4x4-opt-8", "raster")
}
CONTEXTS["2x2, attention"] = lambda m, window: WindowedAttentionContext(m, 2 * m, "2x2", window, 128)
CONTEXTS["4x4, attention"] = lambda m, window: WindowedAttentionContext(m, 2 * m, "4x4", window, 128)
CONTEXTS["4x4, attention 4 x"] = lambda m, window: WindowedAttentionContext(m, 2 * m, "4x4", window, 288)


class FrozenSetting:
    """Latents, a hyper synthesis and parameter networks of one size for all contexts.

    Args:
        data: folder of training pictures.
        pictures: folder of evaluation pictures.
        folder: where latents are kept.
        recipe: setting.
        model: name or path.
    """

    def __init__(self, data: Path, pictures: Path, folder: Path, recipe: RateRecipe, model: str | None = None) -> None:
        frozen = load_model(model)
        chosen = training_pictures(data)[: recipe.pictures + HELD_OUT]
        cache_training(frozen, chosen, [recipe.quality], CROP, HELD_OUT, folder / "training")
        cache_pictures(frozen, list_pictures(pictures), [recipe.quality], folder / "pictures")
        self.recipe = recipe
        self.training = TrainingLatents(folder / "training")
        self.pictures = load_pictures(folder / "pictures", recipe.quality)
        y = self.training.y[recipe.quality][:32, ..., : recipe.channels]
        self.spread = torch.from_numpy(y.reshape(-1, recipe.channels).astype(np.float32).std(0)).clamp_min(0.5)
        torch.manual_seed(recipe.seed)
        m = recipe.channels
        self.h_s = nn.Sequential(
            conv3x3(frozen.config.z_channels, 96),
            nn.LeakyReLU(),
            subpel_conv3x3(96, 96, 2),
            nn.LeakyReLU(),
            subpel_conv3x3(96, 2 * m, 2),
        )
        self.g_ep = nn.Sequential(
            nn.Conv2d(4 * m, m * 10 // 3, 1),
            nn.LeakyReLU(),
            nn.Conv2d(m * 10 // 3, m * 8 // 3, 1),
            nn.LeakyReLU(),
            nn.Conv2d(m * 8 // 3, 2 * m, 1),
        )

    def tensors(self, y_hat: Any, z_hat: Any) -> tuple[Tensor, Tensor]:
        """Integer arrays (B, h, w, C) -> y in steps (B, channels, h, w), z in steps."""
        y, z = (torch.from_numpy(np.ascontiguousarray(one, np.float32)).permute(0, 3, 1, 2) for one in (y_hat, z_hat))
        return y[:, : self.recipe.channels].contiguous(), z / 2**LATENT_FRACTION

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Latents of a step, the same for every context."""
        numbers = np.sort(
            np.random.default_rng((self.recipe.seed, step)).choice(self.training.trained, self.recipe.batch)
        )
        q = self.recipe.quality
        return self.tensors(self.training.y[q][numbers], self.training.z[q][numbers])

    def bits(self, codec: MultistageLatentCodec, h_s: nn.Module, y: Tensor, z: Tensor) -> Tensor:
        """Ideal code length of y, in bits."""
        spread = self.spread[:, None, None]
        scales, means = codec.parameters_of(y / spread, h_s(z)).chunk(2, 1)
        scales = (nn.functional.softplus(scales) * spread).clamp_min(0.11)
        upper, lower = ((y - means * spread + half) / scales for half in (0.5, -0.5))
        masses = torch.special.ndtr(upper) - torch.special.ndtr(lower)
        return -masses.clamp_min(1e-9).log2().sum()


def compare_rates(
    setting: FrozenSetting, names: Sequence[str], log: Callable[[str], None] = lambda text: None
) -> list[dict[str, Any]]:
    """Train and evaluate contexts; one row each, in the order of ``names``: ``context``, ``bpp`` and more.

    Raises:
        InvalidInput: from :mod:`tadan.schedule`, a context is unknown.
    """
    h_s, start = copy.deepcopy(setting.h_s), _codec(setting, _make(setting, "hyper"))
    _train(setting, start, h_s, [*h_s.parameters(), *start.entropy_parameters.parameters()], "start", log)
    rows = []
    for name in names:
        torch.manual_seed(setting.recipe.seed)
        context = _make(setting, name)
        codec = _codec(setting, context)
        codec.entropy_parameters.load_state_dict(start.entropy_parameters.state_dict())
        started = time.monotonic()
        _train(setting, codec, h_s.requires_grad_(False), list(codec.parameters()), name, log)
        row = {
            "context": name,
            "weights": sum(p.numel() for p in context.parameters()),
            **_evaluate(setting, codec, h_s),
        }
        row["kmac"] = _kmac(context)
        rows.append({**row, "seconds": round(time.monotonic() - started)})
        log(f"{name}: {row['bpp']:.5f} bpp")
    return rows


def _kmac(context: Any) -> float:
    """Thousand multiplications of a context for one position, mean over the positions of a large plane."""
    schedule, k = context.schedule, context.kernel_size
    rows, cols = schedule.period
    windows = schedule.visibility(rows, cols, k // 2).reshape(schedule.groups, rows * cols, -1)
    visible = windows.sum(-1).mean(0)  # of each position of the period
    if isinstance(context, WindowedAttentionContext):
        return float(np.mean([context.macs(v) if v else 0.0 for v in visible])) / 1000
    return float(visible.mean()) * context.channels * context.out_channels / 1000


def _make(setting: FrozenSetting, name: str) -> Any:
    make = CONTEXTS.get(name)
    m, window = setting.recipe.channels, setting.recipe.window
    return make(m, window) if make else MultistageContext(m, 2 * m, parse_schedule(name), window)


def _codec(setting: FrozenSetting, context: Any) -> MultistageLatentCodec:
    g_ep = copy.deepcopy(setting.g_ep)
    return MultistageLatentCodec(entropy_parameters=g_ep, context_prediction=context)


def _train(
    setting: FrozenSetting,
    codec: MultistageLatentCodec,
    h_s: nn.Module,
    parameters: list[nn.Parameter],
    name: str,
    log: Callable[[str], None],
) -> None:
    recipe = setting.recipe
    trained = [one for one in parameters if one.requires_grad]
    optimizer = torch.optim.Adam(trained, recipe.lr, (0.9, 0.98))
    lost = 0.0
    for step in range(recipe.steps):
        along = 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * (0.02 + 0.98 * along) * min(1.0, (step + 1) / 30)
        y, z = setting.batch(step)
        loss = setting.bits(codec, h_s, y, z) / y.numel()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        lost = 0.95 * lost + 0.05 * float(loss.detach()) if step else float(loss.detach())
        if (step + 1) % 100 == 0:
            log(f"{name}, step {step + 1}: {lost:.4f} bits a latent")


@torch.no_grad()
def _evaluate(setting: FrozenSetting, codec: MultistageLatentCodec, h_s: nn.Module) -> dict[str, float]:
    rates = []
    for picture in setting.pictures:
        y, z = setting.tensors(picture.y_hat[None], picture.z_hat[None])
        rates.append((float(setting.bits(codec, h_s, y, z)) + picture.z_bits) / picture.pixels)
    return {"bpp": float(np.mean(rates)), "pictures": len(rates)}
