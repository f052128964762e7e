"""What the tests of the evaluation share: crops of photographs, noise, a fast codec in Tadan's place, programs."""

import os
import shutil
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs

from tadan_lab.measure import available_rivals
from tadan_lab.measure.rivals import PillowCodec


def save_crops(folder: Path, names: tuple[str, str] = ("a.png", "b.png")) -> Path:
    """Write a picture of 96x64 and one of 200x200 pixels, and a file that is none."""
    folder.mkdir()
    Image.fromarray(photographs.coffee()[100:164, 200:296]).save(folder / names[0])
    Image.fromarray(photographs.chelsea()[50:250, 100:300]).save(folder / names[1])
    (folder / "notes.txt").write_text("not a picture")
    return folder


@dataclass(frozen=True)
class StandIn(PillowCodec):
    """WebP under the name of Tadan."""

    model_id: str = "0123456789abcdef"


def stand_in(schedule: str = "balanced", *_more: object, **_options: object) -> StandIn:
    """What :class:`tadan_lab.measure.TadanCodec` is called with goes nowhere but into the name."""
    webp = available_rivals(threads=1)["webp"]
    values = {field.name: getattr(webp, field.name) for field in fields(PillowCodec)}
    return StandIn(**{**values, "name": "tadan" if schedule == "balanced" else f"tadan-{schedule}"})


def noisy(picture: np.ndarray, sigma: float) -> np.ndarray:
    """``picture`` with Gaussian noise of ``sigma`` levels, the same noise every time."""
    noise = np.random.default_rng(0).normal(0.0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).round().astype(np.uint8)


def needs_program(name: str) -> pytest.MarkDecorator:
    """Skip a test where a program is missing, unless TADAN_TESTS_NO_SKIP=1 (as .ci/run sets it): then it fails."""
    missing = shutil.which(name) is None and os.environ.get("TADAN_TESTS_NO_SKIP") != "1"
    return pytest.mark.skipif(missing, reason=f"{name} is not on the PATH")
