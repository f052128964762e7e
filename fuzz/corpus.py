"""Seeds of the fuzz targets: small pictures, coded here with the bundled model, of every kind that the format knows.

``python fuzz/corpus.py`` writes them to ``fuzz/corpus/`` for inspection; run.py does it by itself.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from tadan.bitstream import Header, Limits, Stream, read_stream, write_stream
from tadan.codec import stored
from tadan.codec.codec import Codec
from tadan.entropy import ScaleTables, StageEncoder
from tadan.exact.packing import pack_exact, weight_shapes
from tadan.models import Model, ModelConfig
from tadan.models.model import GRAPHS
from tadan.pictures.reading import pack_alpha

FOLDER = Path(__file__).parent / "corpus"
LIMITS = Limits(max_pixels=2**14, max_metadata_bytes=2**16, max_tiles=64, max_tile_bytes=2**20)
CODEC = Codec(threads=1, limits=LIMITS)
TABLES = ScaleTables.gaussian()
FORMS = ("png", "webp", "jpeg")


@dataclass(frozen=True)
class Seed:
    """A valid file and what a decoder must make of it."""

    data: bytes
    stream: Stream
    picture: Image.Image


def crop(name: str, height: int, width: int) -> NDArray[np.uint8]:
    """uint8 (height, width, 3) of a photograph of scikit-image."""
    photograph: NDArray[np.uint8] = getattr(skimage.data, name)()
    return np.ascontiguousarray(photograph[60 : 60 + height, 100 : 100 + width, :3])


def _with_alpha(colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = colour.shape[:2]
    alpha = np.add.outer(np.arange(height), 2 * np.arange(width)).astype(np.uint8)
    return np.dstack([colour, alpha])


def _coded() -> dict[str, bytes]:
    grey = crop("coffee", 16, 16)[:, :, 1]
    with_metadata = Image.fromarray(crop("astronaut", 20, 24))
    with_metadata.info.update(exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(6), xmp=b"<x/>", icc_profile=bytes(range(40)))
    return {
        "rgb": CODEC.encode(crop("coffee", 20, 24), quality=40, effort=0, fallback=False),
        "point": CODEC.encode(crop("coffee", 1, 1), quality=1, effort=0, fallback=False),
        "best": CODEC.encode(crop("chelsea", 48, 33), quality=100, schedule="best", effort=0, fallback=False),
        "grey": CODEC.encode(grey, quality=10, schedule="fast", effort=0, fallback=False),
        "grey-alpha": CODEC.encode(
            _with_alpha(grey[:, :, None]), quality=90, schedule="hyper", effort=0, fallback=False
        ),
        "rgba": CODEC.encode(_with_alpha(crop("chelsea", 5, 17)), quality=5, effort=0, fallback=False),
        "raster": CODEC.encode(crop("astronaut", 32, 32), quality=70, schedule="raster", effort=0, fallback=False),
        "wavefront": CODEC.encode(
            crop("astronaut", 17, 64), quality=30, schedule="wavefront", effort=0, fallback=False
        ),
        "rotated": CODEC.encode(crop("rocket", 40, 32), quality=80, schedule="2x2-rotated", effort=0, fallback=False),
        "inline": CODEC.encode(crop("rocket", 64, 32), quality=60, schedule="0,1,2/3,4,5", effort=0, fallback=False),
        "metadata": CODEC.encode(with_metadata, quality=50, effort=0, fallback=False),
        "row": CODEC.encode(crop("astronaut", 64, 256), quality=20, effort=0, tile=64, fallback=False),
        "tiles": CODEC.encode(crop("coffee", 100, 128), quality=50, schedule="fast", effort=0, tile=64, fallback=False),
        "tiles-alpha": CODEC.encode(
            _with_alpha(crop("chelsea", 70, 65)), quality=60, effort=0, tile=64, fallback=False
        ),
    }


def _payload(form: str, pixels: NDArray[np.uint8]) -> bytes:
    if form == "jpeg":
        return stored.as_jpeg(pixels, 80)
    return stored.as_png(pixels) if form == "png" else stored.as_webp(pixels) or b""


def _stored() -> dict[str, bytes]:
    seeds = {}
    for form in FORMS:
        for mode, pixels in (("L", crop("coffee", 12, 10)[:, :, 0]), ("RGBA", crop("astronaut", 9, 16))):
            height, width = pixels.shape[:2]
            header = Header(width, height, mode, 75, None, None, content=form)
            alpha = pack_alpha(np.full((height, width), 200, np.uint8)) if mode == "RGBA" else None
            tile = stored.tile_of(form, _payload(form, pixels), pixels, alpha)
            seeds[f"{form}-{mode.lower()}"] = write_stream(Stream(header, {}, (tile,)))
    pixels = crop("chelsea", 64, 96)
    header = Header(96, 64, "RGB", 75, None, None, 64, "png")
    boxes = [pixels[:, :64], pixels[:, 64:]]
    tiles = tuple(stored.tile_of("png", _payload("png", box), box, None) for box in boxes)
    return {**seeds, "png-tiles": write_stream(Stream(header, {}, tiles))}


@cache
def seeds() -> dict[str, Seed]:
    """Valid files by name."""
    return {
        name: Seed(data, read_stream(data, LIMITS), CODEC.decode(data))
        for name, data in {**_coded(), **_stored()}.items()
    }


@cache
def known() -> dict[int, tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """y_hat and z_hat of every tile of the seeds, by their checksum."""
    pairs = {}
    for seed in seeds().values():
        if seed.stream.header.has_latents:
            for tile, latents in zip(seed.stream.tiles, CODEC.decode_latents(seed.data), strict=True):
                pairs[tile.content_crc] = latents.y_hat, latents.z_hat
    return pairs


def stage_indices(number: int) -> list[NDArray[np.uint8]]:
    """Scale indices of the stages that input ``number`` of the target "entropy" decodes."""
    rng = np.random.default_rng(number)
    sizes = rng.integers(0, (4, 40, 400, 3000)[number % 4], rng.integers(0, 6))
    low = rng.integers(0, 64)
    return [rng.integers(low, 64, size).astype(np.uint8) for size in sizes]


def _entropy() -> dict[str, bytes]:
    inputs = {}
    for number in range(12):
        rng, encoder = np.random.default_rng(number), StageEncoder(TABLES)
        for index in stage_indices(number):
            spread = np.where(rng.random(len(index)) < 0.02, 3000, 1 + index / 8)
            encoder.push(np.rint(rng.laplace(0, spread)).astype(np.int32), index)
        inputs[str(number)] = bytes((number,)) + encoder.finish()
    return inputs


def _pictures() -> dict[str, bytes]:
    """Inputs of the target "stored": form and colours, width - 1, height - 1, then the file."""
    inputs = {}
    for number, form in enumerate(FORMS):
        for grey in (0, 1):
            pixels = crop("coffee", 11, 14)
            pixels = pixels[:, :, 0] if grey else pixels
            inputs[f"{form}-{grey}"] = bytes((number + 3 * grey, 13, 10)) + _payload(form, pixels)
    return inputs


def tiny_model() -> Model:
    """A model of the smallest sizes whose integer networks work; its graphs are none."""
    config = ModelConfig(
        group_sizes=(1, 2), embed_sizes=(1, 1), z_channels=1, hyper_widths=(1, 1, 1), hidden=1, late=1, mask_hidden=1,
        bases=1, knots=2, radius=1, analysis_width=1, analysis_blocks=1, body_width=1, body_blocks=1, grid=1,
        grid_blocks=1,
    )  # fmt: skip
    weights = {name: np.full(shape, 3, np.int16) for name, shape in weight_shapes(config).items()}
    arrays: dict[str, NDArray[Any]] = {**weights, "magnitude": np.arange(2**16) // 9}
    for name, weight in weights.items():
        layer, outputs = name.removesuffix(".weight"), weight.shape[-1:]
        arrays[f"{layer}.shift"] = np.zeros((2, *outputs) if layer == "late_out" else outputs, np.int32)
        if layer not in ("bases", "late_out", "outlet"):
            arrays[f"{layer}.bias"] = np.zeros((2, *outputs) if layer == "late_in" else outputs, np.int64)
    for name, width in (("hidden", 1), ("outlet", 6), ("z_mean", 1)):
        arrays[f"quality.{name}"] = np.ones((2, width), np.int32)
    arrays["quality.z_index"] = np.ones((100, 1), np.uint8)
    tensors = {f"exact.{name}": value for name, value in pack_exact(arrays).items()}
    tensors["tables.half_widths"] = np.ones(64, np.int32)
    tensors["tables.freqs"] = np.tile(np.array([1, 2**16 - 3, 1, 1], np.uint32), 64)
    for name, width in (("gain", 3), ("inverse_gain", 3), *config.gain_lengths.items()):
        tensors[f"quality.log_{name}"] = np.zeros((2, width), np.float16)
    tensors["search.curvature"] = np.ones(3, np.float32)
    tensors |= {part: np.zeros(3, np.uint8) for parts in GRAPHS.values() for part in parts}
    return Model(config, tensors, {"name": "tiny"})


def _models() -> dict[str, bytes]:
    tiny = tiny_model()
    bare = json.dumps({"t": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    return {
        "tiny": tiny.to_bytes(),
        "decoder": tiny.decoder_only().to_bytes(),
        "bfloat": struct.pack("<Q", len(bare)) + bare + b"\0\0",
    }


def _numbers() -> dict[str, bytes]:
    return {str(number): bytes((number,)) for number in range(4)}


@cache
def inputs(kind: str) -> dict[str, bytes]:
    """Seed inputs of a kind of target: "file", "entropy", "stored", "model" or "seed"."""
    if kind == "file":
        return {name: seed.data for name, seed in seeds().items()}
    return {"entropy": _entropy, "stored": _pictures, "model": _models, "seed": _numbers}[kind]()


def write(kind: str, folder: Path) -> None:
    """Put the seed inputs of ``kind`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in inputs(kind).items():
        (folder / f"seed-{name}").write_bytes(data)


if __name__ == "__main__":
    for one in ("file", "entropy", "stored", "model", "seed"):
        write(one, FOLDER / one)
