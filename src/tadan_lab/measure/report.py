"""What `tadan lab eval` shows: a progress bar, the table of means, and the BD-rates in words and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tadan.text import plain
from tadan_lab.measure.bdrate import BDRate, Comparison
from tadan_lab.measure.curve import Curve, curve_points
from tadan_lab.measure.yardsticks import METRICS, metrics_of

if TYPE_CHECKING:
    from rich.table import Table


_NUMBER = 7  # characters of a column: nine of them and a name fit into 80


def curve_table(curves: Sequence[Curve]) -> "Table":
    """Return a rich table with a row per codec and quality; values are means over pictures."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    caption = "seconds: wall clock in one process, start-up excluded"
    table = Table(title="Means over pictures", caption=caption, box=box.SIMPLE_HEAD, padding=0)
    table.add_column("codec", no_wrap=True)
    metrics = metrics_of(curves)
    for heading in ("quality", "bpp", *(metric.heading for metric in metrics), "encode s", "decode s"):
        table.add_column(heading, justify="right", overflow="fold", min_width=_NUMBER)
    for curve in curves:
        for point in curve_points(curve):
            table.add_row(
                escape(plain(curve.name)),
                escape(format_quality(point.quality)),
                f"{point.bpp:.4f}",
                *(metric.shown(point.values[metric.key]) for metric in metrics),
                *(format_seconds(seconds) for seconds in (point.encode_s, point.decode_s)),
            )
        table.add_section()
    return table


def format_quality(value: object) -> str:
    """``45``, or ``-`` where a curve does not say."""
    return "-" if value is None else plain(str(value))


def format_seconds(value: float | None) -> str:
    """``0.234``, or ``-`` where a curve does not say."""
    return "-" if value is None else f"{value:.3f}"


def comparison_line(ours: Curve, comparison: Comparison) -> str:
    """``BD-rate of tadan against jpeg: -44.8 % (26.7 to 40.6 dB, 75% of both); by MS-SSIM: -50.1 % (...)``."""
    first, *others = [(METRICS[key].title, value) for key, value in comparison.values.items()]
    words = [str(first[1]), *(f"by {title}: {value}" for title, value in others)]
    return plain(f"BD-rate of {ours.name} against {comparison.anchor.name}: {'; '.join(words)}")


def comparisons_json(ours: Curve, comparisons: Sequence[Comparison]) -> bytes:
    """The BD-rates as a JSON document; where there is none, ``percent`` is null and ``reason`` says why."""
    rows: list[dict[str, Any]] = []
    for comparison in comparisons:
        for metric, value in comparison.values.items():
            row = {"anchor": comparison.anchor.name, "metric": metric}
            rows.append(
                {**row, **asdict(value)} if isinstance(value, BDRate) else {**row, "percent": None, "reason": value}
            )
    return json.dumps({"ours": ours.name, "bd_rates": rows}, indent=1).encode() + b"\n"
