"""Schedules that the user named: one small JSON file each, known to this machine only.

A file is ``{"format": 1, "name": "mine", "pattern": [[0, 2], [3, 1]], "about": {..}}``, with one rectangle per channel
group in ``pattern`` where groups are told apart. The name of the file counts; ``name`` says what it was saved as, and
``about`` is for people. Streams carry the pattern itself, so that decoders never need these files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tadan.errors import Corrupt, InvalidInput, LimitExceeded, UnreadableInput, UnsupportedVersion, UnwritableOutput
from tadan.files import user_folder, write_atomically
from tadan.schedule.catalog import ALIASES, catalogued, schedule_names
from tadan.schedule.schedule import PatternSchedule

SUFFIX = ".json"
FORMAT = 1
MAX_BYTES = 2**16  # a pattern of 16 groups with 16 rows and columns takes 25 kB
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


def store_folder() -> Path:
    """Folder of the stored schedules: ``$TADAN_SCHEDULES``, else where the system keeps data of users."""
    return user_folder("schedules")


def check_name(name: str) -> None:
    """Raise unless a schedule may be stored under ``name``.

    Raises:
        InvalidInput: it is not 1 to 40 of a-z, 0-9 and '-' that start with a letter, or the catalogue has it.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name[:60]!r} cannot name a schedule; take 1 to 40 of a-z, 0-9 and '-', the first a letter"
        )
    if name in ALIASES or name in schedule_names():
        raise InvalidInput(f"{name!r} stands in the catalogue and means the same order for ever; take another name")


def save_schedule(name: str, schedule: PatternSchedule, about: Mapping[str, object]) -> Path:
    """Store a schedule, in place of one of that name.

    Args:
        name: see :func:`check_name`.
        schedule: what to store; its own name does not count.
        about: how it came about, JSON-able.

    Returns:
        the file that was written.

    Raises:
        InvalidInput: the name is not allowed.
        LimitExceeded: ``about`` makes the file larger than MAX_BYTES.
        UnwritableOutput: the file could not be written; an older one is unchanged.
    """
    check_name(name)
    rows: Any = schedule.pattern.tolist()
    pattern = rows[0] if schedule.groups == 1 else rows
    content = {"format": FORMAT, "name": name, "pattern": pattern, "about": dict(about)}
    data = json.dumps(content).encode() + b"\n"
    if len(data) > MAX_BYTES:
        raise LimitExceeded(f"a stored schedule has at most {MAX_BYTES} bytes, not {len(data)}; shorten what it says")
    folder = store_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableOutput(
            f"cannot create {folder}: {error.strerror}; name another folder for schedules in TADAN_SCHEDULES"
        ) from error
    write_atomically(folder / f"{name}{SUFFIX}", data)
    return folder / f"{name}{SUFFIX}"


def stored_names() -> tuple[str, ...]:
    """Names of the stored schedules in order; their files are not opened.

    Raises:
        UnreadableInput: the folder is there but may not be read.
    """
    folder = store_folder()
    try:
        names = [path.stem for path in folder.iterdir() if path.suffix == SUFFIX]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise UnreadableInput(f"cannot read {folder}: {error.strerror}; check its rights or TADAN_SCHEDULES") from error
    return tuple(sorted(name for name in names if _NAME.fullmatch(name)))


def stored_schedule(name: str) -> PatternSchedule | None:
    """Schedule stored under ``name``; that of the catalogue if it has the same pattern; None if there is none.

    Raises:
        UnreadableInput: the file may not be read.
        Corrupt: it is not what :func:`save_schedule` writes.
        UnsupportedVersion: a newer tadan wrote it.
    """
    if not _NAME.fullmatch(name):
        return None
    path = store_folder() / f"{name}{SUFFIX}"
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableInput(f"cannot read {path}: {error.strerror}; check its rights") from error
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        content = json.loads(data)
        version = _version(content)
        schedule = PatternSchedule(_pattern(content), name) if version == FORMAT else None
    except (ValueError, RecursionError) as error:  # errors of ours are ValueErrors too
        raise Corrupt(
            f"{path} does not hold a schedule ({error}); delete it, or run tadan schedule optimize again with "
            f"--name {name} --force"
        ) from error
    if schedule is None:
        raise UnsupportedVersion(f"{path} has format {version}, from a newer tadan; run: pip install --upgrade tadan")
    return catalogued(schedule)


def _version(content: object) -> int:
    if not isinstance(content, dict) or type(content.get("format")) is not int or content["format"] < 1:
        raise ValueError("it lacks its format number")
    version: int = content["format"]
    return version


def _pattern(content: Mapping[str, object]) -> list[object]:
    name, pattern, about = (content.get(key) for key in ("name", "pattern", "about"))
    if not isinstance(name, str) or not isinstance(pattern, list) or not isinstance(about, dict):
        raise ValueError("a name, a pattern and what it is about are expected")
    values = pattern
    while values and all(isinstance(part, list) for part in values):
        values = [one for part in values for one in part]
    if not all(type(one) is int for one in values):  # numpy would take true for 1
        raise ValueError("a pattern holds whole numbers only")
    return pattern
