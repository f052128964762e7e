"""The same units on many machines: a map over blocks of entries by Ray Data, with actors that hold one codec each.

Ray repeats the block of an actor or a machine that died. That is safe, as names follow from what is written: a unit
that finds its output leaves it alone. An actor works through a worker process of its own, as on one machine, so that a
poisonous picture ends that process and not the actor, which Ray would start on the same block for ever.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

from tadan.batch.crew import Bounds, Crew
from tadan.batch.entries import Entry
from tadan.batch.outcome import Outcome
from tadan.batch.unit import Job
from tadan.errors import InvalidInput
from tadan.optional import require

BLOCK = 8  # entries that are repeated together; Ray takes some milliseconds for each block
_ACTOR_BYTES = 200 * 2**20  # of an actor beside its worker
_PATIENCE = 10.0  # seconds until a cluster must answer
_STORE_BYTES = 200 * 2**20  # of a local object store: entries and outcomes are small


@dataclass(frozen=True)
class Cluster:
    """Where to work.

    Attributes:
        address: of a running cluster, as ``ray.init`` takes it; None: that in RAY_ADDRESS, or one is started here.
        actors: at most; None: one for each core of the cluster.
        bound: bytes that each worker may take; None: an equal share of what Ray may give on the poorest machine.
        block: entries of a block.
    """

    address: str | None = None
    actors: int | None = None
    bound: int | None = None
    block: int = BLOCK


def ray_outcomes(
    job: Job, bounds: Bounds, cluster: Cluster, entries: Iterator[Entry], stop: Callable[[], bool]
) -> Iterator[Outcome]:
    """Outcomes of entries, in the order in which blocks are done; see :meth:`tadan.batch.crew.Crew.outcomes`.

    Raises:
        MissingPackage: Ray is not installed.
        InvalidInput: there is no cluster at the address.
    """
    ray = require("ray", "ray", "--engine ray")
    data = require("ray.data", "ray", "--engine ray")
    first = next(entries, None)
    if first is None:
        return
    started = _connect(ray, cluster)
    try:
        _be_quiet(data)
        actors = cluster.actors or max(1, int(ray.cluster_resources().get("CPU", 1)))
        bounds = replace(bounds, memory=cluster.bound or _fair_share(ray, bounds.memory))
        blocks = [ray.put(block) for block in _blocks(first, entries, cluster.block)]
        mapped = data.from_arrow_refs(blocks).map_batches(
            _Actor,
            fn_constructor_args=(replace(job, marked=True), bounds),
            batch_size=None,
            batch_format="pyarrow",
            concurrency=(1, max(1, min(actors, len(blocks)))),
            num_cpus=1,
            memory=bounds.memory + _ACTOR_BYTES,
        )
        with closing(iter(mapped.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))) as done:
            for block in done:
                for text in block.column("outcome").to_pylist():
                    yield _outcome(text)
                if stop():
                    return
    finally:
        if started:
            ray.shutdown()


def _connect(ray: Any, cluster: Cluster) -> bool:
    """Join the cluster, or start one; False if this process had joined one before."""
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters comes as an exception
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    if address is None:
        options |= {"num_cpus": cluster.actors, "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    else:
        options |= {"address": address}
        _knock(address)
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"no Ray cluster answers at {address}: {error}; check --address") from error
    return True


def _knock(address: str) -> None:
    """Where an address names host and port, see whether somebody listens: Ray ends the process if nobody does."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise InvalidInput(f"no Ray cluster answers at {address}: {error}; check --address") from error


def _fair_share(ray: Any, most: int) -> int:
    """Bytes for a worker, so that as many actors fit on every machine as it has cores."""
    machines = [one["Resources"] for one in ray.nodes() if one["Alive"] and one["Resources"].get("CPU")]
    shares = [int(0.95 * one.get("memory", 0) / one["CPU"]) - _ACTOR_BYTES for one in machines]
    return max(2**28, min([most, *shares]))


def _be_quiet(data: Any) -> None:
    import logging

    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _blocks(first: Entry, entries: Iterator[Entry], size: int) -> Iterator[Any]:
    import pyarrow

    block = [first, *islice(entries, size - 1)]
    while block:
        yield pyarrow.table({"entry": [json.dumps(asdict(one)) for one in block]})
        block = list(islice(entries, size))


class _Actor:
    """Holds a worker process, and with it one codec."""

    def __init__(self, job: Job, bounds: Bounds) -> None:
        self._crew = Crew(job, 1, bounds, lasting=True)

    def __call__(self, block: Any) -> Any:
        import pyarrow

        entries = (Entry(**json.loads(text)) for text in block.column("entry").to_pylist())
        outcomes = [json.dumps(asdict(one)) for one in self._crew.outcomes(entries)]
        return pyarrow.table({"outcome": pyarrow.array(outcomes, pyarrow.string())})


def _outcome(text: str) -> Outcome:
    fields = json.loads(text)
    return Outcome(**{**fields, "warnings": tuple(fields["warnings"])})
