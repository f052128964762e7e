"""What was done, in an SQLite file: the memory of a batch, which outlives its process.

Every outcome is committed by itself. In write-ahead mode a commit survives the death of the process at any moment; if
the machine loses power, the last seconds may be missing, and those pictures are looked at again. While a batch runs,
others may read the file: ``sqlite3 JOURNAL "select kind, count(*) from pictures group by kind"``.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tadan.batch.outcome import DONE, SKIPPED, WAITING, Outcome
from tadan.errors import InvalidInput, UnwritableOutput
from tadan.files import make_folder

_VERSION = 1  # of the tables, in user_version
_TABLES = """
CREATE TABLE IF NOT EXISTS pictures (
  source TEXT PRIMARY KEY, fingerprint TEXT, recipe TEXT NOT NULL, state TEXT NOT NULL, output TEXT, source_hash TEXT,
  key TEXT, kind TEXT, message TEXT, transient INTEGER, bytes_in INTEGER, bytes_out INTEGER, pixels INTEGER,
  seconds REAL, read_seconds REAL, write_seconds REAL, peak_bytes INTEGER, verified INTEGER, warnings TEXT,
  bounds TEXT, ours INTEGER NOT NULL DEFAULT 0, run INTEGER, finished REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_output ON pictures (output);
CREATE TABLE IF NOT EXISTS runs (
  id INTEGER PRIMARY KEY, begun REAL NOT NULL, ended REAL, state TEXT NOT NULL, recipe TEXT NOT NULL,
  settings TEXT NOT NULL, unchanged INTEGER NOT NULL DEFAULT 0
);
"""
_PATIENCE = 30.0  # seconds that a commit waits for a reader of the journal


@dataclass(frozen=True)
class Row:
    """What the journal knows of a picture; see :class:`Outcome`.

    Attributes:
        bounds: limits under which it was worked on.
        ours: what stands at the name of its output was written by a batch.
    """

    source: str
    fingerprint: str | None
    recipe: str
    state: str
    output: str | None
    source_hash: str | None
    transient: bool
    verified: bool
    kind: str | None
    bounds: str | None
    ours: bool


_ROW = "source, fingerprint, recipe, state, output, source_hash, transient, verified, kind, bounds, ours"


class Journal:
    """A journal, opened for one batch; a second one is turned away.

    Args:
        path: of the file, made with its folder if missing.
        read_only: only look; a running batch is not disturbed.

    Raises:
        InvalidInput: another process works with it, or the file is no journal.
        UnwritableOutput: it cannot be made.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        self._lock: sqlite3.Connection | None = None
        if read_only and not path.is_file():
            raise InvalidInput(f"there is no journal {path}; name that of a batch")
        try:
            if not read_only:
                make_folder(path.parent)
                self._take()
            self._db = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            self._prepare(read_only)
        except sqlite3.Error as error:
            raise UnwritableOutput(f"cannot use the journal {path}: {error}; name another with --journal") from error
        self.run = 0

    def _take(self) -> None:
        """Hold a lock that the system frees when this process ends, however it ends."""
        self._lock = sqlite3.connect(f"{self.path}.lock", timeout=0, isolation_level=None)
        try:
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise InvalidInput(
                f"another batch works with the journal {self.path}; wait for it, or name another with --journal"
            ) from error

    def _prepare(self, read_only: bool) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in ((_VERSION,) if read_only else (0, _VERSION)):
            raise InvalidInput(f"{self.path} is no journal of this version of tadan; name another with --journal")
        if read_only:
            self._db.execute("PRAGMA query_only = ON")
            return
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_TABLES)
        self._db.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        """Close the file and let others in."""
        self._db.close()
        if self._lock is not None:
            with suppress(sqlite3.Error):
                self._lock.rollback()
            self._lock.close()

    def begin(self, recipe: str, settings: Mapping[str, Any]) -> None:
        """Begin a run; outcomes are counted for it from now on."""
        self._db.execute("UPDATE runs SET state = 'died' WHERE state = 'running'")
        made = self._db.execute(
            "INSERT INTO runs (begun, state, recipe, settings) VALUES (?, 'running', ?, ?)",
            (time.time(), recipe, json.dumps(dict(settings), sort_keys=True)),
        )
        self.run = int(made.lastrowid or 0)

    def end(self, state: str, unchanged: int) -> None:
        """End the run: "finished", "stopped" or "failed"."""
        values = time.time(), state, unchanged, self.run
        self._db.execute("UPDATE runs SET ended = ?, state = ?, unchanged = ? WHERE id = ?", values)
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def known(self, sources: Sequence[str]) -> dict[str, Row]:
        """What is known of the sources, by name."""
        marks = ",".join("?" * len(sources))
        found = self._db.execute(f"SELECT {_ROW} FROM pictures WHERE source IN ({marks})", list(sources))
        return {row[0]: Row(*row) for row in found}

    def claim(self, claims: Sequence[tuple[str, str | None, str, str | None]]) -> None:
        """Note what will be worked on: source, fingerprint, recipe and output; what is known of hashes is kept."""
        if not claims:
            return
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "INSERT INTO pictures (source, fingerprint, recipe, state, output, run) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (source) DO UPDATE SET fingerprint = excluded.fingerprint, recipe = excluded.recipe, "
            "state = excluded.state, ours = ours AND coalesce(excluded.output, output) IS output, "
            "output = coalesce(excluded.output, output), run = excluded.run, "
            "source_hash = iif(fingerprint IS excluded.fingerprint, source_hash, NULL)",
            [(source, mark, recipe, WAITING, output, self.run) for source, mark, recipe, output in claims],
        )
        self._db.execute("COMMIT")

    def owners(self, outputs: Sequence[str]) -> dict[str, str]:
        """Source that a mirrored output belongs to, by output."""
        marks = ",".join("?" * len(outputs))
        found = self._db.execute(f"SELECT output, source FROM pictures WHERE output IN ({marks})", list(outputs))
        return {output: source for output, source in found}

    def record(self, one: Outcome, fingerprint: str | None, recipe: str, bounds: str, own: str | None = None) -> None:
        """Keep an outcome; it is on its way to the disk when this returns. ``own``: output that was ours before."""
        values: dict[str, Any] = {
            "source": one.source,
            "fingerprint": fingerprint,
            "recipe": recipe,
            "state": one.state,
            "output": one.output or own,
            "source_hash": one.source_hash,
            "key": one.key,
            "kind": one.kind,
            "message": one.message,
            "transient": one.transient,
            "bytes_in": one.bytes_in,
            "bytes_out": one.bytes_out,
            "pixels": one.pixels,
            "seconds": one.seconds,
            "read_seconds": one.read_seconds,
            "write_seconds": one.write_seconds,
            "peak_bytes": one.peak_bytes,
            "verified": one.verified,
            "warnings": "\n".join(one.warnings) or None,
            "bounds": bounds,
            "ours": own is not None or one.state == DONE or (one.state == SKIPPED and one.key is not None),
            "run": self.run,
            "finished": time.time(),
        }
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        self._db.execute(f"INSERT OR REPLACE INTO pictures ({names}) VALUES ({marks})", values)

    def rows(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a query, one after the other; reports are made of them."""
        with closing(self._db.execute(query, values)) as found:
            yield from found

    def copy_to(self, path: Path) -> None:
        """A consistent copy, also while it is written to."""
        with closing(sqlite3.connect(path)) as other:
            self._db.backup(other)
