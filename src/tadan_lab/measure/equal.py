"""Bytes of codecs for one picture at equal visual quality, by interpolation between measured points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import geometric_mean
from typing import Any

import numpy as np

from tadan.optional import require
from tadan_lab.measure.bdrate import unbeaten


@dataclass(frozen=True)
class RateCurve:
    """Bytes of one codec over the score of one picture: points that no other one beats, both strictly rising."""

    points: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, points: Iterable[tuple[float | None, float]]) -> RateCurve:
        """From pairs of score and bytes; what has no score does not count."""
        return cls(tuple(unbeaten((score, size) for score, size in points if score is not None and size > 0)[0]))

    def bytes_at(self, score: float) -> float | None:
        """Bytes for a score, None outside of what was measured: nothing is extrapolated.

        The logarithm of the bytes is interpolated over the score by a monotone piecewise cubic (PCHIP), as for
        BD-rates. It is exact where the logarithm is linear, and at the points themselves.
        """
        if not self.points or not self.points[0][0] <= score <= self.points[-1][0]:
            return None
        scores, sizes = zip(*self.points, strict=True)
        return math.exp(pchip(scores, [math.log(size) for size in sizes], score))

    def knob_at(self, score: float, knobs: dict[float, int]) -> int | None:
        """Setting for a score by linear interpolation between the settings of the points; None outside.

        Args:
            score: wanted.
            knobs: setting by score of every point.
        """
        if self.bytes_at(score) is None:
            return None
        scores = [one for one, _ in self.points]
        return round(float(np.interp(score, scores, [knobs[one] for one in scores])))


def pchip(x: Sequence[float], y: Sequence[float], at: float) -> float:
    """Monotone piecewise cubic through points of rising ``x``, at a place between them; one point is a constant."""
    if len(x) == 1:
        return y[0]
    interpolate = require("scipy.interpolate", "lab", "Equal quality")
    return float(interpolate.PchipInterpolator(x, y)(at))


@dataclass(frozen=True)
class EqualRow:
    """One codec against another at one score, over pictures where both reach it.

    Attributes:
        rival: name.
        score: at which bytes are compared.
        pictures: that count.
        left_out: pictures of which one of the two did not reach the score.
        percent: bytes more (+) or fewer (-) than the rival: geometric mean of the ratios, each picture counts once.
        p10: of the ratios of single pictures, in percent, as ``median``, ``p90``, ``best`` and ``worst``.
        smaller_percent: share of pictures whose file is smaller than the rival's.
        bpp: bits per pixel of ours, all pictures together.
        rival_bpp: of the rival.
    """

    rival: str
    score: float
    pictures: int
    left_out: int
    percent: float | None
    p10: float | None
    median: float | None
    p90: float | None
    best: float | None
    worst: float | None
    smaller_percent: float | None
    bpp: float | None
    rival_bpp: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def compare_pairs(rival: str, score: float, pairs: Sequence[tuple[float, float, int] | None]) -> EqualRow:
    """Summarise pairs of bytes.

    Args:
        rival: name.
        score: of all pairs.
        pairs: for each picture bytes of ours, of the rival, and pixels; None where one of the two is unknown.
    """
    both = [pair for pair in pairs if pair is not None]
    missing = len(pairs) - len(both)
    if not both:
        return EqualRow(rival, score, 0, missing, *[None] * 9)
    ratios = [ours / theirs for ours, theirs, _ in both]
    percents = [100 * (ratio - 1) for ratio in ratios]
    low, middle, high = (float(one) for one in np.percentile(percents, (10, 50, 90)))
    pixels = sum(count for *_, count in both)
    return EqualRow(
        rival,
        score,
        len(both),
        missing,
        100 * (geometric_mean(ratios) - 1),
        low,
        middle,
        high,
        min(percents),
        max(percents),
        100 * sum(ratio < 1 for ratio in ratios) / len(both),
        8 * sum(ours for ours, *_ in both) / pixels,
        8 * sum(theirs for _, theirs, _ in both) / pixels,
    )
