"""What `tadan eval` shows and leaves behind: the table, the BD-rates, and the rate-distortion plot."""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from tadan.errors import InvalidInput
from tadan.evaluate.bdrate import BDRate, bd_rate
from tadan.evaluate.curve import Curve
from tadan.evaluate.extras import require

if TYPE_CHECKING:
    from rich.table import Table


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
    from rich.table import Table

    table = Table(title="Means over pictures", caption="seconds: wall clock in one process, start-up excluded")
    table.add_column("codec")
    for heading in ("quality", "bpp", "PSNR dB", "MS-SSIM", "encode s", "decode s"):
        table.add_column(heading, justify="right")
    for curve in curves:
        results = curve.results
        similarities = results.get("ms-ssim-rgb", [math.nan] * len(results["bpp"]))
        for index, quality in enumerate(curve.meta["quality"]):
            table.add_row(
                curve.name,
                str(quality),
                f"{results['bpp'][index]:.4f}",
                f"{results['psnr-rgb'][index]:.2f}",
                format_similarity(similarities[index]),
                f"{results['encoding_time'][index]:.3f}",
                f"{results['decoding_time'][index]:.3f}",
            )
        table.add_section()
    return table


def format_similarity(value: float | None) -> str:
    """``0.9812``, or ``-`` for a picture that was too small to measure."""
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def bd_rate_lines(ours: Curve, anchors: Sequence[Curve]) -> list[tuple[str, BDRate | str]]:
    """Return (anchor name, BD-rate of ``ours`` against it, or the words why there is none)."""
    lines: list[tuple[str, BDRate | str]] = []
    for anchor in anchors:
        try:
            lines.append((anchor.name, bd_rate(anchor, ours)))
        except InvalidInput as error:
            lines.append((anchor.name, str(error)))
    return lines


def rd_plot(curves: Sequence[Curve], title: str) -> bytes:
    """Return a PNG of PSNR and of MS-SSIM (in dB, -10 log10(1 - MS-SSIM)) over bits per pixel.

    InvalidInput if matplotlib is not installed.
    """
    figures = require("matplotlib.figure", "eval", "The rate-distortion plot")
    figure = figures.Figure(figsize=(15, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for curve in curves:
        by_rate = sorted(range(len(curve.results["bpp"])), key=lambda index: curve.results["bpp"][index])
        rates = [curve.results["bpp"][index] for index in by_rate]
        left.plot(rates, [curve.results["psnr-rgb"][index] for index in by_rate], marker=".", label=curve.name)
        similarities = [curve.results["ms-ssim-rgb"][index] for index in by_rate if "ms-ssim-rgb" in curve.results]
        decibels = [-10 * math.log10(max(1 - value, 1e-6)) for value in similarities]
        right.plot(rates[: len(decibels)], decibels, marker=".", label=curve.name)
    for axes, label in ((left, "PSNR, RGB (dB)"), (right, "MS-SSIM, RGB: -10 log10(1 - value) (dB)")):
        axes.set(xlabel="rate (bits per pixel, whole files)", ylabel=label, xscale="log")
        axes.grid(True, which="both", alpha=0.3)
    figure.suptitle(title)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
