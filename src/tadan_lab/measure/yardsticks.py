"""The metrics of `tadan lab eval` as data: curves, tables, BD-rates, plots and the page go through this list.

A new metric is one more entry of METRICS; nothing else names it.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from PIL import Image

from tadan.errors import InvalidInput
from tadan.optional import require
from tadan.pictures.ssimulacra2 import SSIMULACRA2_SMALLEST
from tadan_lab.measure.metrics import (
    BUTTERAUGLI_SMALLEST,
    CVVDP_SMALLEST,
    DEFAULT_DISPLAY,
    IDENTICAL_DB,
    WINDOW,
    butteraugli,
    butteraugli_missing,
    color_video_vdp,
    cvvdp_missing,
    ms_ssim,
    psnr,
    similarity_db,
    ssimulacra2,
)

if TYPE_CHECKING:
    from tadan_lab.measure.curve import Curve


def _unchanged(value: float) -> float:
    return value


@dataclass(frozen=True)
class Metric:
    """One way to say how good a decoded picture is.

    Attributes:
        name: on the command line, ``ms-ssim``.
        key: in curves, ``ms-ssim-rgb``.
        title: in sentences, ``MS-SSIM``.
        heading: of a column.
        axis: label of a plot.
        digits: decimals shown.
        measure: original and decoded picture (RGB, one size) to the value; inf for what has no bound.
        smallest: pixels of the shorter side below which there is no value.
        scale: value to what plots and BD-rates count in.
        unit: of the scaled value, "" if it has none.
        lower_is_better: as for distances.
        identical: what an infinite value counts for in a mean.
        missing: words that say what has to be installed, None if nothing.
    """

    name: str
    key: str
    title: str
    heading: str
    axis: str
    digits: int
    measure: Callable[[Image.Image, Image.Image], float]
    smallest: int = 1
    scale: Callable[[float], float] = _unchanged
    unit: str = ""
    lower_is_better: bool = False
    identical: float | None = None
    missing: Callable[[], str | None] = lambda: None

    def value(self, original: Image.Image, decoded: Image.Image) -> float | None:
        """Measure; None if the picture is too small. Errors of ``measure``."""
        return None if min(original.size) < self.smallest else self.measure(original, decoded)

    def shown(self, value: float | None) -> str:
        """``0.9812``; ``lossless`` if infinite, ``-`` where there is no value."""
        if value is None or math.isnan(value):
            return "-"
        return f"{value:.{self.digits}f}" if math.isfinite(value) else "lossless"

    def rising(self, value: float) -> float:
        """The scaled value, negated if lower is better: more is always better."""
        return -self.scale(value) if self.lower_is_better else self.scale(value)


PSNR = Metric("psnr", "psnr-rgb", "PSNR", "PSNR dB", "PSNR, RGB (dB)", 2, psnr, unit="dB", identical=IDENTICAL_DB)
MS_SSIM = Metric(
    "ms-ssim",
    "ms-ssim-rgb",
    "MS-SSIM",
    "MS-SSIM",
    "MS-SSIM, RGB: -10 log10(1 - value) (dB)",
    4,
    ms_ssim,
    smallest=WINDOW,
    scale=similarity_db,
    unit="dB",
)
SSIMULACRA2 = Metric(
    "ssimulacra2",
    "ssimulacra2",
    "SSIMULACRA2",
    "SSIMULACRA2",
    "SSIMULACRA2",
    2,
    ssimulacra2,
    smallest=SSIMULACRA2_SMALLEST,
)
BUTTERAUGLI = Metric(
    "butteraugli",
    "butteraugli-3-norm",
    "Butteraugli",
    "Butteraugli",
    "Butteraugli, 3-norm (lower is better)",
    3,
    butteraugli,
    smallest=BUTTERAUGLI_SMALLEST,
    lower_is_better=True,
    missing=butteraugli_missing,
)
CVVDP = Metric(
    "cvvdp",
    "cvvdp-jod",
    "ColorVideoVDP",
    "JOD",
    "ColorVideoVDP (JOD)",
    3,
    color_video_vdp,
    smallest=CVVDP_SMALLEST,
    unit="JOD",
    missing=cvvdp_missing,
)

METRICS = {metric.key: metric for metric in (PSNR, MS_SSIM, SSIMULACRA2, BUTTERAUGLI, CVVDP)}
BASIC = (PSNR, MS_SSIM)  # need no package


def choose_metrics(names: str | None, display: str = DEFAULT_DISPLAY) -> tuple[list[Metric], list[str]]:
    """Read ``"psnr,ssimulacra2"``: the metrics in the order of METRICS, and a line for each that was left out.

    None stands for all but ColorVideoVDP, Butteraugli only if its program is there. PSNR always is among them, as
    curves need it. ``display`` is what ColorVideoVDP assumes.

    Raises:
        InvalidInput: a name that is no metric, or one that was asked for and does not run here.
    """
    known = {metric.name: metric for metric in METRICS.values()}
    wanted = [PSNR, MS_SSIM, SSIMULACRA2, BUTTERAUGLI]
    skipped: list[str] = []
    if names is None:
        reason = BUTTERAUGLI.missing()
        if reason is not None:
            wanted.remove(BUTTERAUGLI)
            skipped.append(f"Butteraugli left out: {reason}")
    else:
        words = [word for word in re.split(r"[,\s]+", names.lower()) if word]
        unknown = [word for word in words if word not in known]
        if unknown or not words:
            raise InvalidInput(f"Unknown metric {(unknown or [names])[0]!r}; choose from {', '.join(known)}.")
        wanted = [metric for name, metric in known.items() if name in words or metric is PSNR]
    for metric in wanted:
        reason = metric.missing()
        if reason is not None:
            raise InvalidInput(f"{metric.title}: {reason}; or leave {metric.name} out of --metrics.")
    if SSIMULACRA2 in wanted:
        require("ssimulacra2.ssimulacra2", "lab", "SSIMULACRA2")
    if CVVDP in wanted:
        wanted[wanted.index(CVVDP)] = replace(CVVDP, measure=partial(color_video_vdp, display=display))
    return wanted, skipped


def metrics_of(curves: Iterable["Curve"]) -> list[Metric]:
    """The metrics that at least one of ``curves`` has, in the order of METRICS; PSNR always."""
    present = {key for curve in curves for key in curve.results}
    return [metric for key, metric in METRICS.items() if key in present]


def measure_all(metrics: Sequence[Metric], original: Image.Image, decoded: Image.Image) -> dict[str, Any]:
    """Values of ``metrics`` by key; None where the picture is too small."""
    return {metric.key: metric.value(original, decoded) for metric in metrics}
