"""From what an error says in the words of Python to what a user of the command line can do."""

from __future__ import annotations

from tadan.errors import LimitExceeded, ModelMissing, OutputExists, TadanError

_OPTIONS = {"max_pixels": "--max-pixels"}


def advise(error: TadanError) -> str:
    """The message of an error, with the option to use as its next step."""
    message = str(error)
    if isinstance(error, LimitExceeded) and error.limit in _OPTIONS:
        return f"{error.what}; give {_OPTIONS[error.limit]} {error.value} if you trust the file"
    if isinstance(error, OutputExists):
        return f"{message}; replace it with -f, or name another output"
    if isinstance(error, ModelMissing):
        return f"{message}; on the command line: --model FILE"
    return message
