"""Decoding watched stage by stage: what could be shown of a picture after each stage of its schedule.

After *k* stages some latents are known; every other one is replaced by its predicted mean, given what is known inside
its window at that moment. That is one more use of the any-schedule network: each waiting latent asks with the
visibility mask it has *now*, not with the one it will be decoded under. So it goes for every kind of schedule, and
with the last stage nothing is predicted any more: the last frame is the decoded picture, sample for sample.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from tadan.codec.codec import Codec, file_symbols
from tadan.codec.transforms import Transforms
from tadan.errors import InvalidInput
from tadan.latents.coder import Latents
from tadan.latents.plane import LatentPlane
from tadan.models import Model
from tadan.schedule import Cell, Schedule, parse_schedule
from tadan_lab.measure.metrics import psnr

FRAMES = 24  # states that are shown at most, unless asked otherwise


@dataclass(frozen=True)
class Frame:
    """What can be shown once ``stage`` stages are decoded.

    Attributes:
        stage: number of stages decoded, 0 (only the hyperprior z) to ``stages``.
        stages: number of stages of this picture.
        stage_map: int64 (groups, h, w), read-only, the same in all frames: stage of every latent, 0..stages-1.
        picture: uint8 (H, W, 3), sRGB.
        psnr: dB against the original.
        bytes_read: bytes of the file read so far, an estimate from the scale tables. What belongs to no stage (header,
            z, rounding of the coder) counts as read before the first, so the last frame has read the whole file.
        file_bytes: length of the file.
    """

    stage: int
    stages: int
    stage_map: NDArray[np.int64]
    picture: NDArray[np.uint8]
    psnr: float
    bytes_read: float
    file_bytes: int

    @property
    def decoded(self) -> NDArray[np.bool_]:
        """Which latents are decoded: bool (groups, h, w)."""
        return self.stage_map < self.stage


def decoding_frames(
    model: Model | str | Path | None,
    image: Image.Image,
    quality: int = 30,
    schedule: str | Schedule = "4x4",
    limit: int = FRAMES,
    threads: int | None = None,
) -> list[Frame]:
    """Encode a picture and show its decoding: before the first stage and after each stage.

    With more than ``limit`` states (``raster`` has a stage for every latent) evenly spaced ones are shown, the first
    and the last always. The latents are those of the file that :class:`~tadan.codec.codec.Codec` writes.

    Args:
        model: as for :class:`~tadan.codec.codec.Codec`; None for the bundled one.
        image: converted to RGB, alpha dropped.
        quality: 1..100.
        schedule: name, alias, inline pattern or Schedule.
        limit: number of frames at most, 2 or more.
        threads: threads of the float networks; None for all cores.

    Raises:
        InvalidInput: an argument is out of range, or the model cannot follow the schedule.
        LimitExceeded: the picture has too many pixels.
        ModelMissing: the model named does not exist.
    """
    if limit < 2:
        raise InvalidInput(f"an animation has at least 2 frames, the first and the last, not {limit}")
    plan = schedule if isinstance(schedule, Schedule) else parse_schedule(schedule)
    rgb = image.convert("RGB")
    codec = Codec(model, threads=threads)
    with warnings.catch_warnings(action="ignore"):  # of what a stored file would have saved
        data = codec.encode(rgb, quality=quality, schedule=plan, tile=0, fallback=False)
    tables = codec.model.tables
    # Bytes of z, then of every step of y.
    spent = [float(tables.bits(*step).sum()) / 8 for step in file_symbols(data, codec.model)]
    [latents] = codec.decode_latents(data)
    height, width = latents.y_hat.shape[:2]
    stage_of = [step.stage for step in codec.model.twin.steps(plan, (height, width))]
    before = np.cumsum([len(data) - sum(spent[1:]), *np.bincount(stage_of, spent[1:])])

    numbers, ranks = np.unique(plan.stage_map(height, width), return_inverse=True)  # small planes miss some stages
    stage_map = ranks.reshape(plan.groups, height, width).astype(np.int64)
    stage_map.setflags(write=False)
    count = len(numbers)
    shown = np.linspace(0, count, min(limit, count + 1)).round().astype(int).tolist()
    transforms = Transforms(codec.model, threads)
    frames = []
    for stage, y in zip(shown, partial_latents(codec.model, latents, quality, plan, shown), strict=True):
        picture = transforms.synthesise(y, quality)[: rgb.height, : rgb.width]
        distance = psnr(rgb, picture)
        frames.append(Frame(stage, count, stage_map, picture, distance, float(before[stage]), len(data)))
    return frames


def partial_latents(
    model: Model, latents: Latents, quality: int, schedule: Schedule, shown: Sequence[int]
) -> Iterator[NDArray[np.int32]]:
    """Latents of a picture as far as they are decoded, predicted means for the others.

    The latents that come next have the very means that they will be decoded with (those of the
    lowest channel group); those further on are predicted from what they would see if their turn came now.

    Args:
        model: networks.
        latents: the decoded latents.
        quality: 1..100.
        schedule: decoding order.
        shown: numbers of decoded stages, ascending.

    Yields:
        for each of ``shown`` int32 (h, w, latent), Q6; equal to ``latents.y_hat`` once every stage is decoded.
    """
    height, width, channels = latents.y_hat.shape
    rows = latents.y_hat.reshape(height * width, channels)
    radius = model.config.radius
    plan = schedule.plan(height, width, radius)
    plane = LatentPlane(model.twin, latents.z_hat[None], (height, width), schedule.groups, quality)
    around = _stages_around(schedule, height, width, radius)
    inside = around[:, radius : radius + height, radius : radius + width].reshape(schedule.groups, -1)
    done = 0
    for stage in shown:
        for cell in (cell for cells in plan[done:stage] for cell in cells):
            plane.reveal(cell, rows[None, cell.positions, plane.channels(cell)])
        done = stage
        y = plane.y_hat[0].copy()
        if stage < len(plan):
            upcoming = plan[stage][0]
            for cell in _waiting(around < inside[upcoming.group, upcoming.positions[0]], radius):
                mean, _ = plane.predict(cell)
                y[cell.positions, plane.channels(cell)] = mean[0]
        yield y.reshape(height, width, channels)


def _stages_around(schedule: Schedule, height: int, width: int, radius: int) -> NDArray[np.int64]:
    """Stages of the plane and of a margin of ``radius``, as on an unbounded plane: (groups, h + 2r, w + 2r).

    Cut from the map of a larger plane, a whole number of periods further on. Its numbers keep the order of the
    schedule's stages, though a raster scan counts them differently on wider planes.
    """
    rows, cols = (-(-radius // period) * period for period in schedule.period)
    larger = schedule.stage_map(height + 2 * rows, width + 2 * cols)
    top, left = rows - radius, cols - radius
    return larger[:, top : top + height + 2 * radius, left : left + width + 2 * radius]


def _waiting(known: NDArray[np.bool_], radius: int) -> Iterator[Cell]:
    """Latents that are not decoded, those with equal surroundings together; known: bool (groups, h + 2r, w + 2r)."""
    side = 2 * radius + 1
    windows = sliding_window_view(known, (side, side), axis=(1, 2)).transpose(1, 2, 0, 3, 4)
    masks = windows.reshape(-1, len(known), side, side)  # [position, group, dy, dx]
    kinds, kind_of = np.unique(masks.reshape(len(masks), -1), axis=0, return_inverse=True)
    for group in range(len(known)):
        open_ = ~masks[:, group, radius, radius]
        for kind in np.unique(kind_of[open_]):
            yield Cell(group, np.flatnonzero(open_ & (kind_of == kind)), kinds[kind].reshape(masks.shape[1:]))
