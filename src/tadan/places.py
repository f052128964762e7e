"""Folders and buckets behind one face: any file system of fsspec, files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tadan.errors import InvalidInput, TadanError, UnreadableInput
from tadan.files import make_folder, write_atomically
from tadan.transient import patiently

Result = TypeVar("Result")

PART_BYTES = 50 * 2**20  # larger objects go in parts of so many bytes, which object stores join


@dataclass(frozen=True)
class Facts:
    """What a listing says of a file.

    Attributes:
        path: in its file system.
        size: bytes.
        fingerprint: changes when the file does: size with ETag, or with the time of its last change.
    """

    path: str
    size: int
    fingerprint: str


class Place:
    """A folder, a bucket or a prefix in one.

    Args:
        url: path, or URL of fsspec: ``s3://bucket/prefix``, ``gs://...``, ``memory://...``.
        purpose: for the error: "keep pictures at", "read".
        retries: after transient errors, of each operation, with waits that grow.
        part_bytes: objects of twice as many are written in parts.

    Attributes:
        root: path of the place in its file system, without a slash at its end.
        local: whether it is a folder of this machine.

    Raises:
        InvalidInput: fsspec does not know the kind of URL, or its package is missing.
    """

    def __init__(self, url: str, purpose: str = "use", retries: int = 0, part_bytes: int = PART_BYTES) -> None:
        import fsspec

        try:  # listings are not kept: others write at the same time, and millions of names take memory
            self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise InvalidInput(f"cannot {purpose} {url}: {error}") from error
        self.root = str(root).rstrip("/")
        self.local = "file" in _protocols(self._files)
        self._retries, self._part_bytes = retries, part_bytes

    def __str__(self) -> str:
        """As a user would write it."""
        return self.shown(self.root)

    def shown(self, path: str) -> str:
        """A path of this place as a user would write it: with its protocol, unless it is local."""
        return path if self.local else str(self._files.unstrip_protocol(path))

    def under(self, name: str) -> str:
        """Path of a name in the place."""
        return f"{self.root}/{name}"

    def read(self, path: str) -> bytes:
        """A whole file; the errors are those of the file system."""
        return bytes(self._patiently(lambda: self._files.cat_file(path)))

    def open(self, path: str) -> Any:
        """A file to read, in binary mode."""
        return self._patiently(lambda: self._files.open(path, "rb"))

    def exists(self, path: str) -> bool:
        """Whether there is a file."""
        if self.local:
            return os.path.isfile(path)
        return bool(self._patiently(lambda: self._files.exists(path)))

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder, or a prefix with something below it."""
        if self.local:
            return os.path.isdir(path)
        info = self._info(path)
        return info is not None and info.get("type") == "directory"

    def facts(self, path: str) -> Facts | None:
        """Size and fingerprint of a file; None if there is none."""
        info = self._info(path)
        return None if info is None else _facts(info)

    def _info(self, path: str) -> Mapping[str, Any] | None:
        try:
            if self.local:
                return {"name": path, **_local_info(os.stat(path))}
            found: Mapping[str, Any] = self._patiently(lambda: self._files.info(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found

    def write(self, path: str, data: bytes, replace: bool = True) -> None:
        """Write a file, whole or not at all.

        Raises:
            FileExistsError: there is one and ``replace`` is False. Object stores that cannot put on condition replace.
            UnwritableOutput: a local file cannot be written, OutputExists among them.
            OSError: what the file system says.
        """
        if self.local:
            make_folder(Path(path).parent)
            self._patiently(lambda: write_atomically(path, data, replace=replace))
            return
        options: dict[str, Any] = {"chunksize": self._part_bytes} if "s3" in _protocols(self._files) else {}
        try:
            mode = {} if replace else {"mode": "create"}
            self._patiently(lambda: self._files.pipe_file(path, data, **mode, **options))
        except NotImplementedError:  # it cannot put on condition
            self._patiently(lambda: self._files.pipe_file(path, data, **options))

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._patiently(lambda: self._files.rm_file(path))

    def _patiently(self, action: Callable[[], Result]) -> Result:
        return patiently(action, self._retries)

    def walk(self) -> Iterator[Facts]:
        """Files below the place, folder by folder in no order; hidden ones and those in hidden folders left out."""
        if self.local:
            yield from _walk_local(self.root)
            return
        folders = [self.root]
        while folders:
            folder = folders.pop()
            # Not the walk of fsspec, which leaves out folders whose listing fails.
            for info in self._patiently(partial(self._files.ls, folder, detail=True)):
                path = str(info["name"]).rstrip("/")
                if path == folder or path.rpartition("/")[2].startswith("."):
                    continue
                if info.get("type") == "directory":
                    folders.append(path)
                else:
                    yield _facts(info)


@contextmanager
def reached(url: str) -> Iterator[None]:
    """Turn what file systems raise about a place, in many classes of their own, into UnreadableInput."""
    try:
        yield
    except (TadanError, MemoryError):
        raise
    except Exception as error:
        told = str(error) or type(error).__name__
        raise UnreadableInput(f"cannot reach {url}: {told}; check the name, your keys and the network") from error


def local_facts(path: str) -> Facts:
    """Facts of a file of this machine; FileNotFoundError."""
    return _facts({"name": path, **_local_info(os.stat(path))})


def _local_info(found: os.stat_result) -> dict[str, Any]:
    return {"size": found.st_size, "mtime": found.st_mtime_ns}


def _walk_local(root: str) -> Iterator[Facts]:
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as found:
            for entry in found:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file():
                    yield local_facts(entry.path)


def _facts(info: Mapping[str, Any]) -> Facts:
    changed = next(
        (info[key] for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created") if key in info), ""
    )
    return Facts(str(info["name"]), int(info.get("size") or 0), f"{info.get('size')}-{changed}".replace('"', ""))


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)
