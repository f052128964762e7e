"""Optimisers by name. All but plain Adam treat the matrices between hidden layers apart from everything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from tadan.errors import InvalidInput
from tadan.train.muon import BlockMuon
from tadan.train.recipe import Recipe

BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.01  # of adamw
SOAP_LARGEST = 1024  # sides beyond are not preconditioned: the eigenvectors cost their cube


def make_optimizers(trained: Mapping[str, torch.nn.Parameter], recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Optimisers that together own every parameter of ``trained`` once.

    ``adam`` and ``adamw`` take all; ``muon`` (orthogonalised updates) and ``soap`` (Adam in the eigenbasis of Shampoo)
    take the inner matrices and leave the rest to Adam: what touches pixels, latents, probabilities or biases. Groups
    carry the factor ``scale`` of the learning rate: 1 for the entropy model; for matrices of g_a and g_s
    ``recipe.transform_lr``, at their edges ``recipe.edge_lr``; ``recipe.kernel_lr`` for what is no matrix in them.

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
    return [adam, BlockMuon(matrices, recipe.lr)]


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
