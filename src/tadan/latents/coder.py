"""Coding of latents: one walk over the steps of a schedule (:mod:`tadan.exact.steps`), shared by encoder and decoder.

``z`` is coded first with fixed probabilities of the quality, then ``y`` step by step: predict mean and scale index
of the step's latents from what is decoded, code the residual symbols, take in ``y_hat = 64 * symbol + mean`` (Q6).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tadan.entropy import StageDecoder, StageEncoder
from tadan.errors import Corrupt
from tadan.exact.constants import LATENT_FRACTION, Y_LIMIT
from tadan.exact.linear import MatMul
from tadan.latents.plane import LatentPlane
from tadan.models import Model
from tadan.schedule import Schedule

Y_STRIDE = 16
SYMBOL_LIMIT = Y_LIMIT >> LATENT_FRACTION
UNIT = 1 << LATENT_FRACTION

#: (symbols, scale index) of one coded step, flat
Observer = Callable[[NDArray[np.int32], NDArray[np.uint8]], None]


@dataclass(frozen=True)
class Latents:
    """Decoded latents of one tile.

    Attributes:
        y_hat: int32 (h, w, latent), Q6, in quantisation steps of the quality.
        z_hat: int32 (ceil(h/4), ceil(w/4), z_channels), Q6.
    """

    y_hat: NDArray[np.int32]
    z_hat: NDArray[np.int32]

    def checksum(self) -> int:
        """CRC-32 (that of zlib and PNG) over z_hat, then y_hat, as little-endian int32 in C order."""
        z_crc = zlib.crc32(np.ascontiguousarray(self.z_hat, "<i4").data)
        return zlib.crc32(np.ascontiguousarray(self.y_hat, "<i4").data, z_crc)


def plane_shape(width: int, height: int, stride: int) -> tuple[int, int]:
    """Rows and columns of the latent plane that covers a picture of ``width`` x ``height`` pixels."""
    return -(-height // stride), -(-width // stride)


def residual_symbols(latents: NDArray[np.float32], mean: NDArray[np.int32]) -> NDArray[np.int32]:
    """What the encoder codes for latents in quantisation steps under predicted means (Q6), of shapes that broadcast."""
    difference = latents - mean / np.float32(UNIT)
    return np.clip(np.rint(difference), -SYMBOL_LIMIT, SYMBOL_LIMIT).astype(np.int32)


@dataclass(frozen=True)
class Trial:
    """What plain rounding of ``y`` gives under the true context model; nothing is coded.

    Attributes:
        y_hat: int32 (h, w, latent), Q6.
        mean: int32 (h, w, latent), Q6, predicted from the latents decoded before.
        index: uint8 (h, w, latent), scale indices.
        bits: ideal code length of y.
    """

    y_hat: NDArray[np.int32]
    mean: NDArray[np.int32]
    index: NDArray[np.uint8]
    bits: float


def round_z(model: Model, z: NDArray[np.float32], quality: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Symbols of z, and z_hat (Q6), both int32 of its shape."""
    mean = model.twin.z_mean[quality - 1]
    symbols = residual_symbols(z, mean)
    return symbols, symbols * UNIT + mean


def try_latents(
    model: Model,
    y: NDArray[np.float32],
    z_hat: NDArray[np.int32],
    quality: int,
    schedule: Schedule,
    matmul: MatMul = np.matmul,
    hyper: NDArray[np.float64] | None = None,
) -> Trial:
    """Round ``y`` step by step, each around the means that the rounded latents before it predict.

    Arguments as for :func:`encode_latents`, z_hat from :func:`round_z`, ``hyper`` as for
    :class:`~tadan.latents.plane.LatentPlane`.
    """
    rows = y.reshape(-1, y.shape[2])
    all_mean, all_index = np.empty(rows.shape, np.int32), np.empty(rows.shape, np.uint8)
    bits = 0.0
    plane = LatentPlane(model.twin, z_hat[None], (y.shape[0], y.shape[1]), schedule.groups, quality, matmul, hyper)
    for one in plane.walk(schedule):
        symbols = residual_symbols(one.step.take(rows), one.mean[0])
        bits += float(model.tables.bits(symbols, one.index[0]).sum())
        one.step.put(all_mean, one.mean[0])
        one.step.put(all_index, one.index[0])
        one.settle(symbols[None])
    return Trial(plane.decoded()[0], all_mean.reshape(y.shape), all_index.reshape(y.shape), bits)


def code_latents(
    model: Model,
    trial: Trial,
    z: NDArray[np.float32],
    quality: int,
    schedule: Schedule,
    observe: Observer | None = None,
) -> tuple[bytes, Latents, float]:
    """Code what :func:`try_latents` settled; no network runs. Arguments and result as of :func:`encode_latents`."""
    z_symbols, z_hat = round_z(model, z, quality)
    encoder = StageEncoder(model.tables)
    bits = 0.0

    def push(symbols: NDArray[np.int32], index: NDArray[np.uint8]) -> None:
        nonlocal bits
        encoder.push(symbols, index)
        bits += float(model.tables.bits(symbols, index).sum())
        if observe is not None:
            observe(symbols, index)

    push(z_symbols.ravel(), np.broadcast_to(model.twin.z_index[quality - 1], z.shape).ravel())
    height, width, latent = trial.y_hat.shape
    symbols = ((trial.y_hat - trial.mean) // UNIT).reshape(-1, latent)
    index = trial.index.reshape(-1, latent)
    for step in model.twin.steps(schedule, (height, width)):
        push(step.take(symbols), step.take(index))
    return encoder.finish(), Latents(trial.y_hat, z_hat), bits


def encode_latents(
    model: Model,
    y: NDArray[np.float32],
    z: NDArray[np.float32],
    quality: int,
    schedule: Schedule,
    matmul: MatMul = np.matmul,
    observe: Observer | None = None,
) -> tuple[bytes, Latents, float]:
    """Quantise and code the latents of one tile.

    Args:
        model: networks and tables.
        y: float32 (h, w, latent) in quantisation steps.
        z: float32 (ceil(h/4), ceil(w/4), z_channels).
        quality: 1..100.
        schedule: decoding order.
        matmul: backend of the integer products.
        observe: called with every step that is coded, z first.

    Returns:
        the coded bytes; what the decoder will have; estimated bits (a lower bound of the length).
    """
    trial = try_latents(model, y, round_z(model, z, quality)[1], quality, schedule, matmul)
    return code_latents(model, trial, z, quality, schedule, observe)


def decode_latents(
    model: Model,
    payloads: Sequence[bytes],
    shape: tuple[int, int],
    quality: int,
    schedule: Schedule,
    matmul: MatMul = np.matmul,
) -> list[Latents]:
    """Decode tiles of one size side by side; the result does not depend on how they are batched.

    Args:
        model: networks and tables.
        payloads: coded bytes of each tile.
        shape: (h, w) of the latent plane.
        quality: 1..100.
        schedule: decoding order.
        matmul: backend of the integer products.

    Raises:
        Corrupt: a payload does not decode to exactly these latents.
    """
    decoders = [StageDecoder(model.tables, payload) for payload in payloads]
    latents = _decode(model, decoders, shape, quality, schedule, matmul)
    for decoder in decoders:
        decoder.finish()
    return latents


def decode_first_stages(
    model: Model,
    payload: bytes,
    shape: tuple[int, int],
    quality: int,
    schedule: Schedule,
    stages: int | None = None,
    matmul: MatMul = np.matmul,
) -> tuple[Latents, int]:
    """Decode the beginning of a tile; latents that it does not hold take their predicted means.

    Args:
        model, shape, quality, schedule, matmul: as of :func:`decode_latents`.
        payload: coded bytes; they may end early, anywhere. Bytes that were changed are not noticed.
        stages: stages of the schedule to decode, 0 for z alone; None: all that has arrived.

    Returns:
        the latents; how many stages of y were decoded to the end, -1 if not even z was.
    """
    stage_of = [step.stage for step in model.twin.steps(schedule, shape)]
    prefix = _Prefix(model, payload, None if stages is None else 1 + sum(stage < stages for stage in stage_of))
    [latents] = _decode(model, [prefix], shape, quality, schedule, matmul)
    complete = [-1, *stage_of, stage_of[-1] + 1]  # stages before the first step that is missing
    return latents, complete[prefix.pulled]


class _Prefix:
    """A :class:`StageDecoder` that gives zeros once ``limit`` steps (z included) or the bytes are used up."""

    def __init__(self, model: Model, payload: bytes, limit: int | None) -> None:
        self.pulled, self._limit = 0, limit
        self._decoder: StageDecoder | None = None
        with suppress(Corrupt):  # too short for a coder's state
            self._decoder = StageDecoder(model.tables, payload[: len(payload) // 4 * 4])

    def pull(self, index: NDArray[np.uint8]) -> NDArray[np.int32]:
        """As :meth:`StageDecoder.pull`; never raises Corrupt."""
        if self._decoder is not None and self.pulled != self._limit:
            try:
                symbols = _checked(self._decoder.pull(index))
            except Corrupt:
                self._decoder = None
            else:
                self.pulled += 1
                return symbols
        return np.zeros(index.shape, np.int32)


def _decode(
    model: Model,
    decoders: Sequence[StageDecoder | _Prefix],
    shape: tuple[int, int],
    quality: int,
    schedule: Schedule,
    matmul: MatMul,
) -> list[Latents]:
    z_shape = (-(-shape[0] // 4), -(-shape[1] // 4), model.config.z_channels)
    z_mean, z_index = model.twin.z_mean[quality - 1], model.twin.z_index[quality - 1]
    all_z_index = np.broadcast_to(z_index, z_shape).ravel()
    z_hat = np.stack([_checked(d.pull(all_z_index)).reshape(z_shape) * UNIT + z_mean for d in decoders])

    plane = LatentPlane(model.twin, z_hat, shape, schedule.groups, quality, matmul)
    for one in plane.walk(schedule):
        one.settle(np.stack([_checked(d.pull(row)) for d, row in zip(decoders, one.index, strict=True)]))
    return [Latents(y, z) for y, z in zip(plane.decoded(), z_hat, strict=True)]


def _checked(symbols: NDArray[np.int32]) -> NDArray[np.int32]:
    if symbols.size and max(int(symbols.max()), -int(symbols.min())) > SYMBOL_LIMIT:
        raise Corrupt("the coded latents are out of range: the data was damaged or made by another encoder")
    return symbols
