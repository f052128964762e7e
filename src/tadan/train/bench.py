"""How fast this machine trains, and on what it spends the time: ``tadan model train --bench``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from torch.profiler import ProfilerActivity, profile

from tadan.errors import InvalidInput
from tadan.train.device import uses_bf16
from tadan.train.loop import Trainer

PROFILED = 3  # steps
#: Kinds of work by the beginning of an operation's name; the first that fits counts.
KINDS = {
    "matrix products": ("aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm", "aten::linear", "mkldnn::_linear"),
    "depthwise convolutions": (
        "aten::convolution",
        "aten::_conv",
        "aten::mkldnn_conv",
        "aten::thnn_conv",
        "aten::_slow_conv",
        "aten::cudnn_conv",
    ),
    "copies and casts": (
        "aten::copy_",
        "aten::cat",
        "aten::_to_copy",
        "aten::contiguous",
        "aten::clone",
        "aten::stack",
    ),
    "optimiser and average": ("aten::_fused_adam", "aten::lerp_", "aten::_foreach", "Optimizer"),
}
REST = "elementwise and the rest"


@dataclass(frozen=True)
class Pace:
    """Result of :func:`measure_pace`.

    Attributes:
        seconds: of one step, median.
        pixels: of one step.
        arithmetic: ``bf16`` or ``fp32``.
        split: share of the time of the operations by kind, 0..1.
    """

    seconds: float
    pixels: int
    arithmetic: str
    split: dict[str, float]

    @property
    def megapixels_per_second(self) -> float:
        """Of training pictures, all processes together."""
        return self.pixels / self.seconds / 1e6

    def lines(self) -> list[str]:
        """For people."""
        step = f"{self.pixels:,} pixels in {self.seconds:.3f} s, {self.arithmetic}"
        head = f"{self.megapixels_per_second:.3f} megapixels/s: {step}"
        return [head, *(f"{share:6.1%}  {kind}" for kind, share in self.split.items())]


def measure_pace(trainer: Trainer, steps: int = 12) -> Pace:
    """Time steps of a run that has not begun, from its first step on; its weights are spoilt afterwards.

    Args:
        trainer: fresh.
        steps: timed ones, after two that warm up; three more are profiled.

    Raises:
        InvalidInput: every step was skipped because it was not finite.
    """
    taken: list[float] = []
    pixels = 0
    for trainer.step in range(steps + 2):
        begun = time.perf_counter()
        facts, _ = trainer.one_step()
        if facts is not None and trainer.step >= 2:
            taken.append(time.perf_counter() - begun)
            pixels = int(facts.pixels)
    if not taken:
        raise InvalidInput("no step was finite; lower the learning rate with --set lr=")
    activities = [ProfilerActivity.CPU]
    if trainer.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        for _ in range(PROFILED):
            trainer.step += 1
            trainer.one_step()
    on_gpu = trainer.device.type == "cuda"
    spent = [
        (event.key, event.self_device_time_total if on_gpu else event.self_cpu_time_total)
        for event in profiler.key_averages()
    ]
    arithmetic = "bf16" if uses_bf16(trainer.device, trainer.recipe) else "fp32"
    return Pace(median(taken), pixels, arithmetic, split_by_kind(spent))


def split_by_kind(spent: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Shares of time by :data:`KINDS`, largest first.

    Args:
        spent: name of an operation, and its own time in any unit.
    """
    sums = dict.fromkeys([*KINDS, REST], 0.0)
    for name, own in spent:
        kind = next((kind for kind, starts in KINDS.items() if name.startswith(starts)), REST)
        sums[kind] += own
    total = sum(sums.values()) or 1.0
    return {kind: value / total for kind, value in sorted(sums.items(), key=lambda item: -item[1])}


def seconds_per_step(trainer: Trainer, tries: int = 5) -> float:
    """Mean over the whole recipe of a run that has not begun, from steps of both crop sizes that are then undone."""
    recipe = trainer.recipe
    weights = {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}
    average = {name: value.clone() for name, value in trainer.average.items()}
    means = []
    for first in (0, recipe.switch_step):
        taken = []
        for trainer.step in range(first, first + tries + 1):
            begun = time.monotonic()
            trainer.one_step()
            taken.append(time.monotonic() - begun)
        means.append(float(np.mean(taken[1:])))  # the first one compiles, allocates, fills caches
    trainer.model.load_state_dict(weights)
    trainer.step, trainer.average = 0, average
    for optimizer in trainer.optimizers:
        optimizer.state.clear()
        for group in optimizer.param_groups:
            group.pop("step", None)
    return means[0] * recipe.switch + means[1] * (1 - recipe.switch)
