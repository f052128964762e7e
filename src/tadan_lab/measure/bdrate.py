"""Bjøntegaard delta rate: how many percent more or fewer bits one codec needs for the quality of another.

G. Bjøntegaard, *Calculation of average PSNR differences between RD-curves*, VCEG-M33 (2001), with the piecewise
interpolations that replaced its cubic; the arithmetic is that of the package ``bjontegaard``.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tadan.errors import InvalidInput
from tadan.optional import require
from tadan_lab.measure.curve import Curve
from tadan_lab.measure.yardsticks import METRICS, Metric, metrics_of

Points = tuple[Sequence[float], Sequence[float]]  # bits per pixel and quality of the points of a curve
METHODS = ("pchip", "akima")
MIN_POINTS = 4
WEAK_COVERAGE = 0.5  # below it, reports warn that the number says little


@dataclass(frozen=True)
class BDRate:
    """``percent`` < 0: fewer bits than the anchor, averaged over the quality that both curves reach.

    Attributes:
        percent: of the anchor's bits.
        low: lower end of the common range, in ``unit``.
        high: upper end of it.
        coverage: share (0 to 1) of the range in what either curve reaches; a number from a small one says little.
        unit: of the range, "dB", "JOD" or "" (SSIMULACRA2, Butteraugli).
        left_out: points that another point of their curve beats in rate and in quality.
    """

    percent: float
    low: float
    high: float
    coverage: float
    unit: str = "dB"
    left_out: int = 0

    def __str__(self) -> str:
        """``-35.1 % (26.0 to 38.2 dB, 80% of both)``."""
        return f"{self.percent:+.1f} % ({self.overlap})"

    @property
    def overlap(self) -> str:
        """``26.0 to 38.2 dB, 80% of both``."""
        left_out = f", {self.left_out} point(s) left out" if self.left_out else ""
        return f"{_interval(self.low, self.high, self.unit)}, {self.coverage:.0%} of both{left_out}"


@dataclass(frozen=True)
class BDRates:
    """BD-rates of our curve against ``anchor`` by key of each metric of ours, or the words why there is none."""

    anchor: Curve
    values: dict[str, BDRate | str]


def bd_rate(anchor: Curve, test: Curve, method: str = "pchip", metric: str = "psnr-rgb") -> BDRate:
    """Return the BD-rate of ``test`` against ``anchor``.

    Args:
        anchor: the curve whose bits count as 100 %; points may come in any order and number. A point does not count
            where another one of its curve has fewer bits and no less quality: nobody would choose it.
        test: the curve that is judged.
        method: "pchip" or "akima", the interpolation between points.
        metric: a key of METRICS; MS-SSIM counts in dB, -10 log10(1 - MS-SSIM).

    Raises:
        InvalidInput: a curve lacks the metric, has fewer than 4 points that count, the two do not overlap, or the
            package ``bjontegaard`` is missing.
    """
    if method not in METHODS:
        raise InvalidInput(f"Unknown BD-rate method {method!r}; choose {' or '.join(METHODS)}.")
    if metric not in METRICS:
        raise InvalidInput(f"Unknown metric {metric!r}; choose {' or '.join(METRICS)}.")
    by = METRICS[metric]
    a, b = _useful_points(anchor, by), _useful_points(test, by)
    low, high = max(a.quality[0], b.quality[0]), min(a.quality[-1], b.quality[-1])
    if low >= high:
        reached = [_interval(*_sides(by, one.quality[0], one.quality[-1]), by.unit) for one in (b, a)]
        raise InvalidInput(
            f"No BD-rate: {test.name} reaches {reached[0]}, {anchor.name} {reached[1]}; "
            f"choose qualities whose {by.title} overlaps."
        )
    percent = percent_more((a.bpp, a.quality), (b.bpp, b.quality), method)
    whole = max(a.quality[-1], b.quality[-1]) - min(a.quality[0], b.quality[0])
    sides = _sides(by, low, high)
    return BDRate(percent, *sides, (high - low) / whole, by.unit, a.left_out + b.left_out)


def percent_more(anchor: Points, test: Points, method: str = "pchip") -> float:
    """Bits in percent that ``test`` takes more than ``anchor`` at equal quality, from rising points that overlap.

    Two points are enough where curves are close to each other at every quality.
    """
    package = require("bjontegaard", "lab", "BD-rate")
    return float(package.bd_rate(*anchor, *test, method=method, require_matching_points=False, min_overlap=0))


def compare(ours: Curve, anchors: Sequence[Curve]) -> list[BDRates]:
    """Return the BD-rates of ``ours`` against each anchor, by every metric that ours has."""
    keys = [metric.key for metric in metrics_of([ours])]
    return [BDRates(anchor, {key: _rate_or_words(anchor, ours, key) for key in keys}) for anchor in anchors]


def other_pictures(ours: Curve, anchor: Curve) -> str | None:
    """Return a warning if the two curves say which pictures they saw and these differ, else None."""
    seen = [{str(row["picture"]) for row in curve.pictures if "picture" in row} for curve in (ours, anchor)]
    if not all(seen) or seen[0] == seen[1]:
        return None
    return (
        f"{anchor.name} was measured on other pictures ({len(seen[1])}, of which {len(seen[0] & seen[1])} are among "
        f"our {len(seen[0])}): its figures do not compare with ours."
    )


def _rate_or_words(anchor: Curve, ours: Curve, metric: str) -> BDRate | str:
    try:
        return bd_rate(anchor, ours, metric=metric)
    except InvalidInput as error:
        return str(error)


@dataclass(frozen=True)
class _Points:
    """Quality (more is better, strictly rising), rate (bits per pixel, strictly rising), number of points beaten."""

    quality: list[float]
    bpp: list[float]
    left_out: int


def _useful_points(curve: Curve, metric: Metric) -> _Points:
    values = curve.results.get(metric.key, [])
    if len(values) != len(curve.results["bpp"]):
        raise InvalidInput(f"No BD-rate: {curve.name} has no {metric.title}; measure it again with tadan lab eval.")
    pairs = []
    for bpp, value in zip(curve.results["bpp"], values, strict=True):
        if not (math.isfinite(bpp) and math.isfinite(value) and bpp > 0):
            raise InvalidInput(
                f"No BD-rate: {curve.name} has a point of {bpp} bpp and {metric.title} {value}; measure it again."
            )
        pairs.append((metric.rising(value), bpp))
    useful, left_out = unbeaten(pairs)
    if len(useful) < MIN_POINTS:
        beaten = f": in {left_out} more, {metric.title} does not get better with more bits" if left_out else ""
        raise InvalidInput(
            f"No BD-rate: {curve.name} has {len(useful)} useful point(s), {MIN_POINTS} are needed{beaten}; "
            "give more qualities."
        )
    return _Points([quality for quality, _ in useful], [bpp for _, bpp in useful], left_out)


def unbeaten(points: Iterable[tuple[float, float]]) -> tuple[list[tuple[float, float]], int]:
    """Points (quality, rate) that no other one beats in both, both strictly rising, and how many were left out.

    Points of one quality count as one, the cheapest of them.
    """
    cheapest: dict[float, float] = {}
    for quality, rate in points:
        cheapest[quality] = min(rate, cheapest.get(quality, math.inf))
    kept: list[tuple[float, float]] = []
    for quality, rate in sorted(cheapest.items(), reverse=True):
        if not kept or rate < kept[-1][1]:
            kept.append((quality, rate))
    return kept[::-1], len(cheapest) - len(kept)


def _sides(metric: Metric, low: float, high: float) -> tuple[float, float]:
    """The range as readers know the metric: distances are negative inside."""
    return (-high, -low) if metric.lower_is_better else (low, high)


def _interval(low: float, high: float, unit: str) -> str:
    return f"{low:.1f} to {high:.1f} {unit}".rstrip()
