"""."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tadan.files import make_folder, write_atomically
from tadan.pictures.folder import list_pictures
from tadan_lab.measure.bdrate import BDRates
from tadan_lab.measure.codec_compare import write_batches
from tadan_lab.measure.curve import Curve, curve_file, run_curve, save_curve
from tadan_lab.measure.gallery import Exhibit, build_gallery, choose_pictures, middle_quality
from tadan_lab.measure.named_points import named_points
from tadan_lab.measure.plots import rd_plot, rd_svg
from tadan_lab.measure.report import comparisons_json, html_report
from tadan_lab.measure.rivals import PictureCodec
from tadan_lab.measure.yardsticks import BASIC, Metric, metrics_of

Run = tuple[PictureCodec, Sequence[int]]  # a codec and its qualities


def spread(points: Sequence[int], count: int | None) -> list[int]:
    """``count`` of the points, first and last among them and the others evenly between; None: all of them.

    One point is the middle one; more than there are: all.
    """
    if count is None or count >= len(points):
        return list(points)
    if count == 1:
        return [points[len(points) // 2]]
    return [points[round(index * (len(points) - 1) / (count - 1))] for index in range(count)]


def count_trials(runs: Sequence[Run], folder: Path, limit: int | None, shown: int) -> int:
    """How often :func:`measure` will call ``on_trial``."""
    pictures = len(list_pictures(folder, limit))
    return pictures * sum(len(set(qualities)) for _, qualities in runs) + min(shown, pictures) * len(runs)


def measure(
    runs: Sequence[Run],
    folder: Path,
    out: Path,
    about: dict[str, Any],
    *,
    limit: int | None = None,
    metrics: Sequence[Metric] = BASIC,
    shown: int = 0,
    on_trial: Callable[[], None] = lambda: None,
) -> tuple[list[Curve], list[Exhibit]]:
    """Run every codec over the folder and save each curve as soon as it is complete, then make the gallery.

    Args:
        runs: codecs, ours first, with their qualities.
        folder: pictures.
        out: where the curves go, created if needed.
        about: what else goes into the ``meta`` of the curves: command, machine.
        limit: see :func:`tadan.pictures.folder.list_pictures`.
        metrics: what is measured on every decoded picture.
        shown: number of pictures in the gallery.
        on_trial: called after each trial and each panel.
    """
    make_folder(out)
    curves = []
    for codec, qualities in runs:
        measured = run_curve(codec, folder, qualities, limit=limit, metrics=metrics, on_trial=on_trial)
        curves.append(replace(measured, meta={**measured.meta, **about}))
        save_curve(curves[-1], out / curve_file(codec.name))
    chosen = choose_pictures(list_pictures(folder, limit), shown)
    codecs = [codec for codec, _ in runs]
    quality = middle_quality(curves[0])
    return curves, build_gallery(codecs[0], codecs[1:], chosen, quality, metrics=metrics, on_step=on_trial)


def write_results(
    out: Path, curves: Sequence[Curve], comparisons: Sequence[BDRates], exhibits: Sequence[Exhibit], command: str
) -> list[str]:
    """Write report, plots, BD-rates, named points and batches for codec-compare into ``out``; their names.

    Arguments as :func:`tadan_lab.measure.report.html_report`. UnwritableOutput if that fails, InvalidInput without
    matplotlib.
    """
    make_folder(out)
    title = str(curves[0].meta.get("dataset", ""))
    svg = rd_svg(curves, title)
    points = [
        point.to_dict()
        for curve in curves
        for metric in metrics_of([curve])
        for point in named_points(curve, metric.key)
    ]
    files = {
        "report.html": html_report(curves, comparisons, svg, exhibits, command),
        "rate-distortion.svg": svg.encode(),
        "rate-distortion.png": rd_plot(curves, title),
        "bd-rates.json": comparisons_json(curves[0], comparisons),
        "named-points.json": json.dumps(points, indent=1).encode() + b"\n",
    }
    for name, data in files.items():
        write_atomically(out / name, data)
    return [*files, *write_batches(curves, out)]
