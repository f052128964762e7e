"""A copy of the journal beside outputs in a bucket, for machines whose disk goes when they do."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tadan.batch.journal import Journal
from tadan.files import make_folder, write_atomically
from tadan.places import Place, reached

_EVERY = 300.0  # seconds between copies
_SHARE = 50  # of the time is between copies, however long one takes


class Checkpoint:
    """Copies of a journal; nothing is copied where the outputs are on this machine, as the journal is with them.

    Args:
        destination: of the batch.
        path: of the journal on this machine.
        name: of the copy.
        retries: after transient errors.
    """

    def __init__(self, destination: str, path: Path, name: str, retries: int) -> None:
        self._place = Place(destination, "write to", retries)
        self._path = path
        self._copy = self._place.under(f".tadan-batch/{name}")
        self._next = time.monotonic() + _EVERY

    def fetch(self) -> bool:
        """Take the copy if there is no journal here; whether that was so."""
        if self._place.local or self._path.exists():
            return False
        with reached(str(self._place)):
            if not self._place.exists(self._copy):
                return False
            data = self._place.read(self._copy)
        make_folder(self._path.parent)
        write_atomically(self._path, data)
        return True

    def save(self, journal: Journal, now: bool = False) -> None:
        """Put a copy there if it is time, or ``now``."""
        begun = time.monotonic()
        if self._place.local or (begun < self._next and not now):
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "journal"
            journal.copy_to(copy)
            with reached(str(self._place)):
                self._place.write(self._copy, copy.read_bytes())
        took = time.monotonic() - begun
        self._next = begun + max(_EVERY, _SHARE * took)
