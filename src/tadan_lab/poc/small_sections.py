"""Sections that the house measures already: memory by megapixels, and exactness on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tadan_lab.measure.scale import PROCESSES, check_megapixels, exponents, measure_scale
from tadan_lab.poc.plan import Plan


def measure_memory(plan: Plan, pictures: Sequence[Path], on_step: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Section memory: fresh processes that encode and decode mosaics of the user's own pictures.

    ``on_step`` is called after every process: :func:`memory_steps` times.
    """
    sizes = check_megapixels(plan.sizes)
    rows = list(measure_scale(pictures, sizes, plan.quality, [plan.effort], plan.threads, plan.model, on_step))
    peaks = [row.peak_bytes for row in rows if row.peak_bytes is not None]
    return {
        "peak_bytes": max(peaks) if len(peaks) == len(rows) else None,
        "exponents": exponents(rows),
        "rows": [{**row.to_dict(), "peak_bytes": row.peak_bytes} for row in rows],
    }


def memory_steps(plan: Plan) -> int:
    """How often :func:`measure_memory` calls ``on_step``."""
    return PROCESSES * len(set(plan.sizes))


def measure_exactness(plan: Plan, on_step: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Section exactness: ``tadan selftest``, golden streams decoded here. ``on_step`` is called after every stream."""
    from tadan.conformance import check_sets, load_sets
    from tadan.conformance.golden import PACKAGED
    from tadan.core import kernel
    from tadan.entropy.ans import CODER

    outcomes = []
    for outcome in check_sets(load_sets(PACKAGED), plan.threads):
        outcomes.append(outcome)
        on_step()
    levels = [one.levels for one in outcomes if one.levels is not None]
    return {
        "checked": len(outcomes),
        "failed": sum(not one.ok for one in outcomes),
        "levels": max(levels, default=None),
        "seconds": sum(one.seconds for one in outcomes),
        "core": kernel(),
        "coder": CODER,
        "failures": [asdict(one) for one in outcomes if not one.ok],
    }


def exactness_steps() -> int:
    """How often :func:`measure_exactness` calls ``on_step``."""
    from tadan.conformance import load_sets
    from tadan.conformance.golden import PACKAGED

    return sum(len(one.streams) + len(one.damaged) for one in load_sets(PACKAGED))
