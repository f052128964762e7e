"""c(p | S) by the any-schedule float network on held-out latents: the measuring device of the study's order search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tadan.exact.constants import LATENT_FRACTION
from tadan.nn.entropy_model import EntropyModel, gaussian_bits
from tadan.schedule import get_schedule
from tadan.schedule.optimize import subset_visible
from tadan_lab.study.latents import TrainingLatents
from tadan_lab.study.training import as_steps


class NetworkCosts:
    """Mean bits of a latent for relative subsets of a patch; a :data:`tadan.schedule.optimize.Measure`.

    Every subset is measured on the same positions. Each quality weighs the same in relative terms: the value is the
    mean over qualities of the rate divided by the rate without any context, times the mean of the latter.

    Args:
        network: trained on schedules of all kinds.
        latents: of which only held-out pictures are used.
        shape: rows and columns of the patch.
        positions: sampled per quality, their windows inside the plane.
        seed: of the sample.
        part: 0 or 1; held-out pictures of even or of odd number.
    """

    def __init__(
        self,
        network: EntropyModel,
        latents: TrainingLatents,
        shape: tuple[int, int],
        positions: int = 1024,
        seed: int = 0,
        part: int = 0,
    ) -> None:
        self._network, self._shape = network, shape
        self._hyper, self._windows, self._targets = [], [], []
        self._late: list[Tensor] = []
        config, rng = network.config, np.random.default_rng(seed)
        numbers = np.arange(latents.trained, len(latents.names))[part::2]
        for quality in latents.qualities:
            with torch.no_grad():
                rows = [self._rows(latents, number, quality) for number in numbers]
            hyper, windows, targets = (torch.cat(part) for part in zip(*rows, strict=True))
            chosen = torch.from_numpy(rng.permutation(len(hyper))[:positions])
            self._hyper.append(hyper[chosen])
            self._windows.append(windows[chosen].reshape(len(chosen), config.window, -1))
            self._targets.append(targets[chosen])
            with torch.no_grad():  # of groups at the position itself, which no order of positions changes
                self._late.append(network.late_terms(targets[chosen][None, None], get_schedule("hyper")))
        self._qualities = [torch.tensor([float(q)]) for q in latents.qualities]
        self._without: NDArray[np.float64] | None = None

    def _rows(self, latents: TrainingLatents, number: int, quality: int) -> tuple[Tensor, Tensor, Tensor]:
        network, r = self._network, self._network.config.radius
        y = as_steps(latents.y[quality][number][None], 0)
        hyper = network.h_s(as_steps(latents.z[quality][number][None], LATENT_FRACTION))
        embedded = network.context.embedding(y)[0]
        windows = embedded.unfold(0, 2 * r + 1, 1).unfold(1, 2 * r + 1, 1)  # (h', w', features, k, k)
        inner = slice(r, y.shape[1] - r), slice(r, y.shape[2] - r)
        return (
            hyper[0][inner].flatten(0, 1),
            windows.permute(0, 1, 3, 4, 2).flatten(0, 1),
            y[0][inner].flatten(0, 1),
        )

    @torch.no_grad()
    def by_quality(self, subset: int) -> NDArray[np.float64]:
        """Mean bits of a latent at each quality when it sees a relative subset: float64 (qualities,)."""
        config = self._network.config
        visible = torch.from_numpy(subset_visible(self._shape, subset, config.radius)[0].reshape(-1))
        kernels, bias = self._network.context.kernels(visible.repeat_interleave(config.groups)[None])
        kernel = kernels[0, visible].flatten(0, 1)
        out = []
        for quality, hyper, windows, target, late in zip(
            self._qualities, self._hyper, self._windows, self._targets, self._late, strict=True
        ):
            term = windows[:, visible].flatten(1) @ kernel + bias
            hidden = self._network.hidden_at(hyper[None, None], term[None, None], quality)
            mean, log_scale = (one[0, 0] for one in self._network.parameters_at([hidden], late, quality))
            out.append(float(gaussian_bits(target - mean, log_scale).mean()))
        return np.array(out)

    def __call__(self, subsets: Sequence[int]) -> NDArray[np.float64]:
        """Mean bits of a latent for each relative subset: float64 (n,)."""
        if self._without is None:
            self._without = self.by_quality(0)
        rows = np.array([self.by_quality(subset) for subset in subsets])
        result: NDArray[np.float64] = (rows / self._without).mean(1) * self._without.mean()
        return result
