"""Optimisers by name. All but plain Adam treat the matrices between hidden layers apart from everything else."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tadan.errors import InvalidInput
from tadan.train.recipe import Recipe

BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.01  # of adamw
SOAP_LARGEST = 1024  # sides beyond are not preconditioned: the eigenvectors cost their cube


def make_optimizers(trained: Mapping[str, torch.nn.Parameter], recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Optimisers that together own every parameter of ``trained`` once.

    ``adam`` and ``adamw`` take all; ``muon`` (orthogonalised updates) and ``soap`` (Adam in the eigenbasis of Shampoo)
    take the inner matrices and leave the rest to Adam: what touches pixels, latents, probabilities or biases.

    Raises:
        InvalidInput: ``soap`` is wanted and its package is not installed.
    """
    if recipe.optimizer == "adamw":
        return [torch.optim.AdamW(trained.values(), recipe.lr, BETAS, weight_decay=WEIGHT_DECAY, fused=True)]
    apart = recipe.optimizer in ("muon", "soap")
    inner = {name for name, value in trained.items() if apart and value.ndim == 2 and is_inner(name)}
    adam = torch.optim.Adam([v for n, v in trained.items() if n not in inner], recipe.lr, BETAS, fused=True)
    if not inner:
        return [adam]
    matrices = [trained[name] for name in sorted(inner)]
    if recipe.optimizer == "soap":
        return [adam, _soap(matrices, recipe.lr)]
    return [adam, torch.optim.Muon(matrices, recipe.lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")]


def is_inner(name: str) -> bool:
    """Whether a parameter is a matrix between hidden layers."""
    return name.endswith(".weight") and (".expand." in name or ".project." in name or name == "entropy.layer.weight")


def _soap(matrices: list[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
    try:
        from pytorch_optimizer import SOAP  # type: ignore[import-not-found]
    except ImportError as error:
        raise InvalidInput("optimizer=soap needs one more package; run: pip install pytorch-optimizer") from error
    soap: torch.optim.Optimizer = SOAP(matrices, lr=lr, weight_decay=0.0, max_precondition_dim=SOAP_LARGEST)
    return soap
