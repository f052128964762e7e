"""Section scenarios: MLPerf's four through the library and through a service that this command starts itself."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tadan.batch.memory import usable_cores
from tadan_lab.measure.traffic import Ask, Query, draws, multi_stream, offline, server, single_stream
from tadan_lab.poc.figures import spread_of
from tadan_lab.poc.plan import Plan
from tadan_lab.poc.subjects import Body, library, running_service, service

LOADS = (0.3, 0.5, 0.7, 0.85)  # of the capacity that the offline scenario shows
ARRIVALS = 30  # wanted at each of these loads: of fewer, a share of 99 % says little
WITHIN = 0.99  # share of queries that must be good and within the bound: MLPerf's 99th percentile
_BINS = 30  # of the timeline of the rate that is held
_IN_FLIGHT = 4  # samples under way for each worker, offline
_STEPS = 6 + len(LOADS)  # of each subject: encode and decode in three scenarios, then the loads


def measure_scenarios(plan: Plan, samples: list[Body], on_step: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """The section. The client shares the machine with what it asks. ``on_step`` is called :func:`steps` times."""
    workers = plan.workers or usable_cores()
    return {
        "workers": workers,
        "bound_s": plan.bound,
        "reads": plan.reads,
        "pictures": len(samples),
        "mean_megapixels": sum(one.megapixels for one in samples) / len(samples),
        "library": asyncio.run(_library(plan, samples, workers, on_step)),
        "service": _service(plan, samples, workers, on_step),
    }


def steps() -> int:
    """How often :func:`measure_scenarios` calls ``on_step``."""
    return 2 * _STEPS + 1


async def _library(plan: Plan, samples: list[Body], workers: int, on_step: Callable[[], None]) -> dict[str, Any]:
    async with library(plan, samples, workers) as asks:
        return await _all(plan, asks, samples, workers, on_step)


def _service(plan: Plan, samples: list[Body], workers: int, on_step: Callable[[], None]) -> dict[str, Any]:
    async def run(url: str) -> dict[str, Any]:
        async with service(url, plan, samples) as asks:
            found = await _all(plan, asks, samples, workers, on_step)
            queries = await _mixed(plan, asks, len(samples), found["server"]["rate"], plan.held)
            on_step()
            found["held"] = {**_server_row(queries, found["server"]["rate"], plan.held, plan.bound)}
            found["held"]["timeline"] = timeline(queries, plan.held, plan.bound)
            return found

    with (
        tempfile.TemporaryDirectory(prefix="tadan-poc-") as folder,
        running_service(plan, Path(folder), workers) as one,
    ):
        return asyncio.run(run(one.url))


async def _all(
    plan: Plan, asks: dict[str, Ask], samples: list[Body], workers: int, on_step: Callable[[], None]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    mean = sum(one.megapixels for one in samples) / len(samples)
    for kind, ask in asks.items():
        order = draws(len(samples), random.Random(f"{plan.seed} {kind}"))
        await offline(ask, order, 2 * workers, 2 * workers)  # processes start and load the model
        single = await single_stream(ask, order, plan.seconds)
        on_step()
        multi = await multi_stream(ask, order, plan.seconds)
        on_step()
        count = max(2 * workers, int(plan.seconds * workers * len(single) / sum(one.seconds for one in single)))
        every, took = await offline(ask, order, count, _IN_FLIGHT * workers)
        on_step()
        good = sum(one.good for one in every)
        found[kind] = {
            "single": _latency(single),
            "multi": _latency(multi),
            "offline": {
                "n": count,
                "failed": count - good,
                "seconds": took,
                "per_s": good / took,
                "megapixels_per_s": good * mean / took,
            },
        }
    found["server"] = await _ladder(plan, asks, len(samples), capacity(plan.reads, found), on_step)
    return found


def capacity(reads: float, found: dict[str, Any]) -> float:
    """Requests a second of a mix, from the offline rates of its parts: 1 / (r / decode + (1 - r) / encode)."""
    rates = {kind: found[kind]["offline"]["per_s"] for kind in ("encode", "decode")}
    if not all(rates.values()):
        return 0.0
    return 1 / (reads / rates["decode"] + (1 - reads) / rates["encode"])


async def _ladder(
    plan: Plan, asks: dict[str, Ask], count: int, most: float, on_step: Callable[[], None]
) -> dict[str, Any]:
    rows = []
    for share in LOADS:
        rate = max(share * most, 0.05)
        seconds = load_seconds(plan.seconds, rate)
        queries = await _mixed(plan, asks, count, rate, seconds)
        rows.append({"load": share, **_server_row(queries, rate, seconds, plan.bound)})
        on_step()
    rate, met = best_rate(rows)
    return {"capacity_per_s": most, "rows": rows, "rate": rate, "met": met}


def load_seconds(seconds: float, rate: float) -> float:
    """Long enough for :data:`ARRIVALS` requests on average, but no more than three times what was asked for."""
    return min(max(seconds, ARRIVALS / rate), 3 * seconds)


def best_rate(rows: Sequence[dict[str, Any]]) -> tuple[float, bool]:
    """The highest offered rate up to which every row has enough answers within the bound; the lowest if none has."""
    met = []
    for row in sorted(rows, key=lambda row: row["offered_per_s"]):
        if row["within_percent"] is None:  # nothing arrived: it says nothing
            continue
        if row["within_percent"] < 100 * WITHIN:
            break
        met.append(row["offered_per_s"])
    return (met[-1], True) if met else (min(row["offered_per_s"] for row in rows), False)


async def _mixed(plan: Plan, asks: dict[str, Ask], count: int, rate: float, seconds: float) -> list[Query]:
    """Poisson arrivals of decodes and encodes; arrivals, kinds and samples follow from the seed."""
    chance = random.Random(f"{plan.seed} {rate:.6g} {seconds:g}")
    kinds = random.Random(f"{plan.seed} kinds")

    async def ask(sample: int) -> bool:
        return await asks["decode" if kinds.random() < plan.reads else "encode"](sample)

    order: Iterator[int] = draws(count, random.Random(f"{plan.seed} samples"))
    return await server(ask, order, rate, seconds, chance)


def _latency(queries: Sequence[Query]) -> dict[str, Any]:
    failed = sum(not one.good for one in queries)
    return {**spread_of([one.seconds for one in queries if one.good]), "failed": failed}


def _server_row(queries: Sequence[Query], rate: float, seconds: float, bound: float) -> dict[str, Any]:
    """Goodput counts good answers within the bound over the time from the first arrival to the last answer."""
    good = [one for one in queries if one.good]
    within = sum(one.seconds <= bound for one in good)
    took = max([seconds, *(one.due + one.seconds for one in queries)])
    return {
        "offered_per_s": rate,
        "arrived": len(queries),
        "failed": len(queries) - len(good),
        "within_percent": 100 * within / len(queries) if queries else None,
        "goodput_per_s": within / took,
        "seconds": took,
        "latency": spread_of([one.seconds for one in good]),
    }


def timeline(queries: Sequence[Query], seconds: float, bound: float) -> list[dict[str, Any]]:
    """Latencies by the time of arrival, in bins of equal length; empty bins have no percentile."""
    width, rows = seconds / _BINS, []
    for number in range(_BINS):
        inside = [one for one in queries if number * width <= one.due < (number + 1) * width]
        spread = spread_of([one.seconds for one in inside if one.good])
        late = sum(not one.good or one.seconds > bound for one in inside)
        rows.append({"at": (number + 0.5) * width, "arrived": len(inside), "late": late, **spread})
    return rows
