"""Encoder effort: search for latents that cost less, J = lambda * error + bits, for the same decoder.

g_a answers in one pass; for a given picture better latents exist. The search keeps real-valued latents ``y`` whose
rounding ``y_hat`` is what would be coded, and lets them drift against the gradient of a model of J around y_hat::

    J(y) ~ J(y_hat) + g (y - y_hat) + w (y - y_hat)²  +  b(y)

g is the true gradient of the distortion through g_s (an ONNX graph, no torch), w the curvature of each channel, and b
the code length under the true context model, taken linearly between the two integers around y. That is a proximal
gradient method on a lattice: without the curvature term latents oscillate between two symbols, and with the
gradient of a smooth rate instead of b, zeros never stay zeros. Every trial is rounded and priced exactly as the coder
does; the best one is returned, so no effort gives a higher J than plain rounding.

Compare: Yang, Bamler, Mandt, *Improving Inference for Neural Image Compression* (NeurIPS 2020), which anneals a
stochastic rounding by Adam.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tadan.codec.tiling import Window
from tadan.codec.transforms import Transforms
from tadan.entropy import rate_slope
from tadan.latents.coder import SYMBOL_LIMIT, UNIT, LatentCoder, Trial
from tadan.models.config import quality_lambda
from tadan.models.search_rule import CURVATURE_FLOOR, FIRST_SIZE, FORCE_LIMIT, RATE_FORCE, error_weights

BACKTRACK = 0.5  # of the step after a trial that is not better

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """What the search looks at: a tile, and as much around it as the tile's latents can change.

    Attributes:
        rgb: uint8 (H, W, 3), the picture under the tile and its margin.
        around: float32 (h, w, latent), y of g_a there; None if there is no margin. It stands for what the decoder will
            have of the neighbours.
        window: where the tile is in ``around``.
        tune: whose error is lowered (:mod:`tadan.models.search_rule`).
    """

    rgb: NDArray[np.uint8]
    around: Floats | None = None
    window: Window | None = None
    tune: str = "psnr"

    def weights(self, quality: int) -> Floats:
        """Of the error in the cells of ``rgb``, as :func:`~tadan.models.search_rule.error_weights` gives them."""
        return error_weights(self.rgb, self.tune, quality)

    def error_gradient(
        self, transforms: Transforms, y_hat: NDArray[np.int32], quality: int, weights: Floats
    ) -> tuple[float, Floats]:
        """As :meth:`Transforms.error_gradient`, of the picture with its margin by the latents of the tile."""
        error, gradient = transforms.error_gradient(self._filled(y_hat), quality, self.rgb, weights)
        return error, gradient if self._alone(y_hat) else gradient[self.window.inside]  # type: ignore[union-attr]

    def error(self, transforms: Transforms, y_hat: NDArray[np.int32], quality: int, weights: Floats) -> float:
        """The error alone."""
        return transforms.error(self._filled(y_hat), quality, self.rgb, weights)

    def _alone(self, y_hat: NDArray[np.int32]) -> bool:
        return self.around is None or self.window is None or self.around.shape == y_hat.shape

    def _filled(self, y_hat: NDArray[np.int32]) -> NDArray[np.int32]:
        """The latents of the tile with those around them."""
        if self.around is None or self.window is None or self._alone(y_hat):
            return y_hat
        filled = np.rint(self.around * np.float32(UNIT)).astype(np.int32)
        filled[self.window.inside] = y_hat
        return filled


def refine(
    coder: LatentCoder,
    transforms: Transforms,
    scene: Scene,
    latents: tuple[Floats, Floats],
    steps: int,
    observe: Callable[[float], None] = lambda cost: None,
) -> Trial:
    """Rounded latents that cost no more than those of g_a.

    Args:
        coder: with the schedule that y will be coded under.
        transforms: of the same model.
        scene: the picture.
        latents: y and z of the tile, of :meth:`Transforms.latents_of` and :meth:`Transforms.hyper_of`.
        steps: trials after plain rounding; each costs about two decodes.
        observe: called with J * pixels (bits) of every trial, plain rounding first; not at all without steps.

    Returns:
        the best trial, for :meth:`~tadan.latents.coder.LatentCoder.write`.
    """
    (y, z), model, quality = latents, coder.model, coder.quality
    _, z_hat = coder.round_z(z)
    hyper = coder.hyper(z_hat)
    best = trial = coder.price(y, z_hat, hyper)
    if steps == 0:
        return best
    weight = quality_lambda(model.config, quality) / 3  # bits per squared level of one sample
    weights = scene.weights(quality)
    curvature = weight * model.curvature * model.inverse_gain(quality) ** 2
    curvature = np.maximum(curvature, CURVATURE_FLOOR).astype(np.float32)
    start, lowest, move, size = y, np.inf, np.zeros_like(y), FIRST_SIZE
    for step in range(steps + 1):
        if step == steps:  # nobody goes on from the last one
            cost = weight * scene.error(transforms, trial.y_hat, quality, weights) + trial.bits
            observe(cost)
            return trial if cost < lowest else best
        error, gradient = scene.error_gradient(transforms, trial.y_hat, quality, weights)
        cost = weight * error + trial.bits
        observe(cost)
        if cost < lowest:
            best, start, lowest = trial, y, cost
            slope = rate_slope(model.tables, y, trial.mean, trial.index, SYMBOL_LIMIT)
            pull = np.clip(weight * gradient + RATE_FORCE * slope, -FORCE_LIMIT, FORCE_LIMIT)
            move = pull / (2 * curvature) + (y - trial.y_hat / np.float32(UNIT))
        else:  # overshot: from the best again, with a smaller step
            size *= BACKTRACK
        y = start - np.float32(size) * move
        trial = coder.price(y, z_hat, hyper)
    return best
