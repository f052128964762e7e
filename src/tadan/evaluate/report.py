"""What `tadan eval` shows: a progress bar, the table of means, and the BD-rates in words and as JSON."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from tadan.evaluate.bdrate import BDRate, Comparison
from tadan.evaluate.curve import Curve, curve_points
from tadan.evaluate.yardsticks import METRICS, metrics_of
from tadan.text import plain

if TYPE_CHECKING:
    from rich.table import Table


_NUMBER = 7  # characters of a column: nine of them and a name fit into 80


class Step(Protocol):
    """Advances a progress bar, optionally renaming what is under way or correcting how much there is."""

    def __call__(self, description: str | None = None, advance: int = 1, total: int | None = None) -> None:
        """Advance."""
        ...


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Step]:
    """Show a bar with the time left on stderr (hidden when that is not a terminal) and yield its step function."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=total)

        def step(description: str | None = None, advance: int = 1, total: int | None = None) -> None:
            bar.update(task, advance=advance, description=description, total=total)

        yield step


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
