"""Figures of a study as PNG. Needs matplotlib; imported by :mod:`tadan_lab.study.report` only."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tadan.schedule import PatternSchedule
from tadan.schedule.text import dark, stage_colour
from tadan_lab.study.results import Results

DRAWN = ("checkerboard", "2x2", "3x3-optimised", "4x4-published", "4x4-optimised-4", "4x4-optimised-8", "4x4-optimised")
BY_STAGE = ("checkerboard", "2x2", "4x4-published", "4x4-optimised-8", "4x4-optimised")
DOTS_PER_INCH = 110


def plots(results: Results) -> dict[str, bytes]:
    """All figures by file name."""
    return {
        "bd-rate.png": _bd_rate(results),
        "frontier.png": _frontier(results),
        "stages.png": _stages(results),
        "orders.png": _orders(results),
    }


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()


def _bd_rate(results: Results) -> bytes:
    names = sorted(results.names, key=lambda name: results.special_bd(name)[0], reverse=True)
    figure = Figure(figsize=(9, 0.32 * len(names) + 1.4), layout="constrained")
    axes = figure.subplots()
    for row, name in enumerate(names):
        mean, spread = results.special_bd(name)
        axes.errorbar(mean, row, xerr=spread or None, fmt="o", color="C0", capsize=3)
        axes.plot(results.general_bd(name), row, "o", color="C1", fillstyle="none")
    axes.plot([], [], "o", color="C0", label="specialised network (bar: range over seeds)")
    axes.plot([], [], "o", color="C1", fillstyle="none", label="any-schedule network, not retrained")
    axes.set_yticks(range(len(names)), names)
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_xlabel("BD-rate against autoregressive (raster or wavefront, specialised), %")
    axes.grid(True, axis="x", alpha=0.3)
    axes.legend(loc="upper right")
    return _png(figure)


def _frontier(results: Results) -> bytes:
    best = results.content["orders"]["4x4"]["schedules"]
    counts = list(range(2, 17))
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(counts, [results.general_bd(f"best-{k}") for k in counts], "o-", label="best of 4x4 for K, any-schedule")
    for name in results.names:
        stages = results.stage_count(name)
        if stages and stages > 1 and "optimised" in name:
            left.plot(stages, results.special_bd(name)[0], "s", color="C2", fillstyle="none")
        elif stages and stages > 1:
            left.plot(stages, results.special_bd(name)[0], ".", color="C7")
    left.plot([], [], "s", color="C2", fillstyle="none", label="optimised orders, specialised")
    left.plot([], [], ".", color="C7", label="listed schedules, specialised")
    left.axhline(0, color="grey", linewidth=0.8)
    left.set(xlabel="stages K", ylabel="BD-rate against autoregressive, %", title="Rate")
    for color, (name, one) in enumerate(results.content["speed"].items()):
        decode = {row["schedule"]: row["decode"] for row in one["rows"]}
        base = decode["checkerboard"]
        seconds = [decode[best[f"best-{k}"]["pattern"]] / base for k in counts]
        label = f"{one['width']}x{one['height']} ({name}), checkerboard = {base:.2f} s"
        right.plot(counts, seconds, "o-", color=f"C{color}", label=label)
        right.axhline(decode["wavefront"] / base, color=f"C{color}", linestyle=":", label=f"wavefront, {name}")
    right.set(xlabel="stages K", ylabel="decode time, checkerboard = 1", title="Decode time, whole file to pixels")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.grid(True, alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    return _png(figure)


def _stages(results: Results) -> bytes:
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    axes = figure.subplots()
    for name in (name for name in BY_STAGE if name in results.names):
        excess, shares = results.excess(name), results.shares(name)
        edges = np.concatenate([[0.0], np.cumsum(shares)])
        axes.stairs(excess, edges, baseline=None, linewidth=1.6, label=f"{name} ({len(shares)} stages)")
    axes.axhline(0, color="grey", linewidth=0.8, label="autoregressive mean")
    axes.set(
        xlabel="share of latents decoded",
        ylabel="bits per latent against the autoregressive mean, %",
        title="Rate per stage, specialised networks, mean over qualities",
    )
    axes.grid(True, alpha=0.3)
    axes.legend()
    return _png(figure)


def _orders(results: Results) -> bytes:
    names = [name for name in DRAWN if name in results.content["any"]]
    figure = Figure(figsize=(2.1 * len(names), 2.5), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        schedule = results.schedule(name)
        if isinstance(schedule, PatternSchedule):
            _draw(axes, schedule, name)
    return _png(figure)


def _draw(axes: Any, schedule: PatternSchedule, name: str) -> None:
    side = 4 if 4 % schedule.period[0] == 0 else schedule.period[0]
    stages = schedule.stage_map(side, side)[0]
    count = int(stages.max()) + 1
    colours = np.array([[stage_colour(int(stage), count) for stage in row] for row in stages]) / 255
    axes.imshow(colours)
    for (row, col), stage in np.ndenumerate(stages):
        ink = "white" if dark(stage_colour(int(stage), count)) else "black"
        axes.text(col, row, str(stage), ha="center", va="center", color=ink)
    axes.set_title(name, fontsize="small")
    axes.set_xticks([])
    axes.set_yticks([])
