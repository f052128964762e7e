"""Rate-distortion plots as PNG and SVG; equal curves give equal SVG bytes with one version of matplotlib."""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

from tadan.evaluate.curve import Curve, Point, curve_points
from tadan.evaluate.extras import require
from tadan.evaluate.metrics import similarity_db
from tadan.text import plain

_PANELS: tuple[tuple[str, Callable[[Point], float | None]], ...] = (
    ("PSNR, RGB (dB)", lambda point: point.psnr),
    (
        "MS-SSIM, RGB: -10 log10(1 - value) (dB)",
        lambda point: None if point.ms_ssim is None else similarity_db(point.ms_ssim),
    ),
)
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # a date would make every SVG a new one
PNG_OPTIONS = {"format": "png", "dpi": 120}
SVG_OPTIONS = {"format": "svg", "metadata": _NO_METADATA}


def rd_plot(curves: Sequence[Curve], title: str) -> bytes:
    """Return a PNG of PSNR and of MS-SSIM (in dB, -10 log10(1 - MS-SSIM)) over bits per pixel; ours comes first.

    InvalidInput if matplotlib is not installed.
    """
    return _drawn(curves, title, PNG_OPTIONS)


def rd_svg(curves: Sequence[Curve], title: str) -> str:
    """Return the plot of :func:`rd_plot` as an SVG document. InvalidInput if matplotlib is not installed."""
    return _drawn(curves, title, SVG_OPTIONS).decode()


def _drawn(curves: Sequence[Curve], title: str, options: dict[str, Any]) -> bytes:
    return render(lambda figure, colours: _draw(figure, curves, title, colours), (15, 5.5), options)


def render(draw: Callable[[Any, Sequence[Any]], None], size: tuple[float, float], options: dict[str, Any]) -> bytes:
    """Return a figure of ``size`` inches, drawn by a function that takes it and a palette, saved with ``options``.

    InvalidInput if matplotlib is not installed.
    """
    matplotlib = require("matplotlib", "eval", "The plot")
    figures = require("matplotlib.figure", "eval", "The plot")
    buffer = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the user's own style would make the same curves look different elsewhere
        matplotlib.rcParams["svg.hashsalt"] = "tadan"  # identifiers in the SVG are random without
        figure = figures.Figure(figsize=size, layout="constrained")
        draw(figure, matplotlib.colormaps["tab20"].colors)
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def _draw(figure: Any, curves: Sequence[Curve], title: str, colours: Sequence[Any]) -> None:
    ticker = require("matplotlib.ticker", "eval", "The rate-distortion plot")
    lines: list[Any] = []
    for number, (axes, (label, value)) in enumerate(zip(figure.subplots(1, 2), _PANELS, strict=True)):
        for index, curve in enumerate(curves):
            points = sorted((point.bpp, db) for point in curve_points(curve) if _shown(point.bpp, db := value(point)))
            style = (
                {"color": "black", "linewidth": 2.2, "zorder": 3} if index == 0 else {"color": _colour(colours, index)}
            )
            drawn = axes.plot([bpp for bpp, _ in points], [db for _, db in points], marker=".", **style)
            lines += drawn if number == 0 else []
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
        axes.set(xlabel="rate (bits per pixel, whole files)", ylabel=label)
        axes.grid(True, which="both", alpha=0.3)
    # A leading "_" would hide a curve from the legend, and "$" would start a formula.
    names = [f" {plain(curve.name)}" for curve in curves]
    legend = figure.legend(lines, names, loc="outside right center")
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.suptitle(plain(title), parse_math=False)


def _shown(bpp: float, value: float | None) -> bool:
    return value is not None and math.isfinite(value) and math.isfinite(bpp) and bpp > 0


def _colour(colours: Sequence[Any], index: int) -> Any:
    """The strong colours of the palette first, then the pale ones."""
    half = len(colours) // 2
    position = (index - 1) % len(colours)
    return colours[2 * (position % half) + position // half]
