"""Coded crops that a lite decoder learns from several times, as making one takes longer than learning from it.

Latents do not change while a lite decoder learns, nor does what the large one shows of them: both are made once and
kept for a while. The store is not part of a checkpoint; a run that goes on fills a new one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tadan.nn.model import Coded

KEPT = 512  # crops
FEWEST = 64  # crops, before any is used again


class Lesson(NamedTuple):
    """Crops of one size and what is known of them.

    Attributes:
        picture: float32 (B, H, W, 3) in 0..1.
        quality: float32 (B,).
        coded: latents and rate.
        wanted: what a teacher shows, like ``picture``, or None without one.
    """

    picture: Tensor
    quality: Tensor
    coded: Coded
    wanted: Tensor | None

    def crop(self, index: int) -> Lesson:
        """One crop of it, as a batch of one."""
        one = slice(index, index + 1)
        coded = Coded(*(value[one].clone() for value in self.coded))
        wanted = None if self.wanted is None else self.wanted[one].clone()
        return Lesson(self.picture[one].clone(), self.quality[one].clone(), coded, wanted)

    @classmethod
    def of(cls, crops: list[Lesson]) -> Lesson:
        """All crops as one batch."""
        coded = Coded(*(torch.cat(values) for values in zip(*(crop.coded for crop in crops), strict=True)))
        shown = [crop.wanted for crop in crops if crop.wanted is not None]
        picture, quality = torch.cat([crop.picture for crop in crops]), torch.cat([crop.quality for crop in crops])
        return cls(picture, quality, coded, torch.cat(shown) if shown else None)


class Replay:
    """A store of crops, of which every ``reuse``-th batch is new.

    Args:
        make: gives a new batch.
        reuse: how many times a crop is used on average; 1 uses each batch as it was made.
    """

    def __init__(self, make: Callable[[], Lesson], reuse: int) -> None:
        self._make, self._reuse = make, reuse
        self._kept: deque[Lesson] = deque(maxlen=KEPT)

    def batch(self, count: int, size: int, step: int, seed: int) -> Lesson:
        """``count`` crops of ``size`` pixels a side; which ones follows from the step, the seed and what is kept."""
        if self._kept and self._kept[0].picture.shape[1] != size:
            self._kept.clear()
        if self._reuse == 1:
            return self._make()
        if step % self._reuse == 0 or len(self._kept) < FEWEST:
            new = self._make()
            self._kept.extend(new.crop(index) for index in range(len(new.picture)))
            if len(self._kept) < FEWEST:
                return new
        chosen = np.random.default_rng((seed, step, 1)).integers(len(self._kept), size=count)
        return Lesson.of([self._kept[index] for index in chosen])
