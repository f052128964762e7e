"""Workers that die, hang or grow: one picture is lost at most, all others are done."""

import os
import signal

import pytest

import tadan.batch.crew
from batch_examples import Batch, Misbehaving, photograph, pictures, recipe
from tadan.batch.crew import Bounds, Crew
from tadan.batch.unit import Job
from tadan.errors import TadanError

pytestmark = pytest.mark.slow


def crew_of(batch, bounds=None, unit=Misbehaving):
    job = Job(batch.destination, recipe(), retries=0)
    return Crew(job, 1, bounds or Bounds(120, 2**30), unit)


def test_one_worker_meets_everything_and_goes_on(tmp_path, monkeypatch):
    source = pictures(tmp_path / "source")
    for at, name in enumerate(["die-once", "die-always", "hog", "hang"], start=10):
        photograph(at).save(source / f"{name}.png")
    batch = Batch(source, tmp_path / "out")
    batch(engine=crew_of(batch, Bounds(6, 2**30)).outcomes)
    states = {os.path.basename(one.source): one.kind or one.state for one in batch.seen}
    failed = {"die-always.png": "WorkerDied", "hog.png": "OutOfMemory", "hang.png": "DeadlineExceeded"}
    done = {name: "done" for name in ("0.png", "1.png", "2.png", "3.png", "die-once.png")}
    assert states == {**failed, **done}


def test_workers_may_be_killed_at_any_time_and_ends_in_order(tmp_path):
    batch = Batch(pictures(tmp_path / "source", 12), tmp_path / "out")
    crew = crew_of(batch)
    killed = set()

    def engine(entries, stop):
        for one in crew.outcomes(entries, stop):
            yield one
            for process in crew.processes:
                if len(killed) < 2 and process not in killed:
                    killed.add(process)
                    os.kill(process, signal.SIGKILL)

    assert set(batch.states(engine=engine)) <= {"done", "skipped"}
    assert len(batch.seen) == 12
    assert len(killed) == 2
    assert crew.processes == []


def test_stopping_finishes_what_is_in_work(tmp_path):
    batch = Batch(pictures(tmp_path / "source", 8), tmp_path / "out")
    crew = crew_of(batch)

    def engine(entries, stop):
        for one in crew.outcomes(entries, stop):
            batch.run.stop("enough")
            yield one

    assert 1 <= batch(engine=engine).worked <= 2
    assert batch()
    assert batch.run.tally.worked + batch.run.tally.unchanged == 8


class Unstartable:
    def __init__(self, job):
        os._exit(3)


def test_workers_that_cannot_start_end_the_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(tadan.batch.crew, "_STARTS", 2)
    batch = Batch(pictures(tmp_path / "source"), tmp_path / "out")
    with pytest.raises(TadanError, match="end before they begin"):
        batch(engine=crew_of(batch, unit=Unstartable).outcomes)
