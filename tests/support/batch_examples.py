"""Small pictures for batches, batches inside the process of the tests, and units that misbehave in workers."""

import io
import os
import time
from collections import deque
from contextlib import closing
from importlib.util import find_spec

import pytest
from PIL import Image

from photo_examples import CORNERS, photo
from tadan.batch.entries import open_source
from tadan.batch.journal import Journal
from tadan.batch.outcome import Outcome
from tadan.batch.recipe import Recipe
from tadan.batch.run import Policy, Run
from tadan.batch.setup import journal_path
from tadan.batch.unit import Job, Unit
from tadan.codec.options import EncodeOptions

NAMES = tuple(CORNERS)


def needs_package(name):
    """Skip a test where a package is missing, unless TADAN_TESTS_NO_SKIP is set, as .ci/run does: then it fails."""
    missing = find_spec(name) is None and "TADAN_TESTS_NO_SKIP" not in os.environ
    return pytest.mark.skipif(missing, reason=f"{name} is not installed")


def photograph(at, height=48, width=64):
    """One of many different photographs."""
    whole = photo(NAMES[at % len(NAMES)])
    top, left = at // len(NAMES) % 30, at // (30 * len(NAMES)) % 30
    return Image.fromarray(whole[top : top + height, left : left + width])


def picture_bytes(at=0, form="PNG"):
    file = io.BytesIO()
    photograph(at).save(file, form)
    return file.getvalue()


def pictures(folder, count=4):
    """A folder with photographs, half of them in a folder below."""
    for at in range(count):
        place = folder if at % 2 else folder / "below"
        place.mkdir(parents=True, exist_ok=True)
        photograph(at).save(place / f"{at}.png")
    return folder


def recipe(quality=50, **options):
    return Recipe.of(EncodeOptions(quality=quality, effort=0, fallback=False, **options))


class Batch:
    """Runs of one batch in this process; ``seen`` holds the last outcomes of the last one."""

    def __init__(self, source, destination, **job):
        self.source, self.destination = str(source), str(destination)
        self._job = {"recipe": recipe(), "retries": 0, **job}
        self.seen, self.run = deque(), None

    def __call__(self, policy=None, engine=None, **changed):
        job = Job(self.destination, **{**self._job, **changed})
        self.seen = deque(maxlen=100)
        with closing(Journal(journal_path(self.source, self.destination))) as journal:
            self.run = Run(open_source(self.source, job.retries), job, journal, policy or Policy())
            self.run.go(engine or here(job), lambda one: one and self.seen.append(one))
        return self.run.tally

    def states(self, **arguments):
        """Outcomes of a run by state."""
        return dict(self(**arguments).states)


def here(job):
    """An engine in this process."""

    def engine(entries, stop):
        unit = Unit(job)
        for entry in entries:
            if stop():
                return
            yield unit(entry)

    return engine


def instant(entries, stop):
    """An engine that does nothing, and says that all is done."""
    for entry in entries:
        yield Outcome(entry.source, "done", f"/nowhere/{entry.relative}", "0" * 64, "key", bytes_in=10, bytes_out=5)


class Misbehaving(Unit):
    """What names of sources say happens to the worker: it dies, hangs, takes memory, or dies the first time only."""

    def _coded(self, entry, data, facts):
        name = entry.source
        if "die-once" in name and not os.path.exists(f"{name}.died"):
            open(f"{name}.died", "w").close()
            os._exit(9)
        if "die-always" in name:
            os._exit(9)
        if "hang" in name:
            time.sleep(600)
        if "hog" in name:
            hoard = [bytes(2**26) for _ in range(200)]
            raise RuntimeError(f"{len(hoard)} pieces of memory were given")
        return super()._coded(entry, data, facts)
