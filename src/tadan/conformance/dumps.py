"""Raw latents in files: what other implementations compare with, and what they write to be compared.

``NAME.latents`` holds the tiles one after the other, of each tile all of z_hat, then all of y_hat, as signed 32-bit
integers, least significant byte first, ordered by row, column, channel: the very bytes of the content CRC (section 8.2
of docs/SPEC.md), without a header.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tadan.bitstream import Header
from tadan.codec.codec import Codec
from tadan.conformance.golden import LATENTS_SUFFIX, MANIFEST, PIXELS_SUFFIX, STREAM_SUFFIX, GoldenSet
from tadan.conformance.trace import Trace, trace_latents
from tadan.errors import Corrupt
from tadan.files import make_folder, write_atomically
from tadan.latents.coder import Y_STRIDE, Latents, plane_shape
from tadan.latents.schedule_field import schedule_of
from tadan.models import Model, find_model
from tadan.schedule import Schedule


@dataclass(frozen=True)
class Dump:
    """Latents of a file, and what is needed to bring them into the order of coding."""

    tiles: tuple[Latents, ...]
    schedule: Schedule
    model: Model

    def traces(self) -> list[Trace]:
        """Checksums of every tile."""
        twin = self.model.twin
        shapes = ((tile.y_hat.shape[0], tile.y_hat.shape[1]) for tile in self.tiles)
        steps = [list(twin.steps(self.schedule, shape)) for shape in shapes]
        return [trace_latents(tile, own) for tile, own in zip(self.tiles, steps, strict=True)]


def latents_bytes(tiles: Sequence[Latents]) -> bytes:
    """Content of a ``.latents`` file."""
    return b"".join(np.ascontiguousarray(part, "<i4").tobytes() for tile in tiles for part in (tile.z_hat, tile.y_hat))


def read_dump(header: Header, data: bytes) -> Dump:
    """Inverse of :func:`latents_bytes` for the stream that has ``header``.

    Raises:
        Corrupt: the file is shorter or longer than the latents.
        ModelMissing: the model is not at hand.
    """
    if header.model_id is None or header.schedule is None:
        raise Corrupt("the stream holds a stored picture, which has no latents; compare its pixels")
    model = find_model(header.model_id)
    shapes = []
    for _, _, width, height in header.tile_boxes():
        rows, cols = plane_shape(width, height, Y_STRIDE)
        shapes += [(-(-rows // 4), -(-cols // 4), model.config.z_channels), (rows, cols, model.config.latent)]
    sizes = [int(np.prod(shape)) for shape in shapes]
    if len(data) != 4 * sum(sizes):
        raise Corrupt(
            f"{len(data):,} bytes instead of {4 * sum(sizes):,}; write int32, z_hat {shapes[0]} and y_hat {shapes[1]} "
            "of the first tile, then the next tile"
        )
    parts = np.split(np.frombuffer(data, "<i4").astype(np.int32), np.cumsum(sizes)[:-1])
    planes = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    tiles = tuple(Latents(y_hat, z_hat) for z_hat, y_hat in zip(planes[::2], planes[1::2], strict=True))
    return Dump(tiles, schedule_of(header.schedule, model), model)


def write_reference(sets: Sequence[GoldenSet], folder: Path, threads: int | None = None) -> Iterator[Path]:
    """Write everything that another implementation needs, one folder a set: streams, pixels, manifest, latents.

    The latents are decoded here and checked on the way. Yields the path of each file after it is written.

    Raises:
        UnwritableOutput: a file cannot be written.
    """
    codec = Codec(threads=threads)
    for golden in sets:
        target = make_folder(folder / golden.name)
        files = {MANIFEST: golden.manifest()}
        for stream in golden.streams:
            data = files[stream.name + STREAM_SUFFIX] = golden.read(stream.name, STREAM_SUFFIX)
            if stream.levels is not None:
                files[stream.name + PIXELS_SUFFIX] = golden.read(stream.name, PIXELS_SUFFIX)
            if stream.tiles:
                files[stream.name + LATENTS_SUFFIX] = latents_bytes(codec.decode_latents(data))
        for damaged in golden.damaged:
            files[damaged.name + STREAM_SUFFIX] = golden.read(damaged.name, STREAM_SUFFIX)
        for name, content in files.items():
            write_atomically(target / name, content)
            yield target / name
