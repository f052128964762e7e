"""Which errors pass by themselves, and how long to wait for that."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

from tadan.errors import TadanError

Result = TypeVar("Result")
_NAMES = (
    "EAGAIN EBUSY ECONNABORTED ECONNREFUSED ECONNRESET EHOSTUNREACH EINTR EIO ENETDOWN ENETRESET ENETUNREACH ENOBUFS "
    "EPIPE EREMOTEIO ESTALE ETIMEDOUT"
)
_NUMBERS = frozenset(getattr(errno, name) for name in _NAMES.split() if hasattr(errno, name))
# Classes of fsspec, aiohttp and botocore, none of which has to be installed.
_CLASSES = frozenset(
    {"FSTimeoutError", "ClientConnectionError", "ClientPayloadError", "ServerDisconnectedError", "HTTPClientError"}
    | {"ConnectionError", "IncompleteRead", "IncompleteReadError", "ResponseStreamingError", "TimeoutError"}
)
_TOO_MANY, _TIMEOUT, _SERVER = 429, 408, 500
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds

# What ends a batch at once, as every other picture would meet it too: no space, no rights, no bucket.
_FATAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT})


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well succeed later: throttling, 5xx, broken and timed-out connections."""
    seen: BaseException | None = error
    while seen is not None:
        status = _status(seen)
        if status is not None:
            return status in (_TOO_MANY, _TIMEOUT) or status >= _SERVER
        if isinstance(seen, TimeoutError | ConnectionError) or _CLASSES & {one.__name__ for one in type(seen).__mro__}:
            return True
        if isinstance(seen, OSError) and seen.errno in _NUMBERS:
            return True
        seen = seen.__cause__
    return False


def ends_everything(error: BaseException) -> bool:
    """Whether an error of writing would meet every other picture, too."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, PermissionError | FileNotFoundError):
            return True
        if isinstance(seen, OSError) and not isinstance(seen, TadanError) and seen.errno in _FATAL:
            return True
        seen = seen.__cause__
    return False


def wait_seconds(attempt: int) -> float:
    """Seconds before attempt ``attempt`` + 1, from 0: doubled each time, and spread so that workers do not march."""
    return min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT) * random.uniform(0.5, 1.0)


def patiently(action: Callable[[], Result], retries: int, pause: Callable[[float], None] = time.sleep) -> Result:
    """``action()``, tried again up to ``retries`` times after transient errors; the last error is raised."""
    attempt = 0
    while True:
        try:
            return action()
        except Exception as error:
            if attempt >= retries or not is_transient(error):
                raise
            pause(wait_seconds(attempt))
            attempt += 1


def _status(error: BaseException) -> int | None:
    """Status of HTTP that an error of botocore, aiohttp or gcsfs carries."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(error, "status", None) or getattr(error, "code", None)
    try:
        return int(found) if found is not None and not isinstance(found, bool) else None
    except (TypeError, ValueError):
        return None
