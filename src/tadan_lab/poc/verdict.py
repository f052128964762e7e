"""Thresholds, which are fixed before anything is measured, and what came of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tadan.errors import InvalidInput
from tadan.toml import read_toml
from tadan_lab.poc.kpis import KPIS, Results

PASS, FAIL, NOT_MEASURED = "pass", "fail", "not measured"


def default_thresholds() -> dict[str, float]:
    """Examples for whoever has none: modest savings, no data lost, seconds that people wait for."""
    return {key: one.default for key, one in KPIS.items() if one.default is not None}


def read_thresholds(path: Path) -> dict[str, float]:
    """Thresholds of a TOML file whose keys are those of KPIs; it replaces the examples, none of which stays in force.

    Raises:
        UnreadableInput: it cannot be read.
        InvalidInput: it is no TOML, is empty, or has a key or a value that is none.
    """
    found: dict[str, float] = {}
    for key, value in read_toml(path, "a file of thresholds").items():
        if key not in KPIS:
            raise InvalidInput(f"{path}: there is no key figure {key!r}; choose from {', '.join(KPIS)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidInput(f"{path}: {key} is a number, not {value!r}")
        found[key] = float(value)
    if not found:
        raise InvalidInput(f"{path} sets no threshold; write lines such as saving_jpeg_percent = 20")
    return found


def judge(results: Results, thresholds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Every key figure with its threshold, its value and what came of it; ``verdict`` is None without a threshold."""
    rows = []
    for key, one in KPIS.items():
        value, threshold = one.measured(results), thresholds.get(key)
        verdict = None
        if threshold is not None:
            verdict = NOT_MEASURED if value is None else PASS if one.passes(value, threshold) else FAIL
        rows.append(
            {
                "key": key,
                "title": one.title,
                "unit": one.unit,
                "more_is_better": one.more,
                "section": one.section,
                "step": one.step,
                "formula": one.formula,
                "value": value,
                "threshold": threshold,
                "verdict": verdict,
            }
        )
    return rows


def tally(rows: list[dict[str, Any]]) -> dict[str, int]:
    """How many thresholds were met, missed, and not measured."""
    return {word: sum(row["verdict"] == word for row in rows) for word in (PASS, FAIL, NOT_MEASURED)}
