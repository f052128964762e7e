"""What is decoded when: the one object that every other part of Tadan consumes.

A *schedule* maps every latent to the stage in which it is decoded::

    stage(group, row, col) -> 0, 1, 2, ...

Latents of stage *s* are decoded in parallel; their distributions may depend on exactly the latents of stages < *s*
inside the window of the context model. Nothing else distinguishes the context models of the literature::

    hyper          checkerboard    2x2             4x4 (published)     raster, 4 columns    wavefront, radius 2
    0 0 0 0        0 1 0 1         0 2 0 2          0  2  5  4          0  1  2  3           0  1  2  3
    0 0 0 0        1 0 1 0         3 1 3 1          1  7 11  8          4  5  6  7           3  4  5  6
    0 0 0 0        0 1 0 1         0 2 0 2          6 12 13 10          8  9 10 11           6  7  8  9
    1 stage        2 stages        4 stages         16 stages           H*W stages           W + 3(H-1) stages

What makes this correct: the parameter network is *pointwise* (1x1), so a latent's parameters depend on others only
through the window; tests perturb every latent and check who notices.

Source: Lin, Sun, Liu, Katto, "Multistage Spatial Context Models for Learned Image Compression", ICASSP 2023.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tadan.errors import InvalidInput, LimitExceeded
from tadan.fork import ForkLock

MAX_PERIOD = 16
MAX_GROUPS = 16
MAX_PLAN_BYTES = 64 * 2**20  # of all plans that are kept for the next picture of the same size
_CELL_BYTES = 300  # of a cell, besides its positions


@dataclass(frozen=True, eq=False)
class Cell:
    """Latents of one stage that share channel group and visible neighbourhood.

    Attributes:
        group: channel group that is decoded.
        positions: int64 (n,), flat indices ``row * width + col`` into the latent plane, ascending.
        visible: bool (groups, k, k), True where the neighbour ``(row + dy, col + dx)`` of that group is decoded in an
            earlier stage, on an unbounded plane; ``k = 2 * radius + 1``, ``[g, dy + radius, dx + radius]``.
            Neighbours outside the real plane count as decoded zeros.
    """

    group: int
    positions: NDArray[np.int64]
    visible: NDArray[np.bool_]


class Schedule(ABC):
    """Base of all schedules. Immutable; equal when made from the same pattern or scan, whatever their names.

    Attributes:
        groups: number of channel groups that the schedule tells apart (1: all channels of a position together).
        name: name in the catalogue, or under which the user stored it, or None. Only names of the catalogue are
            written into streams; every other schedule travels inline.
    """

    groups: int
    name: str | None

    @property
    @abstractmethod
    def period(self) -> tuple[int, int]:
        """Rows and columns after which visibility repeats; (1, 1) for raster and wavefront."""

    @abstractmethod
    def stage_map(self, height: int, width: int) -> NDArray[np.int64]:
        """Stage of every latent: int64 (groups, height, width)."""

    @abstractmethod
    def visible(self, group: int, row: int, col: int, radius: int) -> NDArray[np.bool_]:
        """Neighbours decoded before latent ``(group, row, col)`` on an unbounded plane: bool (groups, k, k)."""

    def stage_count(self, height: int, width: int) -> int:
        """Number of stages that decode at least one latent of a ``height`` x ``width`` plane.

        Raises:
            InvalidInput: a dimension is below 1.
        """
        _check_plane(height, width)
        return int(np.unique(self.stage_map(height, width)).size)

    def plan(self, height: int, width: int, radius: int) -> tuple[tuple[Cell, ...], ...]:
        """Stages of a ``height`` x ``width`` plane in decoding order, each a tuple of cells; empty stages are left out.

        The cells of all stages hold every (group, position) exactly once.

        Raises:
            InvalidInput: a dimension is below 1 or the radius is negative.
        """
        _check_plane(height, width, radius)
        return _plans.get(self, height, width, radius)

    def visibility(self, height: int, width: int, radius: int) -> NDArray[np.bool_]:
        """Visible neighbours of every latent, for training: bool (groups, height, width, groups, k, k).

        Raises:
            InvalidInput: a dimension is below 1 or the radius is negative.
        """
        _check_plane(height, width, radius)
        k = 2 * radius + 1
        rows, cols = self.period
        tile = np.empty((self.groups, rows, cols, self.groups, k, k), dtype=bool)
        for group, row, col in np.ndindex(self.groups, rows, cols):
            tile[group, row, col] = self.visible(group, row, col, radius)
        repeat = (1, -(-height // rows), -(-width // cols), 1, 1, 1)
        return np.tile(tile, repeat)[:, :height, :width]


class PatternSchedule(Schedule):
    """Periodic schedule: ``stage(group, row, col) = pattern[group, row % rows, col % cols]``.

    Args:
        pattern: (groups, rows, cols) or (rows, cols) integers; the stages 0..K-1 must all occur. Positions that share
            a stage are decoded together and do not see each other. Floats are refused, even whole ones.
        name: see :class:`Schedule`.

    Raises:
        InvalidInput: the pattern is no rectangle of integers, or its stages are not contiguous from 0.
        LimitExceeded: more than MAX_GROUPS groups, or more than MAX_PERIOD rows or columns.
    """

    def __init__(self, pattern: Sequence[object] | NDArray[np.int64], name: str | None = None) -> None:
        """Check and copy the pattern."""
        try:
            given = np.array(pattern)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInput(f"a pattern is a rectangle of whole numbers: {error}") from error
        if given.ndim == 2:
            given = given[None]
        if given.ndim != 3 or 0 in given.shape:
            raise InvalidInput(f"a pattern has the shape (rows, cols) or (groups, rows, cols), not {given.shape}")
        if given.shape[0] > MAX_GROUPS or max(given.shape[1:]) > MAX_PERIOD:
            raise LimitExceeded(
                f"a pattern has at most {MAX_GROUPS} groups and {MAX_PERIOD} rows and columns, not {given.shape}"
            )
        if given.dtype.kind not in "iu":
            raise InvalidInput(f"a pattern holds integers only, not values of type {given.dtype}")
        used = np.unique(given)
        gaps = np.flatnonzero(used != np.arange(used.size))
        if gaps.size:
            raise InvalidInput(
                f"the stages of a pattern are 0..K-1 without gaps; stage {gaps[0]} does not occur, {used[gaps[0]]} does"
            )
        stages = given.astype(np.int64)
        stages.setflags(write=False)
        self.pattern = stages
        self.groups = stages.shape[0]
        self.name = name

    @property
    def period(self) -> tuple[int, int]:
        """Rows and columns of the pattern."""
        return self.pattern.shape[1], self.pattern.shape[2]

    def stage_map(self, height: int, width: int) -> NDArray[np.int64]:
        """Stage of every latent: int64 (groups, height, width)."""
        rows, cols = self.period
        return self.pattern[:, np.arange(height)[:, None] % rows, np.arange(width) % cols]

    def visible(self, group: int, row: int, col: int, radius: int) -> NDArray[np.bool_]:
        """Neighbours with a smaller stage number, the pattern repeated in all directions (any radius)."""
        rows, cols = self.period
        offsets = np.arange(-radius, radius + 1)
        neighbours = self.pattern[:, (row + offsets)[:, None] % rows, (col + offsets) % cols]
        seen: NDArray[np.bool_] = neighbours < self.pattern[group, row % rows, col % cols]
        return seen

    def reduced(self) -> PatternSchedule:
        """The same decoding order, written with the fewest rows and columns that repeat, without a name."""
        rows, cols = (
            next(step for step in range(1, size + 1) if size % step == 0 and self._repeats(step, axis))
            for axis, size in ((1, self.pattern.shape[1]), (2, self.pattern.shape[2]))
        )
        return PatternSchedule(self.pattern[:, :rows, :cols])

    def tiles(self, shape: tuple[int, int]) -> bool:
        """Whether a patch of ``shape`` (rows, columns) holds whole periods, all channels of a position together."""
        rows, cols = self.period
        return self.groups == 1 and shape[0] % rows == 0 and shape[1] % cols == 0

    def _repeats(self, step: int, axis: int) -> bool:
        return np.array_equal(np.roll(self.pattern, step, axis), self.pattern)

    def __eq__(self, other: object) -> bool:
        """Equal by content; names do not count."""
        return isinstance(other, PatternSchedule) and np.array_equal(self.pattern, other.pattern)

    def __hash__(self) -> int:
        """Hash of what equality compares."""
        return hash((self.pattern.shape, self.pattern.tobytes()))

    def __repr__(self) -> str:
        """Expression that builds the schedule."""
        return f"PatternSchedule({self.pattern.tolist()}, name={self.name!r})"


class ScanSchedule(Schedule):
    """Raster order, one latent a stage, or the same order along diagonals.

    A latent sees the rows above and what stands to its left. With ``slope`` = 0 every latent is a stage of its own
    (H*W stages). With ``slope`` = radius + 1 the latents of one diagonal ``col + slope * row`` are decoded together:
    inside the window nothing that raster sees is missing and nothing else is visible, so the probabilities are the
    same (W + slope * (H - 1) stages on planes of at least ``slope`` columns, where every diagonal is reached;
    wavefront, arXiv 2607.19082).

    Args:
        slope: 0 for raster order, otherwise columns by which a row may run behind the row above.
        name: catalogue name, or None.

    Raises:
        InvalidInput: the slope is no integer, or is negative.
    """

    groups = 1

    def __init__(self, slope: int = 0, name: str | None = None) -> None:
        """Check the slope."""
        if not isinstance(slope, int) or slope < 0:
            raise InvalidInput(f"the slope of a scan is 0 (raster) or a number of columns, not {slope!r}")
        self.slope = slope
        self.name = name

    @property
    def period(self) -> tuple[int, int]:
        """(1, 1): every latent sees the same neighbourhood."""
        return 1, 1

    def stage_map(self, height: int, width: int) -> NDArray[np.int64]:
        """Stage of every latent: int64 (1, height, width)."""
        slope = self.slope or width
        return (np.arange(height)[:, None] * slope + np.arange(width))[None]

    def visible(self, group: int, row: int, col: int, radius: int) -> NDArray[np.bool_]:
        """The causal half of the window: rows above, and the same row to the left.

        Raises:
            InvalidInput: the window reaches latents that a wavefront of this slope has not decoded.
        """
        if self.slope and self.slope <= radius:
            raise InvalidInput(f"a wavefront of slope {self.slope} needs a window radius below it, not {radius}")
        offsets = np.arange(-radius, radius + 1)
        seen: NDArray[np.bool_] = (offsets[:, None] < 0) | ((offsets[:, None] == 0) & (offsets < 0))
        return seen[None]

    def __eq__(self, other: object) -> bool:
        """Equal by content; names do not count."""
        return isinstance(other, ScanSchedule) and self.slope == other.slope

    def __hash__(self) -> int:
        """Hash of what equality compares."""
        return hash(("scan", self.slope))

    def __repr__(self) -> str:
        """Expression that builds the schedule."""
        return f"ScanSchedule(slope={self.slope}, name={self.name!r})"


def _check_plane(height: int, width: int, radius: int = 0) -> None:
    if height < 1 or width < 1 or radius < 0:
        raise InvalidInput(f"a latent plane of {height}x{width} with window radius {radius} has nothing to decode")


Plan = tuple[tuple["Cell", ...], ...]


class _Plans:
    """Plans that were made lately, within a bound of bytes: those of scans take hundreds of times their plane."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Schedule, int, int, int], tuple[Plan, int]] = OrderedDict()
        self._bytes, self._lock = 0, ForkLock()

    def get(self, schedule: Schedule, height: int, width: int, radius: int) -> Plan:
        """The plan, made if it is not at hand."""
        key = schedule, height, width, radius
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
        plan = _plan(*key)
        size = _CELL_BYTES * sum(map(len, plan)) + sum(cell.positions.nbytes for stage in plan for cell in stage)
        with self._lock:
            if size <= MAX_PLAN_BYTES and key not in self._kept:
                self._kept[key] = plan, size
                self._bytes += size
                while self._bytes > MAX_PLAN_BYTES:
                    self._bytes -= self._kept.popitem(last=False)[1][1]
        return plan


_plans = _Plans()


def _plan(schedule: Schedule, height: int, width: int, radius: int) -> Plan:
    rows, cols = schedule.period
    stage_of = schedule.stage_map(height, width).reshape(schedule.groups, -1)
    row, col = np.divmod(np.arange(height * width), width)
    phase = (row % rows) * cols + col % cols
    masks: dict[tuple[int, int], NDArray[np.bool_]] = {}
    stages: dict[int, list[Cell]] = {}
    for group in range(schedule.groups):
        # One sort brings the latents of a cell together: by stage, then by phase in the pattern, then by position.
        order = np.lexsort((phase, stage_of[group]))
        stage, kind = stage_of[group][order], phase[order]
        cuts = np.flatnonzero((np.diff(stage) != 0) | (np.diff(kind) != 0)) + 1
        starts = np.concatenate(([0], cuts))
        for start, positions in zip(starts, np.split(order, cuts), strict=True):
            key = group, int(kind[start])
            if key not in masks:
                masks[key] = schedule.visible(group, key[1] // cols, key[1] % cols, radius)
                masks[key].setflags(write=False)
            positions.setflags(write=False)
            stages.setdefault(int(stage[start]), []).append(Cell(group, positions, masks[key]))
    return tuple(tuple(stages[stage]) for stage in sorted(stages))
