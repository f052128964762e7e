"""KLT start: before the first step the networks are a linear transform codec with 16x16 principal components.

With the residual blocks at zero, g_s after g_a is the projection to the leading components. Their pixels are painted
through the 4x4 DCT of a decorrelated colour space, scaled to unit variance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from tadan.nn.blocks import CELL, SIDE
from tadan.nn.transforms import CELL_SAMPLES, Analysis, Synthesis, to_patches

STEP = 22 / 255  # quantisation step that suits lambda = 0.013, in units of the 0..1 pixel range
FLOOR = 0.02  # channels below this deviation are noise at that step; do not blow them up


def dct_basis(side: int = CELL) -> Tensor:
    """Orthonormal rows: DCT-II of side x side pixels of an orthonormal opponent colour space, for (row, col, RGB)."""
    n = torch.arange(side, dtype=torch.float64)
    dct = torch.cos(math.pi / side * (n + 0.5)[None] * n[:, None]) * math.sqrt(2 / side)
    dct[0] /= math.sqrt(2)
    colour = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]], dtype=torch.float64)
    colour /= colour.norm(dim=1, keepdim=True)
    basis = torch.einsum("ui,vj,kc->uvkijc", dct, dct, colour)
    size = 3 * side * side
    return basis.reshape(size, size)


@torch.no_grad()
def start(analysis: Analysis, synthesis: Synthesis, pictures: Iterable[Tensor]) -> Tensor:
    """Set both transforms to the linear codec fitted to ``pictures``; widths beyond the components start at random.

    The body starts as the components at unit variance, the grid as the scaled 4x4 DCT of each grid point's pixels.

    Args:
        analysis: g_a.
        synthesis: g_s.
        pictures: tensors (B, H, W, 3) in 0..1, H and W multiples of 16.

    Returns:
        float (latent,): standard deviation of each latent, in quantisation steps.
    """
    patches, outputs = 3 * (SIDE * CELL) ** 2, analysis.outlet.out_features
    moment = torch.zeros(patches, patches, dtype=torch.float64)
    count = 0
    for batch in pictures:
        rows = to_patches(batch).reshape(-1, patches).double() - 0.5
        moment += rows.T @ rows
        count += rows.shape[0]
    moment /= count
    values, vectors = torch.linalg.eigh(moment)
    values, components = values.flip(0).clamp_min(0), vectors.flip(1).T  # rows, largest variance first
    unit = 1 / torch.sqrt(values + FLOOR**2)
    inside = analysis.inlet.out_features
    analysis.inlet.weight.copy_((components * unit[:, None])[:inside])
    analysis.outlet.weight.normal_(0, 1e-3)
    analysis.outlet.weight[:, :outputs] = torch.diag(1 / unit[:outputs] / STEP)
    synthesis.inlet.weight.normal_(0, 0.02)
    synthesis.inlet.weight[:outputs] = torch.diag(unit[:outputs] * STEP)
    paint(synthesis, (components[:outputs] / unit[:outputs, None]).T, moment)
    for layer in (analysis.inlet, analysis.outlet, synthesis.inlet):
        layer.bias.zero_()
    return (values[:outputs].sqrt() / STEP).float()


@torch.no_grad()
def paint(synthesis: Synthesis, pixels: Tensor, moment: Tensor) -> None:
    """Set what is behind the body of g_s so that it paints patches of 16x16 pixels, linear in the body.

    Args:
        synthesis: g_s.
        pixels: float64 (768, n), patch of each of the first n values of the body.
        moment: float64 (768, 768), second moment of patches, 0.5 taken off.
    """
    count, width = pixels.shape[1], synthesis.inlet.out_features
    basis = dct_basis()
    cells = moment.reshape(SIDE * SIDE, CELL_SAMPLES, SIDE * SIDE, CELL_SAMPLES).diagonal(dim1=0, dim2=2).mean(-1)
    spread = torch.sqrt((basis @ cells @ basis.T).diagonal() + FLOOR**2)
    to_grid = torch.zeros(SIDE * SIDE, synthesis.to_grid.out_features // SIDE**2, width, dtype=torch.float64)
    to_grid[:, CELL_SAMPLES:].normal_(0, 1 / math.sqrt(width))
    parts = pixels.reshape(SIDE * SIDE, CELL_SAMPLES, count)
    to_grid[:, :CELL_SAMPLES, :count] = (basis / spread[:, None]) @ parts
    synthesis.to_grid.weight.copy_(to_grid.flatten(0, 1))
    synthesis.outlet.weight.zero_()
    synthesis.outlet.weight[:, :CELL_SAMPLES] = (basis * spread[:, None]).T
    for layer in (synthesis.to_grid, synthesis.outlet):
        layer.bias.zero_()


@torch.no_grad()
def start_small(synthesis: Synthesis, latents: Tensor, pictures: Tensor) -> None:
    """Set a g_s of any width to the best linear one for given latents, of as many components as its body is wide.

    Least squares from the latents of a position to the patch under it; of what that shows the leading principal
    components. The body starts as these at unit variance.

    Args:
        synthesis: g_s.
        latents: float (B, h, w, latent), inverse gain applied.
        pictures: float (B, 16 h, 16 w, 3) in 0..1.
    """
    rows = latents.reshape(-1, latents.shape[-1]).double()
    patches = to_patches(pictures).reshape(len(rows), -1).double() - 0.5
    moment = rows.T @ rows / len(rows)
    ridge = 1e-6 * moment.diagonal().mean() * torch.eye(len(moment), dtype=torch.float64)
    by_latent = torch.linalg.solve(moment + ridge, rows.T @ patches / len(rows)).T  # (768, latent)
    painted = by_latent @ moment @ by_latent.T
    values, vectors = torch.linalg.eigh(painted)
    count = min(synthesis.inlet.out_features, latents.shape[-1])
    scale, components = (values.flip(0)[:count].clamp_min(0) + FLOOR**2).sqrt(), vectors.flip(1)[:, :count]
    synthesis.inlet.weight.normal_(0, 0.02)
    synthesis.inlet.weight[:count] = (components.T @ by_latent) / scale[:, None]
    synthesis.inlet.bias.zero_()
    paint(synthesis, components * scale, painted)
