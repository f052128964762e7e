"""The ladder of adoption (docs/rollout.md): four steps, each useful alone, each with a way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tadan_lab.poc.verdict import FAIL, NOT_MEASURED, PASS

READY, NOT_READY, UNKNOWN = "ready", "not ready", "not known"


@dataclass(frozen=True)
class Step:
    """One step: what changes, how it is begun, and how it is undone."""

    number: int
    name: str
    changes: str
    command: str
    back: str


STEPS = (
    Step(
        1,
        "Shadow",
        "Nothing: a copy of some pictures is encoded and measured.",
        "tadan encode SAMPLE/ --out-dir coded/",
        "Delete the copies.",
    ),
    Step(
        2,
        "Cold storage",
        "Pictures that are hardly read become .tdn.",
        "tadan encode ARCHIVE/ --out-dir COLD/ --verify",
        "tadan decode COLD/ --out-dir BACK/",
    ),
    Step(
        3,
        "Sidecar",
        "Pictures are kept as .tdn; clients get AVIF, WebP or JPEG from the service.",
        "tadan serve --store /srv/pictures",
        "Decode the store, point clients at the copies.",
    ),
    Step(
        4,
        "Clients",
        "Programs that know .tdn get it as it is.",
        "Accept: image/x-tadan",
        "Stop naming image/x-tadan in Accept.",
    ),
)


def climb(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whether each step is ready by the thresholds of it and of all steps below; what is in its way is named.

    Args:
        rows: of :func:`tadan_lab.poc.verdict.judge`.
    """
    found: list[dict[str, Any]] = []
    for step in STEPS:
        judged = [row for row in rows if row["step"] == step.number and row["verdict"] is not None]
        failed = [row["title"] for row in judged if row["verdict"] == FAIL]
        unknown = [row["title"] for row in judged if row["verdict"] == NOT_MEASURED]
        below = [one["number"] for one in found if one["state"] != READY]
        stopped = failed or any(one["state"] == NOT_READY for one in found)
        passed = sum(one["passed"] for one in found) + sum(row["verdict"] == PASS for row in judged)
        state = NOT_READY if stopped else UNKNOWN if unknown or below or not passed else READY
        own = {"failed": failed, "unknown": unknown, "below": below}
        found.append({**vars(step), "state": state, **own, "passed": passed})
    return found
