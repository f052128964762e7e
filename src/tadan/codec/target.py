"""The quality that hits a target: a size of the file, a PSNR, or an SSIMULACRA2 score.

Every measurement is of a real file. Bisection finds the quality without the encoder's search for cheaper latents, as
that takes most of the time; from there neighbours are tried with it until the target is met and the next quality would
miss it (or, for a picture as good as was asked for, until the one below would).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from tadan.bitstream.fields import MAX_QUALITY, MIN_QUALITY
from tadan.codec.options import EncodeOptions
from tadan.errors import InvalidInput, TargetMissed
from tadan.pictures.reading import Picture, Planes, read_picture

if TYPE_CHECKING:
    from tadan.codec.codec import Codec
    from tadan.codec.writer import Encoded

Kind = Literal["size", "psnr", "score"]
_PEAK = 255.0


@dataclass(frozen=True)
class Target:
    """What is asked for.

    Attributes:
        kind: "size": at most so many bytes, as good as they allow; "psnr": at least so many decibels over all 8-bit
            samples but alpha, as small as possible; "score": the same with SSIMULACRA2.
        value: bytes, decibels or score.
    """

    kind: Kind
    value: float

    def __post_init__(self) -> None:
        """Raise InvalidInput unless the value can be reached by some picture."""
        if not math.isfinite(self.value) or (self.kind != "score" and self.value <= 0):
            raise InvalidInput(f"a target {self.kind} is a positive number, not {self.value}")

    @classmethod
    def size(cls, size: int) -> Target:
        """At most ``size`` bytes."""
        return cls("size", size)

    @classmethod
    def psnr(cls, decibels: float) -> Target:
        """At least so many decibels."""
        return cls("psnr", decibels)

    @classmethod
    def score(cls, score: float) -> Target:
        """At least this SSIMULACRA2 score: 70 is called high quality, 90 hard to tell from the original."""
        return cls("score", score)


def encode_to(codec: Codec, image: Picture, target: Target, options: EncodeOptions = EncodeOptions()) -> Encoded:  # noqa: B008 (immutable)
    """Encode at the quality that meets a target.

    Args:
        codec: to encode with.
        image: as for :meth:`tadan.Codec.encode`.
        target: what is asked for.
        options: everything else; their quality is not looked at.

    Raises:
        TargetMissed: no quality meets it; the message says what comes nearest.
        MissingPackage: SSIMULACRA2 is not installed.
        InvalidInput, UnreadableInput, LimitExceeded: as :meth:`tadan.Codec.encode`.
    """
    search = _Search(codec, read_picture(image, codec.limits.max_pixels, options.strip), image, target, options)
    quality = search.start()
    step = 1 if target.kind == "size" else -1  # towards what is wanted more: quality, or a small file
    while not search.meets(quality):
        quality -= step
        if not MIN_QUALITY <= quality <= MAX_QUALITY:
            raise search.missed(quality + step)
    while MIN_QUALITY <= quality + step <= MAX_QUALITY and search.meets(quality + step):
        quality += step
    return search.at(quality)


class _Search:
    """Files of one picture by quality, made when they are asked for."""

    def __init__(self, codec: Codec, planes: Planes, image: Picture, target: Target, options: EncodeOptions) -> None:
        self._codec, self._planes, self._image = codec, planes, image
        self._target, self._options = target, options
        self._made: dict[tuple[int, int], tuple[Encoded, float]] = {}

    def start(self) -> int:
        """By bisection without the encoder's search: the best quality that fits, or the lowest that is good enough."""
        low, high = MIN_QUALITY, MAX_QUALITY
        fits = self._target.kind == "size"
        while low < high:
            middle = (low + high + fits) // 2
            met = self._holds(self._measured(middle, 0)[1])
            if fits:
                low, high = (middle, high) if met else (low, middle - 1)
            else:
                low, high = (low, middle) if met else (middle + 1, high)
        return low

    def meets(self, quality: int) -> bool:
        """Whether the file of a quality meets the target."""
        return self._holds(self._measured(quality, self._options.effort)[1])

    def at(self, quality: int) -> Encoded:
        """The file of a quality."""
        return self._measured(quality, self._options.effort)[0]

    def missed(self, quality: int) -> TargetMissed:
        """The error that says how near the target quality ``quality`` comes."""
        kind, reached = self._target.kind, self._measured(quality, self._options.effort)[1]
        if kind == "size":
            text = (
                f"no quality gives a file of at most {self._target.value:,.0f} bytes; the smallest has {reached:,.0f}"
            )
            return TargetMissed(f"{text}; make the picture smaller or allow more")
        unit = " dB" if kind == "psnr" else " points of SSIMULACRA2"
        text = f"no quality reaches {self._target.value:g}{unit}; the best has {reached:.2f}"
        return TargetMissed(f"{text}; ask for less or store the picture lossless")

    def _holds(self, value: float) -> bool:
        return value <= self._target.value if self._target.kind == "size" else value >= self._target.value

    def _measured(self, quality: int, effort: int) -> tuple[Encoded, float]:
        key = quality, effort
        if key not in self._made:
            coded = self._codec.encode_picture(self._image, replace(self._options, quality=quality, effort=effort))
            self._made[key] = coded, self._measure(coded)
        return self._made[key]

    def _measure(self, coded: Encoded) -> float:
        if self._target.kind == "size":
            return float(len(coded.data))
        metric: Callable[[NDArray[np.uint8], NDArray[np.uint8]], float] = psnr
        if self._target.kind == "score":
            from tadan.pictures.ssimulacra2 import ssimulacra2

            metric = ssimulacra2
        decoded = read_picture(self._codec.decode(coded.data), self._codec.limits.max_pixels)
        return metric(self._planes.rgb, decoded.rgb)


def psnr(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of uint8 arrays of one shape in decibels; infinite where they are equal."""
    total = 0.0
    for one, other in zip(original, decoded, strict=True):  # row by row: no float copy of a large picture
        difference = one.astype(np.float32) - other
        total += float(np.vdot(difference, difference))
    return math.inf if total == 0 else 10 * math.log10(_PEAK**2 * original.size / total)
