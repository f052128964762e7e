"""Ways in which files get damaged, drawn at random: each takes a file and a share of its bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: (file, percent of its bytes, random numbers) -> damaged file
Harm = Callable[[bytes, float, np.random.Generator], bytes]


def _count(data: bytes, percent: float) -> int:
    return min(len(data), max(1, round(len(data) * percent / 100)))


def _changed(data: bytes, where: np.ndarray[tuple[int], np.dtype[np.int64]], rng: np.random.Generator) -> bytes:
    """Every byte at ``where`` becomes another one."""
    damaged = np.frombuffer(data, np.uint8).copy()
    damaged[where] ^= rng.integers(1, 256, len(where), dtype=np.uint8)
    return damaged.tobytes()


def burst(data: bytes, percent: float, rng: np.random.Generator) -> bytes:
    """Consecutive bytes."""
    count = _count(data, percent)
    start = int(rng.integers(len(data) - count + 1))
    return _changed(data, np.arange(start, start + count), rng)


def _sectors(data: bytes, percent: float, rng: np.random.Generator, size: int) -> bytes:
    total = -(-len(data) // size)
    lost = rng.choice(total, min(total, max(1, round(len(data) * percent / 100 / size))), replace=False)
    return _changed(data, np.concatenate([np.arange(at * size, min((at + 1) * size, len(data))) for at in lost]), rng)


def sectors_512(data: bytes, percent: float, rng: np.random.Generator) -> bytes:
    """Aligned sectors of 512 bytes; at least one, so more than ``percent`` of a small file."""
    return _sectors(data, percent, rng, 512)


def sectors_4096(data: bytes, percent: float, rng: np.random.Generator) -> bytes:
    """Aligned sectors of 4096 bytes; at least one, so more than ``percent`` of a small file."""
    return _sectors(data, percent, rng, 4096)


def single_bytes(data: bytes, percent: float, rng: np.random.Generator) -> bytes:
    """Bytes anywhere."""
    return _changed(data, rng.choice(len(data), _count(data, percent), replace=False), rng)


def truncation(data: bytes, percent: float, rng: np.random.Generator) -> bytes:
    """The end is missing."""
    return data[: len(data) - _count(data, percent)]


def one_bit(data: bytes, percent: float, rng: np.random.Generator) -> bytes:
    """One flipped bit, whatever the percentage."""
    bit = int(rng.integers(8 * len(data)))
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


HARMS: dict[str, Harm] = {
    "burst": burst,
    "sectors 512": sectors_512,
    "sectors 4096": sectors_4096,
    "single bytes": single_bytes,
    "truncation": truncation,
    "one bit": one_bit,
}
