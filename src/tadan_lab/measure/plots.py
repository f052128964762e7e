"""Rate-distortion plots as PNG and SVG; equal curves give equal SVG bytes with one version of matplotlib."""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

from tadan.optional import require
from tadan.text import plain
from tadan_lab.measure.curve import Curve, curve_points
from tadan_lab.measure.yardsticks import metrics_of

_MOST_COLUMNS = 3
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # a date would make every SVG a new one
PNG_OPTIONS = {"format": "png", "dpi": 120}
SVG_OPTIONS = {"format": "svg", "metadata": _NO_METADATA}


def rd_plot(curves: Sequence[Curve], title: str) -> bytes:
    """Return a PNG with a panel for each metric of the curves over bits per pixel; ours comes first, better is up.

    InvalidInput if matplotlib is not installed.
    """
    return _drawn(curves, title, PNG_OPTIONS)


def rd_svg(curves: Sequence[Curve], title: str) -> str:
    """Return the plot of :func:`rd_plot` as an SVG document. InvalidInput if matplotlib is not installed."""
    return _drawn(curves, title, SVG_OPTIONS).decode()


def _drawn(curves: Sequence[Curve], title: str, options: dict[str, Any]) -> bytes:
    rows, columns = _grid(len(metrics_of(curves)))
    size = 6.5 * columns + 2, 5.5 * rows
    return render(lambda figure, colours: _draw(figure, curves, title, colours), size, options)


def _grid(panels: int) -> tuple[int, int]:
    """Rows and columns: 2 below 2 for four panels, else up to three side by side."""
    columns = 2 if panels == 4 else min(panels, _MOST_COLUMNS)
    return math.ceil(panels / columns), columns


def render(draw: Callable[[Any, Sequence[Any]], None], size: tuple[float, float], options: dict[str, Any]) -> bytes:
    """Return a figure of ``size`` inches, drawn by a function that takes it and a palette, saved with ``options``.

    InvalidInput if matplotlib is not installed.
    """
    matplotlib = require("matplotlib", "lab", "The plot")
    figures = require("matplotlib.figure", "lab", "The plot")
    buffer = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the user's own style would make the same curves look different elsewhere
        matplotlib.rcParams["svg.hashsalt"] = "tadan"  # identifiers in the SVG are random without
        figure = figures.Figure(figsize=size, layout="constrained")
        draw(figure, matplotlib.colormaps["tab20"].colors)
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def _draw(figure: Any, curves: Sequence[Curve], title: str, colours: Sequence[Any]) -> None:
    ticker = require("matplotlib.ticker", "lab", "The rate-distortion plot")
    lines: list[Any] = []
    metrics = metrics_of(curves)
    rows, columns = _grid(len(metrics))
    for number, metric in enumerate(metrics):
        axes = figure.add_subplot(rows, columns, number + 1)
        for index, curve in enumerate(curves):
            measured = ((point.bpp, point.values[metric.key]) for point in curve_points(curve))
            points = sorted((bpp, metric.scale(value)) for bpp, value in measured if value is not None and bpp > 0)
            points = [point for point in points if all(map(math.isfinite, point))]
            style = (
                {"color": "black", "linewidth": 2.2, "zorder": 3} if index == 0 else {"color": _colour(colours, index)}
            )
            drawn = axes.plot([bpp for bpp, _ in points], [value for _, value in points], marker=".", **style)
            lines += drawn if number == 0 else []
        if metric.lower_is_better:
            axes.invert_yaxis()
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
        axes.set(xlabel="rate (bits per pixel, whole files)", ylabel=metric.axis)
        axes.grid(True, which="both", alpha=0.3)
    # A leading "_" would hide a curve from the legend, and "$" would start a formula.
    names = [f" {plain(curve.name)}" for curve in curves]
    legend = figure.legend(lines, names, loc="outside right center")
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.suptitle(plain(title), parse_math=False)


def _colour(colours: Sequence[Any], index: int) -> Any:
    """The strong colours of the palette first, then the pale ones."""
    half = len(colours) // 2
    position = (index - 1) % len(colours)
    return colours[2 * (position % half) + position // half]
