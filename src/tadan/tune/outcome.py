"""What came of a search: a profile that says where it came from, the Pareto front as plain values and as a plot."""

from __future__ import annotations

import io
import math
import time
from importlib.metadata import version
from typing import Any

from tadan.codec.profile import MachineUse, Profile
from tadan.models import load_model
from tadan.optional import require
from tadan.tune.album import Album
from tadan.tune.machine import MachineProfile, four_digits
from tadan.tune.plan import memory_of_each, pareto
from tadan.tune.search import Entry, Tuned

METRIC_NAMES = {"error": "weighted PSNR, dB", "psnr": "PSNR, dB", "score": "SSIMULACRA2"}


def front(tuned: Tuned) -> list[Entry]:
    """Settings that nothing beats in bytes, encoding and decoding seconds at once, the smallest files first."""
    points = {
        one.setting: (round(one.log_ratio, 4), one.figures.encode, one.figures.decode)
        for one in tuned.entries
        if one.meets
    }
    by_setting = {one.setting: one for one in tuned.entries}
    return [by_setting[setting] for setting in pareto(points)]


def percent(log_ratio: float) -> float:
    """Change of bytes in percent."""
    return 100 * math.expm1(log_ratio)


def profile_of(tuned: Tuned, album: Album, machine: MachineProfile, metric: str, seed: int) -> Profile:
    """The profile that uses the chosen setting, with its origin."""
    chosen, setting = tuned.chosen, tuned.chosen.setting
    model, figures = load_model(setting.model), chosen.figures
    memory = memory_of_each(tuned.tuning.memory, chosen.way.jobs)
    origin = {
        "tuned": {
            "target": str(tuned.tuning),
            "date": time.strftime("%Y-%m-%d"),
            "tadan": version("tadan"),
            "seed": seed,
        },
        "pictures": {
            "folder": str(album.folder),
            "count": album.count,
            "sample": len(album.sample),
            "part_pixels": tuned.part_pixels,
            "stored_share": round(tuned.stored, 3),
        },
        "planned_for": {
            "processor": machine.facts.get("processor", "unknown"),
            "cores": machine.cores,
            "measured": machine.facts.get("date", "unknown"),
            "measured_with_model": machine.model.get("id", "unknown"),
        },
        "predicted": {
            "encode_seconds_nine_in_ten": four_digits(figures.encode),
            "decode_seconds_nine_in_ten": four_digits(figures.decode),
            "encoded_per_second": four_digits(figures.speed),
            "decoded_per_second": four_digits(figures.decode_speed),
            "memory_bytes": int(figures.memory),
            "bits_per_pixel": four_digits(tuned.bpp),
            "bytes_against_effort_0_percent": round(percent(chosen.log_ratio), 2),
            "quality_metric": METRIC_NAMES[metric],
            "quality_mean": round(tuned.value, 2),
            "quality_lowest": round(tuned.lowest, 2),
        },
    }
    jobs, threads = chosen.way.jobs, chosen.way.threads
    workers = jobs * threads if memory is None else jobs  # each worker of a service has the memory for itself
    use = MachineUse(jobs, workers, threads, memory)
    return Profile(
        quality=setting.quality,
        schedule=setting.schedule,
        effort=setting.effort,
        tile=setting.tile,
        model=setting.model,
        model_id=model.id_hex,
        machine=use,
        origin=origin,
    )


def entry_values(entry: Entry) -> dict[str, Any]:
    """Plain values of an entry."""
    figures = entry.figures
    return {
        **entry.setting.to_dict(),
        "jobs": entry.way.jobs,
        "threads": entry.way.threads,
        "bytes_percent": round(percent(entry.log_ratio), 3),
        "pictures": entry.pictures,
        "encode": figures.encode,
        "decode": figures.decode,
        "encoded_per_second": figures.speed,
        "decoded_per_second": figures.decode_speed,
        "memory": figures.memory,
        "meets": entry.meets,
    }


def plot(tuned: Tuned, form: str) -> bytes:
    """Bytes over encoding seconds of all that was tried, the front as a line, the choice as a star.

    Args:
        tuned: what was found.
        form: "png" or "svg".

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    figures = require("matplotlib.figure", "lab", "The plot of the front")
    figure = figures.Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.add_subplot()
    edge = _lower_edge(tuned)
    axes.plot(*zip(*[_point(one) for one in edge], strict=True), color="black", linewidth=1, zorder=1)
    for schedule in dict.fromkeys(one.setting.schedule for one in tuned.entries):
        some = [one for one in tuned.entries if one.setting.schedule == schedule]
        axes.scatter(*zip(*[_point(one) for one in some], strict=True), s=18, label=f" {schedule}", zorder=2)
    axes.scatter(*_point(tuned.chosen), marker="*", s=220, color="crimson", label=" chosen", zorder=3)
    axes.set_xscale("log")
    axes.set(xlabel="encoding, seconds that nine pictures in ten do not exceed (predicted)")
    axes.set(ylabel="bytes at equal quality against effort 0, percent")
    axes.grid(True, which="both", alpha=0.3)
    for text in axes.legend().get_texts():
        text.set_parse_math(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=120, metadata={"Date": None} if form == "svg" else None)
    return buffer.getvalue()


def _lower_edge(tuned: Tuned) -> list[Entry]:
    """The front in the two dimensions of the plot."""
    edge: list[Entry] = []
    for one in sorted(tuned.entries, key=lambda entry: (entry.figures.encode, entry.log_ratio)):
        if not edge or one.log_ratio < edge[-1].log_ratio:
            edge.append(one)
    return edge


def _point(entry: Entry) -> tuple[float, float]:
    return entry.figures.encode, percent(entry.log_ratio)
