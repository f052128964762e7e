"""What encoder effort buys: the same pictures at the same qualities, searched for longer and longer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from tadan.models.config import quality_lambda
from tadan_lab.measure.bdrate import BDRate, bd_rate
from tadan_lab.measure.curve import Curve, run_curve
from tadan_lab.measure.metrics import PEAK
from tadan_lab.measure.ours import TadanCodec


@dataclass(frozen=True)
class EffortRow:
    """One effort against the first: seconds a picture, BD-rate by PSNR, mean change of J = lambda * 255² * MSE + bpp.

    J is compared picture by picture and quality by quality, in logarithms; ``curve`` has all points.
    """

    effort: int
    encode_s: float
    decode_s: float
    bd_rate: BDRate
    cost_percent: float
    curve: Curve

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, without the rows of single pictures."""
        fields = asdict(self)
        fields["curve"] = {key: fields["curve"][key] for key in ("name", "description", "meta", "results")}
        return fields


def measure_effort(
    pictures: Path,
    efforts: Sequence[int],
    qualities: Sequence[int],
    schedule: str = "balanced",
    model: str | None = None,
    threads: int | None = None,
    limit: int | None = None,
    on_trial: Callable[[], None] = lambda: None,
) -> list[EffortRow]:
    """Code a folder at every effort; arguments as for :func:`~tadan_lab.measure.run_curve` and :class:`TadanCodec`.

    Raises:
        InvalidInput: fewer than 4 qualities, or an effort or a quality is out of range.
    """
    rows: list[EffortRow] = []
    first: Curve | None = None
    for effort in efforts:
        codec = TadanCodec(schedule, model, threads, effort)
        curve = run_curve(codec, pictures, qualities, limit=limit, on_trial=on_trial)
        first = first or curve
        costs = zip(_costs(codec, first), _costs(codec, curve), strict=True)
        change = mean(math.log(after / before) for before, after in costs)
        encode_s, decode_s = (mean(curve.results[key]) for key in ("encoding_time", "decoding_time"))
        rows.append(EffortRow(effort, encode_s, decode_s, bd_rate(first, curve), 100 * math.expm1(change), curve))
    return rows


def _costs(codec: TadanCodec, curve: Curve) -> list[float]:
    """J of every picture and quality, bits per pixel."""
    costs = []
    for row in curve.pictures:
        lossless = row["psnr-rgb"] is None
        error = 0.0 if lossless else PEAK**2 / 10 ** (row["psnr-rgb"] / 10)
        costs.append(row["bpp"] + quality_lambda(codec.config, row["quality"]) * error)
    return costs
