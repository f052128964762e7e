"""Points that the field has named: rates at which JPEG AI and CLIC compare codecs.

JPEG AI: the target rates of its call for proposals and common test conditions (ISO/IEC JTC 1/SC 29/WG 1 N100106),
each picture by itself. CLIC, image track since 2021: 0.075, 0.15 and 0.3 bits per pixel of all pictures together
(https://compression.cc/tasks/). Here both are read off a curve of means, and only inside of what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tadan_lab.measure.bdrate import unbeaten
from tadan_lab.measure.curve import Curve
from tadan_lab.measure.equal import pchip
from tadan_lab.measure.yardsticks import METRICS

NAMED_RATES: dict[str, tuple[float, ...]] = {
    "JPEG AI": (0.06, 0.12, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0),
    "CLIC": (0.075, 0.15, 0.3),
}


@dataclass(frozen=True)
class NamedPoint:
    """What a codec reaches at a named rate; ``value`` is None where its curve does not reach that rate."""

    codec: str
    source: str
    bpp: float
    metric: str
    value: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def named_points(curve: Curve, metric: str, sources: Sequence[str] = tuple(NAMED_RATES)) -> list[NamedPoint]:
    """Values of a metric at the named rates, by PCHIP over the logarithm of the rate; nothing is extrapolated.

    Args:
        curve: of means; points that another one beats do not count.
        metric: a key of METRICS.
        sources: keys of NAMED_RATES.
    """
    by, values = METRICS[metric], curve.results.get(metric, [])
    rates = curve.results["bpp"]
    pairs = [
        (by.rising(value), rate)
        for rate, value in zip(rates, values, strict=False)
        if math.isfinite(value) and math.isfinite(rate) and rate > 0
    ]
    points = unbeaten(pairs)[0] if len(values) == len(rates) else []
    return [
        NamedPoint(curve.name, source, rate, metric, _value(points, rate, -1 if by.lower_is_better else 1))
        for source in sources
        for rate in NAMED_RATES[source]
    ]


def _value(points: Sequence[tuple[float, float]], rate: float, sign: int) -> float | None:
    if not points or not points[0][1] <= rate <= points[-1][1]:
        return None
    quality, rates = zip(*points, strict=True)
    return sign * pchip([math.log(one) for one in rates], quality, math.log(rate))


def by_rate(points: Sequence[NamedPoint]) -> dict[str, Any]:
    """The points of one metric as a table: ``codecs``, and ``rows`` of source, rate and a value for each codec.

    Rates that no codec meets are left out.
    """
    codecs = list(dict.fromkeys(point.codec for point in points))
    found = {(point.source, point.bpp, point.codec): point.value for point in points}
    rows: list[dict[str, Any]] = [
        {"source": source, "bpp": bpp, "values": [found.get((source, bpp, codec)) for codec in codecs]}
        for source, bpp in dict.fromkeys((point.source, point.bpp) for point in points)
    ]
    return {"codecs": codecs, "rows": [row for row in rows if any(value is not None for value in row["values"])]}
