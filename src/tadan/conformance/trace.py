"""Decoding one tile while taking a checksum at every step, so that the first step that goes wrong has a name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tadan.codec.latents import UNIT, Latents
from tadan.conformance.golden import TileRecord, crc
from tadan.entropy import StageDecoder
from tadan.errors import TadanError
from tadan.exact.linear import MatMul
from tadan.exact.plane import open_plane
from tadan.models import Model
from tadan.schedule import Schedule


@dataclass
class Trace:
    """Checksums as in :class:`~tadan.conformance.golden.TileRecord`, as far as the decoder came, and what stopped it.

    ``parameters`` is None where nobody can know them: in a dump of latents.
    """

    z: str | None = None
    parameters: list[str] | None = None
    y: list[str] = field(default_factory=list)
    latents: str | None = None
    error: Exception | None = None

    def first_difference(self, record: TileRecord) -> str | None:
        """The first step whose checksum is not the recorded one, in words; None if all are."""
        stopped = f" ({self.error})" if self.error else ""
        if self.z is None:
            return f"z_hat cannot be decoded{stopped}"
        if self.z != record.z:
            return "z_hat differs (entropy coding, sections 8.6 and 10)"
        for number, (parameters, y) in enumerate(zip(record.parameters, record.y, strict=True)):
            where = f"stage {number + 1} of {len(record.y)}"
            if self.parameters is not None:
                if number >= len(self.parameters):
                    return f"{where} cannot be predicted{stopped}"
                if self.parameters[number] != parameters:
                    return f"{where}: means or scale indices differ (integer networks, section 9)"
            if number >= len(self.y):
                return f"{where} cannot be decoded{stopped}"
            if self.y[number] != y:
                return f"{where}: y_hat differs (entropy coding, section 10)"
        if self.error is not None:
            return f"after the last stage: {self.error}"
        if len(self.y) != len(record.y):
            return f"{len(self.y)} stages instead of {len(record.y)} (schedule, section 8)"
        return None if self.latents == record.latents else "the latents CRC differs (section 8.2)"


def trace_tile(
    model: Model, words: bytes, shape: tuple[int, int], quality: int, schedule: Schedule, matmul: MatMul = np.matmul
) -> Trace:
    """Decode like :func:`tadan.codec.latents.decode_latents`, noting every step; errors end up in the trace.

    Args:
        model: networks and tables.
        words: coded words of the tile.
        shape: (h, w) of the latent plane.
        quality: 1..100.
        schedule: decoding order.
        matmul: backend of the integer products.
    """
    trace = Trace(parameters=[])
    try:
        _decode(trace, model, words, shape, quality, schedule, matmul)
    except TadanError as error:
        trace.error = error
    return trace


def trace_latents(latents: Latents, schedule: Schedule, radius: int) -> Trace:
    """The trace of latents that are decoded already, by whoever."""
    steps = [crc(_bytes(values)) for values in in_coding_order(latents.y_hat, schedule, radius)]
    return Trace(crc(_bytes(latents.z_hat)), None, steps, f"{latents.checksum():08x}")


def in_coding_order(y_hat: NDArray[np.int32], schedule: Schedule, radius: int) -> Iterator[NDArray[np.int32]]:
    """y_hat (h, w, latent) -> the values of each stage, flat, as section 8.5 of docs/SPEC.md orders them."""
    height, width, latent = y_hat.shape
    groups = y_hat.reshape(height * width, schedule.groups, latent // schedule.groups)
    for stage in schedule.plan(height, width, radius):
        yield np.concatenate([groups[cell.positions, cell.group].ravel() for cell in stage])


def _decode(
    trace: Trace,
    model: Model,
    words: bytes,
    shape: tuple[int, int],
    quality: int,
    schedule: Schedule,
    matmul: MatMul,
) -> None:
    twin = model.twin
    decoder = StageDecoder(model.tables, words)
    z_shape = (-(-shape[0] // 4), -(-shape[1] // 4), model.config.z_channels)
    z_symbols = decoder.pull(np.broadcast_to(twin.z_index[quality - 1], z_shape).ravel())
    z_hat = z_symbols.reshape(z_shape) * UNIT + twin.z_mean[quality - 1]
    trace.z = crc(_bytes(z_hat))
    parameters: list[str] = []
    trace.parameters = parameters

    plane = open_plane(twin, z_hat[None], shape, schedule, quality, matmul)
    for one in plane.walk(schedule):
        parameters.append(crc(_bytes(one.mean[0]), np.ascontiguousarray(one.index[0], np.uint8).data))
        trace.y.append(crc(_bytes(one.settle(decoder.pull(one.index[0])[None])[0])))
    decoder.finish()
    trace.latents = f"{Latents(plane.decoded()[0], z_hat).checksum():08x}"


def _bytes(values: NDArray[np.int32]) -> bytes:
    return np.ascontiguousarray(values, "<i4").tobytes()
