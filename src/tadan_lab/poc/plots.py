"""Plots of the report: small, one panel each, so that they can be read on a phone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tadan_lab.measure.plots import SVG_OPTIONS, render

_SIZE = 5.2, 3.5  # inches; at 360 pixels of width letters are still eleven pixels high
_TALL = 0.55  # inches for every row of a horizontal plot
_MB = 2**20
_FONT = 11.5


def plots(sections: Mapping[str, Any]) -> dict[str, str]:
    """SVG documents by name, of the sections that were run."""
    drawn: dict[str, str] = {}
    for name, section, draw in (
        ("sizes", "pictures", _sizes),
        ("saving", "bytes", _saving),
        ("latency", "latency", _latency),
        ("loads", "scenarios", _loads),
        ("held", "scenarios", _held),
        ("memory", "memory", _memory),
        ("money", "money", _money),
    ):
        if sections.get(section) is not None:
            drawing = _drawn(draw, sections[section])
            if drawing is not None:
                drawn[name] = drawing
    return drawn


class _NothingToDraw(Exception):
    """A section has no row for a plot."""


def _drawn(draw: Callable[[Any, Any, Sequence[Any]], None], section: Any) -> str | None:
    rows = len({row["rival"] for row in section["equal"]}) if "equal" in section else 0
    size = (_SIZE[0], max(2.4, 1.4 + _TALL * rows)) if rows else _SIZE

    def on(figure: Any, colours: Sequence[Any]) -> None:
        import matplotlib

        matplotlib.rcParams["font.size"] = _FONT
        axes = figure.subplots()
        draw(axes, section, colours)
        axes.grid(True, alpha=0.3)
        axes.set_axisbelow(True)
        handles, _ = axes.get_legend_handles_labels()
        if handles:
            figure.legend(loc="outside upper center", ncols=2, frameon=False)

    try:
        return render(on, size, SVG_OPTIONS).decode()
    except _NothingToDraw:
        return None


def _sizes(axes: Any, section: Any, colours: Sequence[Any]) -> None:
    rows = section["histogram"]
    names = [f"{row['from']:g}-{row['to']:g}" if row["to"] is not None else f"over {row['from']:g}" for row in rows]
    bars = axes.bar(names, [row["count"] for row in rows], color=colours[0])
    axes.bar_label(bars)
    axes.margins(y=0.15)
    axes.set(xlabel="megapixels", ylabel="pictures")


def _saving(axes: Any, section: Any, colours: Sequence[Any]) -> None:
    found = [row for row in section["equal"] if row["score"] == section["score"] and row["pictures"]]
    if not found:
        raise _NothingToDraw
    for place, row in enumerate(found[::-1]):
        values = [
            100 * (one["bytes"][section["ours"]] / one["bytes"][row["rival"]] - 1)
            for one in section["pictures"]
            if one["bytes"].get(section["ours"]) and one["bytes"].get(row["rival"])
        ]
        axes.plot(values, [place] * len(values), "o", color=colours[0], alpha=0.45, markersize=6)
        axes.plot([row["median"]], [place], "|", color="black", markersize=24, markeredgewidth=2.5)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(found)), [row["rival"] for row in found[::-1]])
    axes.set_ylim(-0.6, len(found) - 0.4)
    axes.set_xlabel("bytes of Tadan against the other codec, %\n(a dot is a picture, the bar the median)")


def _latency(axes: Any, section: Any, colours: Sequence[Any]) -> None:
    names, groups = ("p50", "p90", "p99"), []
    for state in ("warm", "cold"):
        for kind in ("encode", "decode"):
            groups.append((f"{kind}, {state}", [section[state][kind][name] for name in names]))
    width = 0.8 / len(groups)
    for place, (label, values) in enumerate(groups):
        at = [index + (place - (len(groups) - 1) / 2) * width for index in range(len(names))]
        axes.bar(at, values, width * 0.92, label=label, color=colours[2 * (place % 2) + (0 if place < 2 else 1)])
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("seconds for a picture")


def _loads(axes: Any, section: Any, colours: Sequence[Any]) -> None:
    for place, name in enumerate(("library", "service")):
        rows = [row for row in section[name]["server"]["rows"] if row["latency"]["p99"] is not None]
        rates = [row["offered_per_s"] for row in rows]
        for key, style in (("p50", "--"), ("p99", "-")):
            values = [row["latency"][key] for row in rows]
            axes.plot(rates, values, style, marker="o", color=colours[2 * place], label=f"{name}, {key}")
    axes.axhline(section["bound_s"], color="black", linestyle=":", label="bound")
    axes.set(xlabel="requests that arrive in a second", ylabel="seconds to the answer")
    axes.set_ylim(bottom=0)


def _held(axes: Any, section: Any, colours: Sequence[Any]) -> None:
    rows = [row for row in section["service"]["held"]["timeline"] if row["p50"] is not None]
    if not rows:
        raise _NothingToDraw
    at = [row["at"] for row in rows]
    axes.plot(at, [row["max"] for row in rows], marker=".", color=colours[2], label="slowest")
    axes.plot(at, [row["p50"] for row in rows], marker=".", color=colours[0], label="p50")
    axes.axhline(section["bound_s"], color="black", linestyle=":", label="bound")
    axes.set(xlabel="seconds since the start", ylabel="seconds to the answer")
    axes.set_ylim(bottom=0)


def _memory(axes: Any, section: Any, colours: Sequence[Any]) -> None:
    rows = section["rows"]
    sizes = [row["megapixels"] for row in rows]
    for place, (name, label) in enumerate(
        (("encode", "encode"), ("decode", "decode"), ("region", "decode 512x512 of it"))
    ):
        values = [None if row[name]["peak_bytes"] is None else row[name]["peak_bytes"] / _MB for row in rows]
        if None in values:
            raise _NothingToDraw
        axes.plot(sizes, values, marker="o", color=colours[2 * place], label=label)
    axes.set(xlabel="megapixels", ylabel="peak memory, MB")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)


def _money(axes: Any, section: Any, colours: Sequence[Any]) -> None:
    rows = section["rows"]
    if not rows:
        raise _NothingToDraw
    prices = section["prices"]
    most = max(10.0, 2 * prices["months"] * prices["reads_per_month"])
    for place, row in enumerate(rows):
        once = 1e6 * (row["storage"] - row["encode"])
        egress, decode = (1e6 * row[name] for name in ("egress_per_read", "decode_per_read"))
        colour = colours[2 * place % len(colours)]
        axes.plot([0, most], [once, once + most * egress], color=colour, label=f"{row['rival']}, clients decode")
        axes.plot([0, most], [once, once - most * decode], "--", color=colour)
    axes.axhline(0, color="black", linewidth=1)
    axes.set(xlabel="reads of a picture", ylabel=f"{prices['currency']} saved, a million pictures")
    axes.plot([], [], "--", color="black", label="the service decodes")
