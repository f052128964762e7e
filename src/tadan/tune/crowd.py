"""How much longer work takes when others work beside it: threads that share a codec, and processes."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.errors import InvalidInput

_CALLS = 6  # of each, the first and the last of which may be alone


def side_by_side(kind: str, counts: Sequence[int], pixels: NDArray[np.uint8]) -> dict[int, float]:
    """Slowdown of each of several at work, one thread each: encoding and decoding ``pixels``.

    Args:
        kind: "threads" or "processes".
        counts: how many at once; the first is 1.
        pixels: uint8 (H, W, 3).

    Returns:
        factors by count, at least 1, and never less for more.
    """
    run = _threads if kind == "threads" else _processes
    seconds = [run(count, pixels) for count in counts]
    factors, least = {}, 1.0
    for count, taken in zip(counts, seconds, strict=True):
        least = max(least, taken / seconds[0])
        factors[count] = least
    return factors


def _threads(count: int, pixels: NDArray[np.uint8]) -> float:
    from tadan.codec.codec import Codec

    codec, gate = Codec(threads=1), threading.Barrier(count)
    _work(codec, pixels)
    with ThreadPoolExecutor(count) as pool:
        return median(value for one in pool.map(lambda _: _timed(codec, pixels, gate), range(count)) for value in one)


def _processes(count: int, pixels: NDArray[np.uint8]) -> float:
    context = multiprocessing.get_context("spawn")
    gate, answers = context.Barrier(count), context.Queue()
    started = [context.Process(target=_child, args=(pixels, gate, answers), daemon=True) for _ in range(count)]
    for process in started:
        process.start()
    try:
        return median(value for _ in started for value in _answer(answers, started))
    finally:
        for process in started:
            process.terminate()
            process.join()


def _answer(answers: Any, started: Sequence[Any]) -> list[float]:
    """Of one process; InvalidInput if one of them ended otherwise."""
    while True:
        try:
            found: list[float] = answers.get(timeout=1)
            return found
        except Empty:
            if any(process.exitcode for process in started):
                text = "a process that measured ended early, for lack of memory maybe; measure with more of it"
                raise InvalidInput(text) from None


def _child(pixels: NDArray[np.uint8], gate: Any, answers: Any) -> None:
    from tadan.codec.codec import Codec

    codec = Codec(threads=1)
    _work(codec, pixels)
    answers.put(_timed(codec, pixels, gate))


def _timed(codec: Any, pixels: NDArray[np.uint8], gate: Any) -> list[float]:
    gate.wait()
    taken = []
    for _ in range(_CALLS):
        begun = time.perf_counter()
        _work(codec, pixels)
        taken.append(time.perf_counter() - begun)
    return taken[1:-1]


def _work(codec: Any, pixels: NDArray[np.uint8]) -> None:
    codec.decode(codec.encode(pixels, effort=0))
