"""From a model and a folder of pictures to a model that is better on such pictures, in a given time."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tadan.files import write_atomically
from tadan.train.bench import seconds_per_step
from tadan.train.device import choose_device
from tadan.train.export import export_run
from tadan.train.loop import Trainer
from tadan.train.start import begin

#: Short and gentle, and only what decodes: a g_a that moves would first lose what the last phase of the model's own
#: training gained. Steps are counted once their pace is known; export needs crops of 256, too.
GENTLE: dict[str, Any] = {
    "finetune": True, "search": 2, "lr": 1e-4, "lr_end": 2e-6, "warmup": 20, "z_warmup": 0, "ema": 0.99,
    "batch": 4, "size": 192, "late_batch": 3, "late_size": 256, "log_every": 20, "save_every": 100,
}  # fmt: skip
ON_GPU = {"batch": 32, "late_batch": 16}
FILL = 0.9  # of the time, planned; the rest is for the pace to vary
FEWEST = 20  # steps
WARMUP = 10  # at most this part of the steps


class Finetune:
    """One fine-tuning in a folder; the same arguments go on with it later.

    Args:
        folder: of the run.
        data: the user's pictures, of 256 pixels a side or more.
        init: model to start from.
        settings: of the recipe, over :data:`GENTLE`.
        device: as the trainer takes it.
    """

    def __init__(self, folder: Path, data: Path, init: str, settings: Mapping[str, Any], device: str = "auto") -> None:
        gpu = ON_GPU if choose_device(device).type == "cuda" else {}
        resumed = (folder / "state.safetensors").exists()
        start = begin(folder, init, settings if resumed else {**GENTLE, **gpu, **settings}, {})
        self.trainer = Trainer(folder, data, start.recipe, start.config, start.weights, device)
        self.resumed, self._data = start.resumed, data
        self._steps_given = "steps" in settings
        self._before = folder / "before.json"

    def train(self, seconds: float) -> int | None:
        """Spend ``seconds``, of which a first evaluation and the measuring of the pace are a part.

        Returns:
            the signal that ended it early, or None.
        """
        begun = time.monotonic()
        if not self.resumed:
            write_atomically(self._before, json.dumps(self.trainer.evaluate()).encode())
        return spend(self.trainer, begun, seconds, self.resumed or self._steps_given)

    def compare(self) -> BeforeAfter:
        """Held-out scores before the first step and now."""
        return BeforeAfter(json.loads(self._before.read_text()), self.trainer.evaluate())

    def export(self, name: str, pictures: int = 16) -> tuple[bytes, list[str]]:
        """Model file, calibrated on the user's pictures, and the report of its overflow proof."""
        return export_run(self.trainer.folder, self._data, name, pictures)


def spend(trainer: Trainer, begun: float, seconds: float, steps_stand: bool) -> int | None:
    """Train until ``seconds`` after ``begun`` (:func:`time.monotonic`), of which an evaluation is over.

    Unless ``steps_stand``, the pace is measured first and the number of steps set to what fits.

    Returns:
        the signal that ended it early, or None.
    """
    if not steps_stand:
        evaluation = time.monotonic() - begun
        pace = seconds_per_step(trainer)
        left = seconds - (time.monotonic() - begun) - evaluation
        steps = max(FEWEST, math.floor(FILL * left / pace))
        trainer.set_length(steps, min(trainer.recipe.warmup, steps // WARMUP))
    return trainer.run(seconds - (time.monotonic() - begun))


class BeforeAfter:
    """Scores of two sets of weights on the same held-out crops, as :func:`~tadan.train.evaluation.evaluate` gives."""

    def __init__(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        self._before, self._after = before, after

    @property
    def percent(self) -> float:
        """Change of the geometric mean of J over the qualities; negative is better."""
        return 100 * math.expm1(self._after["mean_log_J"] - self._before["mean_log_J"])

    @property
    def better(self) -> bool:
        """Whether J fell."""
        return self.percent < 0

    def lines(self) -> list[str]:
        """A line per quality, and the mean."""
        lines = []
        rows = self._after["bpp_zbpp_psnr_J"]
        for quality, (bpp, _, psnr, score, *_) in rows.items():
            old_bpp, _, old_psnr, old, *_ = self._before["bpp_zbpp_psnr_J"][quality]
            lines.append(
                f"quality {quality:>3}: J {old:.4f} -> {score:.4f} ({100 * (score / old - 1):+.2f} %), "
                f"{old_bpp:.3f} -> {bpp:.3f} bpp, {old_psnr:.2f} -> {psnr:.2f} dB"
            )
        return [*lines, f"mean over qualities: J {self.percent:+.2f} % (lower is better)"]
