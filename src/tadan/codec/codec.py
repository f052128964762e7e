"""The codec: pictures to ``.tdn`` bytes and back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tadan.bitstream import (
    STORED_MODEL_ID,
    Header,
    Limits,
    ScheduleField,
    Stream,
    Tile,
    read_stream,
    write_stream,
)
from tadan.codec.effort import refine
from tadan.codec.fallback import better_form
from tadan.codec.latents import Y_STRIDE, Latents, Observer, code_latents, decode_latents, plane_shape
from tadan.codec.levels import DEFAULT_EFFORT, EFFORT_MAX, EFFORT_MIN, STEPS
from tadan.codec.pictures import Picture, Planes, pack_alpha, read_picture, to_image, unpack_alpha
from tadan.codec.schedule_field import schedule_field, schedule_of
from tadan.codec.stored import form_of, read_tile, tile_of
from tadan.codec.transforms import Transforms
from tadan.errors import Corrupt, InvalidInput, LimitExceeded
from tadan.exact.linear import MatMul
from tadan.models import Model, find_model, load_model
from tadan.models.config import QUALITY_MAX, QUALITY_MIN, quality_lambda
from tadan.schedule import Schedule, parse_schedule


@dataclass(frozen=True)
class Verification:
    """Result of :meth:`Codec.verify`: checksum (hex) of the decoded latents of each tile, and counts.

    ``stored``: "png", "webp" or "jpeg" if the picture is stored in that format; the checksums are then those of its
    pixels, or of the bytes of a JPEG.
    """

    tiles: tuple[str, ...]
    sections: int
    file_bytes: int
    stored: str | None = None


@dataclass(frozen=True)
class Encoded:
    """A coded picture with what the encoder knows about it.

    Attributes:
        data: the file.
        estimated_bits: ideal code length of all latents, or length of a stored picture; a lower bound of 8 * len(data).
        stored: "png", "webp" or "jpeg" if the picture is stored in that format instead of as latents.
    """

    data: bytes
    estimated_bits: float
    stored: str | None = None


class Codec:
    """Encoder and decoder; reusable, safe to share between threads.

    Args:
        model: name or path of the model to encode with, and to try first when decoding; None for the bundled one.
        threads: threads of the networks and matrix products; None for all cores. Results do not depend on it.
        limits: sizes above which streams and pictures are refused.
        matmul: backend of the integer products, for exactness checks; results do not depend on it.
        observe: called with the symbols and scale indices of every stage that is encoded, for statistics.
        fallback: store pictures unlike photographs as WebP, PNG or JPEG where that is better (docs/fallback.md); if
            False, only warn. Off without a warning when ``observe`` is given.
    """

    def __init__(
        self,
        model: str | Path | Model | None = None,
        threads: int | None = None,
        limits: Limits = Limits(),  # noqa: B008 (immutable)
        matmul: MatMul = np.matmul,
        observe: Observer | None = None,
        fallback: bool = True,
    ) -> None:
        if threads is not None and threads < 1:
            raise InvalidInput(f"threads is at least 1, not {threads}; leave it out to use all cores")
        self._named = model
        self.threads = threads
        self.limits = limits
        self.fallback = fallback
        self._matmul, self._observe = matmul, observe
        self._transforms: dict[bytes, Transforms] = {}
        self._lock = threading.Lock()

    @property
    def model(self) -> Model:
        """The model that :meth:`encode` uses."""
        return self._named if isinstance(self._named, Model) else load_model(self._named)

    def encode(
        self,
        image: Picture,
        quality: int = 75,
        schedule: str | Schedule = "balanced",
        verify: bool = False,
        effort: int = DEFAULT_EFFORT,
    ) -> bytes:
        """Encode a picture.

        Args:
            image: Pillow image, uint8 array of shape (H, W) or (H, W, 1..4), or path.
            quality: 1 (smallest) to 100.
            schedule: name, alias ("fast", "balanced", "best"), inline pattern such as "0,2/3,1", or
                :class:`~tadan.schedule.Schedule`.
            verify: decode the latents again and compare before returning.
            effort: 0 (fastest) to 9: how long to search for latents that cost less (docs/effort.md). Decoding takes
                the same time.

        Raises:
            InvalidInput: an argument out of range, or a picture that cannot be converted.
            UnreadableInput: a path that is not a readable picture.
            LimitExceeded: the picture has more pixels than ``limits`` allow.
            ModelMissing: the model named does not exist.
        """
        return self.encode_with_estimate(image, quality, schedule, verify, effort).data

    def encode_with_estimate(
        self,
        image: Picture,
        quality: int = 75,
        schedule: str | Schedule = "balanced",
        verify: bool = False,
        effort: int = DEFAULT_EFFORT,
    ) -> Encoded:
        """As :meth:`encode`, with the estimated bits."""
        quality = _whole("quality", quality, QUALITY_MIN, QUALITY_MAX)
        steps = STEPS[_whole("effort", effort, EFFORT_MIN, EFFORT_MAX)]
        plan = schedule if isinstance(schedule, Schedule) else parse_schedule(schedule)
        model = self.model
        planes = read_picture(image, self.limits.max_pixels)
        metadata = sum(map(len, planes.metadata.values()))
        if metadata > self.limits.max_metadata_bytes:
            raise LimitExceeded(
                f"the picture carries {metadata:,} bytes of metadata, above the limit of "
                f"{self.limits.max_metadata_bytes:,}; remove some or raise Limits.max_metadata_bytes"
            )
        height, width = planes.rgb.shape[:2]
        with self._threads():
            transforms = self._transforms_of(model)
            y, z = transforms.analyse(planes.rgb, quality)
            trial = refine(model, transforms, planes.rgb, (y, z), quality, plan, steps, self._matmul)
            payload, latents, bits = code_latents(model, trial, z, quality, plan, self._observe)
            stored = self._stored_instead(planes, payload, latents, model, quality)
        alpha = None if planes.alpha is None else pack_alpha(planes.alpha)
        header = Header(width, height, planes.mode, quality, model.id, schedule_field(plan))
        tile = Tile(latents.checksum(), payload, alpha)
        if stored is not None:
            form, payload = stored
            header = replace(header, model_id=STORED_MODEL_ID, schedule=ScheduleField(form))
            tile = tile_of(form, payload, planes.rgb, alpha)
            bits = 8.0 * len(payload)
        data = write_stream(Stream(header, dict(planes.metadata), (tile,)))
        if verify:
            self.verify(data)
        return Encoded(data, bits, stored[0] if stored else None)

    def decode(self, data: bytes) -> Image.Image:
        """Decode a stream to a Pillow image of the mode that was encoded; metadata is in ``info``.

        Raises:
            NotOurFile, Truncated, Corrupt, UnsupportedVersion, ModelMissing, LimitExceeded: as their names say.
        """
        stream = read_stream(data, self.limits)
        header = stream.header
        rgb = np.empty((header.height, header.width, 3), np.uint8)
        alpha = np.empty((header.height, header.width), np.uint8) if header.has_alpha else None
        with self._threads():
            for tile, (x, y, width, height), shown in self._shown(stream):
                rgb[y : y + height, x : x + width] = shown[:height, :width]
                if alpha is not None and tile.alpha is not None:
                    alpha[y : y + height, x : x + width] = unpack_alpha(tile.alpha, width, height)
        return to_image(Planes(rgb, header.mode, alpha, stream.metadata))

    def decode_latents(self, data: bytes) -> list[Latents]:
        """Decode the latents of every tile and check them; no pixels are made. Raises as :meth:`decode`.

        Raises:
            InvalidInput: the picture is stored in another format and has no latents.
        """
        stream = read_stream(data, self.limits)
        if stream.header.is_stored:
            raise InvalidInput(
                f"the picture is stored as {form_of(stream.header).upper()} and has no latents; "
                "encode it without fallback to get some"
            )
        with self._threads():
            return [latents for _, _, latents in self._decoded(stream)]

    def verify(self, data: bytes) -> Verification:
        """Check every checksum of a stream, those of the decoded latents included. Raises as :meth:`decode`."""
        stream = read_stream(data, self.limits)
        stored = form_of(stream.header) if stream.header.is_stored else None
        checksums = []
        with self._threads():
            for tile, (_, _, width, height), _ in self._decoded(stream) if stored is None else self._shown(stream):
                if tile.alpha is not None:
                    unpack_alpha(tile.alpha, width, height)
                checksums.append(f"{tile.latents_crc:08x}")
        return Verification(tuple(checksums), len(stream.tiles) + len(stream.metadata), len(data), stored)

    def _stored_instead(
        self, planes: Planes, payload: bytes, latents: Latents, model: Model, quality: int
    ) -> tuple[str, bytes] | None:
        """Format and file to write instead of the latents, if the picture is better stored."""
        if self._observe is not None:
            return None
        height, width = planes.rgb.shape[:2]
        grey = planes.mode.startswith("L")

        def decoded() -> NDArray[np.uint8]:
            shown = self._transforms_of(model).synthesise(latents.y_hat, quality)[:height, :width]
            return np.asarray(to_image(Planes(shown, planes.mode, None)))

        weight = quality_lambda(model.config, quality)
        pixels = planes.rgb[:, :, 0] if grey else planes.rgb
        return better_form(pixels, payload, decoded, weight, insist=not self.fallback)

    def _shown(self, stream: Stream) -> Iterator[tuple[Tile, tuple[int, int, int, int], NDArray[np.uint8]]]:
        """Tile by tile: what the file holds, its box (x, y, width, height), RGB of at least that size."""
        header = stream.header
        if header.is_stored:
            form, grey = form_of(header), header.mode.startswith("L")
            for tile, box in zip(stream.tiles, header.tile_boxes(), strict=True):
                yield tile, box, read_tile(form, tile, grey, box[2], box[3])
            return
        transforms = self._transforms_of(self._model_of(header))
        for tile, box, latents in self._decoded(stream):
            yield tile, box, transforms.synthesise(latents.y_hat, header.quality)

    def _decoded(self, stream: Stream) -> Iterator[tuple[Tile, tuple[int, int, int, int], Latents]]:
        """Tile by tile: what the file holds, its box (x, y, width, height), its latents after their checksum."""
        header = stream.header
        model = self._model_of(header)
        schedule = schedule_of(header.schedule, model)
        for tile, box in zip(stream.tiles, header.tile_boxes(), strict=True):
            shape = plane_shape(box[2], box[3], Y_STRIDE)
            latents = decode_latents(model, [tile.payload], shape, header.quality, schedule, self._matmul)[0]
            if latents.checksum() != tile.latents_crc:
                raise Corrupt(
                    "the decoded latents do not match their checksum: the file was damaged, or this machine computes "
                    "wrongly (please report it); nothing was written"
                )
            yield tile, box, latents

    def _model_of(self, header: Header) -> Model:
        if self._named is not None and self.model.id == header.model_id:
            return self.model
        return find_model(header.model_id)

    def _transforms_of(self, model: Model) -> Transforms:
        with self._lock:
            if model.id not in self._transforms:
                self._transforms[model.id] = Transforms(model, self.threads)
            return self._transforms[model.id]

    @contextmanager
    def _threads(self) -> Iterator[None]:
        if self.threads is None:
            yield
            return
        from threadpoolctl import threadpool_limits

        with threadpool_limits(self.threads, user_api="blas"):
            yield


def _whole(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InvalidInput(f"{name} is a whole number from {low} to {high}, not {value!r}")
    if not low <= value <= high:
        raise InvalidInput(f"{name} goes from {low} to {high}, not {value}")
    return int(value)


@cache
def _default() -> Codec:
    return Codec()


def encode(
    image: Picture,
    quality: int = 75,
    schedule: str | Schedule = "balanced",
    verify: bool = False,
    effort: int = DEFAULT_EFFORT,
) -> bytes:
    """Encode with the bundled model; see :meth:`Codec.encode`."""
    return _default().encode(image, quality, schedule, verify, effort)


def decode(data: bytes) -> Image.Image:
    """Decode a stream; see :meth:`Codec.decode`."""
    return _default().decode(data)
