"""Optimisers by name. All but plain Adam treat the matrices between hidden layers apart from everything else.

Muon (Jordan 2024, kellerjordan.github.io/posts/muon) replaces the momentum of a matrix by the nearest orthogonal one.
``torch.optim.Muon`` does so in bf16, which processors without such products emulate, some hundred times slower, and on
whole matrices. Here the shorter side is cut into blocks, each made orthogonal for itself: that costs less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from tadan.errors import InvalidInput
from tadan.train.device import World
from tadan.train.recipe import Recipe

BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.01  # of adamw
SOAP_LARGEST = 1024  # sides beyond are not preconditioned: the eigenvectors cost their cube


def make_optimizers(
    trained: Mapping[str, torch.nn.Parameter], recipe: Recipe, world: World | None = None
) -> list[torch.optim.Optimizer]:
    """Optimisers that together own every parameter of ``trained`` once.

    ``adam`` and ``adamw`` take all; ``muon`` (orthogonalised updates) and ``soap`` (Adam in the eigenbasis of Shampoo)
    take the inner matrices and leave the rest to Adam: what touches pixels, latents, probabilities or biases. Groups
    carry the factor ``scale`` of the learning rate: 1 for the entropy model; for matrices of g_a and g_s
    ``recipe.transform_lr``, at their edges ``recipe.edge_lr``; ``recipe.kernel_lr`` for what is no matrix in them.
    The processes of a ``world`` divide the work of Muon among them.

    Raises:
        InvalidInput: ``soap`` is wanted and its package is not installed.
    """
    apart = recipe.optimizer in ("muon", "soap")
    inner = {name for name, value in trained.items() if apart and value.ndim == 2 and is_inner(name)}
    rest = _groups({name: value for name, value in trained.items() if name not in inner}, recipe)
    if recipe.optimizer == "adamw":
        return [torch.optim.AdamW(rest, recipe.lr, BETAS, weight_decay=WEIGHT_DECAY, fused=True)]
    adam = torch.optim.Adam(rest, recipe.lr, BETAS, fused=True)
    if not inner:
        return [adam]
    matrices = _groups({name: trained[name] for name in sorted(inner)}, recipe)
    if recipe.optimizer == "soap":
        return [adam, _soap(matrices, recipe.lr)]
    return [adam, BlockMuon(matrices, recipe.lr, world=world)]


def _groups(parameters: Mapping[str, torch.nn.Parameter], recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters with the same factor of the learning rate together."""
    by_scale: dict[float, list[torch.nn.Parameter]] = {}
    for name, value in parameters.items():
        by_scale.setdefault(_scale(name, value, recipe), []).append(value)
    return [{"params": values, "scale": scale} for scale, values in by_scale.items()]


def _scale(name: str, value: torch.nn.Parameter, recipe: Recipe) -> float:
    if is_edge(name):
        return recipe.edge_lr
    if not name.startswith(("g_a.", "g_s.")):
        return 1.0
    # Moved by Adam, kernels, gains and biases do not jitter as matrices do, and at their step would stay at the start.
    return recipe.transform_lr if value.ndim == 2 and name.endswith(".weight") else recipe.kernel_lr


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], lr: float) -> None:
    """Set the learning rate of the next step in every group, times the group's factor."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("scale", 1.0)


def is_edge(name: str) -> bool:
    """Whether a parameter is a matrix between pixels or latents and the inside of g_a or g_s.

    They start as principal components and carry the whole signal: at the step size of the layers between, high
    qualities lose 10 dB in the first hundred steps and take thousands to win them back.
    """
    part, _, rest = name.partition(".")
    return part in ("g_a", "g_s") and rest in ("inlet.weight", "outlet.weight", "to_grid.weight")


def is_inner(name: str) -> bool:
    """Whether a parameter is a matrix between hidden layers."""
    return name.endswith(".weight") and (".expand." in name or ".project." in name or name == "entropy.layer.weight")


def _soap(matrices: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    try:
        from pytorch_optimizer import SOAP  # type: ignore[import-not-found]
    except ImportError as error:
        raise InvalidInput("optimizer=soap needs one more package; run: pip install pytorch-optimizer") from error
    soap: torch.optim.Optimizer = SOAP(matrices, lr=lr, weight_decay=0.0, max_precondition_dim=SOAP_LARGEST)
    return soap


#: Quintic Newton-Schulz of the reference implementation: singular values in 0..1 go to about 0.7..1.2 in five steps.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5
BLOCK = 128  # rows or columns made orthogonal together
EPSILON = 1e-7


def orthogonal(matrices: Tensor, steps: int = STEPS) -> Tensor:
    """Nearest (semi-)orthogonal matrices, roughly: (n, rows, cols) with rows <= cols, same shape and dtype.

    The steps are polynomials of the Gram matrix, which is small where there are few rows: they are gathered there, and
    meet the matrices once, at the end. That halves the arithmetic for three times as many columns as rows.
    """
    a, b, c = COEFFICIENTS
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp_min(EPSILON)
    gram = x @ x.mT
    unit = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    gathered = unit.expand_as(gram)
    for step in range(steps):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) + a * unit
        gathered = factor @ gathered if step else factor
        if step + 1 < steps:
            gram = factor @ gram @ factor
    return gathered @ x


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
        world: processes with equal gradients; each makes its part of the matrices orthogonal, for all of them.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.95,
        world: World | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self._world = world or World()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        due = [(group, matrix) for group in self.param_groups for matrix in group["params"] if matrix.grad is not None]
        updates = []
        for number, (group, matrix) in enumerate(due):
            state = self.state[matrix]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(matrix)
            mean = state["momentum_buffer"]
            mean.lerp_(matrix.grad, 1 - group["momentum"])
            if number % self._world.size == self._world.rank:
                update = orthogonal_blocks(matrix.grad.lerp(mean, group["momentum"]))
                updates.append(update / update.square().mean().sqrt().clamp_min(EPSILON))
            else:
                updates.append(torch.zeros_like(matrix))
        self._world.sum(updates)
        for (group, matrix), update in zip(due, updates, strict=True):
            matrix.add_(update, alpha=-0.2 * group["lr"])
