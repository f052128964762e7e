"""Section recovery: what is left after processes are killed, files are damaged, and transfers are cut."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tadan.batch.memory import usable_cores
from tadan.codec.codec import Codec
from tadan.errors import TadanError, ToolFailed
from tadan_lab.measure.damage import HARMS, measure_damage, summarise_damage
from tadan_lab.poc.batch_kill import kill_batch
from tadan_lab.poc.plan import Plan
from tadan_lab.poc.service_kill import kill_service, kill_workers
from tadan_lab.poc.subjects import Body, running_service

_TILE, _PERCENT = 256, 1.0  # pixels a side, and share of the bytes of a file that is damaged
_CUTS = 20  # lengths at which every file is cut


def measure_recovery(plan: Plan, samples: Sequence[Body], on_step: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """The section. ``on_step`` is called :func:`steps` times."""
    chosen = list(samples[: plan.damaged])
    found: dict[str, Any] = {}
    workers = max(2, plan.workers or usable_cores())
    with tempfile.TemporaryDirectory(prefix="tadan-poc-") as name:
        folder = Path(name)
        with running_service(plan, folder, workers) as one:
            found["workers"] = asyncio.run(kill_workers(plan, one, chosen, workers, on_step))
        found["service"] = kill_service(plan, folder, chosen, workers)
        on_step()
        pictures = []
        for place, body in enumerate(chosen):
            pictures.append(folder / f"{place}-{Path(body.name).stem}.png")
            pictures[-1].write_bytes(body.png)
        harm = (plan.quality, _PERCENT, plan.trials, plan.seed)
        rows = list(measure_damage(pictures, _TILE, *harm, model=plan.model, threads=plan.threads, on_trial=on_step))
        found["damage"] = [asdict(one) for one in summarise_damage(rows)]
        found["wrong_tiles"] = sum(row.wrong for row in rows)
        found["cut"] = cut_files(plan, chosen)
        on_step()
        found["batch"], found["batch_problem"] = _batch(plan, folder, pictures)
        on_step()
    return found


def _batch(plan: Plan, folder: Path, pictures: Sequence[Path]) -> tuple[dict[str, Any] | None, str | None]:
    """What came of the batch, or why it was not measured."""
    try:
        return kill_batch(plan, folder, pictures), None
    except ToolFailed as error:
        return None, str(error)


def steps(plan: Plan, pictures: int) -> int:
    """How often :func:`measure_recovery` calls ``on_step``."""
    return plan.kills + 3 + min(plan.damaged, pictures) * len(HARMS) * plan.trials


def cut_files(plan: Plan, samples: Sequence[Body]) -> dict[str, Any]:
    """Decode every file cut at random lengths: each must be refused by a typed error, none may pass in silence."""
    codec, chance = Codec(plan.model, threads=plan.threads), random.Random(plan.seed)
    tried, silent = 0, 0
    kinds: dict[str, int] = {}
    for body in samples:
        for length in sorted(chance.sample(range(len(body.coded)), min(_CUTS, len(body.coded)))):
            tried += 1
            try:
                codec.decode(body.coded[:length])
            except TadanError as error:
                kinds[type(error).__name__] = kinds.get(type(error).__name__, 0) + 1
            else:
                silent += 1
    return {"tried": tried, "silent": silent, "refused": kinds}
