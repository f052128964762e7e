"""All probes of one model on crops of given pictures, as one JSON-able value, and that as tables in markdown."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tadan.errors import InvalidInput
from tadan.models import load_model
from tadan.nn.model import TadanModel
from tadan.pictures.folder import open_rgb
from tadan.schedule import get_schedule
from tadan.train.data import SUFFIXES
from tadan.train.recipe import CROP_MULTIPLE
from tadan.train.start import begin
from tadan_lab.study.components import fit_components
from tadan_lab.study.interfaces import Replay, interfaces
from tadan_lab.study.probes import TOLERANCE, block_components, by_quality, cost, distortion, headroom, width_needed

SCHEDULE = "balanced"
FIT_PICTURES = 24  # components of interfaces; as many as are measured at least
BLOCK_PICTURES = 240  # components of blocks: with 24 pictures 320 of them leave a third more error
FIT_SIZE = 256  # pixels a side: 16 positions of z

Grid = tuple[list[str], list[list[str]]]  # header and rows of a table


@dataclass(frozen=True)
class ProbeRecipe:
    """What is measured on.

    Attributes:
        qualities: 1..100 each.
        crops: pictures that are measured, one crop of each.
        size: pixels a side of a crop, a multiple of 64.
        steps: of Adam, for the headroom.
        seed: of the draw of pictures and crops.
    """

    qualities: tuple[int, ...] = (20, 50, 80)
    crops: int = 4
    size: int = 128
    steps: int = 12
    seed: int = 0


@dataclass(frozen=True)
class Crops:
    """Crops of different pictures, float32 (n, size, size, 3) in 0..1: to measure on, and to fit components on."""

    measured: Tensor
    others: Tensor


def load_network(name: str) -> tuple[TadanModel, str]:
    """Float network, frozen, and the id of the model: of a model by name or path, or a run's ``ema.safetensors``.

    Raises:
        ModelMissing: nothing has that name.
        UnreadableInput: the weights cannot be read.
    """
    start = begin(Path(os.devnull), name, {}, {})  # a folder that holds no run
    model = TadanModel(start.config)
    model.load_state_dict(start.weights or {})
    averaged = Path(name).name == "ema.safetensors"
    return model.eval().requires_grad_(False), "averaged weights of a run" if averaged else load_model(name).id.hex()


def draw_crops(folder: Path, recipe: ProbeRecipe) -> Crops:
    """Crops of pictures below a folder, drawn by the seed.

    Raises:
        InvalidInput: fewer than twice as many pictures as crops are large enough.
        UnreadableInput: a picture cannot be read.
    """
    if recipe.size % CROP_MULTIPLE:
        raise InvalidInput(f"crops of {recipe.size} pixels a side; give a multiple of {CROP_MULTIPLE}")
    rng = np.random.default_rng(recipe.seed)
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    wanted = recipe.crops + max(recipe.crops, BLOCK_PICTURES)
    usable: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
    for number in rng.permutation(len(found)):
        pixels = np.asarray(open_rgb(found[number]))
        if min(pixels.shape[:2]) >= recipe.size:
            most = max(recipe.size, FIT_SIZE)  # hundreds of whole photographs would not fit into memory
            row, col = (int(rng.integers(max(1, length - most + 1))) for length in pixels.shape[:2])
            usable.append(pixels[row : row + most, col : col + most].copy())
        if len(usable) == wanted:
            break
    if len(usable) < 2 * recipe.crops:
        raise InvalidInput(
            f"{len(usable)} pictures of {recipe.size} pixels a side below {folder}, but {recipe.crops} crops need "
            f"{2 * recipe.crops}, half of them to fit components on; add pictures or lower --crops"
        )
    measured, others = usable[: recipe.crops], usable[recipe.crops :]
    smallest = min(min(pixels.shape[:2]) for pixels in others)
    largest = min(FIT_SIZE, smallest // CROP_MULTIPLE * CROP_MULTIPLE)
    return Crops(_cut(measured, recipe.size, rng), _cut(others, largest, rng))


def _cut(pictures: Sequence[np.ndarray[Any, Any]], size: int, rng: np.random.Generator) -> Tensor:
    out = []
    for pixels in pictures:
        row, col = (int(rng.integers(length - size + 1)) for length in pixels.shape[:2])
        out.append(pixels[row : row + size, col : col + size])
    return torch.from_numpy(np.stack(out)).float() / 255


def probe(
    model: TadanModel, crops: Crops, recipe: ProbeRecipe, step: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Run all probes; ``step`` is called with the name of each interface when it is done.

    Returns:
        JSON-able: ``cost``, J at each quality; ``interfaces``, one row each in the order of computation;
        ``distortion``, at each quality. Qualities are keys, as text. A row: ``name``, ``width`` in channels,
        ``components`` (:func:`~tadan_lab.study.probes.width_needed`), ``paid``, ``headroom`` as a share of J with a
        value for every position, ``constant`` the same with one vector a picture, None where the file pays.
    """
    schedule = get_schedule(SCHEDULE)
    fit = crops.others[: max(recipe.crops, FIT_PICTURES)]
    components = fit_components(model, fit, recipe.qualities, schedule)
    quality = torch.tensor([float(one) for one in recipe.qualities]).repeat_interleave(len(crops.measured))
    replay = Replay(model, crops.measured.repeat(len(recipe.qualities), 1, 1, 1), quality, schedule)
    rows = []
    for at in interfaces(model):
        rows.append(
            {
                "name": at.name,
                "width": components[at.name].width,
                "components": _keys(width_needed(replay, at, components[at.name])),
                "paid": at.paid,
                "headroom": _keys(headroom(replay, at, recipe.steps)),
                "constant": None if at.paid else _keys(headroom(replay, at, recipe.steps, constant=True)),
            }
        )
        step(at.name)
    shares = distortion(replay, block_components(crops.others, model.config.latent))
    return {
        "cost": _keys(by_quality(cost(model, replay.losses, quality), quality)),
        "interfaces": rows,
        "distortion": {str(one): {name: round(value, 4) for name, value in row.items()} for one, row in shares.items()},
    }


def _keys(values: Mapping[int, float]) -> dict[str, float]:
    return {str(one): value if isinstance(value, int) else round(value, 5) for one, value in values.items()}


def content(
    model: TadanModel, name: str, identity: str, recipe: ProbeRecipe, results: Mapping[str, Any]
) -> dict[str, Any]:
    """Results with all that they depend on, for the JSON file."""
    facts = {"model": name, "id": identity, "schedule": SCHEDULE, "tolerance": TOLERANCE}
    settings = {"qualities": list(recipe.qualities), "crops": recipe.crops, "size": recipe.size}
    return {**facts, **settings, "steps": recipe.steps, "seed": recipe.seed, **results}


def tables(content: Mapping[str, Any]) -> dict[str, str]:
    """Tables as markdown, by title."""
    return {title: markdown(header, rows) for title, (header, rows) in grids(content).items()}


def grids(content: Mapping[str, Any]) -> dict[str, Grid]:
    """Header and rows of every table by its title; in brackets what the file does not pay for."""
    return {
        "Components that cost 1 % of J": _widths(content),
        "Gain of a change, in percent of J": _gains(content),
        "Squared error": _distortion(content),
    }


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _widths(content: Mapping[str, Any]) -> Grid:
    qualities = [str(one) for one in content["qualities"]]
    rows = []
    for row in content["interfaces"]:
        needed = [row["components"][one] for one in qualities]
        share = f"{100 * max(needed) / row['width']:.0f} %"
        rows.append([row["name"], str(row["width"]), *map(str, needed), share])
    return ["interface", "width", *(f"q{one}" for one in qualities), "most, of width"], rows


def _gains(content: Mapping[str, Any]) -> Grid:
    qualities = [str(one) for one in content["qualities"]]
    rows = []
    for row in content["interfaces"]:
        gains = [f"{100 * row['headroom'][one]:.1f}" for one in qualities]
        if row["paid"]:
            rows.append([row["name"], *gains, *[""] * len(qualities)])
        else:
            constant = [f"({100 * row['constant'][one]:.2f})" for one in qualities]
            rows.append([row["name"], *(f"({gain})" for gain in gains), *constant])
    return ["interface", *(f"q{one}" for one in qualities), *(f"even, q{one}" for one in qualities)], rows


def _distortion(content: Mapping[str, Any]) -> Grid:
    header = ["quality", "J", "dB", "transform alone", "principal components alone"]
    rows = [
        [
            one,
            f"{content['cost'][one]:.4f}",
            f"{row['psnr']:.2f}",
            f"{100 * row['transform']:.0f} %",
            f"{100 * row['klt']:.0f} %",
        ]
        for one, row in content["distortion"].items()
    ]
    return header, rows
