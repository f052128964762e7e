"""Imports of optional packages, with an error that names the command that installs them."""

import importlib
import re
from typing import Any

from tadan.errors import InvalidInput, MissingPackage


def require(module: str, extra: str, purpose: str) -> Any:
    """Import and return ``module``; MissingPackage naming ``pip install "tadan[extra]"`` if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackage(
            f'{purpose} needs {module.partition(".")[0]}, which is not installed; run: pip install "tadan[{extra}]"'
        ) from error


def parse_qualities(text: str, allowed: range, what: str = "Qualities") -> list[int]:
    """Read ``"20,45,70"`` as distinct ascending qualities; InvalidInput if one is no integer or not in ``allowed``.

    ``what``: name of the numbers in messages, if they are no qualities.
    """
    words = [word for word in re.split(r"[,\s]+", text) if word]
    try:
        qualities = sorted({int(word) for word in words})
    except ValueError as error:
        raise InvalidInput(f"{what} {text!r} are not integers; write them as {allowed[0]},{allowed[-1]}.") from error
    outside = [quality for quality in qualities if quality not in allowed]
    if outside or not qualities:
        raise InvalidInput(f"{what} {text!r}: give one or more integers from {allowed[0]} to {allowed[-1]}.")
    return qualities
