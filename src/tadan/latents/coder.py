"""Coding of latents: one walk over the steps of a schedule (:mod:`tadan.exact.steps`), shared by encoder and decoder.

``z`` is coded first with fixed probabilities of the quality, then ``y`` step by step: predict mean and scale index
of the step's latents from what is decoded, code the residual symbols, take in ``y_hat = 64 * symbol + mean`` (Q6).

>>> coder = LatentCoder(model, quality=60, schedule=get_schedule("4x4-opt-4"))
>>> words, latents, bits = coder.encode(y, z)
>>> [decoded] = coder.decode([words], shape=(32, 48))

Whoever wants to look at the stages, to trace, animate or count them, iterates :meth:`LatentCoder.stages` while
decoding, or :meth:`LatentCoder.symbols_of` for what a payload holds.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tadan.entropy import StageDecoder, StageEncoder, estimate_bits, price_step
from tadan.entropy.coder import OUT_OF_RANGE, damaged
from tadan.errors import Corrupt
from tadan.exact.constants import LATENT_FRACTION, Y_LIMIT
from tadan.exact.linear import MatMul
from tadan.latents.plane import LatentPlane, OpenStep
from tadan.models import Model
from tadan.schedule import Schedule

Y_STRIDE = 16
SYMBOL_LIMIT = Y_LIMIT >> LATENT_FRACTION
UNIT = 1 << LATENT_FRACTION


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


class Payload(NamedTuple):
    """Coded latents of one tile.

    Attributes:
        words: what is written.
        latents: what the decoder will have.
        bits: ideal code length of z and y, a lower bound of ``8 * len(words)``.
    """

    words: bytes
    latents: Latents
    bits: float


class CodedStep(NamedTuple):
    """What one step codes: symbols int32 (n,), scale indices uint8 (n,)."""

    symbols: NDArray[np.int32]
    indices: NDArray[np.uint8]


@dataclass(frozen=True)
class LatentCoder:
    """Codes the latents of the tiles of one file, or of many: it holds no state.

    Attributes:
        model: networks and tables.
        quality: 1..100.
        schedule: decoding order.
        matmul: backend of the integer products; exact ones give identical results.
    """

    model: Model
    quality: int
    schedule: Schedule
    matmul: MatMul = np.matmul

    def plane(self, z_hat: NDArray[np.int32], shape: tuple[int, int], hyper: NDArray[Any] | None = None) -> LatentPlane:
        """An empty plane for :meth:`stages`; arguments as of :class:`~tadan.latents.plane.LatentPlane`."""
        return LatentPlane(self.model.twin, z_hat, shape, self.schedule.groups, self.quality, self.matmul, hyper)

    def stages(self, plane: LatentPlane) -> Iterator[OpenStep]:
        """Predict step after step of a plane; whoever iterates settles each before asking for the next."""
        return plane.walk(self.schedule)

    def hyper(self, z_hat: NDArray[np.int32]) -> NDArray[Any]:
        """What :meth:`price` takes as ``hyper``, for z_hat (h, w, z_channels)."""
        return self.model.twin.hyper(z_hat[None], self.quality, self.matmul)

    def round_z(self, z: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Symbols of z, and z_hat (Q6), both int32 of its shape."""
        mean = self.model.twin.z_mean[self.quality - 1]
        symbols = residual_symbols(z, mean)
        return symbols, symbols * UNIT + mean

    def price(self, y: NDArray[np.float32], z_hat: NDArray[np.int32], hyper: NDArray[Any] | None = None) -> Trial:
        """Round ``y`` step by step, each around the means that the rounded latents before it predict.

        Args:
            y: float32 (h, w, latent) in quantisation steps.
            z_hat: of :meth:`round_z`.
            hyper: of :meth:`hyper`, if it is known already.
        """
        rows = y.reshape(-1, y.shape[2])
        all_mean, all_index = np.empty(rows.shape, np.int32), np.empty(rows.shape, np.uint8)
        bits = 0.0
        plane = self.plane(z_hat[None], (y.shape[0], y.shape[1]), hyper)
        if plane.in_core:
            rows = np.ascontiguousarray(rows, np.float32)
            for step in plane.steps(self.schedule):
                for opened in plane.open_in_core(step, SYMBOL_LIMIT):
                    bits += price_step(self.model.tables, *opened, rows, all_mean, all_index)
            return Trial(plane.decoded()[0], all_mean.reshape(y.shape), all_index.reshape(y.shape), bits)
        for one in self.stages(plane):
            symbols = residual_symbols(one.step.take(rows), one.mean[0])
            bits += estimate_bits(self.model.tables, symbols, one.index[0])
            one.step.put(all_mean, one.mean[0])
            one.step.put(all_index, one.index[0])
            one.settle(symbols[None])
        return Trial(plane.decoded()[0], all_mean.reshape(y.shape), all_index.reshape(y.shape), bits)

    def write(self, trial: Trial, z: NDArray[np.float32]) -> Payload:
        """Code what :meth:`price` settled, and z; no network runs."""
        z_symbols, z_hat = self.round_z(z)
        latent = trial.y_hat.shape[2]
        symbols = ((trial.y_hat - trial.mean) // UNIT).reshape(-1, latent)
        index = trial.index.reshape(-1, latent)
        steps = self.model.twin.steps(self.schedule, (trial.y_hat.shape[0], trial.y_hat.shape[1]))
        encoder, of_z = StageEncoder(self.model.tables), (z_symbols.ravel(), self._z_index(z_symbols.shape))
        encoder.push(*of_z)
        for step in steps:
            encoder.push(step.take(symbols), step.take(index))
        bits = trial.bits + estimate_bits(self.model.tables, *of_z)
        return Payload(encoder.finish(), Latents(trial.y_hat, z_hat), bits)

    def encode(self, y: NDArray[np.float32], z: NDArray[np.float32]) -> Payload:
        """Round and code the latents of one tile.

        Args:
            y: float32 (h, w, latent) in quantisation steps.
            z: float32 (ceil(h/4), ceil(w/4), z_channels).
        """
        return self.write(self.price(y, self.round_z(z)[1]), z)

    def decode(self, payloads: Sequence[bytes], shape: tuple[int, int]) -> list[Latents]:
        """Decode tiles of one size side by side; the result does not depend on how they are batched.

        Args:
            payloads: coded words of each tile.
            shape: (h, w) of the latent plane.

        Raises:
            Corrupt: a payload does not decode to exactly these latents.
        """
        decoders = [StageDecoder(self.model.tables, payload) for payload in payloads]
        latents = self._decode(decoders, shape)
        for decoder in decoders:
            decoder.finish()
        return latents

    def decode_prefix(self, payload: bytes, shape: tuple[int, int], stages: int | None = None) -> tuple[Latents, int]:
        """Decode the beginning of a tile; latents that it does not hold take their predicted means.

        Args:
            payload: coded words; they may end early, anywhere. Bytes that were changed are not noticed.
            shape: (h, w) of the latent plane.
            stages: stages of the schedule to decode, 0 for z alone; None: all that has arrived.

        Returns:
            the latents; how many stages of y were decoded to the end, -1 if not even z was.
        """
        stage_of = [step.stage for step in self.model.twin.steps(self.schedule, shape)]
        limit = None if stages is None else 1 + sum(stage < stages for stage in stage_of)
        prefix = _Prefix(self.model, payload, limit)
        [latents] = self._decode([prefix], shape)
        complete = [-1, *stage_of, stage_of[-1] + 1]  # stages before the first step that is missing
        return latents, complete[prefix.pulled]

    def symbols_of(self, payload: bytes, shape: tuple[int, int]) -> list[CodedStep]:
        """What a payload codes: z, then every step of y, in order. Raises as :meth:`decode`."""
        noting = _Noting(StageDecoder(self.model.tables, payload))
        self._decode([noting], shape)
        noting.decoder.finish()
        return noting.steps

    def decode_z(self, decoders: Sequence[Puller], shape: tuple[int, int]) -> NDArray[np.int32]:
        """z_hat of the plane (h, w) of each decoder, the first that it holds: int32 (batch, h/4, w/4, z_channels)."""
        z_shape = (-(-shape[0] // 4), -(-shape[1] // 4), self.model.config.z_channels)
        index, mean = self._z_index(z_shape), self.model.twin.z_mean[self.quality - 1]
        return np.stack([_checked(one.pull(index)).reshape(z_shape) * UNIT + mean for one in decoders])

    def _decode(self, decoders: Sequence[Puller], shape: tuple[int, int]) -> list[Latents]:
        z_hat = self.decode_z(decoders, shape)
        plane = self.plane(z_hat, shape)
        whole = [one for one in decoders if isinstance(one, StageDecoder) and one.in_core]
        if plane.in_core and len(whole) == len(decoders):
            for step in plane.steps(self.schedule):
                for decoder, opened in zip(whole, plane.open_in_core(step, SYMBOL_LIMIT), strict=True):
                    decoder.pull_step(*opened)
            return [Latents(y, z) for y, z in zip(plane.decoded(), z_hat, strict=True)]
        for one in self.stages(plane):
            one.settle(np.stack([_checked(d.pull(row)) for d, row in zip(decoders, one.index, strict=True)]))
        return [Latents(y, z) for y, z in zip(plane.decoded(), z_hat, strict=True)]

    def _z_index(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        return np.broadcast_to(self.model.twin.z_index[self.quality - 1], shape).ravel()


class Puller(Protocol):
    """What gives the symbols of a step: a :class:`~tadan.entropy.StageDecoder`, or one of those below."""

    def pull(self, index: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Symbols of the next latents, int32 (n,), by their scale indices, uint8 (n,)."""
        ...


class _Noting:
    """A :class:`StageDecoder` whose steps are kept."""

    def __init__(self, decoder: StageDecoder) -> None:
        self.decoder = decoder
        self.steps: list[CodedStep] = []

    def pull(self, index: NDArray[np.uint8]) -> NDArray[np.int32]:
        """As :meth:`StageDecoder.pull`."""
        symbols = self.decoder.pull(index)
        self.steps.append(CodedStep(symbols, index.copy()))
        return symbols


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


def _checked(symbols: NDArray[np.int32]) -> NDArray[np.int32]:
    if symbols.size and max(int(symbols.max()), -int(symbols.min())) > SYMBOL_LIMIT:
        raise damaged(OUT_OF_RANGE)
    return symbols
