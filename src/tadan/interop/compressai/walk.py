"""Schedules as index tensors: which rows of a padded latent buffer each step reads and writes.

The buffer holds latents as rows: plane (h, w) with ``radius`` rows and columns of zeros around it, row by row, and each
position as many times as the schedule has channel groups::

    row = ((y + radius) * (w + 2 * radius) + x + radius) * groups + group          (rows, channels / groups)

A *step* is one channel group in one stage; its positions ascend, as the halves of CompressAI's checkerboard do. A
*part* of a step is what shares a kernel, that is one visibility pattern.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tadan.schedule import PatternSchedule, Schedule

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pattern:
    """A visibility pattern with at least one visible neighbour.

    Attributes:
        groups: int64 (v,), channel group of each visible neighbour.
        rows: int64 (v,), row of each in the window, 0..k - 1.
        cols: int64 (v,), column of each.
    """

    groups: Ints
    rows: Ints
    cols: Ints


@dataclass(frozen=True, eq=False)
class Part:
    """Positions of a step that share a kernel.

    Attributes:
        kernel: number of the pattern in :func:`patterns`, or -1 where nothing is visible.
        places: int64 (m,), where the positions stand among those of the step.
        neighbours: int64 (m, v), rows of the buffer that the kernel reads.
    """

    kernel: int
    places: Tensor
    neighbours: Tensor


@dataclass(frozen=True, eq=False)
class Step:
    """Latents that are decoded together.

    Attributes:
        stage: of the schedule; stages that a small plane leaves empty are not counted out.
        group: channel group.
        positions: int64 (n,), ``row * width + col``, ascending.
        targets: int64 (n,), rows of the buffer that take the latents.
        rectangle: rows and columns of the positions where each row of the plane holds equally many, else (n, 1).
        parts: by kernel.
    """

    stage: int
    group: int
    positions: Tensor
    targets: Tensor
    rectangle: tuple[int, int]
    parts: tuple[Part, ...]


@dataclass(frozen=True, eq=False)
class Walk:
    """All steps of a plane, in decoding order.

    Attributes:
        steps: every (group, position) in exactly one of them.
        rows: of the buffer.
        inner: int64 (groups, h * w), rows of the plane's own latents.
    """

    steps: tuple[Step, ...]
    rows: int
    inner: Tensor


@lru_cache(maxsize=64)
def patterns(schedule: Schedule, radius: int) -> tuple[Pattern, ...]:
    """Distinct visibility patterns that show something, one kernel each, by group, then row by row of the period."""
    return tuple(found for found, _ in _patterns(schedule, radius).values())


def _patterns(schedule: Schedule, radius: int) -> dict[tuple[int, bytes], tuple[Pattern, int]]:
    found: dict[tuple[int, bytes], tuple[Pattern, int]] = {}
    for group, row, col in np.ndindex(schedule.groups, *schedule.period):
        visible = schedule.visible(group, row, col, radius)
        key = group, visible.tobytes()
        if visible.any() and key not in found:
            found[key] = Pattern(*np.nonzero(visible)), len(found)
    return found


def stage_total(schedule: Schedule) -> int | None:
    """Stages of a periodic schedule on a plane that leaves none empty; None for scans, where the plane decides."""
    return int(schedule.pattern.max()) + 1 if isinstance(schedule, PatternSchedule) else None


@lru_cache(maxsize=16)
def walk(schedule: Schedule, height: int, width: int, radius: int, device: torch.device) -> Walk:
    """The steps of a ``height`` x ``width`` plane, with tensors on ``device``.

    Raises:
        InvalidInput: the plane is empty, or the window reaches what the schedule has not decoded.
    """
    table, groups, line = _patterns(schedule, radius), schedule.groups, width + 2 * radius
    stage_map = schedule.stage_map(height, width)

    def tensor(values: Ints) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    def buffer_rows(positions: Ints) -> Ints:
        row, col = np.divmod(positions, width)
        return ((row + radius) * line + col + radius) * groups

    steps = []
    for cells in schedule.plan(height, width, radius):
        for group in sorted({cell.group for cell in cells}):
            own = [cell for cell in cells if cell.group == group]
            positions = np.sort(np.concatenate([cell.positions for cell in own]))
            by_kernel: dict[int, list[Ints]] = {}
            for cell in own:
                key = group, cell.visible.tobytes()
                kernel = table[key][1] if key in table else -1
                by_kernel.setdefault(kernel, []).append(cell.positions)
            parts = []
            for kernel, places in by_kernel.items():
                at = np.sort(np.concatenate(places))
                neighbours = np.empty((len(at), 0), np.int64)
                if kernel >= 0:
                    seen = patterns(schedule, radius)[kernel]
                    offsets = ((seen.rows - radius) * line + seen.cols - radius) * groups + seen.groups
                    neighbours = buffer_rows(at)[:, None] + offsets
                parts.append(Part(kernel, tensor(np.searchsorted(positions, at)), tensor(neighbours)))
            stage = int(stage_map[group].reshape(-1)[positions[0]])
            targets = tensor(buffer_rows(positions) + group)
            steps.append(Step(stage, group, tensor(positions), targets, _rectangle(positions, width), tuple(parts)))
    inner = buffer_rows(np.arange(height * width)) + np.arange(groups)[:, None]
    return Walk(tuple(steps), (height + 2 * radius) * line * groups, tensor(inner))


def _rectangle(positions: Ints, width: int) -> tuple[int, int]:
    _, counts = np.unique(positions // width, return_counts=True)
    return (len(counts), int(counts[0])) if (counts == counts[0]).all() else (len(positions), 1)


def merged(steps: Sequence[Step], group: int) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor]]]:
    """All steps of a channel group at once: positions in step order, and by kernel the places and neighbours."""
    own = [step for step in steps if step.group == group]
    positions = torch.cat([step.positions for step in own])
    places: dict[int, list[Tensor]] = {}
    neighbours: dict[int, list[Tensor]] = {}
    start = 0
    for step in own:
        for part in step.parts:
            places.setdefault(part.kernel, []).append(part.places + start)
            neighbours.setdefault(part.kernel, []).append(part.neighbours)
        start += len(step.positions)
    return positions, {kernel: (torch.cat(places[kernel]), torch.cat(neighbours[kernel])) for kernel in places}
