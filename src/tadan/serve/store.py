"""Where pictures are kept (any file system of fsspec), and renditions of them (a folder that may be emptied)."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from contextlib import suppress
from pathlib import Path

from tadan.files import write_atomically
from tadan.places import Place
from tadan.serve.pool import Problem

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){0,7}")
_SUFFIX = ".tdn"


def checked_key(key: str) -> str:
    """The key itself: parts of letters, digits, '.', '_' and '-', none of which begins with a dot.

    Raises:
        Problem: 400, it is none; no other key ever reaches the file system.
    """
    if not KEY.fullmatch(key):
        raise Problem(
            400,
            "InvalidKey",
            "a key has up to 8 parts of letters, digits, '.', '_' and '-', joined by '/'; choose another",
        )
    return key


def etag_of(*parts: bytes | str) -> str:
    """A strong entity tag from the content that it stands for."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return f'"{digest.hexdigest()[:40]}"'


class Store:
    """Pictures by key, each a ``.tdn`` file.

    Args:
        url: folder, or URL of fsspec: ``s3://bucket/prefix``, ``gs://...``, ``memory://...``.

    Raises:
        InvalidInput: fsspec does not know the kind of URL, or its package is missing.
    """

    def __init__(self, url: str) -> None:
        self._place = Place(url, "keep pictures at")

    def get(self, key: str) -> tuple[bytes, str]:
        """The file and its entity tag; Problem 404."""
        path = self._path(key)
        try:
            data = self._place.read(path)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise Problem(404, "NotFound", "there is no such picture; put one first") from error
        return data, etag_of(data)

    def put(self, key: str, data: bytes) -> bool:
        """Keep a file, whole or not at all; whether there was none before."""
        path = self._path(key)
        new = not self._place.exists(path)
        self._place.write(path, data)
        return new

    def delete(self, key: str) -> None:
        """Remove a file; Problem 404."""
        try:
            self._place.remove(self._path(key))
        except (FileNotFoundError, IsADirectoryError, PermissionError, NotADirectoryError) as error:
            raise Problem(404, "NotFound", "there is no such picture") from error

    def _path(self, key: str) -> str:
        return self._place.under(f"{checked_key(key)}{_SUFFIX}")


class Cache:
    """Files by the hash of what they are made from. The least recently used ones go when there are too many bytes."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._lock = threading.Lock()
        self._bytes: int | None = None

    def get(self, name: str) -> bytes | None:
        """The file, or None."""
        path = self._path(name)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        with suppress(OSError):
            os.utime(path)
        return data

    def has(self, name: str) -> bool:
        """Whether the file is there."""
        return self._path(name).is_file()

    def put(self, name: str, data: bytes) -> None:
        """Keep a file; a full or missing disk is no error, as everything here can be made again."""
        path = self._path(name)
        with suppress(OSError, ValueError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)
            self._grown(len(data))

    def _grown(self, size: int) -> None:
        with self._lock:
            if self._bytes is None:
                self._bytes = sum(entry.stat().st_size for entry in self._folder.rglob("*") if entry.is_file())
            else:
                self._bytes += size
            if self._bytes > self._most:
                self._shrink()

    def _shrink(self) -> None:
        """Down to three quarters, oldest first."""
        files = [(entry.stat(), entry) for entry in self._folder.rglob("*") if entry.is_file()]
        left = sum(facts.st_size for facts, _ in files)
        for facts, entry in sorted(files, key=lambda pair: pair[0].st_mtime):
            if left <= 0.75 * self._most:
                break
            with suppress(OSError):
                entry.unlink()
                left -= facts.st_size
        self._bytes = left

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name
