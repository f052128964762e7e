"""Real batches on this machine, to feed the simulation of fleets and to check it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tadan.batch.journal import Journal
from tadan.batch.setup import JOURNAL_NAME
from tadan.process import run_tadan
from tadan_lab.measure.fleet import Fleet, Work, simulate


@dataclass(frozen=True)
class Measured:
    """A real run.

    Attributes:
        workers: of it.
        seconds: from the start of the command to its end.
        work: pictures as they were measured; its ``begin`` is the time until the first was begun.
    """

    workers: int
    seconds: float
    work: Work


@dataclass(frozen=True)
class Check:
    """A real run beside its simulation; the difference is a share of the real seconds."""

    workers: int
    real: float
    simulated: float
    difference: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def measured(pictures: Path, workers: int, options: Sequence[str] = ()) -> Measured:
    """Encode a folder with so many workers, into a folder that is thrown away.

    Raises:
        InvalidInput: the batch fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        clock = time.time()
        command = ["batch", str(pictures), folder, "--workers", str(workers), "-Q"]
        seconds = run_tadan([*command, *options]).seconds
        with closing(Journal(Path(folder) / JOURNAL_NAME, read_only=True)) as journal:
            columns = "seconds + write_seconds, bytes_in, finished"
            rows = list(journal.rows(f"SELECT {columns} FROM pictures WHERE state = 'done' ORDER BY finished"))
    first = rows[0][2] - clock - rows[0][0]
    return Measured(workers, seconds, Work([row[0] for row in rows], [row[1] for row in rows], max(0.0, first)))


def compared(source: Measured, real: Measured) -> Check:
    """What the simulation says of a run, from the pictures of another (or the same) one."""
    fleet = Fleet(1, cores=real.workers, block=1)
    came = simulate(source.work, fleet, len(real.work.seconds))
    return Check(real.workers, real.seconds, came.seconds, came.seconds / real.seconds - 1)
