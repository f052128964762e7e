"""Sizes that follow from the machine, and the place of a journal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tadan.batch.memory import usable_bytes, usable_cores
from tadan.codec.parallel import MEMORY
from tadan.files import user_folder
from tadan.places import Place

JOURNAL_NAME = ".tadan-batch.sqlite"
_SHARE = 0.85  # of the free memory, for all workers
_LEAST_BOUND = 512 * 2**20  # bytes: interpreter, libraries and model, and a small picture
_WORKER = 2**30  # bytes that a worker should have if there is a choice


@dataclass(frozen=True)
class Sizes:
    """Of the workers on a machine.

    Attributes:
        workers: processes.
        bound: bytes that each may take.
        memory: bytes that its codec aims to stay below.
    """

    workers: int
    bound: int
    memory: int

    @classmethod
    def of(cls, workers: int | None, bound: int | None, memory: int | None) -> Sizes:
        """Sizes for this machine, where none are asked for.

        Args:
            workers: processes; None: one for each core, and fewer where memory is short.
            bound: bytes for each; None: an equal share of most of what is free.
            memory: bytes for the codec; None: the usual ones, or what the bound leaves.
        """
        free = int(_SHARE * usable_bytes())
        if workers is None:
            workers = max(1, min(usable_cores(), free // (bound or _WORKER)))
        if bound is None:
            bound = max(_LEAST_BOUND, free // workers)
        if memory is None:
            memory = min(MEMORY, bound * 2 // 3)
        return cls(workers, bound, memory)


def journal_path(source: str, destination: str) -> Path:
    """Where the journal of a batch is unless another place is named: with the outputs, or below the user's data."""
    place = Place(destination, "write to")
    return Path(place.root) / JOURNAL_NAME if place.local else user_folder("journals") / journal_name(source, place)


def journal_name(source: str, destination: Place) -> str:
    """Name of a journal that is not with the outputs, and of its copy that is."""
    return f"{hashlib.sha256(f'{source} {destination}'.encode()).hexdigest()[:16]}.sqlite"
