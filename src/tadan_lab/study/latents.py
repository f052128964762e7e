"""Frozen latents on disk: what every context model of the study is trained and evaluated on.

g_a, h_a and the gains come from a model file and never change; y is rounded to whole steps, ``y_hat = round(y)``. The
codec itself rounds around the predicted mean, which would make the distortion depend on the context model; here it
is the same number for all, so that a difference in rate is the whole difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image

from tadan.codec.transforms import Transforms
from tadan.errors import InvalidInput
from tadan.exact.constants import LATENT_FRACTION, Z_LIMIT
from tadan.files import make_folder, write_atomically
from tadan.latents.coder import SYMBOL_LIMIT, residual_symbols
from tadan.models import Model
from tadan.pictures.folder import open_rgb
from tadan_lab.measure.metrics import psnr


@dataclass(frozen=True)
class Picture:
    """Latents of one evaluation picture at one quality.

    Attributes:
        name: of the file.
        quality: 1..100.
        pixels: of the picture.
        y_hat: int16 (h, w, latent), whole steps.
        z_hat: int16 (ceil(h/4), ceil(w/4), z_channels), Q6, as the networks read it.
        z_bits: of z under the model's tables, in the file.
        psnr: dB of ``g_s(y_hat)``, RGB.
    """

    name: str
    quality: int
    pixels: int
    y_hat: NDArray[np.int16]
    z_hat: NDArray[np.int16]
    z_bits: float
    psnr: float


class TrainingLatents:
    """Latents of all training crops, memory-mapped: ``y[quality]`` int16 (n, h, w, latent), ``z[quality]`` alike.

    The first ``trained`` pictures may be trained on; the others are held out.
    """

    def __init__(self, folder: Path) -> None:
        facts = json.loads((folder / "facts.json").read_text())
        self.names: list[str] = facts["names"]
        self.qualities: list[int] = facts["qualities"]
        self.trained: int = len(self.names) - facts["held_out"]
        self.y = {q: np.load(folder / f"y-{q}.npy", mmap_mode="r") for q in self.qualities}
        self.z = {q: np.load(folder / f"z-{q}.npy", mmap_mode="r") for q in self.qualities}


def _frozen(
    model: Model, transforms: Transforms, rgb: NDArray[np.uint8], qualities: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.int16], NDArray[np.int16], float]]:
    for quality in qualities:
        y, z = transforms.analyse(rgb, quality)
        y_hat = np.clip(np.rint(y), -SYMBOL_LIMIT, SYMBOL_LIMIT).astype(np.int16)
        mean, index = model.twin.z_mean[quality - 1], model.twin.z_index[quality - 1]
        symbols = residual_symbols(z, mean)
        bits = model.tables.bits(symbols.ravel(), np.broadcast_to(index, z.shape).ravel()).sum()
        z_hat = np.clip((symbols << LATENT_FRACTION) + mean, -Z_LIMIT, Z_LIMIT).astype(np.int16)
        yield quality, y_hat, z_hat, float(bits)


def cache_training(
    model: Model,
    pictures: Sequence[Path],
    qualities: Sequence[int],
    crop: int,
    held_out: int,
    folder: Path,
) -> None:
    """Write the latents of the centre of every picture that is large enough; nothing if they stand already.

    Args:
        model: whose transforms are frozen.
        pictures: training pictures.
        qualities: 1..100 each.
        crop: pixels a side of the centre that is kept, a multiple of 64.
        held_out: number of pictures at the end of the list that no training may see.
        folder: for ``y-Q.npy``, ``z-Q.npy`` and, last, ``facts.json``.

    Raises:
        InvalidInput: there are too few pictures, or the folder holds latents of another model or other qualities.
    """
    facts = folder / "facts.json"
    wanted = {"model": model.id.hex(), "qualities": list(qualities), "held_out": held_out}
    if facts.exists():
        stored = json.loads(facts.read_text())
        if {name: stored.get(name) for name in wanted} != wanted:
            raise InvalidInput(f"{folder} holds latents of another model or of other qualities; choose another --run")
        return
    usable = [path for path in pictures if _size(path) >= crop]
    if len(usable) <= held_out:
        raise InvalidInput(f"{len(usable)} training pictures of {crop} pixels a side; more than {held_out} are needed")
    make_folder(folder)
    transforms, config, side = Transforms(model), model.config, crop // 16
    shapes = {
        "y": (len(usable), side, side, config.latent),
        "z": (len(usable), side // 4, side // 4, config.z_channels),
    }
    files = {
        (kind, quality): open_memmap(folder / f"{kind}-{quality}.npy", "w+", np.int16, shape)
        for kind, shape in shapes.items()
        for quality in qualities
    }
    for number, path in enumerate(usable):
        rgb = np.asarray(open_rgb(path))
        top, left = (rgb.shape[0] - crop) // 2, (rgb.shape[1] - crop) // 2
        for quality, y_hat, z_hat, _ in _frozen(
            model, transforms, rgb[top : top + crop, left : left + crop], qualities
        ):
            files["y", quality][number], files["z", quality][number] = y_hat, z_hat
    for file in files.values():
        file.flush()
    write_atomically(facts, json.dumps({**wanted, "names": [path.name for path in usable]}).encode())


def cache_pictures(
    model: Model,
    pictures: Sequence[Path],
    qualities: Sequence[int],
    folder: Path,
) -> None:
    """Write the latents of whole evaluation pictures, one ``NAME-Q.npz`` each; those that stand are kept."""
    make_folder(folder)
    transforms = Transforms(model)
    for path in pictures:
        targets = {quality: folder / f"{path.stem}-{quality}.npz" for quality in qualities}
        if not all(target.exists() for target in targets.values()):
            rgb = np.asarray(open_rgb(path))
            for quality, y_hat, z_hat, z_bits in _frozen(model, transforms, rgb, qualities):
                shown = transforms.synthesise(y_hat.astype(np.int32) << LATENT_FRACTION, quality)
                facts = {
                    "name": path.stem,
                    "quality": quality,
                    "pixels": rgb.shape[0] * rgb.shape[1],
                    "z_bits": z_bits,
                    "psnr": psnr(rgb, shown[: rgb.shape[0], : rgb.shape[1]]),
                }
                temporary = targets[quality].with_suffix(".part.npz")
                np.savez(temporary, y_hat=y_hat, z_hat=z_hat, facts=np.array(json.dumps(facts)))
                temporary.replace(targets[quality])


def load_pictures(folder: Path, quality: int) -> list[Picture]:
    """Evaluation pictures at one quality, in the order of their names."""
    pictures = []
    for path in sorted(folder.glob(f"*-{quality}.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            pictures.append(Picture(**facts, y_hat=arrays["y_hat"], z_hat=arrays["z_hat"]))
    return pictures


def picture_facts(pictures: Sequence[Picture]) -> dict[str, float]:
    """Means over pictures of what the context model does not change: PSNR in dB, z in bits per pixel."""
    return {
        "psnr": float(np.mean([one.psnr for one in pictures])),
        "z_bpp": float(np.mean([one.z_bits / one.pixels for one in pictures])),
    }


def _size(path: Path) -> int:
    with Image.open(path) as image:
        return min(image.size)
