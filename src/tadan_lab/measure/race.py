"""Seconds of this codec and of others for the same picture at about the same quality, in one run and in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from PIL import Image

from tadan_lab.measure.metrics import ssimulacra2
from tadan_lab.measure.rivals import PictureCodec


@dataclass(frozen=True)
class RaceRow:
    """A codec on one picture.

    Attributes:
        codec: its name.
        threads: that it was given; libraries that do not ask take what they like.
        quality: its setting that comes nearest to the score of the first codec.
        score: SSIMULACRA2 at that setting.
        bytes: of the file.
        encode: seconds from pixels in memory to the bytes of a file, median.
        decode: seconds back, median.
    """

    codec: str
    threads: int
    quality: int
    score: float
    bytes: int
    encode: float
    decode: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


@dataclass
class _Runner:
    codec: PictureCodec
    threads: int
    quality: int
    data: bytes
    score: float
    encode: list[float]
    decode: list[float]

    def row(self) -> RaceRow:
        seconds = median(self.encode), median(self.decode)
        return RaceRow(self.codec.name, self.threads, self.quality, self.score, len(self.data), *seconds)


def nearest_quality(codec: PictureCodec, image: Image.Image, score: float) -> tuple[int, bytes, float]:
    """The setting whose SSIMULACRA2 is nearest to ``score``, by bisection; its file, and what it scores."""
    tried: dict[int, tuple[bytes, float]] = {}

    def at(quality: int) -> float:
        if quality not in tried:
            data = codec.encode(image, quality)
            tried[quality] = data, ssimulacra2(image, codec.decode(data))
        return tried[quality][1]

    low, high = codec.qualities[0], codec.qualities[-1]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if at(middle) < score else (low, middle)
    best = min((low, high), key=lambda quality: abs(at(quality) - score))
    return best, *tried[best]


def race(
    image: Image.Image,
    teams: Sequence[tuple[int, Sequence[PictureCodec]]],
    quality: int,
    repeat: int,
    on_trial: Callable[[], None] = lambda: None,
) -> list[RaceRow]:
    """Time all codecs on a picture.

    Args:
        image: RGB.
        teams: numbers of threads, each with codecs that were made for it; the first codec of all sets the score.
        quality: of the first codec.
        repeat: rounds; each runs every codec once.
        on_trial: called after every codec of a round.
    """
    runners: list[_Runner] = []
    for threads, codecs in teams:
        for codec in codecs:
            known = next((one for one in runners if one.codec.name == codec.name), None)
            if not runners:
                data = codec.encode(image, quality)
                chosen = quality, data, ssimulacra2(image, codec.decode(data))
            elif known is not None:
                chosen = known.quality, codec.encode(image, known.quality), known.score
            else:
                chosen = nearest_quality(codec, image, runners[0].score)
            codec.decode(chosen[1])  # what is loaded or made on first use is no part of the times
            runners.append(_Runner(codec, threads, *chosen, [], []))
    for _ in range(repeat):
        for one in runners:
            one.encode.append(_seconds(lambda one=one: one.codec.encode(image, one.quality)))  # type: ignore[misc]
            one.decode.append(_seconds(lambda one=one: one.codec.decode(one.data)))  # type: ignore[misc]
            on_trial()
    return [one.row() for one in runners]


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
