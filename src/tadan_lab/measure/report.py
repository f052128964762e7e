"""Tables of the evaluation, and its report as one HTML file that needs neither a network nor a script to be read.

The page is the template ``templates/report.html.j2`` with ``report.css`` and ``report.js`` inside. Everything that is
put into it is escaped, whatever it holds; a policy in the page forbids the browser to fetch anything or to run other
scripts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tadan.optional import require
from tadan.text import plain
from tadan_lab.measure.bdrate import WEAK_COVERAGE, BDRate, BDRates, other_pictures
from tadan_lab.measure.curve import Curve, curve_points
from tadan_lab.measure.gallery import TARGET_BPP, Exhibit
from tadan_lab.measure.named_points import by_rate, named_points
from tadan_lab.measure.page import policy, template, text
from tadan_lab.measure.yardsticks import METRICS, Metric, metrics_of

if TYPE_CHECKING:
    from rich.table import Table


_NUMBER = 7  # characters of a column: nine of them and a name fit into 80


def curve_table(curves: Sequence[Curve]) -> Table:
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


def comparison_line(ours: Curve, comparison: BDRates) -> str:
    """``BD-rate of tadan against jpeg: -44.8 % (26.7 to 40.6 dB, 75% of both); by MS-SSIM: -50.1 % (...)``."""
    first, *others = [(METRICS[key].title, value) for key, value in comparison.values.items()]
    words = [str(first[1]), *(f"by {title}: {value}" for title, value in others)]
    return plain(f"BD-rate of {ours.name} against {comparison.anchor.name}: {'; '.join(words)}")


def comparisons_json(ours: Curve, comparisons: Sequence[BDRates]) -> bytes:
    """The BD-rates as a JSON document; where there is none, ``percent`` is null and ``reason`` says why."""
    rows: list[dict[str, Any]] = []
    for comparison in comparisons:
        for metric, value in comparison.values.items():
            row = {"anchor": comparison.anchor.name, "metric": metric}
            rows.append(
                {**row, **asdict(value)} if isinstance(value, BDRate) else {**row, "percent": None, "reason": value}
            )
    return json.dumps({"ours": ours.name, "bd_rates": rows}, indent=1).encode() + b"\n"


_RATES_CAPTION = "Negative: fewer bits than the other codec needs for the same quality."
_MEANS_CAPTION = "Means over pictures, whole files; seconds as each codec below says, comparable on one machine only."


def html_report(
    curves: Sequence[Curve], comparisons: Sequence[BDRates], svg: str, exhibits: Sequence[Exhibit], command: str
) -> bytes:
    """The report.

    Args:
        curves: every curve to show, ours first.
        comparisons: BD-rates of ours against the others.
        svg: the plot of all curves, an SVG document.
        exhibits: pictures side by side; may be empty.
        command: what was typed to get this file.

    Raises:
        MissingPackage: Jinja2 is not installed.
    """
    markup = require("markupsafe", "lab", "The report").Markup
    ours = curves[0]
    dataset = ours.meta.get("dataset", "unnamed pictures")
    script = text("report.js")
    facts = ours.meta.get("measured")
    page = template("report.html.j2").render(
        title=f"{ours.name} on {dataset}",
        policy=markup(policy(script)),
        style=markup(text("report.css")),
        script=markup(script),
        ours=ours,
        headline=[(metric, parts) for metric in metrics_of([ours]) if (parts := _sizes(ours, comparisons, metric))],
        rates=[(one.anchor.name, [_rate(value) for value in one.values.values()]) for one in comparisons],
        rates_caption=_RATES_CAPTION,
        rates_headings=_rates_headings(ours),
        warnings=[words for one in comparisons if (words := other_pictures(ours, one.anchor))],
        weak=WEAK_COVERAGE,
        plot=_plot(svg, metrics_of(curves), markup),
        exhibits=exhibits,
        target_bpp=TARGET_BPP,
        crop=_largest_crop(exhibits),
        metrics=METRICS,
        named=_named(curves),
        means=_means(curves),
        means_caption=_MEANS_CAPTION,
        means_headings=_means_headings(curves),
        command=command,
        measured_by=ours.meta.get("command"),
        facts=list(facts.items()) if isinstance(facts, dict) else [],
        codecs=[_codec(curve) for curve in curves],
    )
    return str(page).encode()


def _sizes(ours: Curve, comparisons: Sequence[BDRates], metric: Metric) -> list[tuple[float, str]]:
    """BD-rate against every anchor for which it says something."""
    parts = []
    for comparison in comparisons:
        value = comparison.values[metric.key]
        trusted = isinstance(value, BDRate) and value.coverage >= WEAK_COVERAGE
        if isinstance(value, BDRate) and trusted and not other_pictures(ours, comparison.anchor):
            parts.append((value.percent, comparison.anchor.name))
    return parts


def _rate(value: BDRate | str) -> tuple[BDRate | None, str]:
    return (None, value) if isinstance(value, str) else (value, value.overlap)


def _rates_headings(ours: Curve) -> list[str]:
    pairs = ((f"by {metric.title}", "common range") for metric in metrics_of([ours]))
    return [f"{ours.name} against", *(words for pair in pairs for words in pair)]


def _plot(svg: str, metrics: Sequence[Metric], markup: Any) -> Any:
    """The plot as part of the page, with words for those who do not see it."""
    titles = ", ".join(metric.title for metric in metrics)
    words = f"Curves over bits per pixel: {titles}; the table of means holds the same numbers."
    label = markup('<svg role="img" aria-label="{}" ').format(words)
    return markup(svg[svg.index("<svg") :].replace("<svg ", str(label), 1))


def _largest_crop(exhibits: Sequence[Exhibit]) -> str:
    if not exhibits:
        return ""
    boxes = [one.box for one in exhibits]
    return f"{max(box[2] - box[0] for box in boxes)}x{max(box[3] - box[1] for box in boxes)}"


def _means_headings(curves: Sequence[Curve]) -> list[str]:
    headings = (metric.heading for metric in metrics_of(curves))
    return ["codec", "quality", "bpp", *headings, "encode s", "decode s"]


def _means(curves: Sequence[Curve]) -> list[tuple[str, list[tuple[float | None, str]]]]:
    """A row for every point: name of the codec, then values with what is shown of them."""
    metrics, rows = metrics_of(curves), []
    for curve in curves:
        for point in curve_points(curve):
            cells: list[tuple[float | None, str]] = [
                (None, format_quality(point.quality)),
                (point.bpp, f"{point.bpp:.4f}"),
            ]
            cells += [(value := point.values[metric.key], metric.shown(value)) for metric in metrics]
            cells += [(seconds, format_seconds(seconds)) for seconds in (point.encode_s, point.decode_s)]
            rows.append((curve.name, cells))
    return rows


def _named(curves: Sequence[Curve]) -> list[tuple[Metric, dict[str, Any]]]:
    """For every metric a table of what the curves reach at rates that the field has named, if any reaches one."""
    tables = []
    for metric in metrics_of(curves):
        table = by_rate([point for curve in curves for point in named_points(curve, metric.key)])
        if table["rows"]:
            tables.append((metric, table))
    return tables


def _codec(curve: Curve) -> tuple[str, str, str]:
    words = " ".join(curve.description.split()) or "no description"
    return curve.name, str(curve.meta.get("dataset", "unnamed pictures")), words
