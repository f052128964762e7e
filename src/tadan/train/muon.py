"""Muon with the arithmetic that the machine is good at, on blocks of large matrices.

Muon (Jordan 2024, kellerjordan.github.io/posts/muon) replaces the momentum of a matrix by the nearest orthogonal one.
``torch.optim.Muon`` does so in bf16, which processors without such products emulate, some hundred times slower, and on
whole matrices. Here the shorter side is cut into blocks, each made orthogonal for itself: that costs less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

#: Quintic Newton-Schulz of the reference implementation: singular values in 0..1 go to about 0.7..1.2 in five steps.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5
BLOCK = 128  # rows or columns made orthogonal together
EPSILON = 1e-7


def orthogonal(matrices: Tensor, steps: int = STEPS) -> Tensor:
    """Nearest (semi-)orthogonal matrices, roughly: (n, rows, cols) with rows <= cols, same shape and dtype."""
    a, b, c = COEFFICIENTS
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp_min(EPSILON)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def orthogonal_blocks(matrix: Tensor, block: int = BLOCK) -> Tensor:
    """:func:`orthogonal` of blocks of at most ``block`` along the shorter side of ``matrix`` (rows, cols)."""
    tall = matrix.shape[0] > matrix.shape[1]
    wide = matrix.T if tall else matrix
    count = next(n for n in range(-(-wide.shape[0] // block), wide.shape[0] + 1) if wide.shape[0] % n == 0)
    done = orthogonal(wide.reshape(count, -1, wide.shape[1])).reshape(wide.shape)
    return done.T if tall else done


class BlockMuon(torch.optim.Optimizer):
    """Muon for matrices, with the step size of Adam: the root mean square of an update is 0.2 of ``lr``.

    Args:
        params: matrices, or groups of them.
        lr: step size, as Adam's.
        momentum: Nesterov momentum.
        bf16: whether the products run in bf16.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.95, bf16: bool = False) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self.bf16 = bf16

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix)
                mean = state["momentum_buffer"]
                mean.lerp_(matrix.grad, 1 - group["momentum"])
                look_ahead = matrix.grad.lerp(mean, group["momentum"])
                update = orthogonal_blocks(look_ahead.bfloat16() if self.bf16 else look_ahead).to(matrix.dtype)
                rms = update.square().mean().sqrt().clamp_min(EPSILON)
                matrix.add_(update * (-0.2 * group["lr"] / rms))
