"""Rates of settings: bytes of real files for equal quality, from parts of the sample, each measured once and kept.

Settings differ in bytes and in error at once. What is compared is bytes at the error of the *reference* (the same
quality, schedule ``balanced``, effort 0): a file whose picture is better by d decibels is counted as smaller by
``slope * d``, where the slope is that of the reference between qualities below and above, picture by picture.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tadan.codec.codec import Codec
from tadan.codec.options import DEFAULT_QUALITY, DEFAULT_SCHEDULE
from tadan.codec.target import psnr
from tadan.files import make_folder
from tadan.latents.schedule_field import schedule_field
from tadan.models import load_model
from tadan.models.search_rule import AXES, CELL, error_weights
from tadan.tune.album import Album
from tadan.tune.setting import Setting

METRICS = ("error", "psnr", "score")
_SLOPE_STEP = 6  # qualities below and above
_MOST_DB = 60.0  # of a picture without error
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Coded:
    """What came of coding a part of a picture.

    Attributes:
        size: bytes.
        value: decibels of the error as the search counts it, PSNR, or SSIMULACRA2.
        stored: whether it is stored in another format.
        pixels: of the part.
        encode: processor seconds it took to encode; others on the machine do not lengthen them.
        decode: processor seconds it took to decode.
    """

    size: int
    value: float
    stored: bool
    pixels: int
    encode: float
    decode: float


class Memo:
    """Results that outlive the command: lines of JSON in a file, each written as soon as it is known.

    Args:
        path: of the file; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, Coded] = {}
        if path is None:
            return
        make_folder(path.parent)
        for line in path.read_text().splitlines() if path.is_file() else []:
            try:
                entry = json.loads(line)
                key = entry.pop("key")
                self._known[key] = Coded(**entry)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue  # the last line of a command that was killed, or of another version

    def get(self, key: str, make: Callable[[], Coded]) -> Coded:
        """The result of a key, made if it is not known."""
        if key not in self._known:
            made = self._known[key] = make()
            if self._path is not None:
                with self._path.open("a") as file:
                    file.write(json.dumps({"key": key, **asdict(made)}) + "\n")
        return self._known[key]


class Rates:
    """Costs of settings on the parts of a sample.

    Args:
        album: whose sample is coded.
        pixels: of each part, about.
        metric: what quality means: "error" (as the encoder's search counts it), "psnr" or "score".
        memo: where results are kept.
        threads: of the codec; None for all cores.
        seed: of the places of the parts.
        progress: called after every file that was made.
        model: of the reference, whose error is counted for every model; None for the bundled one.
    """

    def __init__(
        self,
        album: Album,
        pixels: int,
        metric: str = "error",
        memo: Memo | None = None,
        threads: int | None = None,
        seed: int = 0,
        progress: Callable[[], None] = lambda: None,
        model: str | None = None,
    ) -> None:
        self._model = model
        self.album, self.metric, self.pixels = album, metric, pixels
        self._memo, self._threads, self._seed, self._progress = memo or Memo(None), threads, seed, progress
        self._codecs: dict[str | None, Codec] = {}
        self._parts: dict[tuple[int, int], Pixels] = {}
        self._slopes: dict[tuple[int, int, str | None], float] = {}

    def part(self, picture: int, pixels: int | None = None) -> Pixels:
        """The part of a picture of the sample."""
        key = picture, pixels or self.pixels
        if key not in self._parts:
            self._parts[key] = self.album.sample[picture].part(key[1], self._seed)
        return self._parts[key]

    def coded(self, setting: Setting, picture: int, pixels: int | None = None) -> Coded:
        """A file of a part, measured."""
        part = self.part(picture, pixels)
        model = load_model(setting.model)
        order = schedule_field(setting.order)
        metric = f"{self.metric} {self._tune}" if self.metric == "error" else self.metric
        text = f"2 {model.id_hex} {order} {setting.quality} {setting.effort} {setting.tile} {metric}"
        key = hashlib.sha256(text.encode() + repr(part.shape).encode() + part.tobytes()).hexdigest()[:32]
        return self._memo.get(key, lambda: self._measured(setting, part))

    def _measured(self, setting: Setting, part: Pixels) -> Coded:
        if setting.model not in self._codecs:
            self._codecs[setting.model] = Codec(setting.model, threads=self._threads)
        codec = self._codecs[setting.model]
        begun = time.process_time()
        encoded = codec.encode_picture(part, setting.options)
        middle = time.process_time()
        shown = np.asarray(codec.decode(encoded.data).convert("RGB"))
        end = time.process_time()
        value = self._value(part, shown)
        self._progress()
        area = part.shape[0] * part.shape[1]
        return Coded(len(encoded.data), value, encoded.content != "latents", area, middle - begun, end - middle)

    def _value(self, part: Pixels, shown: Pixels) -> float:
        if self.metric == "score":
            from tadan.pictures.ssimulacra2 import ssimulacra2

            return ssimulacra2(part, shown)
        return min(_MOST_DB, psnr(part, shown) if self.metric == "psnr" else weighted_psnr(part, shown, self._tune))

    @cached_property
    def _tune(self) -> str:
        return load_model(self._model).tune

    def reference(self, quality: int) -> Setting:
        """What bytes are compared with."""
        return Setting(quality, DEFAULT_SCHEDULE, 0, model=self._model)

    def log_ratio(self, setting: Setting, picture: int, pixels: int | None = None) -> float:
        """Logarithm of bytes over those of the reference, at the reference's quality."""
        base = self.coded(self.reference(setting.quality), picture, pixels)
        one = self.coded(setting, picture, pixels)
        ratio = math.log(one.size / base.size)
        if one.stored or base.stored:
            return ratio
        return ratio + self.slope(setting.quality, picture, pixels) * (base.value - one.value)

    def slope(self, quality: int, picture: int, pixels: int | None = None) -> float:
        """Change of the logarithm of bytes for one more of the metric, by the reference around a quality; from 0."""
        key = quality, picture, str(pixels)
        if key not in self._slopes:
            around = {max(1, quality - _SLOPE_STEP), quality, min(100, quality + _SLOPE_STEP)}
            found = [self.coded(self.reference(one), picture, pixels) for one in sorted(around)]
            kept = [one for one in found if not one.stored]
            slope = 0.0
            if len(kept) > 1 and kept[-1].value > kept[0].value:
                slope = math.log(kept[-1].size / kept[0].size) / (kept[-1].value - kept[0].value)
            self._slopes[key] = max(0.0, slope)
        return self._slopes[key]

    def mean_value(self, setting: Setting) -> float:
        """Of the metric over the sample."""
        return float(np.mean([self.coded(setting, picture).value for picture in range(len(self.album.sample))]))

    def bits(self, setting: Setting, picture: int) -> float:
        """Of the whole picture, from what its part takes a pixel."""
        one, (width, height) = self.coded(setting, picture), self.album.sample[picture].size
        return 8 * one.size / one.pixels * width * height

    def quality_for(self, metric_floor: float, setting: Setting) -> int | None:
        """Least quality whose mean over the sample reaches a floor; None if none does. The mean rises with quality."""
        low, high = 1, 101
        while low < high:
            middle = (low + high) // 2
            if self.mean_value(replace(setting, quality=middle)) >= metric_floor:
                high = middle
            else:
                low = middle + 1
        return low if low <= 100 else None


def weighted_psnr(original: Pixels, shown: Pixels, tune: str) -> float:
    """Decibels of the error that the encoder's search lowers (:func:`~tadan.models.search_rule.error_weights`).

    With the weights of one quality, so that files of several compare.
    """
    weights = error_weights(original, tune, DEFAULT_QUALITY)
    difference = (shown.astype(np.float32) - original) @ AXES.T.astype(np.float32)
    height, width = original.shape[:2]
    spread = np.repeat(np.repeat(weights, CELL, axis=0), CELL, axis=1)[:height, :width]
    mean = float(np.mean(spread * np.square(difference), dtype=np.float64))
    return math.inf if mean == 0 else 10 * math.log10(255**2 / mean)
