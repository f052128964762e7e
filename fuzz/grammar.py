"""Valid hostile files, made by a grammar: every checksum holds, every field is allowed, and all of it is meant badly.

An input is a seed of the random choices, so that a fuzzer can drive them. What is drawn: sizes down to lines of one
pixel, tiles, every schedule and inline patterns up to the limit of cells, payloads of noise or of real latents, stored
pictures with as many scans as are allowed, planes of alpha, metadata.
"""

from __future__ import annotations

import io
import random
import zlib

import numpy as np
from PIL import Image

from corpus import CODEC, FORMS
from tadan.bitstream import Header, Limits, PixelMode, ScheduleField, Stream, Tile, write_stream
from tadan.codec import stored
from tadan.codec.codec import Codec
from tadan.latents.coder import LatentCoder, plane_shape
from tadan.latents.schedule_field import schedule_of
from tadan.pictures.reading import pack_alpha
from tadan.schedule import schedule_names

LIMITS = Limits(max_pixels=2**17, max_metadata_bytes=2**18, max_tiles=512, max_tile_bytes=2**20)
READER = Codec(CODEC.model, threads=1, limits=LIMITS)
_SIDES = (1, 2, 15, 16, 17, 63, 64, 65, 100, 250, 333, 1024, 4096, 2**17)


def file_of(data: bytes) -> bytes:
    """The file that ``data`` stands for."""
    rng = random.Random(data)
    width = rng.choice(_SIDES)
    height = min(rng.choice(_SIDES), max(1, LIMITS.max_pixels // width))
    mode = rng.choice(tuple(PixelMode))
    tile = rng.choice((0, 0, 64, 64, 128, 256))
    if tile and -(-width // tile) * -(-height // tile) > LIMITS.max_tiles:
        tile = 0
    if rng.random() < 0.2:
        header = Header(width, height, mode, rng.randint(1, 100), None, None, tile, rng.choice(FORMS))
        tiles = tuple(_stored(header, box, rng) for box in header.tile_boxes())
    else:
        field = _schedule(rng)
        header = Header(width, height, mode, rng.choice((1, 50, 100)), CODEC.model.id, field, tile)
        tiles = tuple(_coded(header, box, rng) for box in header.tile_boxes())
    return write_stream(Stream(header, _metadata(rng), tiles))


def allowed_seconds(header: Header) -> float:
    """Processor time that a file may take: a share a pixel, a tile, a step of a tile, a cell of an inline pattern.

    About three times what one core of 2020 takes, so that the bound fails for growth and not for a slow machine.
    """
    if header.schedule is None:
        return 1 + 5e-6 * header.width * header.height  # a JPEG of a hundred scans
    cells = header.schedule.cells
    plane = plane_shape(*(min(side, header.tile_size or side) for side in (header.width, header.height)), 16)
    stages = schedule_of(header.schedule, CODEC.model).stage_count(*plane)
    return 1.5 + 0.025 * cells + header.tile_count * (0.025 + 0.006 * stages) + 5e-6 * header.width * header.height


def allowed_bytes(header: Header) -> int:
    """Memory of Python and numpy that a file may take."""
    kernels = 0 if header.schedule is None else 2 * 2**20 * header.schedule.cells
    return 64 * 2**20 + kernels + 1500 * header.tile_pixels + 64 * header.width * header.height


def _schedule(rng: random.Random) -> ScheduleField:
    if rng.random() < 0.4:
        return ScheduleField(rng.choice([name for name in schedule_names() if not name.startswith("tuned")]))
    groups = rng.choice([n for n in CODEC.model.config.schedule_groups if n <= 8])
    most = LIMITS.max_pattern_cells // groups
    rows = rng.randint(1, min(16, most))
    cols = rng.randint(1, min(16, most // rows))
    cells = groups * rows * cols
    stages = list(range(cells)) if rng.random() < 0.5 else [rng.randrange(cells) for _ in range(cells)]
    rng.shuffle(stages)
    order = {stage: number for number, stage in enumerate(sorted(set(stages)))}
    numbers = iter(order[stage] for stage in stages)
    plane = [tuple(tuple(next(numbers) for _ in range(cols)) for _ in range(rows)) for _ in range(groups)]
    return ScheduleField(None, tuple(plane))


def _coded(header: Header, box: tuple[int, int, int, int], rng: random.Random) -> Tile:
    kind = rng.random()
    crc, words = rng.getrandbits(32), b""
    if kind < 0.7:
        words = rng.randbytes(4 * rng.choice((2, 3, 20, 200, 2000)))
        words = words[:3] + bytes((words[3] | 1,)) + words[4:]  # the first word is not 0
    elif kind < 0.9 and box[2] * box[3] <= 2**14 and header.schedule is not None:
        words, crc = _latents(header, box, rng)
    return Tile(crc, words, _alpha(header, box, rng))


def _latents(header: Header, box: tuple[int, int, int, int], rng: random.Random) -> tuple[bytes, int]:
    """Latents of any size, coded as they should be: the whole walk is done, and the checksum holds."""
    config, chance = CODEC.model.config, np.random.default_rng(rng.getrandbits(32))
    shape = plane_shape(box[2], box[3], config.stride)
    z_shape = -(-shape[0] // 4), -(-shape[1] // 4), config.z_channels
    spread = rng.choice((0.0, 1.0, 30.0, 2000.0))
    y = chance.normal(0, spread, (*shape, config.latent)).astype(np.float32)
    z = chance.normal(0, min(spread, 20.0), z_shape).astype(np.float32)
    coder = LatentCoder(CODEC.model, header.quality, schedule_of(header.schedule, CODEC.model))
    payload = coder.encode(y, z)
    return payload.words, payload.latents.checksum()


def _stored(header: Header, box: tuple[int, int, int, int], rng: random.Random) -> Tile:
    shape = (box[3], box[2]) if header.mode.is_grey and header.content != "webp" else (box[3], box[2], 3)
    pixels = np.zeros(shape, np.uint8) + rng.randrange(256)
    if rng.random() < 0.5:
        pixels = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, shape, np.uint8)
    if header.content == "jpeg" and stored.can_be_jpeg(pixels):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=rng.choice((1, 50, 95)), progressive=rng.random() < 0.5)
        payload = bytearray(buffer.getvalue())
        scan = bytes(payload[payload.rindex(b"\xff\xda") : -2])
        if len(scan) < 1000:
            payload[-2:-2] = rng.choice((0, 20, 85)) * scan
        return Tile(zlib.crc32(payload), bytes(payload), _alpha(header, box, rng))
    as_webp = header.content == "webp" and stored.can_be_webp(pixels)
    payload = stored.as_webp(pixels) if as_webp else stored.as_png(pixels)
    return stored.tile_of(header.content, bytes(payload), pixels, _alpha(header, box, rng))


def _alpha(header: Header, box: tuple[int, int, int, int], rng: random.Random) -> bytes | None:
    if not header.has_alpha:
        return None
    if rng.random() < 0.2:
        return rng.randbytes(rng.randrange(60))
    return pack_alpha(np.full((box[3], box[2]), rng.choice((0, 255)), np.uint8))


def _metadata(rng: random.Random) -> dict[str, bytes]:
    kinds = [kind for kind in ("icc", "exif", "xmp") if rng.random() < 0.3]
    begin = {"exif": b"Exif\0\0II*\0\x08\0\0\0", "xmp": b"<x:xmpmeta", "icc": b"\0\0\2\x30"}
    return {kind: begin[kind] + rng.randbytes(rng.choice((1, 20, 500, 2**16))) for kind in kinds}
