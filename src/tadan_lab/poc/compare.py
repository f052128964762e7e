"""A report against an older one: another version, or another machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tadan.errors import InvalidInput
from tadan.files import read_bytes
from tadan_lab.poc.kpis import KPIS

FORMAT = "tadan-poc-1"
SAME_PERCENT = 2.0  # changes below are called the same: timings differ that much from run to run


def load_report(path: Path) -> dict[str, Any]:
    """A ``poc.json``.

    Raises:
        UnreadableInput: it cannot be read.
        InvalidInput: it is none.
    """
    try:
        found = json.loads(read_bytes(path))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"{path} is no report of tadan poc: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("sections"), dict):
        raise InvalidInput(f"{path} is no report of tadan poc; give a poc.json that this version can read")
    return found


def compare(new: Mapping[str, Any], old: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Key figures of both, and in what the runs differ; figures that only one of them has are shown too."""
    before = {row["key"]: row["value"] for row in old.get("kpis", [])}
    rows = []
    for row in new["kpis"]:
        was, now = before.get(row["key"]), row["value"]
        rows.append({**_change(row["key"], was, now), "title": row["title"], "unit": row["unit"]})
    facts = [new["machine"], old.get("machine", {})]
    names = dict.fromkeys([*facts[0], *facts[1]])
    plans = [new["plan"], old.get("plan", {})]
    return {
        "name": name,
        "rows": rows,
        "machine": [
            {"name": one, "new": facts[0].get(one), "old": facts[1].get(one)}
            for one in names
            if facts[0].get(one) != facts[1].get(one)
        ],
        "plan": [
            {"name": one, "new": value, "old": plans[1].get(one)}
            for one, value in plans[0].items()
            if plans[1].get(one) != value
        ],
        "same_pictures": new.get("pictures_hash") == old.get("pictures_hash"),
    }


def _change(key: str, was: float | None, now: float | None) -> dict[str, Any]:
    percent, verdict = None, None
    if was is not None and now is not None:
        percent = 100 * (now - was) / abs(was) if was else None
        same = now == was or (percent is not None and abs(percent) < SAME_PERCENT)
        better = (now > was) == KPIS[key].more
        verdict = "same" if same else "better" if better else "worse"
    return {"key": key, "old": was, "new": now, "percent": percent, "verdict": verdict}
