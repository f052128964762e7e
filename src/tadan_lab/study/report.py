"""Tables and plots of a study, all from its one JSON. Markdown here, figures in :mod:`tadan_lab.study.plots`."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from tadan.files import make_folder, write_atomically
from tadan.optional import require
from tadan_lab.study.plan import CODED
from tadan_lab.study.results import REFERENCE, Results, collect, collect_groups, groups_bd

RANDOM = ("4x4-random-1", "4x4-random-2", "4x4-random-3")
SIDE_BY_SIDE = ("hyper", "checkerboard", "2x2", "3x3", "4x4", "wavefront", "raster")
BY_ANCHORS = (
    "checkerboard",
    "2x2",
    "3x3-optimised",
    "4x4-published",
    "4x4-optimised-4",
    "4x4-optimised-8",
    "4x4-optimised",
)


def write_report(folder: Path, out: Path) -> list[Path]:
    """Collect a study and write ``study.json``, ``tables.md`` and the plots into ``out``; returns what was written."""
    return render(collect(folder), out)


def write_groups(folder: Path, out: Path) -> list[Path]:
    """Write what channel groups gain and cost into ``out``, as JSON and as a table; returns what was written."""
    groups = collect_groups(folder)
    make_folder(out)
    write_atomically(out / "groups.json", json.dumps(groups, indent=1).encode() + b"\n")
    write_atomically(out / "groups.md", coded_groups(groups).encode() + b"\n")
    return [out / "groups.json", out / "groups.md"]


def render(content: dict[str, Any], out: Path) -> list[Path]:
    """As :func:`write_report`, from content that was collected before."""
    require("matplotlib.figure", "lab", "The plots of the study")
    from tadan_lab.study.plots import plots

    results = Results(content)
    make_folder(out)
    files = {"study.json": (json.dumps(content, separators=(",", ":")) + "\n").encode()}
    files["tables.md"] = (
        "\n\n".join(f"### {title}\n\n{text}" for title, text in tables(results).items()).encode() + b"\n"
    )
    files |= plots(results)
    for name, data in files.items():
        write_atomically(out / name, data)
    return [out / name for name in files]


def tables(results: Results) -> dict[str, str]:
    """All tables as markdown, by title."""
    out = {
        "Rates of specialised and any-schedule networks": _rates(results),
        "Anchors": _anchors(results),
        "Best schedule for every number of stages": _frontier(results),
        "Measured costs": _costs(results),
        "The codec as installed": _codec(results),
    }
    if {*RANDOM, "4x4-published"} <= {*results.names}:
        out["Orders of a 4x4 patch"] = _orders(results)
    if results.groupings:
        out["Channel groups inside every stage"] = _groups(results)
        out["Channel groups in streams"] = coded_groups(results.content["groups"])
    out |= {f"Decode times, {name}": _speed(one) for name, one in results.content["speed"].items()}
    return out


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _rates(results: Results) -> str:
    rows = []
    for name in results.names:
        mean, spread = results.special_bd(name)
        count = len(results.seeds(name))
        stages = results.stage_count(name)
        rows.append(
            [
                name,
                "H x W" if stages is None else str(stages),
                *(f"{value:.4f}" for value in results.special_mean(name)),
                f"{mean:+.2f} %" + (f" ± {spread:.2f}" if count > 1 and name != REFERENCE else ""),
                str(count),
                f"{results.parameters(name) / 1e6:.2f}",
                f"{results.general_bd(name):+.2f} %",
                f"{results.price_of_generality(name):+.2f} %",
            ]
        )
    header = ["schedule", "stages", *(f"bpp, q{quality}" for quality in results.qualities)]
    header += ["BD-rate, specialised", "seeds", "M weights", "BD-rate, any-schedule", "any against specialised"]
    return _table(header, rows)


def _anchors(results: Results) -> str:
    rows = []
    for name in (name for name in BY_ANCHORS if name in results.names):
        parts = [share * excess for share, excess in zip(results.shares(name), results.excess(name), strict=True)]
        step, spread = results.special_bd(name, "checkerboard")
        rows.append(
            [
                f"1/{round(1 / results.anchors(name))}",
                name,
                f"{results.excess(name)[0]:+.1f} %",
                f"{parts[0]:+.2f} %",
                f"{sum(part for part in parts[1:] if part > 0):+.2f} %",
                f"{sum(part for part in parts[1:] if part < 0):+.2f} %",
                f"{sum(parts):+.2f} %",
                f"{step:+.2f} %" + (f" ± {spread:.2f}" if len(results.seeds(name)) > 1 and spread else ""),
            ]
        )
    header = ["anchors", "schedule", "an anchor costs", "all anchors", "later stages above the mean", "below it"]
    return _table([*header, "sum, y against autoregressive", "BD-rate against checkerboard"], rows)


def _orders(results: Results) -> str:
    names = [name for name in results.names if name.startswith("4x4")]
    random = [fmean(column) for column in zip(*(results.special_mean(name) for name in RANDOM), strict=True)]
    published = results.special_mean("4x4-published")
    random_general = [fmean(column) for column in zip(*(results.general(name) for name in RANDOM), strict=True)]
    rows = [
        [
            name,
            str(results.stage_count(name)),
            f"{results.bd_rate(results.special_mean(name), random):+.2f} %",
            f"{results.bd_rate(results.special_mean(name), published):+.2f} %",
            f"{results.bd_rate(results.general(name), random_general):+.2f} %",
        ]
        for name in names
    ]
    header = ["order", "stages", "against the mean of three random orders", "against the published order"]
    return _table([*header, "any-schedule, against random"], rows)


def _frontier(results: Results) -> str:
    best = results.content["orders"]["4x4"]["schedules"]
    speed = {
        name: {row["schedule"]: row["decode"] for row in one["rows"]} for name, one in results.content["speed"].items()
    }
    rows = []
    for count in range(1, 17):
        one = best[f"best-{count}"]
        kept = 100 * (one["bits_apart"] / best["best-1"]["bits_apart"] - 1)
        times = []
        for decode in speed.values():
            seconds = decode.get(one["pattern"], decode.get("hyper") if count == 1 else None)
            times.append("" if seconds is None else f"{seconds / decode['checkerboard']:.2f}")
        rows.append(
            [
                str(count),
                f"`{one['pattern']}`",
                f"{kept:.2f} %",
                f"{results.general_bd(f'best-{count}'):+.2f} %",
                *times,
            ]
        )
    header = ["K", "pattern", "measured cost against K = 1", "BD-rate on the evaluation pictures, any-schedule"]
    return _table([*header, *(f"decode time, {name}, checkerboard = 1" for name in speed)], rows)


def _costs(results: Results) -> str:
    rows = [
        [
            shape,
            f"{one['measured']} of {one['subsets']}",
            f"{100 * one['model_error'] / one['without_context']:.2f} %",
            f"{one['model_r2']:.3f}",
        ]
        for shape, one in results.content["orders"].items()
    ]
    return _table(["patch", "subsets measured", "error of the regression", "R² of the regression"], rows)


def _groups(results: Results) -> str:
    """Entropy models that differ in their channel groups alone, each under the same spatial schedules."""
    fewest, rows = results.groupings[-1], []
    for schedule in results.content["groups"][str(fewest)]["schedules"]:
        for count in results.groupings:
            row = results.grouped(count, schedule)
            rows.append(
                [
                    schedule,
                    str(count),
                    str(row["stages"]),
                    str(row["steps"]),
                    *(f"{row['bpp'][quality]:.4f}" for quality in results.qualities),
                    "" if count == fewest else f"{results.grouped_bd(count, schedule):+.2f} %",
                    f"{row['kmac']:.2f}",
                    f"{row['ms']:.1f}",
                ]
            )
    header = ["schedule", "groups", "stages", "steps", *(f"bpp, q{quality}" for quality in results.qualities)]
    few = "one group" if fewest == 1 else f"{fewest} groups"
    return _table([*header, f"BD-rate against {few}", "entropy model, kMAC/pixel", "entropy decoding, ms"], rows)


def coded_groups(groups: dict[str, Any]) -> str:
    """Streams of entropy models that differ in their channel groups alone, all coded under one schedule."""
    counts = sorted(map(int, groups), reverse=True)
    qualities, fewest, rows = list(groups[str(counts[-1])]["coded"]["bpp"]), counts[-1], []
    for count in counts:
        coded = groups[str(count)]["coded"]
        ms, kmac = (groups[str(count)]["schedules"][CODED][key] for key in ("ms", "kmac"))
        base = groups[str(fewest)]["schedules"][CODED]["ms"]
        rows.append(
            [
                str(count),
                *(f"{coded['bpp'][quality]:.4f}" for quality in qualities),
                *(f"{coded['psnr'][quality]:.2f}" for quality in qualities),
                "" if count == fewest else f"{groups_bd(groups, count):+.2f} %",
                f"{kmac:.2f}",
                f"{ms:.1f}",
                f"{ms / base:.2f}",
            ]
        )
    header = ["groups", *(f"bpp, q{q}" for q in qualities), *(f"dB, q{q}" for q in qualities), "BD-rate by PSNR"]
    return _table([*header, "entropy model, kMAC/pixel", "entropy decoding, ms", "ratio"], rows)


def _codec(results: Results) -> str:
    codec = results.content["codec"]
    rows = [
        [
            name,
            *(f"{bpp:.4f}" for bpp in one["bpp"]),
            *(f"{decibel:.2f}" for decibel in one["psnr"]),
            f"{results.coded_bd(name, '2x2'):+.2f} %",
            f"{results.coded_bd(name, 'wavefront'):+.2f} %",
        ]
        for name, one in codec["schedules"].items()
    ]
    header = ["schedule", *(f"bpp, q{q}" for q in codec["qualities"]), *(f"dB, q{q}" for q in codec["qualities"])]
    return _table([*header, "BD-rate against 2x2", "against autoregressive"], rows)


def _speed(one: dict[str, Any]) -> str:
    rows = {row["schedule"]: row for row in one["rows"]}
    base = rows["checkerboard"]["decode"]
    lines = [
        [
            name,
            str(rows[name]["stages"]),
            f"{rows[name]['decode']:.3f}",
            f"{rows[name]['decode'] / base:.2f}",
            f"{rows[name]['latents']:.3f}",
            f"{rows[name]['bytes']:,}",
        ]
        for name in SIDE_BY_SIDE
        if name in rows
    ]
    return _table(["schedule", "stages", "decode, s", "against checkerboard", "latents alone, s", "bytes"], lines)
