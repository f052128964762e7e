"""The report of `tadan lab eval` as one HTML file that needs neither a network nor a script to be read."""

from collections.abc import Sequence

from tadan_lab.measure.bdrate import WEAK_COVERAGE, BDRate, Comparison, other_pictures
from tadan_lab.measure.curve import Curve, curve_points
from tadan_lab.measure.gallery import TARGET_BPP, Exhibit, Panel
from tadan_lab.measure.page import number, page, section, table, text
from tadan_lab.measure.report import format_quality, format_seconds
from tadan_lab.measure.yardsticks import METRICS, Metric, metrics_of


def html_report(
    curves: Sequence[Curve], comparisons: Sequence[Comparison], svg: str, exhibits: Sequence[Exhibit], command: str
) -> bytes:
    """Return the report.

    Args:
        curves: every curve to show, ours first.
        comparisons: BD-rates of ours against the others.
        svg: the plot of all curves, an SVG document.
        exhibits: pictures side by side; may be empty.
        command: what was typed to get this file.
    """
    ours = curves[0]
    dataset = ours.meta.get("dataset", "unnamed pictures")
    body = [
        _headline(ours, comparisons),
        section("bd-rates", "BD-rate", _bd_rates(ours, comparisons)),
        section("plots", "Rate and distortion", _plot(svg, metrics_of(curves))),
        _pictures(exhibits),
        section("means", "Means per codec and quality", _means(curves)),
        section("how", "How this was measured", _how(ours, command), _codecs(curves)),
    ]
    return page(f"{ours.name} on {dataset}", [part for part in body if part])


def _headline(ours: Curve, comparisons: Sequence[Comparison]) -> str:
    return "\n".join(_sentence(ours, comparisons, metric) for metric in metrics_of([ours]))


def _sentence(ours: Curve, comparisons: Sequence[Comparison], metric: Metric) -> str:
    parts = []
    for comparison in comparisons:
        value = comparison.values[metric.key]
        trusted = isinstance(value, BDRate) and value.coverage >= WEAK_COVERAGE
        if isinstance(value, BDRate) and trusted and not other_pictures(ours, comparison.anchor):
            size = "smaller" if value.percent < 0 else "larger"
            parts.append(f"<strong>{abs(value.percent):.1f} % {size}</strong> than {text(comparison.anchor.name)}")
    if not parts:
        return ""
    return f"<p>At equal {metric.title}, files of {text(ours.name)} are on average {', '.join(parts)} (BD-rate).</p>"


def _bd_rates(ours: Curve, comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return "<p>No other curve was given.</p>"
    rows = [
        [text(comparison.anchor.name), *(cell for value in comparison.values.values() for cell in _bd_cells(value))]
        for comparison in comparisons
    ]
    headings = [
        f"{ours.name} against",
        *(words for metric in metrics_of([ours]) for words in (f"by {metric.title}", "common range")),
    ]
    warnings = [words for one in comparisons if (words := other_pictures(ours, one.anchor))]
    return "\n".join(
        [
            table("Negative: fewer bits than the other codec needs for the same quality.", headings, rows),
            '<p class="soft">Piecewise cubic (PCHIP) interpolation over the quality that both curves reach, stated '
            "with its share of what either reaches; MS-SSIM counts in dB, -10 log10(1 - MS-SSIM). A number "
            f"from less than {WEAK_COVERAGE:.0%} says little and is marked *. Points that another one of their curve "
            "beats in rate and in quality are left out.</p>",
            *(f"<p><strong>{text(words)}</strong></p>" for words in warnings),
        ]
    )


def _bd_cells(value: BDRate | str) -> tuple[str, str]:
    if isinstance(value, str):
        return "-", text(value)
    kind = "good" if value.percent < 0 else "bad"
    mark = " *" if value.coverage < WEAK_COVERAGE else ""
    return f'<span class="{kind}">{number(value.percent, f"{value.percent:+.1f} %")}{mark}</span>', text(value.overlap)


def _plot(svg: str, metrics: Sequence[Metric]) -> str:
    titles = ", ".join(metric.title for metric in metrics)
    words = f"Curves over bits per pixel: {titles}; the table of means holds the same numbers."
    inline = svg[svg.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{text(words)}" ', 1)
    caption = "<figcaption>Means over pictures; ours is black, better is up.</figcaption>"
    figure = f'<figure class="plot">{inline}{caption}</figure>'
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Plots">{figure}</div>'


def _pictures(exhibits: Sequence[Exhibit]) -> str:
    if not exhibits:
        return ""
    ours = exhibits[0].panels[1]
    width = max(one.box[2] - one.box[0] for one in exhibits)
    height = max(one.box[3] - one.box[1] for one in exhibits)
    intro = (
        f"<p>Quality {text(ours.quality)} of {text(ours.label)}, whose mean rate is the nearest to {TARGET_BPP} bpp "
        "of those measured; the other codecs at the quality whose file of that picture is nearest in bytes, with the "
        f"difference. The large images are crops of at most {width}x{height} pixels at the most detailed place, one "
        "to one and lossless; the box in the small overview (WebP, quality 90) shows where. Figures are those of the "
        "whole picture.</p>"
    )
    return section("pictures", "Pictures at matched file size", intro, *(_exhibit(one) for one in exhibits))


def _exhibit(exhibit: Exhibit) -> str:
    name = text(exhibit.name)
    left, top, right, bottom = exhibit.box
    overview = (
        f'<figure class="overview"><img src="{exhibit.overview}" alt="Overview of {name}"><figcaption>{exhibit.width}x'
        f"{exhibit.height} pixels; crop {left}-{right}, {top}-{bottom}</figcaption></figure>"
    )
    size = f'width="{right - left}" height="{bottom - top}"'
    ours = exhibit.panels[1]
    panels = "\n".join(
        f'<figure class="panel" data-label="{text(panel.label)}"><img src="{panel.crop}" {size} '
        f'alt="Crop of {name}: {text(panel.label)}, {panel.size} bytes">'
        f"<figcaption>{_panel(panel, ours)}</figcaption></figure>"
        for panel in exhibit.panels
    )
    return f'<article class="exhibit"><h3>{name}</h3>{overview}\n<div class="panels">\n{panels}\n</div></article>'


def _panel(panel: Panel, ours: Panel) -> str:
    words = f"<b>{text(panel.label)}</b>"
    size = number(panel.size, f"{panel.size:,}") + " bytes"
    if panel.quality is None or panel.bpp is None:
        return f"{words}<br>{size} on disk"
    difference = "" if panel is ours else f" ({panel.size / ours.size - 1:+.1%})"
    measured = ((METRICS[key], value) for key, value in panel.values.items())
    figures = ", ".join(f"{text(metric.heading)} {number(value, metric.shown(value))}" for metric, value in measured)
    return (
        f"{words}, quality {panel.quality}<br>{size}{difference}, {number(panel.bpp, f'{panel.bpp:.3f}')} bpp<br>"
        f"{figures}"
    )


def _means(curves: Sequence[Curve]) -> str:
    metrics = metrics_of(curves)
    rows = [
        [
            text(curve.name),
            text(format_quality(point.quality)),
            number(point.bpp, f"{point.bpp:.4f}"),
            *(number(value := point.values[metric.key], metric.shown(value)) for metric in metrics),
            number(point.encode_s, format_seconds(point.encode_s)),
            number(point.decode_s, format_seconds(point.decode_s)),
        ]
        for curve in curves
        for point in curve_points(curve)
    ]
    headings = ("codec", "quality", "bpp", *(metric.heading for metric in metrics), "encode s", "decode s")
    caption = "Means over pictures, whole files; seconds as each codec below says, comparable on one machine only."
    return table(caption, headings, rows)


def _how(ours: Curve, command: str) -> str:
    measured_by, facts = ours.meta.get("command"), ours.meta.get("measured")
    rows = facts.items() if isinstance(facts, dict) else ()
    listed = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in rows)
    lines = [f"<p>This page:</p><pre><code>{text(command)}</code></pre>"]
    if measured_by and measured_by != command:
        lines.append(f"<p>The curve of {text(ours.name)}:</p><pre><code>{text(measured_by)}</code></pre>")
    lines.append(f"<dl>{listed}</dl>" if listed else f"<p>The curve of {text(ours.name)} names no machine.</p>")
    return "\n".join(lines)


def _codecs(curves: Sequence[Curve]) -> str:
    items = []
    for curve in curves:
        words = " ".join(curve.description.split()) or "no description"
        dataset = curve.meta.get("dataset", "unnamed pictures")
        items.append(f"<dt>{text(curve.name)}</dt><dd>{text(dataset)}; {text(words)}</dd>")
    return f"<h3>Codecs</h3><dl>{''.join(items)}</dl>"
