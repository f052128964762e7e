"""What the fuzz targets judge with: allowed errors, processor time, warnings that count, equal pictures.

An error of the documented kind is fine. Anything else is a :class:`Violation`, or what escaped.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from PIL import Image

from corpus import LIMITS, known, seeds
from tadan.errors import Corrupt, LimitExceeded, ModelMissing, NotOurFile, Truncated, UnsupportedVersion

Result = TypeVar("Result")
CONTAINER = (NotOurFile, Truncated, Corrupt, UnsupportedVersion, LimitExceeded)
DECODE = (*CONTAINER, ModelMissing)
MARGIN = 64  # pixels beyond its tile that a latent can change
GREY = 128  # what is shown of lost tiles


class Violation(Exception):
    """The contract is broken."""


def check(condition: object, what: str) -> None:
    """Raise Violation unless ``condition`` is true."""
    if not condition:
        raise Violation(what)


def attempt(call: Callable[..., Result], *arguments: Any, allowed: tuple[type[Exception], ...] = DECODE) -> Any:
    """Result of the call, or None after an error that is allowed."""
    try:
        return call(*arguments)
    except allowed:
        return None


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise Violation if the block takes more processor time."""
    start = time.process_time()
    yield
    spent = time.process_time() - start
    check(spent <= seconds, f"{spent:.1f} s of processor time where {seconds:.1f} s are enough")


@contextmanager
def confined() -> Iterator[None]:
    """Pillow with the limit of pixels of these targets, and numpy's warnings as errors."""
    seeds(), known()  # made outside
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)  # overflow, division by zero, casts that lose the value
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # which is one, too
        Image.MAX_IMAGE_PIXELS = LIMITS.max_pixels // 2  # Pillow refuses twice that
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def same(a: Image.Image, b: Image.Image) -> bool:
    """Whether mode, size and all samples are equal."""
    return a.mode == b.mode and a.size == b.size and a.tobytes() == b.tobytes()
