"""Reading and writing whole files, with errors that say what stands on the disk afterwards; users' own folders."""

from __future__ import annotations

import io
import os
import re
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import IO

from tadan.errors import InvalidInput, OutputExists, UnreadableInput, UnwritableOutput

Writer = Callable[[IO[bytes]], None]
_OWN_STREAM = re.compile(r"/dev/(?:fd/(\d+)|stdout|stderr)|/proc/self/fd/(\d+)")


def read_bytes(path: str | os.PathLike[str], most: int = -1) -> bytes:
    """All of ``path``, or its first ``most`` bytes; UnreadableInput if it is missing, a folder or not permitted."""
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except OSError as error:
        raise UnreadableInput(f"Cannot read {os.fspath(path)}: {reason(error)}. Check the name and rights.") from error


def own_stream(path: str | os.PathLike[str]) -> int | None:
    """Descriptor of the stream of this process that a path such as ``/dev/stdout`` or ``/dev/fd/3`` names, if any."""
    match = _OWN_STREAM.fullmatch(str(os.fspath(path)))
    return None if match is None else int(match[1] or match[2] or (2 if match[0].endswith("err") else 1))


def write_atomically(path: str | os.PathLike[str], data: bytes | Writer, replace: bool = True) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old content or the new one, never a part.

    ``data`` is bytes, or a function that writes them to the binary file that it is given. The bytes go to a temporary
    file in the same folder, are flushed to the disk, and take the name in one step; an existing file keeps its
    permission bits, a symbolic link keeps pointing to the file that is replaced. Devices and pipes are written
    directly, and so are streams of this process (``/dev/stdout``, ``/dev/fd/3``) whatever they were redirected to.

    Raises:
        OutputExists: ``replace`` is False and there is something already, even if it came while data were written.
        UnwritableOutput: any of this fails. The old file, if there was one, is then unchanged, and no temporary file is
            left.
    """
    shown = os.fspath(path)
    own = own_stream(path)
    if own is not None:
        _fill_stream(str(shown), own, data)
        return
    target = Path(os.path.realpath(path))
    try:
        old_mode = _mode(target)
        if old_mode is not None and stat.S_ISDIR(old_mode):
            raise IsADirectoryError("it is a folder")
        if old_mode is not None and not stat.S_ISREG(old_mode):  # there is nothing to replace
            with open(path, "wb") as file:
                _fill(file, data)
        else:
            _replace(target, data, old_mode, replace)
    except FileExistsError as error:
        raise OutputExists(f"cannot write {shown}: it exists and was not to be replaced; it is unchanged") from error
    except OSError as error:
        kept = "the file that was there is unchanged" if target.is_file() else "nothing was written"
        raise UnwritableOutput(
            f"Cannot write {shown}: {reason(error)}; {kept}. Choose another place or free some space."
        ) from error


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create the folder ``path`` with its parents if it is not there yet; UnwritableOutput if that fails."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableOutput(
            f"Cannot create the folder {folder}: {reason(error)}. Choose another place with --out."
        ) from error
    return folder


def _replace(target: Path, data: bytes | Writer, old_mode: int | None, replace: bool) -> None:
    if old_mode is not None and not replace:
        raise FileExistsError(target)
    temporary = target.with_name(f".tadan-{secrets.token_hex(8)}.part")  # short: a long target name must still fit
    descriptor, named = _open_temporary(temporary)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _fill(file, data)
            file.flush()
            os.fsync(descriptor)
            if not named:
                if old_mode is not None:
                    os.fchmod(descriptor, stat.S_IMODE(old_mode))
                # With a directory, which an absolute path ignores, Python follows the link that /proc shows.
                os.link(f"/proc/self/fd/{descriptor}", temporary if replace else target, src_dir_fd=descriptor)
        if named and old_mode is not None:
            os.chmod(temporary, stat.S_IMODE(old_mode))
        if replace:
            os.replace(temporary, target)
        elif named:
            _take_free_name(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _open_temporary(path: Path) -> tuple[int, bool]:
    """Descriptor of a new file beside ``path``, and whether it has that name.

    Where the system can, it has no name at all until it is complete: nothing is left of a process that was killed.
    """
    if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
        with suppress(OSError):  # a file system that cannot; other reasons come up below
            return os.open(path.parent, os.O_WRONLY | os.O_TMPFILE, 0o666), False
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666), True


def _take_free_name(temporary: Path, target: Path) -> None:
    """Rename without ever replacing, also if the name was taken a moment ago; FileExistsError if it is."""
    if os.name == "nt":
        os.rename(temporary, target)  # never replaces there
        return
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if target.exists():
            raise FileExistsError(target) from None
        os.rename(temporary, target)
    else:
        os.unlink(temporary)


def _fill_stream(shown: str, descriptor: int, data: bytes | Writer) -> None:
    """Write to a stream of this process where it stands: what it was redirected to is neither cut nor replaced."""
    whole = io.BytesIO()  # what seeks while it writes cannot go to a pipe
    _fill(whole, data)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(whole.getvalue())
    except OSError as error:
        raise UnwritableOutput(f"Cannot write {shown}: {reason(error)}; choose another place.") from error


def _fill(file: IO[bytes], data: bytes | Writer) -> None:
    if callable(data):
        data(file)
    else:
        file.write(data)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def reason(error: OSError) -> str:
    """What the system says, as part of a sentence."""
    return (error.strerror or str(error)).lower()


def user_folder(kind: str) -> Path:
    """Folder of a kind of files: ``$TADAN_<KIND>`` if it is set, else below the user's data folder of the system.

    Args:
        kind: "models" or "schedules".
    """
    chosen = os.environ.get(f"TADAN_{kind.upper()}")
    if chosen:
        return Path(chosen)
    import platformdirs

    return platformdirs.user_data_path("tadan", appauthor=False) / kind


Source = bytes | bytearray | memoryview | str | PathLike[str] | IO[bytes]


def bytes_of(source: Source) -> bytes:
    """All bytes of a source; a file object is read to its end.

    Raises:
        UnreadableInput: a path that cannot be read.
        InvalidInput: something else, or a file object that gives text.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | PathLike):
        return read_bytes(source)
    read = getattr(source, "read", None)
    data = read() if callable(read) else None
    if not isinstance(data, bytes):
        given = "a file object that gives text" if isinstance(data, str) else type(source).__name__
        raise InvalidInput(f"a .tdn file is given as bytes, path or binary file object, not {given}")
    return data
