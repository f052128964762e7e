"""Bjøntegaard delta rate: how many percent more or fewer bits one codec needs for the quality of another.

G. Bjøntegaard, *Calculation of average PSNR differences between RD-curves*, VCEG-M33 (2001), with the piecewise
interpolations that replaced its cubic; the arithmetic is that of the package ``bjontegaard``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tadan.errors import InvalidInput
from tadan.evaluate.curve import Curve
from tadan.evaluate.extras import require
from tadan.evaluate.metrics import similarity_db

METHODS = ("pchip", "akima")
METRICS = {"psnr-rgb": "PSNR", "ms-ssim-rgb": "MS-SSIM"}  # keys of curves, words for people
MIN_POINTS = 4
WEAK_COVERAGE = 0.5  # below it, reports warn that the number says little


@dataclass(frozen=True)
class BDRate:
    """``percent`` < 0: fewer bits than the anchor, averaged over the quality in dB that both curves reach.

    ``low_db`` to ``high_db`` is that interval; ``coverage`` is its share (0 to 1) of the dB that either reaches, and
    a number from a small one says little.
    """

    percent: float
    low_db: float
    high_db: float
    coverage: float

    def __str__(self) -> str:
        """``-35.1 % (26.0 to 38.2 dB, 80% of both)``."""
        return f"{self.percent:+.1f} % ({self.overlap})"

    @property
    def overlap(self) -> str:
        """``26.0 to 38.2 dB, 80% of both``."""
        return f"{self.low_db:.1f} to {self.high_db:.1f} dB, {self.coverage:.0%} of both"


@dataclass(frozen=True)
class Comparison:
    """BD-rates of our curve against ``anchor`` by each of METRICS, or the words why there is none."""

    anchor: Curve
    values: dict[str, BDRate | str]


def bd_rate(anchor: Curve, test: Curve, method: str = "pchip", metric: str = "psnr-rgb") -> BDRate:
    """Return the BD-rate of ``test`` against ``anchor``.

    Args:
        anchor: the curve whose bits count as 100 %; points may come in any order and number, and of points with equal
            quality the cheapest counts.
        test: the curve that is judged.
        method: "pchip" or "akima", the interpolation between points.
        metric: "psnr-rgb", or "ms-ssim-rgb" for MS-SSIM in dB, -10 log10(1 - MS-SSIM).

    Raises:
        InvalidInput: a curve lacks the metric or has fewer than 4 points, the two do not overlap, or the package
            ``bjontegaard`` is missing.
    """
    if method not in METHODS:
        raise InvalidInput(f"Unknown BD-rate method {method!r}; choose {' or '.join(METHODS)}.")
    if metric not in METRICS:
        raise InvalidInput(f"Unknown metric {metric!r}; choose {' or '.join(METRICS)}.")
    anchor_db, anchor_bpp = _sorted_points(anchor, metric)
    test_db, test_bpp = _sorted_points(test, metric)
    low, high = max(anchor_db[0], test_db[0]), min(anchor_db[-1], test_db[-1])
    if low >= high:
        raise InvalidInput(
            f"No BD-rate: {test.name} reaches {test_db[0]:.1f} to {test_db[-1]:.1f} dB, {anchor.name} "
            f"{anchor_db[0]:.1f} to {anchor_db[-1]:.1f} dB; choose qualities whose {METRICS[metric]} overlaps."
        )
    package = require("bjontegaard", "eval", "BD-rate")
    percent = package.bd_rate(
        anchor_bpp, anchor_db, test_bpp, test_db, method=method, require_matching_points=False, min_overlap=0
    )
    whole = max(anchor_db[-1], test_db[-1]) - min(anchor_db[0], test_db[0])
    return BDRate(float(percent), low, high, (high - low) / whole)


def compare(ours: Curve, anchors: Sequence[Curve]) -> list[Comparison]:
    """Return the BD-rates of ``ours`` against each anchor, by PSNR and by MS-SSIM."""
    return [
        Comparison(anchor, {metric: _rate_or_words(anchor, ours, metric) for metric in METRICS}) for anchor in anchors
    ]


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


def _sorted_points(curve: Curve, metric: str) -> tuple[list[float], list[float]]:
    """Quality (dB, strictly rising) and rate (bits per pixel)."""
    values = curve.results.get(metric, [])
    if len(values) != len(curve.results["bpp"]):
        raise InvalidInput(f"No BD-rate: {curve.name} has no {METRICS[metric]}; measure it again with tadan eval.")
    cheapest: dict[float, float] = {}
    for bpp, value in zip(curve.results["bpp"], values, strict=True):
        decibel = similarity_db(value) if metric == "ms-ssim-rgb" else value
        if not (math.isfinite(bpp) and math.isfinite(value) and bpp > 0):
            raise InvalidInput(
                f"No BD-rate: {curve.name} has a point of {bpp} bpp and {METRICS[metric]} {value}; measure it again."
            )
        cheapest[decibel] = min(bpp, cheapest.get(decibel, math.inf))
    if len(cheapest) < MIN_POINTS:
        raise InvalidInput(
            f"No BD-rate: {curve.name} has {len(cheapest)} different point(s), {MIN_POINTS} are needed; "
            "give more qualities."
        )
    decibels = sorted(cheapest)
    return decibels, [cheapest[decibel] for decibel in decibels]
