"""Decoding one tile while taking a checksum at every step, so that the first step that goes wrong has a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tadan.conformance.golden import TileRecord, crc
from tadan.entropy import StageDecoder
from tadan.errors import TadanError
from tadan.exact.steps import Step
from tadan.latents.coder import LatentCoder, Latents


@dataclass
class Trace:
    """Checksums as in :class:`~tadan.conformance.golden.TileRecord`, as far as the decoder came, and what stopped it.

    ``parameters`` is None where nobody can know them: in a dump of latents.
    ``names`` says of each step of y which it is.
    """

    z: str | None = None
    parameters: list[str] | None = None
    y: list[str] = field(default_factory=list)
    latents: str | None = None
    error: Exception | None = None
    names: Sequence[str] = ()

    def first_difference(self, record: TileRecord) -> str | None:
        """The first step whose checksum is not the recorded one, in words; None if all are."""
        stopped = f" ({self.error})" if self.error else ""
        if self.z is None:
            return f"z_hat cannot be decoded{stopped}"
        if self.z != record.z:
            return "z_hat differs (entropy coding, sections 8.6 and 10)"
        for number, (parameters, y) in enumerate(zip(record.parameters, record.y, strict=True)):
            where = self.names[number] if number < len(self.names) else f"step {number + 1} of {len(record.y)}"
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
            return f"after the last step: {self.error}"
        if len(self.y) != len(record.y):
            return f"{len(self.y)} steps instead of {len(record.y)} (schedule, section 8)"
        return None if self.latents == record.latents else "the content CRC differs (section 8.2)"


def trace_tile(coder: LatentCoder, words: bytes, shape: tuple[int, int]) -> Trace:
    """Decode like :meth:`tadan.latents.coder.LatentCoder.decode`, noting every step; errors end up in the trace.

    Args:
        coder: of the file.
        words: coded words of the tile.
        shape: (h, w) of the latent plane.
    """
    trace = Trace(parameters=[], names=step_names(list(coder.model.twin.steps(coder.schedule, shape))))
    try:
        _decode(trace, coder, words, shape)
    except TadanError as error:
        trace.error = error
    return trace


def trace_latents(latents: Latents, steps: Sequence[Step]) -> Trace:
    """The trace of latents that are decoded already, by whoever.

    Args:
        latents: of one tile.
        steps: of its plane, from ``steps`` of the model's twin.
    """
    rows = latents.y_hat.reshape(-1, latents.y_hat.shape[2])
    sums = [crc(_bytes(step.take(rows))) for step in steps]
    return Trace(crc(_bytes(latents.z_hat)), None, sums, f"{latents.checksum():08x}", names=step_names(steps))


def step_names(steps: Sequence[Step]) -> list[str]:
    """``stage 3 of 8``, of each step; also the channel group of the model where a stage has several steps."""
    stages = steps[-1].stage + 1
    names = [f"stage {step.stage + 1} of {stages}" for step in steps]
    if len(steps) == stages:
        return names
    groups = [step.group + 1 for step in steps]
    return [f"{name}, group {group} of {max(groups)}" for name, group in zip(names, groups, strict=True)]


def _decode(trace: Trace, coder: LatentCoder, words: bytes, shape: tuple[int, int]) -> None:
    decoder = StageDecoder(coder.model.tables, words)
    z_hat = coder.decode_z([decoder], shape)
    trace.z = crc(_bytes(z_hat[0]))
    parameters: list[str] = []
    trace.parameters = parameters
    plane = coder.plane(z_hat, shape)
    for one in coder.stages(plane):
        parameters.append(crc(_bytes(one.mean[0]), np.ascontiguousarray(one.index[0], np.uint8).data))
        trace.y.append(crc(_bytes(one.settle(decoder.pull(one.index[0])[None])[0])))
    decoder.finish()
    trace.latents = f"{Latents(plane.decoded()[0], z_hat[0]).checksum():08x}"


def _bytes(values: NDArray[np.int32]) -> bytes:
    return np.ascontiguousarray(values, "<i4").tobytes()
