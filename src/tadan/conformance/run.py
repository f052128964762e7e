"""The checks of one decoder against golden streams, step by step; each ends in an :class:`Outcome`."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tadan.bitstream import Header, Stream, read_stream
from tadan.codec.codec import Codec
from tadan.codec.decoder import coder_of
from tadan.conformance.dumps import read_dump
from tadan.conformance.golden import (
    LATENTS_SUFFIX,
    PIXELS_SUFFIX,
    STREAM_SUFFIX,
    DamagedStream,
    GoldenSet,
    GoldenStream,
    crc,
)
from tadan.conformance.trace import Trace, trace_tile
from tadan.errors import TadanError, UnreadableInput
from tadan.exact.linear import MatMul
from tadan.files import read_bytes
from tadan.latents.coder import Y_STRIDE, plane_shape
from tadan.models import find_model


@dataclass(frozen=True)
class Outcome:
    """Result of one file.

    Attributes:
        set: name of the set.
        name: of the stream.
        ok: whether all steps passed.
        step: first step that failed: "file", "container", "metadata", "latents", "pixels" or "error"; None if ok.
        detail: what was found, in words.
        levels: largest difference of a sample from the golden pixels, as far as that was reached.
        seconds: wall clock.
    """

    set: str
    name: str
    ok: bool
    step: str | None
    detail: str
    levels: int | None
    seconds: float


class _Failed(Exception):
    """A step that did not pass."""


class _Steps:
    """The step that a check is at, and what it has found so far."""

    def __init__(self) -> None:
        self.step = "file"
        self.levels: int | None = None


def check_sets(
    sets: Sequence[GoldenSet], threads: int | None = None, matmul: MatMul = np.matmul, pixels: bool = True
) -> Iterator[Outcome]:
    """Decode every stream of ``sets`` and compare; damaged ones must be refused with the recorded error.

    Args:
        sets: from :func:`~tadan.conformance.golden.load_sets`.
        threads: threads of the decoder; None for all cores.
        matmul: backend of the integer products, where stages are compared.
        pixels: also run g_s; without, ONNX Runtime need not be there.
    """
    from threadpoolctl import threadpool_limits

    codec = Codec(threads=threads)
    with threadpool_limits(threads, user_api="blas"):
        for golden in sets:
            for stream in golden.streams:
                yield _outcome(golden.name, stream.name, partial(_check, golden, stream, codec, matmul, pixels))
            for damaged in golden.damaged:
                yield _outcome(golden.name, damaged.name, partial(_refuse, golden, damaged, codec, pixels))


def check_dumps(sets: Sequence[GoldenSet], folder: Path) -> Iterator[Outcome]:
    """Compare what another implementation decoded: ``folder/SET/NAME.latents``, and NAME.png where there is one.

    Stored pictures have no latents; there the PNG is what counts. Damaged streams are left out.
    """
    for golden in sets:
        for stream in golden.streams:
            yield _outcome(golden.name, stream.name, partial(_check_dump, golden, stream, folder))


def _outcome(set_name: str, name: str, check: Callable[[_Steps], str]) -> Outcome:
    steps, start = _Steps(), time.perf_counter()
    try:
        detail, ok = check(steps), True
    except (_Failed, TadanError) as error:
        detail, ok = str(error), False
    except Exception as error:  # a decoder that raises anything else has failed, and the next stream has its turn
        detail, ok = f"unexpected {error!r}", False
    return Outcome(set_name, name, ok, None if ok else steps.step, detail, steps.levels, time.perf_counter() - start)


def _check(
    golden: GoldenSet, stream: GoldenStream, codec: Codec, matmul: MatMul, with_pixels: bool, steps: _Steps
) -> str:
    data = golden.read(stream.name, STREAM_SUFFIX)
    if crc(data) != stream.file:
        raise _Failed("the file was changed since it was made; install tadan again")
    steps.step = "container"
    content = read_stream(data)
    _compare_headers(content.header, golden, stream)
    steps.step = "metadata"
    found = {key: crc(value) for key, value in content.metadata.items()}
    if found != stream.metadata:
        raise _Failed(f"metadata sections {found} instead of {dict(stream.metadata)}")
    steps.step = "latents"
    if content.header.has_latents:
        _compare_tiles(_traces(content, matmul), stream)
    steps.step = "pixels"
    if with_pixels or not content.header.has_latents:
        shown = codec.decode(data)
        if stream.levels is not None:
            steps.levels = _compare_pixels(shown, golden, stream)
    else:
        codec.verify(data)
    what = f"{stream.steps} steps" if stream.tiles else f"stored as {stream.content.upper()}"
    pixels = "latents only" if steps.levels is None else f"pixels within {steps.levels}"
    return f"{stream.width}x{stream.height} {stream.mode}, quality {stream.quality}, {what}, {pixels}"


def _compare_headers(header: Header, golden: GoldenSet, stream: GoldenStream) -> None:
    expected = (golden.format_version, golden.model)
    found = (header.version, None if header.model_id is None else header.model_id.hex())
    if found != expected:
        raise _Failed(f"version and model are {found} instead of {expected}")
    for name in ("content", "width", "height", "mode", "quality", "tile_size"):
        if getattr(header, name) != getattr(stream, name):
            raise _Failed(f"{name} is {getattr(header, name)} instead of {getattr(stream, name)}")
    if schedule_text(header) != stream.schedule:
        raise _Failed(f"the schedule is {schedule_text(header)} instead of {stream.schedule}")


def schedule_text(header: Header) -> str | None:
    """Name of the schedule, or its inline pattern as JSON; None of stored pictures."""
    return None if header.schedule is None else header.schedule.name or json.dumps(header.schedule.pattern)


def _traces(content: Stream, matmul: MatMul) -> list[Trace]:
    header = content.header
    if header.model_id is None:
        return []
    coder = coder_of(header, find_model(header.model_id), matmul)
    return [
        trace_tile(coder, tile.payload, plane_shape(box[2], box[3], Y_STRIDE))
        for tile, box in zip(content.tiles, header.tile_boxes(), strict=True)
    ]


def _compare_tiles(traces: Sequence[Trace], stream: GoldenStream) -> None:
    if len(traces) != len(stream.tiles):
        raise _Failed(f"{len(traces)} tiles instead of {len(stream.tiles)}")
    for number, (trace, record) in enumerate(zip(traces, stream.tiles, strict=True), start=1):
        difference = trace.first_difference(record)
        if difference is not None:
            raise _Failed(f"tile {number} of {len(traces)}, {difference}")


def _compare_pixels(shown: Image.Image, golden: GoldenSet, stream: GoldenStream) -> int:
    """Largest difference of a sample; alpha must be equal."""
    with Image.open(io.BytesIO(golden.read(stream.name, PIXELS_SUFFIX)), formats=["PNG"]) as reference:
        if (shown.mode, shown.size) != (reference.mode, reference.size):
            raise _Failed(f"{shown.size} {shown.mode} instead of {reference.size} {reference.mode}")
        wanted = np.atleast_3d(np.asarray(reference)).astype(np.int16)
    difference = np.abs(np.atleast_3d(np.asarray(shown)) - wanted)
    if shown.mode.endswith("A"):
        if difference[:, :, -1].any():
            raise _Failed("the alpha plane differs; it is lossless (section 11)")
        difference = difference[:, :, :-1]
    levels = int(difference.max())
    if levels > (stream.levels or 0):
        wrong = int((difference > (stream.levels or 0)).sum())
        raise _Failed(f"{wrong} samples differ by up to {levels} levels; {stream.levels} is allowed (section 11)")
    return levels


def _refuse(golden: GoldenSet, damaged: DamagedStream, codec: Codec, with_pixels: bool, steps: _Steps) -> str:
    data = golden.read(damaged.name, STREAM_SUFFIX)
    if crc(data) != damaged.file:
        raise _Failed("the file was changed since it was made; install tadan again")
    steps.step = "error"
    try:
        (codec.decode if with_pixels else codec.verify)(data)
    except TadanError as error:
        if type(error).__name__ != damaged.error:
            raise _Failed(f"{type(error).__name__} instead of {damaged.error}: {error}") from error
        return f"refused with {damaged.error}: {damaged.shows}"
    raise _Failed(f"decoded without an error instead of {damaged.error}")


def _check_dump(golden: GoldenSet, stream: GoldenStream, folder: Path, steps: _Steps) -> str:
    content = read_stream(golden.read(stream.name, STREAM_SUFFIX))
    latents, pixels = (folder / golden.name / f"{stream.name}{end}" for end in (LATENTS_SUFFIX, PIXELS_SUFFIX))
    if stream.tiles:
        steps.step = "latents"
        _compare_tiles(read_dump(content.header, read_bytes(latents)).traces(), stream)
    steps.step = "pixels"
    if stream.levels is not None and (pixels.exists() or not stream.tiles):
        try:
            shown = Image.open(io.BytesIO(read_bytes(pixels)))
            shown.load()
        except OSError as error:
            raise UnreadableInput(f"cannot read {pixels} ({error}); write it as PNG") from error
        steps.levels = _compare_pixels(shown, golden, stream)
    return f"{stream.steps} steps" + ("" if steps.levels is None else f", pixels within {steps.levels}")
