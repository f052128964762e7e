"""Plot of seconds and peak memory over the size of the picture, as PNG and SVG."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tadan.optional import require
from tadan_lab.measure.plots import PNG_OPTIONS, SVG_OPTIONS, render
from tadan_lab.measure.process import Cost
from tadan_lab.measure.scale import MEGABYTE, ScaleRow, exponents

_PARTS: tuple[tuple[str, str, Callable[[ScaleRow], Cost]], ...] = (
    ("encode", "o", lambda row: row.encode),
    ("decode", "s", lambda row: row.decode),
    ("decode 512x512 of it", "^", lambda row: row.region),
)
_EDGES = 0.7, 1.4  # of the axis of sizes, as factors of the first and last


def scale_plot(rows: Sequence[ScaleRow], limit_mb: float, title: str) -> bytes:
    """Return a PNG: seconds and peak memory over megapixels, logarithmic, with the limit of memory as a line.

    InvalidInput if matplotlib is not installed.
    """
    return _drawn(rows, limit_mb, title, PNG_OPTIONS)


def scale_svg(rows: Sequence[ScaleRow], limit_mb: float, title: str) -> str:
    """Return the plot of :func:`scale_plot` as an SVG document. InvalidInput if matplotlib is not installed."""
    return _drawn(rows, limit_mb, title, SVG_OPTIONS).decode()


def _drawn(rows: Sequence[ScaleRow], limit_mb: float, title: str, options: dict[str, Any]) -> bytes:
    return render(lambda figure, colours: _draw(figure, rows, limit_mb, title, colours), (13, 6), options)


def _draw(figure: Any, rows: Sequence[ScaleRow], limit_mb: float, title: str, colours: Sequence[Any]) -> None:
    seconds, memory = figure.subplots(1, 2)
    lines: list[Any] = []
    efforts = list(dict.fromkeys(row.effort for row in rows))
    for place, effort in enumerate(efforts):
        chosen = [row for row in rows if row.effort == effort]
        powers = exponents(chosen)
        for part, (name, marker, cost) in enumerate(_PARTS):
            costs = [(row.megapixels, cost(row)) for row in chosen]
            label = name if len(efforts) == 1 else f"{name}, effort {effort}"
            if (power := powers.get(name)) is not None:
                label += f" (s: power {power:.2f} of the pixels)"
            style = {"marker": marker, "color": colours[2 * (len(_PARTS) * place + part) % len(colours)]}
            lines += seconds.plot(*_columns((x, one.seconds) for x, one in costs), label=label, **style)
            memory.plot(*_columns((x, one.peak_bytes / MEGABYTE) for x, one in costs if one.peak_bytes), **style)
    lines.append(memory.axhline(limit_mb, color="black", linestyle="--", label=f"{limit_mb:g} MB"))
    sizes = [row.megapixels for row in rows]
    for axes, label in ((seconds, "seconds, start of the process included"), (memory, "peak memory, MB of 2^20 bytes")):
        axes.set(xlabel="megapixels", ylabel=label, xscale="log", yscale="log")
        axes.set_xlim(_EDGES[0] * min(sizes), _EDGES[1] * max(sizes))
        _plain_ticks(axes)
        axes.grid(True, which="both", alpha=0.3)
    figure.legend(handles=lines, loc="outside lower center", ncols=len(_PARTS))
    figure.suptitle(title, parse_math=False)


def _columns(points: Iterable[tuple[float, float]]) -> tuple[list[float], list[float]]:
    pairs = list(points)
    return [x for x, _ in pairs], [y for _, y in pairs]


def _plain_ticks(axes: Any) -> None:
    ticker = require("matplotlib.ticker", "lab", "The plot")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(ticker.NullFormatter())
