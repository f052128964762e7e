"""Bjøntegaard delta rate: how many percent more or fewer bits one codec needs for the quality of another.

G. Bjøntegaard, *Calculation of average PSNR differences between RD-curves*, VCEG-M33 (2001), with the piecewise
interpolations that replaced its cubic; the arithmetic is that of the package ``bjontegaard``.
"""

import math
from dataclasses import dataclass

from tadan.errors import InvalidInput
from tadan.evaluate.curve import Curve
from tadan.evaluate.extras import require

METHODS = ("pchip", "akima")
MIN_POINTS = 4


@dataclass(frozen=True)
class BDRate:
    """``percent`` < 0: fewer bits than the anchor, averaged over the PSNR that both curves reach.

    ``low_db`` to ``high_db`` is that interval; ``coverage`` is its share (0 to 1) of the PSNR that either reaches, and
    a number from a small one says little.
    """

    percent: float
    low_db: float
    high_db: float
    coverage: float

    def __str__(self) -> str:
        """``-35.1 % (26.0 to 38.2 dB, 80 % of both)``."""
        return f"{self.percent:+.1f} % ({self.low_db:.1f} to {self.high_db:.1f} dB, {self.coverage:.0%} of both)"


def bd_rate(anchor: Curve, test: Curve, method: str = "pchip") -> BDRate:
    """Return the BD-rate of ``test`` against ``anchor`` by RGB PSNR; ``method`` is "pchip" or "akima".

    Points may come in any order and number; of points with equal PSNR the cheapest counts. InvalidInput with fewer
    than 4 points, without overlap, or when the package ``bjontegaard`` is missing.
    """
    if method not in METHODS:
        raise InvalidInput(f"Unknown BD-rate method {method!r}; choose {' or '.join(METHODS)}.")
    anchor_db, anchor_bpp = _sorted_points(anchor)
    test_db, test_bpp = _sorted_points(test)
    low, high = max(anchor_db[0], test_db[0]), min(anchor_db[-1], test_db[-1])
    if low >= high:
        raise InvalidInput(
            f"No BD-rate: {test.name} reaches {test_db[0]:.1f} to {test_db[-1]:.1f} dB, {anchor.name} "
            f"{anchor_db[0]:.1f} to {anchor_db[-1]:.1f} dB; choose qualities whose PSNR overlaps."
        )
    package = require("bjontegaard", "eval", "BD-rate")
    percent = package.bd_rate(
        anchor_bpp, anchor_db, test_bpp, test_db, method=method, require_matching_points=False, min_overlap=0
    )
    whole = max(anchor_db[-1], test_db[-1]) - min(anchor_db[0], test_db[0])
    return BDRate(float(percent), low, high, (high - low) / whole)


def _sorted_points(curve: Curve) -> tuple[list[float], list[float]]:
    """PSNR (dB, strictly rising) and rate (bits per pixel)."""
    cheapest: dict[float, float] = {}
    for bpp, decibel in zip(curve.results["bpp"], curve.results["psnr-rgb"], strict=True):
        if not (math.isfinite(bpp) and math.isfinite(decibel) and bpp > 0):
            raise InvalidInput(f"No BD-rate: {curve.name} has a point of {bpp} bpp and {decibel} dB.")
        cheapest[decibel] = min(bpp, cheapest.get(decibel, math.inf))
    if len(cheapest) < MIN_POINTS:
        raise InvalidInput(
            f"No BD-rate: {curve.name} has {len(cheapest)} different point(s), {MIN_POINTS} are needed; "
            "give more qualities."
        )
    decibels = sorted(cheapest)
    return decibels, [cheapest[decibel] for decibel in decibels]
