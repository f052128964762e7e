"""Three probes of a trained model: where it is too wide, where it leaves something, what rounding has no part in.

The cost is that of training, ``J = lambda 255² MSE + bpp``, with hard rounding. The first two probes are those of PULSE
(Jia et al., arXiv 2609.18602), to be read before a design is changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor

from tadan.nn.blocks import STRIDE
from tadan.nn.model import Losses, TadanModel, lambdas
from tadan.nn.transforms import to_patches
from tadan_lab.study.components import AT_ONCE, Components, Moments
from tadan_lab.study.interfaces import Interface, Replay, changed

TOLERANCE = 0.01  # of J: what a projection may cost

PREDICTED = 0.1  # of J: what the first step would take away if J were linear
FORGET_FIRST, FORGET_SECOND = 0.8, 0.95  # Adam's means
PATIENCE = 2  # steps above the best before the best is returned to, with half the step size

DECODED = Interface("y_hat", "g_s", reads=True)


def cost(model: TadanModel, losses: Losses, quality: Tensor) -> Tensor:
    """J of each picture, bits per pixel, float32 (B,)."""
    return lambdas(model.config, quality) * 255**2 * losses.mse + losses.y_bpp + losses.z_bpp


def by_quality(values: Tensor, quality: Tensor) -> dict[int, float]:
    """Mean of ``values`` (B,) over the pictures of each quality."""
    return {int(one): float(values[quality == one].mean()) for one in quality.unique()}


@torch.no_grad()
def width_needed(replay: Replay, at: Interface, components: Components, tolerance: float = TOLERANCE) -> dict[int, int]:
    """Smallest number of components of an interface that all its vectors can be projected to, for each quality.

    Found by bisection, as if the cost fell with every component that is kept.

    Args:
        replay: pictures that the components were not fitted on.
        at: the interface.
        components: of the interface.
        tolerance: share of J, mean over the pictures of a quality, that the projection may cost.
    """
    model, quality = replay.model, replay.quality
    allowed = by_quality(cost(model, replay.losses, quality) * (1 + tolerance), quality)
    fails, holds = dict.fromkeys(allowed, -1), dict.fromkeys(allowed, components.width)
    while any(holds[one] - fails[one] > 1 for one in allowed):
        tried = {one: (fails[one] + holds[one]) // 2 for one in allowed}
        ranks = torch.tensor([tried[int(one)] for one in quality])
        losses = replay.run(at, partial(_project, at, components, ranks))
        found = by_quality(cost(model, losses, quality), quality)
        for one in allowed:
            (holds if found[one] <= allowed[one] else fails)[one] = max(tried[one], 0)
    return holds


def _project(at: Interface, components: Components, ranks: Tensor, x: Tensor) -> Tensor:
    return at.tensor(components.project(at.vectors(x), ranks))


def headroom(replay: Replay, at: Interface, steps: int, constant: bool = False) -> dict[int, float]:
    """Share of J that a change of an interface gains, found for each picture by gradient, for each quality.

    Everything behind the interface stays as it is. Rounding passes gradients on as the identity, J itself is that of
    hard rounding, and the best J of all steps counts: never negative.

    What it cannot tell. Where the file pays for the change (:attr:`Interface.paid`), an encoder that searches as long
    would gain as much; whether a better g_a could know it beforehand is open. Where the file does not pay, a change
    with a value for every position tells the decoder about the picture for nothing: no network need ever reach it.
    A small gain is no proof: descent ends early, and gradients through rounding are wrong in detail. What stands behind
    was trained for what it gets now; trained together, both may gain more.

    Args:
        replay: pictures; the parameters of the model want no gradient.
        at: the interface.
        steps: of Adam.
        constant: one vector of channels a picture instead of a value for each of the interface's: too little to tell
            the decoder what the picture looks like.
    """
    quality = replay.quality
    start = cost(replay.model, replay.losses, quality)
    descent: Descent | None = None
    for _ in range(steps + 1):
        tried: list[Tensor] = []

        def add(x: Tensor, tried: list[Tensor] = tried, descent: Descent | None = descent) -> Tensor:
            vectors = at.vectors(x)
            if not tried:  # what passes twice is changed alike
                tried.append((_nothing(vectors, constant) if descent is None else descent.next).requires_grad_())
            return at.tensor(vectors + tried[0])

        with torch.enable_grad():
            reached = _cost_to_descend(replay, at, add)
            (gradient,) = torch.autograd.grad(reached.sum(), tried[0])
        descent = descent or Descent(start, gradient)
        descent.step(reached.detach(), gradient)
    lowest = start if descent is None else descent.lowest
    before = by_quality(start, quality)
    return {one: gain / before[one] for one, gain in by_quality(start - lowest, quality).items()}


class Descent:
    """Adam with a step size for each picture and channel; a picture that is lost goes back to its best.

    Args:
        start: J of each picture without a change, float32 (B,).
        gradient: of J there, (B, ..., C); gives the step sizes.

    Attributes:
        lowest: J of each picture, the best so far.
        next: change to try.
    """

    def __init__(self, start: Tensor, gradient: Tensor) -> None:
        self.lowest = start
        self.next = self._best = self._first = self._second = torch.zeros_like(gradient)
        rms = gradient.square().mean(tuple(range(1, gradient.ndim - 1)), keepdim=True).sqrt()
        rms = rms + 0.01 * rms.amax(-1, keepdim=True) + 1e-30
        taken = (gradient.abs() / rms).flatten(1).sum(1).clamp_min(1e-30)
        self._sizes = self._spread(PREDICTED * start / taken) / rms
        self._above = torch.zeros_like(start)
        self._count = 0

    def _spread(self, values: Tensor) -> Tensor:
        return values.reshape(-1, *[1] * (self.next.ndim - 1))

    def step(self, reached: Tensor, gradient: Tensor) -> None:
        """Note J (B,) of the change that was tried, and go on along its gradient."""
        tried, self._count = self.next.detach(), self._count + 1
        better = reached < self.lowest
        self.lowest = torch.minimum(reached, self.lowest)
        self._best = torch.where(self._spread(better), tried, self._best)
        self._above = torch.where(better, 0, self._above + 1)
        lost = self._spread(self._above > PATIENCE)
        self._above = torch.where(lost.flatten(), 0, self._above)
        self._sizes = torch.where(lost, self._sizes / 2, self._sizes)
        self._first = FORGET_FIRST * self._first + (1 - FORGET_FIRST) * gradient
        self._second = FORGET_SECOND * self._second + (1 - FORGET_SECOND) * gradient.square()
        mean = self._first / (1 - FORGET_FIRST**self._count)
        deviation = (self._second / (1 - FORGET_SECOND**self._count)).sqrt()
        self.next = torch.where(lost, self._best, tried - self._sizes * mean / (deviation + 1e-30))


def _nothing(vectors: Tensor, constant: bool) -> Tensor:
    places = tuple(range(1, vectors.ndim - 1))
    return torch.zeros_like(vectors.detach().mean(places, keepdim=True) if constant else vectors)


def _cost_to_descend(replay: Replay, at: Interface, change: Callable[[Tensor], Tensor]) -> Tensor:
    """:func:`cost` with a change at an interface."""
    with ExitStack() as stack:
        if at.owner.startswith("entropy"):  # y_hat = round(y - mean) + mean: rounding as the identity has no gradient
            stack.enter_context(changed(replay.model, DECODED, torch.Tensor.detach))
        return cost(replay.model, replay.run(at, change), replay.quality)


@torch.no_grad()
def distortion(replay: Replay, components: Tensor) -> dict[int, dict[str, float]]:
    """Where the squared error comes from, for each quality.

    Args:
        replay: pictures.
        components: float32 (768, M), orthonormal columns: leading principal components of 16x16 blocks
            (:func:`block_components`).

    Returns:
        ``psnr``: dB of the coded pictures, of their mean squared error. ``transform``: squared error of g_s(g_a(x)),
        nothing rounded, as a share of that; it can exceed 1 where rounding happens to help. ``klt``: that of the
        projection of each block to the components, a bound for linear transforms with as many latents only.
    """
    model, picture, quality = replay.model, replay.picture, replay.quality
    plain = model.synthesise(model.analyse(picture, quality)[0], quality)
    blocks = to_patches(picture) - 0.5
    left = blocks - blocks @ components @ components.T
    coded = by_quality(replay.losses.mse, quality)
    transform = by_quality((plain - picture).square().mean((1, 2, 3)), quality)
    klt = by_quality(left.square().mean((1, 2, 3)), quality)
    return {
        one: {"psnr": -10 * math.log10(mse), "transform": transform[one] / mse, "klt": klt[one] / mse}
        for one, mse in coded.items()
    }


def block_components(pictures: Tensor, count: int) -> Tensor:
    """Leading principal components of 16x16 blocks around mid-grey, float32 (768, count), as :mod:`tadan.nn.klt`."""
    moments = Moments(3 * STRIDE**2)
    for batch in pictures.split(AT_ONCE):
        moments.add((to_patches(batch) - 0.5).flatten(0, -2))
    return torch.linalg.eigh(moments.square)[1].flip(1)[:, :count].float()
