"""Percentiles, and how they are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

PERCENTILES = (50, 90, 99)


def spread_of(values: Sequence[float]) -> dict[str, Any]:
    """Number, mean, p50, p90, p99 and maximum.

    Percentiles are interpolated linearly between the two nearest values, as numpy's default (Hyndman and Fan, type 7).
    All but ``n`` are None without values.
    """
    if not len(values):
        return {"n": 0, "mean": None, **{f"p{one}": None for one in PERCENTILES}, "max": None}
    found = np.percentile(np.asarray(values, np.float64), PERCENTILES)
    middle = {f"p{one}": float(value) for one, value in zip(PERCENTILES, found, strict=True)}
    return {"n": len(values), "mean": float(np.mean(values)), **middle, "max": float(max(values))}
