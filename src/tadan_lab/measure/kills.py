"""Batches whose process, worker or Ray node is killed at a random moment: what is left, and what is done again.

Each trial begins with nothing, kills once with SIGKILL, looks at the destination, and lets the batch go on. It fails
if a file under a final name is not byte for byte what an undisturbed run wrote, if one is missing at the end, or if a
file that was there at the kill was written again although the journal or its name said that it was done.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tadan.batch.journal import Journal
from tadan.batch.setup import JOURNAL_NAME
from tadan.errors import InvalidInput
from tadan.files import make_folder

PROCESS, WORKER, NODE = "process", "worker", "node"
_TICK = 0.01
_PATIENCE = 120.0  # seconds until orphans must have ended
_NODE: dict[str, Any] = {"object_store_memory": 100 * 2**20}  # bytes: entries and outcomes are small


@dataclass(frozen=True)
class Trial:
    """One kill.

    Attributes:
        what: "process", "worker" or "node".
        naming: of the outputs.
        moment: seconds after the start.
        there: outputs at the kill.
        journaled: pictures that the journal had as done then; None where the batch went on by itself.
        encoded: pictures encoded after the kill by the run that finished; all of the run where it went on by itself.
        again: pictures that had their output and were encoded once more, because the journal did not know yet.
        faults: what must not be, in words.
    """

    what: str
    naming: str
    moment: float
    there: int
    journaled: int | None
    encoded: int
    again: int
    faults: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


@dataclass(frozen=True)
class Rehearsal:
    """Batches of one source, to be killed.

    Args:
        source: folder of pictures, all sound.
        folder: for the outputs; emptied for each trial.
        workers: of each batch.
        options: more of ``tadan batch``.
        seed: of the moments.
    """

    source: Path
    folder: Path
    workers: int = 2
    options: Sequence[str] = ()
    seed: int = 1

    def run(
        self, kinds: Sequence[str], times: int, namings: Sequence[str], told: Callable[[Trial], None] = lambda one: None
    ) -> list[Trial]:
        """``times`` trials of each kind, namings taking turns.

        Raises:
            InvalidInput: the undisturbed batch does not encode every picture.
        """
        dice, trials = random.Random(self.seed), []
        for kind in kinds:
            with _nodes(self.workers) if kind == NODE else nullcontext() as nodes:
                whole = {naming: self._undisturbed(naming, nodes) for naming in namings}
                for at in range(times):
                    naming = namings[at % len(namings)]
                    each, files = whole[naming]
                    trial = self._trial(kind, naming, each, files, dice, nodes)
                    trials.append(trial)
                    told(trial)
        return trials

    def _undisturbed(self, naming: str, nodes: Nodes | None) -> tuple[float, Mapping[str, bytes]]:
        """Seconds between the outputs of a batch that nobody kills, and these."""
        process = self._start(naming, nodes)
        begun = None
        while process.poll() is None:
            if begun is None and self._files():
                begun = time.monotonic()
            time.sleep(_TICK)
        if process.returncode != 0:
            raise InvalidInput(f"nobody killed the batch, but it ended with {process.returncode}; give sound pictures")
        files = {name: (self._out / name).read_bytes() for name in self._files()}
        return (time.monotonic() - (begun or 0.0)) / max(1, len(files)), files

    def _trial(
        self,
        kind: str,
        naming: str,
        each: float,
        whole: Mapping[str, bytes],
        dice: random.Random,
        nodes: Nodes | None,
    ) -> Trial:
        process = self._start(naming, nodes)
        begun = time.monotonic()
        # The load of a machine changes, so what is random is how far the batch is: before its first output, after any
        # of them but the last, and how long after that.
        wanted, more, killed = dice.randrange(len(whole)), dice.uniform(0, 2 * each), None
        while process.poll() is None and killed is None:
            time.sleep(_TICK if len(self._files()) < wanted else more)
            if len(self._files()) >= wanted:
                killed = self._kill(kind, process, dice) if nodes is None else nodes.kill(dice)
        if killed is None:  # it was done before
            return self._trial(kind, naming, each / 2, whole, dice, nodes)
        moment, faults = time.monotonic() - begun, []
        journaled = None
        if kind == PROCESS:
            process.wait()
            faults += _wait_for(killed or [])
            journaled = self._journaled()
        before = self._files()
        faults += self._wrong(before, whole)
        if nodes is not None:
            nodes.refill()
        if kind == PROCESS:
            process = self._start(naming, fresh=False)
        if process.wait() != 0:
            faults.append(f"the batch ended with code {process.returncode}")
        after = self._files()
        faults += self._wrong(after, whole)
        faults += [f"{name} is missing" for name in whole if name not in after]
        again, encoded = sum(before[name] != after.get(name) for name in before), self._encoded()
        if kind == PROCESS:
            again = max(again, encoded + len(before) - len(whole))
        in_flight = self.workers if journaled is None else len(before) - journaled
        if again > (0 if naming == "hash" else min(in_flight, self.workers)):
            faults.append(f"{again} pictures that had their output were encoded again")
        return Trial(kind, naming, moment, len(before), journaled, encoded, again, tuple(faults))

    @property
    def _out(self) -> Path:
        return self.folder / "coded"

    def _start(self, naming: str, nodes: Nodes | None = None, fresh: bool = True) -> subprocess.Popen[bytes]:
        if fresh:
            shutil.rmtree(self._out, ignore_errors=True)
            make_folder(self.folder)
        command = [sys.executable, "-m", "tadan", "batch", str(self.source), str(self._out), "--naming", naming]
        command += ["--workers", str(self.workers), "-Q", *self.options]
        if nodes is not None:
            command += ["--engine", "ray", "--address", nodes.address, "--worker-memory", "700M"]
        with (self.folder / "batch.log").open("ab") as log:  # Ray tells much of a node that died
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _kill(self, kind: str, process: subprocess.Popen[bytes], dice: random.Random) -> list[Any] | None:
        """Processes below the batch at the moment of the kill; None: there is nothing to kill yet."""
        import psutil

        with suppress(psutil.Error):
            workers = [one for one in psutil.Process(process.pid).children() if "spawn_main" in " ".join(one.cmdline())]
            if kind == PROCESS:
                process.send_signal(signal.SIGKILL)
                return workers
            if workers:
                os.kill(dice.choice(workers).pid, signal.SIGKILL)
                return workers
        return None

    def _files(self) -> dict[str, tuple[int, int]]:
        """Outputs by name, with what changes when one is written again."""
        found = {}
        for path in self._out.rglob("*.tdn"):
            facts = path.stat()
            found[path.relative_to(self._out).as_posix()] = facts.st_ino, facts.st_mtime_ns
        return found

    def _wrong(self, names: Mapping[str, Any], whole: Mapping[str, bytes]) -> list[str]:
        wrong = [name for name in names if (self._out / name).read_bytes() != whole.get(name)]
        return [f"{name} is not what it should be" for name in wrong]

    def _journaled(self) -> int:
        try:
            journal = Journal(self._out / JOURNAL_NAME, read_only=True)
        except InvalidInput:  # killed before it had its tables
            return 0
        with closing(journal):
            return int(next(journal.rows("SELECT count(*) FROM pictures WHERE state = 'done'"))[0])

    def _encoded(self) -> int:
        """Pictures that the last run encoded."""
        with closing(Journal(self._out / JOURNAL_NAME, read_only=True)) as journal:
            query = "SELECT count(*) FROM pictures WHERE state = 'done' AND run = (SELECT max(id) FROM runs)"
            return int(next(journal.rows(query))[0])


class Nodes:
    """A cluster of Ray on this machine: a head that does no work, and nodes of one core each.

    Args:
        count: of the nodes that work.
    """

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **_NODE}
        )
        self._nodes: list[Any] = []
        self._count = count
        self.refill()

    @property
    def address(self) -> str:
        """For ``--address``."""
        return str(self._cluster.address)

    def kill(self, dice: random.Random) -> list[Any]:
        """Kill one node with SIGKILL."""
        self._cluster.remove_node(self._nodes.pop(dice.randrange(len(self._nodes))), allow_graceful=False)
        return []

    def refill(self) -> None:
        """Have as many nodes as at the beginning."""
        while len(self._nodes) < self._count:
            resources: dict[str, Any] = {"num_cpus": 1, "memory": 2**30, **_NODE}
            self._nodes.append(self._cluster.add_node(**resources))

    def close(self) -> None:
        """End all."""
        self._cluster.shutdown()


@contextmanager
def _nodes(count: int) -> Iterator[Nodes]:
    from tadan.optional import require

    require("ray", "ray", "killing nodes")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Nodes(count)
    try:
        yield cluster
    finally:
        cluster.close()


def _wait_for(processes: Sequence[Any]) -> list[str]:
    """Wait until processes have ended by themselves; a fault if some do not."""
    import psutil

    _, alive = psutil.wait_procs(processes, timeout=_PATIENCE)
    return [f"{len(alive)} workers outlived their batch"] if alive else []
