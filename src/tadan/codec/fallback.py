"""For unusual pictures: the neural stream against PNG, WebP and JPEG, and the best of them by one measure.

The measure is that of training, ``J = lambda(quality) * 255² * MSE + bpp``. What is chosen is never larger than 1.2
times the PNG file nor worse than JPEG at the same size; :func:`shortfall` says so where it is not.

Whether a picture is unusual is a cheap question, asked after every encode (:func:`is_unusual`). A wrong yes costs time
only. Its limits come from training photographs; docs/fallback.md says how they were measured.
"""

from __future__ import annotations

import io
import math
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from PIL import Image

from tadan.codec.stored import Pixels, as_jpeg, as_png, as_webp, can_be_jpeg, can_be_webp

CONTAINER_BYTES = 64  # of a .tdn file around one tile, rounded up: what tiny pictures may be larger than their PNG
_PNG_FACTOR = 1.2
_TOLERANCE = 0.05  # dB
_LOSSLESS_FACTOR = 0.4  # of the estimate: a lossless file is hardly ever smaller
_SIMPLE_BPP = 2.0  # estimated; always worth making PNG and WebP
_NEAR = 1.3  # a JPEG of the same size whose J is above that many times ours has no better one at another size
_PEAK = 255.0**2
_ROWS = 1024  # compared at a time
_UNUSUAL = "the picture is unlike the photographs that the model was trained on"


@dataclass(frozen=True)
class Candidate:
    """One way to write a picture.

    Attributes:
        form: format; None for the neural stream.
        payload: the file.
        mse: in squared levels.
        again: writes other pixels the same way, such as those of a tile.
    """

    form: str | None
    payload: bytes
    mse: float
    again: Callable[[Pixels], bytes] | None = None

    @property
    def size(self) -> int:
        """Bytes of the file without alpha and metadata, at most."""
        return len(self.payload) + CONTAINER_BYTES

    @property
    def psnr(self) -> float:
        """dB over all samples."""
        return 10 * math.log10(_PEAK / self.mse) if self.mse else math.inf

    def __str__(self) -> str:
        name = "the neural stream" if self.form is None else self.form.upper()
        return f"{name} ({len(self.payload):,} bytes, {f'{self.psnr:.1f} dB' if self.mse else 'lossless'})"


class _Jpegs:
    """The JPEG files of one picture under one subsampling, made when they are asked for."""

    def __init__(self, pixels: Pixels, subsampling: int) -> None:
        self._pixels, self._subsampling = pixels, subsampling
        self._files: dict[int, bytes] = {}
        self._candidates: dict[int, Candidate] = {}

    def _file(self, quality: int) -> bytes:
        if quality not in self._files:
            self._files[quality] = as_jpeg(self._pixels, quality, self._subsampling)
        return self._files[quality]

    def at(self, quality: int) -> Candidate:
        """The file of a quality, decoded."""
        if quality not in self._candidates:
            file = self._file(quality)
            again = partial(as_jpeg, quality=quality, subsampling=self._subsampling)
            with Image.open(io.BytesIO(file), formats=["JPEG"]) as image:
                self._candidates[quality] = Candidate("jpeg", file, _mse(np.asarray(image), self._pixels), again)
        return self._candidates[quality]

    def largest(self, limit: int) -> Candidate | None:
        """The best file of at most ``limit`` bytes, by bisection: sizes rise with quality."""
        low, high = 0, 101
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if len(self._file(middle)) <= limit else (low, middle)
        return self.at(low) if low else None

    def cheapest(self, cost: Callable[[Candidate], float]) -> Candidate:
        """The file of least cost, by a search whose steps halve."""
        best, step = 50, 32
        while step:
            around = [quality for quality in (best, best - step, best + step) if 1 <= quality <= 100]
            best = min(around, key=lambda quality: cost(self.at(quality)))
            step //= 2
        return self.at(best)


class FormChoice:
    """One picture, all ways to write it.

    Args:
        pixels: the picture, (H, W) if it is grey.
        payload: of the neural stream.
        decoded: what that decodes to, made only if it is needed.
        weight: lambda of the quality.
    """

    def __init__(self, pixels: Pixels, payload: bytes, decoded: Callable[[], Pixels], weight: float) -> None:
        self._pixels, self._payload, self._decoded, self._weight = pixels, payload, decoded, weight
        kinds = ((0, 2) if pixels.ndim == 3 else (0,)) if can_be_jpeg(pixels) else ()
        self._jpegs = [_Jpegs(pixels, subsampling) for subsampling in kinds]
        estimate = lossless_estimate(pixels)
        # Of simple pictures files are made fast, and can be far smaller than their strips promise.
        self._least_lossless = _LOSSLESS_FACTOR * estimate if 8 * estimate > _SIMPLE_BPP * self._area else 0.0

    @cached_property
    def neural(self) -> Candidate:
        """The neural stream, decoded."""
        return Candidate(None, self._payload, _mse(self._decoded(), self._pixels))

    @cached_property
    def _png(self) -> bytes:
        return as_png(self._pixels)

    @cached_property
    def _lossless(self) -> Candidate:
        return smallest_lossless(self._pixels, self._png)

    def best(self) -> Candidate:
        """The candidate of least J; the neural stream unless another is better."""
        if self._least_lossless <= len(self._payload) and len(self._lossless.payload) <= len(self._payload):
            return self._lossless  # no lossy candidate can be as good
        goal = self.cost(self.neural)
        found = [jpegs.largest(len(self._payload)) for jpegs in self._jpegs]
        candidates = [self.neural, *(jpeg for jpeg in found if jpeg is not None)]
        if any(self.cost(jpeg) < _NEAR * goal for jpeg in candidates[1:]) or len(candidates) == 1:
            candidates += [jpegs.cheapest(self.cost) for jpegs in self._jpegs]
        if 8 * self._least_lossless / self._area < min(map(self.cost, candidates)):  # slow, and hopeless otherwise
            candidates.append(self._lossless)
        chosen = min(candidates, key=self.cost)
        while (better := self._better_jpeg(chosen)) is not None:  # the container left room for it
            chosen = better
        return chosen

    def cost(self, candidate: Candidate) -> float:
        """J, in bits per pixel."""
        return self._weight * candidate.mse + 8 * len(candidate.payload) / self._area

    @property
    def _area(self) -> int:
        return self._pixels.shape[0] * self._pixels.shape[1]

    def shortfall(self, candidate: Candidate) -> str | None:
        """What the candidate fails to keep, in words; None if it keeps both promises."""
        suspect = len(candidate.payload) > self._least_lossless
        if suspect and candidate.size > _PNG_FACTOR * len(self._png) + CONTAINER_BYTES:
            return f"the file takes {len(candidate.payload):,} bytes, a lossless PNG {len(self._png):,}"
        better = self._better_jpeg(candidate)
        if better is not None:
            return f"JPEG of the same size has {better.psnr:.1f} dB, this {candidate.psnr:.1f}"
        return None

    def _better_jpeg(self, candidate: Candidate) -> Candidate | None:
        """A JPEG file that is clearly nearer to the picture and no larger than the whole .tdn file."""
        if candidate.mse == 0:
            return None
        found = [jpegs.largest(candidate.size) for jpegs in self._jpegs]
        better = [jpeg for jpeg in found if jpeg is not None and jpeg.psnr > candidate.psnr + _TOLERANCE]
        return min(better, key=lambda jpeg: jpeg.mse, default=None)


def smallest_lossless(pixels: Pixels, png: bytes | None = None) -> Candidate:
    """The file that keeps every sample: the smaller of WebP, where Pillow has it, and PNG (if made already)."""
    png = png or as_png(pixels)
    webp = as_webp(pixels) if can_be_webp(pixels) else None
    if webp is not None and len(webp) < len(png):
        return Candidate("webp", webp, 0.0, as_webp)
    return Candidate("png", png, 0.0, as_png)


def _mse(a: Pixels, b: Pixels) -> float:
    total = 0.0
    for start in range(0, len(a), _ROWS):
        difference = a[start : start + _ROWS].astype(np.float32) - b[start : start + _ROWS]
        total += float(np.vdot(difference, difference))
    return total / a.size


def better_form(
    pixels: Pixels, payload: bytes, decoded: Callable[[], Pixels], weight: float, insist: bool
) -> Candidate | None:
    """How to store an unusual picture; None to keep the neural stream.

    Args:
        pixels: the picture, (H, W) if it is grey.
        payload: of the neural stream.
        decoded: what the payload decodes to, called only if it is needed.
        weight: lambda of the quality that it was coded with.
        insist: always keep the neural stream; a warning then says what it costs.
    """
    if not is_unusual(pixels, len(payload), weight):
        return None
    comparison = FormChoice(pixels, payload, decoded, weight)
    best = comparison.best()
    if insist and best.form is not None:
        warnings.warn(f"{_UNUSUAL}: {comparison.neural}; {best} would be better, allow the fallback", stacklevel=4)
        return None
    broken = comparison.shortfall(best)
    if broken is not None:
        warnings.warn(f"{_UNUSUAL}: {broken}; another format serves it better", stacklevel=4)
    return None if best.form is None else best


_LAMBDAS = (0.0002, 0.000274, 0.000898, 0.00436, 0.0212, 0.103, 0.5)
# Two limits by lambda, for (H, W) and (H, W, 3), from 174 training photographs (docs/results/guard.json).
# Bits per coded pixel (whole 16x16 blocks): all but one in a hundred take less; noise takes more.
_MOST_BPP = {2: (0.07, 0.08, 0.17, 0.48, 1.28, 2.49, 3.78), 3: (0.08, 0.09, 0.17, 0.54, 1.36, 2.69, 4.07)}
# Estimated bytes of a PNG per byte of the stream: 0.8 of the least of any photograph; screens and drawings stay below.
_LEAST_LOSSLESS = {2: (62.3, 53.0, 27.0, 9.8, 3.8, 2.0, 1.4), 3: (141.3, 121.3, 66.3, 25.0, 9.9, 5.1, 3.1)}
_STRIP_ROWS = 8
_STRIP_STEP = 256  # one strip for that many rows, at least two


def is_unusual(pixels: Pixels, coded_bytes: int, weight: float) -> bool:
    """Say whether ``pixels``, coded in ``coded_bytes`` at a lambda of ``weight``, should be compared with others."""
    height, width = pixels.shape[:2]
    blocks = -(-height // 16) * -(-width // 16)
    most_bpp, least_lossless = guard_limits(pixels.ndim, weight)
    return 8 * coded_bytes > most_bpp * 256 * blocks or lossless_estimate(pixels) < least_lossless * coded_bytes


def guard_limits(dimensions: int, weight: float) -> tuple[float, float]:
    """Two limits of usual pictures at a lambda of ``weight``; ``dimensions``: 2 for grey pictures, 3 for colour.

    Returns:
        most bits per coded pixel; least estimated bytes of a PNG per byte of the stream.
    """
    at, known = np.log(weight), np.log(_LAMBDAS)
    most, least = (np.interp(at, known, table[dimensions]) for table in (_MOST_BPP, _LEAST_LOSSLESS))
    return float(most), float(least)


def lossless_estimate(pixels: Pixels) -> float:
    """Rough bytes of a PNG, from a few strips of rows, deflated as they are or as differences."""
    height = len(pixels)
    count = min(max(2, height // _STRIP_STEP), -(-height // _STRIP_ROWS))
    starts = np.linspace(0, max(0, height - _STRIP_ROWS), count, dtype=int)
    sampled, deflated = 0, 0
    for start in starts:
        strip = pixels[start : start + _STRIP_ROWS]
        change = strip.copy()
        change[1:] -= strip[:-1]  # modulo 256, as PNG's filters
        change[:, 1:] -= change[:, :-1].copy()
        deflated += min(len(zlib.compress(part.tobytes(), 1)) for part in (strip, change))
        sampled += len(strip)
    return deflated * height / sampled
