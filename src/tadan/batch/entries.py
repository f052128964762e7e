"""What a batch works on, as a stream: a folder, a bucket, a glob or a manifest. Nothing grows with its length."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from tadan.errors import InvalidInput, UnreadableInput
from tadan.optional import require
from tadan.pictures import PICTURES
from tadan.places import Facts, Place, local_facts, reached

MANIFESTS = frozenset({".csv", ".parquet"})
_SOURCE_COLUMNS = ("source", "path", "url", "file")
_ROWS = 4096  # of a Parquet file at a time
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Entry:
    """One picture to encode.

    Attributes:
        source: absolute path, or URL.
        relative: name below the source of the batch, from which mirrored names are made.
        size: bytes; None if not known yet.
        fingerprint: changes when the file does; None if not known: the journal is then believed.
        source_hash: SHA-256 of the bytes as the journal knows it; None: they have to be read.
        claimed: the output at a mirrored name is one of ours and may be replaced.
        doubtful: it may be ours, from a run that died; it is if it has the bytes that we would write.
    """

    source: str
    relative: str
    size: int | None = None
    fingerprint: str | None = None
    source_hash: str | None = None
    claimed: bool = False
    doubtful: bool = False


@dataclass(frozen=True)
class Source:
    """Where the entries come from; iterate it as often as needed.

    Attributes:
        name: as it was given.
        stream: begins to read them anew.
        count: reads how many there are.
    """

    name: str
    stream: Callable[[], Iterator[Entry]]
    count: Callable[[], int]

    def __iter__(self) -> Iterator[Entry]:
        """Entries in the order of the manifest, or as the file system lists them."""
        entries = self.stream()
        while True:
            with reached(self.name):  # around the reading alone, not around what is done with an entry
                entry = next(entries, None)
            if entry is None:
                return
            yield entry


def open_source(url: str, retries: int = 0) -> Source:
    """The pictures that a folder, bucket, glob, manifest (.csv, .parquet) or single file names.

    Args:
        url: path, or URL of fsspec.
        retries: after transient errors of listing and reading.

    Raises:
        InvalidInput: an unknown kind of URL, or a manifest without a column of sources.
        UnreadableInput: there is nothing, or it cannot be reached.
    """
    with reached(url):
        return _opened(url, retries)


def _opened(url: str, retries: int) -> Source:
    place = Place(url, "read", retries)
    path = place.root
    if _suffix(path) in MANIFESTS:
        if not place.exists(path):
            raise UnreadableInput(f"there is no manifest {url}; check the name")
        return _manifest(url, place)
    if place.exists(path) and not place.is_folder(path):
        found = _entry(place, place.facts(path), PurePosixPath(path).name)
        return Source(url, lambda: iter([found]), lambda: 1)
    if _MAGIC.search(path) and not place.is_folder(path):
        prefix = _MAGIC.split(path, maxsplit=1)[0].rpartition("/")[0]
        return _searched(url, Place(place.shown(prefix), "read", retries), _matcher(path))
    if not place.is_folder(path):
        raise UnreadableInput(f"there is no folder, bucket or picture {url}; check the name and your rights")
    return _searched(url, place, lambda name: _suffix(name) in PICTURES)


def _searched(url: str, place: Place, wanted: Callable[[str], bool]) -> Source:
    def stream() -> Iterator[Entry]:
        for facts in place.walk():
            if wanted(facts.path):
                yield _entry(place, facts, facts.path[len(place.root) :].lstrip("/"))

    return Source(url, stream, lambda: sum(wanted(facts.path) for facts in place.walk()))


def _entry(place: Place, facts: Facts | None, relative: str) -> Entry:
    if facts is None:
        raise UnreadableInput(f"{place} is gone; check the name")
    return Entry(place.shown(facts.path), relative, facts.size, facts.fingerprint)


def _matcher(pattern: str) -> Callable[[str], bool]:
    from fsspec.utils import glob_translate

    matches = re.compile(glob_translate(pattern)).match
    return lambda name: matches(name) is not None


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _manifest(url: str, place: Place) -> Source:
    rows = _parquet_rows if _suffix(place.root) == ".parquet" else _csv_rows
    if rows is _parquet_rows:
        require("pyarrow", "parquet", "a manifest in Parquet")
    folder = place.shown(place.root.rpartition("/")[0])
    column = _source_column(url, next(iter(rows(place)), None))

    def stream() -> Iterator[Entry]:
        for row in rows(place):
            if row.get(column):
                yield _listed(str(row[column]), folder, row)

    def count() -> int:
        if rows is _parquet_rows:
            import pyarrow.parquet

            with place.open(place.root) as file:
                return int(pyarrow.parquet.ParquetFile(file).metadata.num_rows)
        return sum(1 for row in _csv_rows(place) if row.get(column))

    return Source(url, stream, count)


def _source_column(url: str, first: Mapping[str, Any] | None) -> str:
    if first is None:
        raise InvalidInput(f"the manifest {url} has no rows; it needs a column named {_SOURCE_COLUMNS[0]}")
    for name in _SOURCE_COLUMNS:
        if name in first:
            return name
    known = ", ".join(map(str, first)) or "none"
    raise InvalidInput(f"the manifest {url} has no column named {', '.join(_SOURCE_COLUMNS)}; its columns: {known}")


def _csv_rows(place: Place) -> Iterator[Mapping[str, Any]]:
    with place.open(place.root) as file:
        try:
            yield from csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
        except (UnicodeDecodeError, csv.Error) as error:
            raise UnreadableInput(f"cannot read the manifest {place}: {error}; save it as CSV in UTF-8") from error


def _parquet_rows(place: Place) -> Iterator[Mapping[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    with place.open(place.root) as file:
        try:
            for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=_ROWS):
                yield from batch.to_pylist()
        except pyarrow.ArrowException as error:
            raise UnreadableInput(f"cannot read the manifest {place}: {error}; write it as Parquet again") from error


def _listed(name: str, folder: str, row: Mapping[str, Any]) -> Entry:
    """The entry of a row. Relative names are those below the folder of the manifest."""
    url = "://" in name
    source = name if url or name.startswith("/") else f"{folder}/{name}"
    relative = str(row.get("output") or "") or (name.partition("://")[2] if url else name).lstrip("/")
    etag, size = row.get("etag"), row.get("size")
    if etag:
        return Entry(source, relative, int(size) if size else None, f"{size}-{etag}".replace('"', ""))
    if "://" in source:
        return Entry(source, relative, int(size) if size else None)
    try:
        facts = local_facts(os.path.abspath(source))
    except OSError:  # told where it is read
        return Entry(os.path.abspath(source), relative)
    return Entry(facts.path, relative, facts.size, facts.fingerprint)


def is_safe(relative: str) -> bool:
    """Whether a mirrored name stays below the destination."""
    parts = relative.split("/")
    return bool(relative) and not relative.startswith("/") and not {"", ".", ".."} & set(parts) and "\0" not in relative
