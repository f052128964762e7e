"""Every error that Tadan raises on purpose, in one small hierarchy.

All derive from :class:`TadanError`, itself a ``ValueError``, so that ``except ValueError`` catches bad input as it
does for other codecs. A message says what is wrong *and what to do next*, in the words of Python; the command line
turns the next step into its own options (:mod:`tadan.cli.report`) and exits with code 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class TadanError(ValueError):
    """Base of all errors about input, files, models and limits."""


class NotOurFile(TadanError):
    """The bytes do not begin with the magic number of the expected kind of file."""


class Truncated(TadanError):
    """The file ends before all announced data has arrived."""


class Corrupt(TadanError):
    """A checksum or a structural rule does not hold: the bytes were changed after they were written."""


class UnsupportedVersion(TadanError):
    """The file was written by a newer (or unknown) version of the format."""


class ModelMissing(TadanError):
    """The model that is needed is neither bundled nor in the model store, or its file holds the decoder alone."""


class LimitExceeded(TadanError):
    """A size announced by the file or asked for by the caller is above the limit in force.

    Attributes:
        what: what is too large, in words.
        limit: field of :class:`tadan.Limits` that was exceeded; None for bounds that nobody can raise.
        value: what was announced or asked for.
        bound: the limit in force.
    """

    def __init__(self, what: str, limit: str | None = None, value: int | None = None, bound: int | None = None) -> None:
        """Keep the facts and say them."""
        self.what, self.limit, self.value, self.bound = what, limit, value, bound
        super().__init__(what if limit is None else f"{what}; raise Limits.{limit} if you trust the file")

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors come back from other processes with their facts."""
        return type(self), (self.what, self.limit, self.value, self.bound)


class OutOfMemory(TadanError, MemoryError):
    """There is not enough memory for what was asked for; files and pictures are as they were.

    Attributes:
        work: what needed it.
    """

    def __init__(self, work: str) -> None:
        """Say what to raise or lower."""
        self.work = work
        super().__init__(
            f"not enough memory for {work}; give the process more, or have it use fewer threads or smaller tiles"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors come back from other processes with their facts."""
        return type(self), (self.work,)


@contextmanager
def enough_memory(work: str) -> Iterator[None]:
    """Raise :class:`OutOfMemory` for the MemoryError of whatever library."""
    try:
        yield
    except OutOfMemory:
        raise
    except MemoryError as error:
        raise OutOfMemory(work) from error


class Unexpected(TadanError):
    """An error that nobody foresaw, of this program or of a library; its cause has the details."""


class InvalidInput(TadanError):
    """An argument, an option or a picture is outside what the function accepts."""


class UnreadableInput(TadanError):
    """An input file is missing, is not readable, or is not a picture that Pillow can open."""


class UnwritableOutput(TadanError):
    """An output could not be written; what stood at its place before is unchanged."""


class OutputExists(UnwritableOutput):
    """An output stands there already and was not to be replaced; it is unchanged."""


class TargetMissed(TadanError):
    """No quality gives a file as small, or a picture as good, as was asked for."""


class MissingPackage(TadanError, ImportError):
    """A package that this function needs is not installed; the message names the command that installs it."""


class ToolFailed(TadanError):
    """A program of others that a measurement needs is missing, failed, or printed what is not understood."""
