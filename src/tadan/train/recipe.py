"""Settings of a training run, and what follows from them for each step: batch, crop size, learning rate."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tadan.errors import Corrupt, InvalidInput
from tadan.files import write_atomically
from tadan.models import ModelConfig

OPTIMIZERS = ("muon", "adam", "adamw", "soap")
PRECISIONS = ("auto", "bf16", "fp32")
SWITCHES = ("auto", "on", "off")
SHOWING = ("g_s.", "log_inverse_gain.")
DECODING = (*SHOWING, "entropy.")  # parts that a decoder has; and h_a, which is left as it is
CROP_MULTIPLE = 64  # z stands at 1/64 of the picture


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run. Times and sizes: steps, pictures, pixels. docs/training.md explains each.

    ``batch`` counts pictures of one process: several processes take that many each, and no learning rate changes by
    itself. ``size`` applies up to the share ``switch`` of all steps, then ``late_size`` and ``late_batch``.
    ``specialise`` names a schedule: the only one that the model is trained and judged under.
    ``finetune`` trains what decodes (g_s, h_s, context and parameter networks), from weights that already stand, on the
    latents that an encoder finds in ``search`` steps. ``lite`` trains g_s alone, for the latents that stand.

    Raises:
        InvalidInput: a value is outside its range; the message names it.
    """

    steps: int = 24_000
    batch: int = 8
    size: int = 128
    switch: float = 0.7
    late_batch: int = 5
    late_size: int = 192
    lr: float = 1e-3
    lr_end: float = 1e-5
    transform_lr: float = 0.2  # factor of lr for g_a and g_s, which start nearly right
    edge_lr: float = 0.1  # factor of lr for their matrices that touch pixels and latents
    kernel_lr: float = 0.8  # factor of lr for their depthwise kernels, gains and biases
    warmup: int = 200
    clip: float = 1.0  # largest gradient norm
    cooldown: int = 0  # last steps, in which a constant rate falls to lr_end; 0: half a cosine over the whole run
    z_warmup: int = 4000  # steps over which the price of z rises to 1; 0: full price at once
    quality_power: float = 0.5  # a picture's J weighs lambda**-this: 0.5 makes one per cent equal, 0 favours quality
    eye: float = 0.0  # share of the distortion that is what the eye sees, in place of squared error; at most 0.9
    near: float = 0.0  # share of what is seen that is a likeness of Butteraugli, the rest of SSIMULACRA2
    ema: float = 0.999
    precision: str = "auto"  # bf16 where the processor multiplies it, else fp32
    optimizer: str = "muon"
    shrunk: float = 0.4  # share of the batches cut larger, by up to 2, and made smaller
    exposed: float = 0.25  # share of the pictures made darker or brighter
    compile: str = "auto"  # of the transforms; auto: on a GPU
    threads: int = 0  # of the CPU; 0: OMP_NUM_THREADS, else all cores
    memory_gb: float = 8.0  # of decoded pictures; what is beyond is left out, with a note
    seed: int = 1
    log_every: int = 200
    save_every: int = 1000
    finetune: bool = False
    lite: bool = False
    distill: float = 0.5  # share of the error of a lite decoder that is against the large one
    reuse: int = 1  # times that a lite decoder learns from a crop, on average
    search: int = 0
    specialise: str = ""

    def __post_init__(self) -> None:
        for name, choices in (("optimizer", OPTIMIZERS), ("precision", PRECISIONS), ("compile", SWITCHES)):
            if getattr(self, name) not in choices:
                raise InvalidInput(f"{name} is one of {', '.join(choices)}, not {getattr(self, name)!r}")
        for name in (
            "steps",
            "batch",
            "late_batch",
            "log_every",
            "save_every",
            "lr",
            "transform_lr",
            "edge_lr",
            "kernel_lr",
            "clip",
            "memory_gb",
            "reuse",
        ):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidInput(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("warmup", "cooldown", "z_warmup", "threads", "seed", "lr_end", "search"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInput(f"{name} must not be negative, not {getattr(self, name)}")
        for name in ("size", "late_size"):
            if getattr(self, name) < CROP_MULTIPLE or getattr(self, name) % CROP_MULTIPLE:
                raise InvalidInput(f"{name} is a multiple of {CROP_MULTIPLE} pixels, not {getattr(self, name)}")
        for name, end in (
            ("switch", 1.0),
            ("quality_power", 1.0),
            ("shrunk", 1.0),
            ("exposed", 1.0),
            ("distill", 1.0),
            ("near", 1.0),
            ("ema", 0.999999),
        ):
            if not 0 <= getattr(self, name) <= end:
                raise InvalidInput(f"{name} is in 0..{end}, not {getattr(self, name)}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Inverse of ``dataclasses.asdict``.

        Raises:
            Corrupt: a setting is unknown: the run was started by a newer version.
        """
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise Corrupt(f"recipe with unknown settings {sorted(unknown)}; upgrade tadan")
        return cls(**values)

    @property
    def settled(self) -> bool:
        """Whether what makes latents no longer learns."""
        return self.finetune or self.lite

    def trains(self, name: str) -> bool:
        """Whether the parameter of that name is trained."""
        if self.lite:
            return name.startswith(SHOWING)
        return not self.finetune or (name.startswith(DECODING) and not name.startswith("entropy.h_a."))

    @property
    def looks_near(self) -> bool:
        """Whether a likeness of Butteraugli is part of what is seen."""
        return self.eye > 0 and self.near > 0

    @property
    def tune(self) -> str:
        """What the run trains for, as a model file says it."""
        return "eye" if self.eye > 0 else "psnr"

    @property
    def largest_size(self) -> int:
        """Pixels a side of the largest crop, and so of the smallest usable picture."""
        return max(self.size, self.late_size)

    @property
    def switch_step(self) -> int:
        """First step that takes ``late_batch`` crops of ``late_size``."""
        return math.ceil(self.switch * self.steps)

    def crops_at(self, step: int) -> tuple[int, int]:
        """Pictures of one process in a step, and pixels a side of its crops."""
        late = step >= self.switch * self.steps
        return (self.late_batch, self.late_size) if late else (self.batch, self.size)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to ``lr_end``; with ``cooldown`` constant, and at last like 1 - sqrt.

        A constant rate goes on in any number of pieces; the shape of its end is that of Haegele et al. 2024,
        arXiv 2405.18392, section 3.
        """
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.cooldown:
            left = min(1.0, max(0, self.steps - step) / self.cooldown)
            return self.lr_end + (self.lr - self.lr_end) * (1 - math.sqrt(1 - left))
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr_end + (self.lr - self.lr_end) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def price_of_z(self, step: int) -> float:
        """Factor of z's rate; it rises slowly, or z is given up before h_s can use it ("posterior collapse")."""
        if self.settled or step >= self.z_warmup:
            return 1.0
        return Z_PRICE_START + (1 - Z_PRICE_START) * step / self.z_warmup


Z_PRICE_START = 0.05
#: Shares of what a model is trained for, by what its file says; with less squared error colours drift.
SHARES: dict[str, dict[str, float]] = {"eye": {"eye": 0.85, "near": 0.4}, "psnr": {"eye": 0.0, "near": 0.0}}


def write_settings(folder: Path, recipe: Recipe, config: ModelConfig) -> None:
    """Write ``recipe.json``, from which a run goes on with the settings that it had."""
    text = json.dumps({"recipe": asdict(recipe), "config": config.to_dict()}, indent=1)
    write_atomically(folder / "recipe.json", text.encode() + b"\n")


def read_settings(folder: Path) -> tuple[Recipe, ModelConfig]:
    """Inverse of :func:`write_settings`.

    Raises:
        Corrupt: the file is missing, damaged or of a newer version.
    """
    path = folder / "recipe.json"
    try:
        stored = json.loads(path.read_text())
        return Recipe.from_dict(stored["recipe"]), ModelConfig.from_dict(stored["config"])
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise Corrupt(f"cannot read the settings of the run in {path}: {error}; choose another --run") from error
