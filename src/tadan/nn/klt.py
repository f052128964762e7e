"""KLT start: before the first step the networks are a linear transform codec with 16x16 principal components.

8x8 DCT of a decorrelated colour space, scaled to unit variance; 2x2 projection to the leading principal components.
With the residual blocks at zero, g_s after g_a is an orthogonal projection.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from tadan.nn.transforms import PIXELS, Analysis, Synthesis, space_to_depth

STEP = 22 / 255  # quantisation step that suits lambda = 0.013, in units of the 0..1 pixel range
FLOOR = 0.02  # channels below this deviation are noise at that step; do not blow them up


def dct_basis() -> Tensor:
    """Orthonormal rows (192, 192): 8x8 DCT-II of an orthonormal opponent colour space, for (row, col, RGB) inputs."""
    n = torch.arange(PIXELS, dtype=torch.float64)
    dct = torch.cos(math.pi / PIXELS * (n + 0.5)[None] * n[:, None]) * math.sqrt(2 / PIXELS)
    dct[0] /= math.sqrt(2)
    colour = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]], dtype=torch.float64)
    colour /= colour.norm(dim=1, keepdim=True)
    basis = torch.einsum("ui,vj,kc->uvkijc", dct, dct, colour)
    size = 3 * PIXELS * PIXELS
    return basis.reshape(size, size)


@torch.no_grad()
def start(analysis: Analysis, synthesis: Synthesis, pictures: Iterable[Tensor]) -> Tensor:
    """Set both transforms to the linear codec fitted to ``pictures``.

    Args:
        analysis: g_a with a width of 192.
        synthesis: g_s.
        pictures: tensors (B, H, W, 3) in 0..1, H and W multiples of 16.

    Returns:
        float (latent,): standard deviation of each latent, in quantisation steps.
    """
    basis = dct_basis()
    size = basis.shape[0]
    moment = torch.zeros(4 * size, 4 * size, dtype=torch.float64)
    count = 0
    for batch in pictures:
        coefficients = (space_to_depth(batch.double(), PIXELS) - 0.5) @ basis.T
        rows = space_to_depth(coefficients, 2).reshape(-1, 4 * size)
        moment += rows.T @ rows
        count += rows.shape[0]
    moment /= count
    deviation = moment.diagonal().reshape(4, size).mean(0).sqrt()
    scale = 1 / torch.sqrt(deviation**2 + FLOOR**2)
    values, vectors = torch.linalg.eigh(moment)
    latent = analysis.outlet.out_features
    components = vectors.flip(1)[:, :latent].T
    four = scale.repeat(4)
    analysis.inlet.weight.copy_(basis * scale[:, None])
    analysis.outlet.weight.copy_(components / four / STEP)
    synthesis.inlet.weight.copy_((components * four * STEP).T)
    synthesis.outlet.weight.copy_((basis / scale[:, None]).T)
    for layer in (analysis.inlet, analysis.outlet, synthesis.inlet, synthesis.outlet):
        layer.bias.zero_()
    return (values.flip(0)[:latent].clamp_min(0).sqrt() / STEP).float()
