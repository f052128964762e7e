"""Crops of photographs in a folder, and a fast codec that takes Tadan's place, for the tests of the evaluation."""

from dataclasses import dataclass, fields
from pathlib import Path

from PIL import Image
from skimage import data as photographs

from tadan.evaluate import available_rivals
from tadan.evaluate.rivals import PillowCodec


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
    """What :class:`tadan.evaluate.TadanCodec` is called with goes nowhere but into the name."""
    webp = available_rivals(threads=1)["webp"]
    values = {field.name: getattr(webp, field.name) for field in fields(PillowCodec)}
    return StandIn(**{**values, "name": "tadan" if schedule == "balanced" else f"tadan-{schedule}"})
