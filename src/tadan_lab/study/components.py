"""Principal components of the interfaces of a model, fitted on pictures that nothing is then measured on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor

from tadan.nn.model import TadanModel
from tadan.schedule import Schedule
from tadan_lab.study.interfaces import Interface, changed, interfaces

AT_ONCE = 4  # pictures of a batch


class Components:
    """Principal components of vectors of one kind, put together from several samples that count the same.

    Attributes:
        mean: float32 (C,).
        basis: float32 (C, C), columns orthonormal, largest variance first.
    """

    def __init__(self, samples: Sequence[Moments]) -> None:
        mean = torch.stack([one.total / one.count for one in samples]).mean(0)
        covariance = torch.zeros_like(samples[0].square)
        for one in samples:
            around = one.around(mean)
            covariance += around / around.trace().clamp_min(1e-30)
        self.mean = mean.float()
        self.basis = torch.linalg.eigh(covariance)[1].flip(1).float()

    @property
    def width(self) -> int:
        """Channels of a vector."""
        return len(self.mean)

    def project(self, vectors: Tensor, ranks: Tensor) -> Tensor:
        """Keep the leading components of vectors (B, ..., C), ``ranks`` int (B,) of them in each picture."""
        kept = torch.arange(self.width) < ranks[:, None]
        kept = kept.reshape(len(ranks), *[1] * (vectors.ndim - 2), self.width)
        return ((vectors - self.mean) @ self.basis * kept) @ self.basis.T + self.mean


class Moments:
    """Sums over vectors of C channels and over their products, float64."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.total = torch.zeros(width, dtype=torch.float64)
        self.square = torch.zeros(width, width, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Count vectors (n, C)."""
        rows = rows.double()
        self.count += len(rows)
        self.total += rows.sum(0)
        self.square += rows.T @ rows

    def around(self, point: Tensor) -> Tensor:
        """Mean products of what differs from a point (C,): float64 (C, C)."""
        cross = torch.outer(self.total / self.count, point)
        return self.square / self.count - cross - cross.T + torch.outer(point, point)


@torch.no_grad()
def fit_components(
    model: TadanModel, pictures: Tensor, qualities: Sequence[int], schedule: Schedule
) -> dict[str, Components]:
    """Components of all interfaces by their names; every quality counts the same.

    Args:
        model: in inference mode.
        pictures: float32 (n, H, W, 3) in 0..1, H and W multiples of 64.
        qualities: 1..100 each.
        schedule: decoding order.
    """
    places = interfaces(model)
    samples: dict[str, list[Moments]] = {at.name: [] for at in places}
    for value in qualities:
        moments: dict[str, Moments] = {}
        with ExitStack() as stack:
            for at in places:
                stack.enter_context(changed(model, at, partial(_read, at, moments)))
            for batch in pictures.split(AT_ONCE):
                model(batch, torch.full((len(batch),), float(value)), schedule)
        for name, one in moments.items():
            samples[name].append(one)
    return {name: Components(of_each) for name, of_each in samples.items()}


def _read(at: Interface, moments: dict[str, Moments], x: Tensor) -> Tensor:
    rows = at.vectors(x).flatten(0, -2)
    moments.setdefault(at.name, Moments(rows.shape[-1])).add(rows)
    return x
