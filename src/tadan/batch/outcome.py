"""What came of one picture; plain data, as it travels between processes and into the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DONE, SKIPPED, FAILED, WAITING = "done", "skipped", "failed", "waiting"


@dataclass(frozen=True)
class Outcome:
    """One picture, dealt with.

    Attributes:
        source: as in the entry.
        state: "done": encoded and written; "skipped": its output was there already; "failed".
        output: path or URL of the file.
        source_hash: SHA-256 of the source; None if it could not be read.
        key: hash of source and recipe.
        kind: class of the error.
        message: of the error.
        transient: a later run may well succeed.
        fatal: every other picture would fail in the same way.
        bytes_in: of the source.
        bytes_out: of the output.
        pixels: of the picture.
        seconds: of encoding.
        read_seconds: of reading the source, waits between tries included.
        write_seconds: of writing, waits included.
        peak_bytes: largest resident memory of the worker meanwhile; None where the system does not tell.
        verified: the output was decoded and compared.
        warnings: of the encoder and of Pillow.
    """

    source: str
    state: str
    output: str | None = None
    source_hash: str | None = None
    key: str | None = None
    kind: str | None = None
    message: str | None = None
    transient: bool = False
    fatal: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    pixels: int = 0
    seconds: float = 0.0
    read_seconds: float = 0.0
    write_seconds: float = 0.0
    peak_bytes: int | None = None
    verified: bool = False
    warnings: tuple[str, ...] = ()


def failure(source: str, kind: str, message: str, **facts: Any) -> Outcome:
    """An outcome that is none."""
    return Outcome(source, FAILED, kind=kind, message=message, **facts)
