"""From a model and a folder of pictures to a lite decoder of it (:mod:`tadan.models.lite`).

All of the model stays as it is but g_s, which is a smaller one. It begins as the best linear g_s of its width for the
latents, and learns from the pictures and from what the large g_s shows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tadan.errors import InvalidInput
from tadan.files import write_atomically
from tadan.models import ModelConfig, load_model
from tadan.models.lite import OWN_SIZES, LiteDecoder, read_lite
from tadan.nn.layers import gains_of
from tadan.nn.model import TadanModel
from tadan.train.checkpoint import load_weights
from tadan.train.evaluation import evaluate
from tadan.train.finetune import spend
from tadan.train.loop import Trainer
from tadan.train.recipe import SHARES, Recipe, read_settings
from tadan.train.restore import restore, restore_lite

#: A fifth of the arithmetic of the bundled model's g_s. The body is nearly as wide as the latents are many: high
#: qualities need almost all of them, and what a narrow body leaves out no training brings back.
SIZES: dict[str, Any] = {
    "body_width": 256, "body_blocks": 1, "body_expansion": 1, "grid": 48, "grid_hidden": 48, "grid_blocks": 1,
}  # fmt: skip
SETTINGS: dict[str, Any] = {
    "lite": True, "transform_lr": 2.0, "edge_lr": 0.3, "kernel_lr": 3.0, "warmup": 50, "z_warmup": 0, "ema": 0.99,
    "batch": 8, "size": 192, "late_batch": 5, "late_size": 256, "reuse": 4, "log_every": 50, "save_every": 250,
}  # fmt: skip


class LiteTraining:
    """One training of a lite decoder in a folder; the same arguments go on with it later.

    Args:
        folder: of the run.
        data: pictures, of 256 pixels a side or more.
        model: name or path of the model, with its encoder.
        settings: of the recipe, over :data:`SETTINGS`.
        sizes: of the decoder, over :data:`SIZES`; those of :data:`~tadan.models.lite.OWN_SIZES`.
        device: as the trainer takes it.
        init: lite decoder to start from, in place of the linear start; it may be of an older model with the same
            sizes. Ignored by a run that goes on.

    Raises:
        InvalidInput: sizes that a lite decoder does not choose, or of another reach, or others than ``init`` has; or
            the folder holds a run of another model.
        ModelMissing: there is no such model, or it holds the decoder alone.
        NotOurFile, Corrupt, UnreadableInput: ``init`` is no lite decoder, or damaged.
    """

    def __init__(
        self,
        folder: Path,
        data: Path,
        model: str,
        settings: Mapping[str, Any],
        sizes: Mapping[str, Any],
        device: str = "auto",
        init: Path | None = None,
    ) -> None:
        self._model, self._before = load_model(model), folder / "before.json"
        teacher = restore(self._model)
        self.resumed = (folder / "state.safetensors").exists()
        weights: dict[str, Tensor] | None = None
        if self.resumed:
            recipe, config = read_settings(folder)
            recipe = replace(recipe, **settings)
            _check(config, self._model.config, sizes, f"the run in {folder}")
        else:
            recipe = Recipe(**{**SETTINGS, **SHARES[self._model.tune], **settings})
            older = None if init is None else read_lite(init)
            given = SIZES if older is None else {name: getattr(older.config, name) for name in OWN_SIZES}
            config = replace(self._model.config, **{**given, **sizes})
            _check(config, self._model.config, sizes, "a lite decoder")
            if older is not None:
                _check(older.config, config, sizes, f"the lite decoder {init}")
                weights = restore_lite(older, teacher).state_dict()
        self._teacher, self._steps_stand = teacher, self.resumed or "steps" in settings
        self.trainer = Trainer(folder, data, recipe, config, weights, device, teacher)

    def train(self, seconds: float) -> int | None:
        """Spend ``seconds``; returns the signal that ended it early, or None."""
        begun = time.monotonic()
        if not self.resumed:
            write_atomically(self._before, json.dumps(self._full()).encode())
        return spend(self.trainer, begun, seconds, self._steps_stand)

    def _full(self) -> dict[str, Any]:
        """What the large decoder is worth on the held-out pictures."""
        trainer = self.trainer
        weights = self._teacher.state_dict()
        return evaluate(weights, self._model.config, trainer.recipe, trainer.held_out, trainer.device)

    def lines(self) -> list[str]:
        """For people: both decoders on held-out pictures, a line per quality."""
        full, lite = json.loads(self._before.read_text()), self.trainer.evaluate()
        lines = []
        for quality, row in lite["bpp_zbpp_psnr_J"].items():
            large = full["bpp_zbpp_psnr_J"][quality]
            points = f", {row[4] - large[4]:+.1f} points of what is seen" if len(row) > 4 else ""
            lines.append(
                f"quality {quality:>3}: {large[2]:.2f} dB, lite {row[2]:.2f} ({row[2] - large[2]:+.2f}){points}"
            )
        return lines

    def export(self, name: str) -> LiteDecoder:
        """The decoder of the averaged weights."""
        trainer = self.trainer
        network = TadanModel(trainer.config)
        network.load_state_dict(load_weights(trainer.folder / "ema.safetensors"))
        by_block = np.concatenate([by.values.detach().numpy() for by in gains_of(network.g_s)], axis=1)
        tensors: dict[str, Any] = {
            "graph.g_s": np.frombuffer(network.g_s.graph(), np.uint8),
            "quality.log_inverse_gain": network.log_inverse_gain.values.detach().numpy().astype(np.float32),
            "quality.log_g_s": by_block.astype(np.float16),
        }
        facts = {"name": name, "of": self._model.id_hex, "tune": self._model.tune}
        return LiteDecoder(trainer.config, tensors, facts)


def _check(config: ModelConfig, whole: ModelConfig, sizes: Mapping[str, Any], what: str) -> None:
    own, given = config.to_dict(), whole.to_dict()
    other = sorted(name for name in own if name not in OWN_SIZES and own[name] != given[name])
    if other:
        raise InvalidInput(f"{what} has other {', '.join(other)} than the model; choose {', '.join(sorted(OWN_SIZES))}")
    changed = sorted(name for name, value in sizes.items() if getattr(config, name) != value)
    if changed:
        raise InvalidInput(f"{what} has other sizes: {', '.join(changed)}; start afresh in another folder")
    if config.reach > whole.reach:
        raise InvalidInput(f"{what} would reach over {config.reach} positions, its model {whole.reach}; take less")
