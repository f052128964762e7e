"""Where a training runs: the device, its arithmetic, and the compilation of the transforms."""

from __future__ import annotations

import torch
from torch import nn

from tadan.errors import InvalidInput
from tadan.train.recipe import Recipe

#: Parts with fixed shapes and much arithmetic; the context network changes its shapes with every schedule.
COMPILED = ("g_a", "g_s", "entropy.h_a", "entropy.h_s")


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``; without N the GPU of the local rank.

    Raises:
        InvalidInput: the name is none of these, or there is no such GPU.
    """
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdigit())):
        raise InvalidInput(f"the device is auto, cpu, cuda or cuda:N, not {name!r}")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cpu" or (kind == "auto" and not count):
        return torch.device("cpu")
    index = int(number) if number else local_rank
    if index >= count:
        raise InvalidInput(
            f"GPU {index} is asked for, and torch {torch.__version__} sees {count}; take --device cpu, start fewer "
            "processes, or install a build of torch for your GPU (pytorch.org/get-started)"
        )
    return torch.device("cuda", index)


def settle(device: torch.device, recipe: Recipe) -> None:
    """Set what torch keeps per process: threads, the current GPU, TF32 for what autocast leaves in float32."""
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        quick = uses_bf16(device, recipe)
        torch.set_float32_matmul_precision("high" if quick else "highest")
        torch.backends.cudnn.allow_tf32 = quick


def autocast(device: torch.device, recipe: Recipe) -> torch.autocast:
    """Context in which the network runs."""
    return torch.autocast(device.type, torch.bfloat16, enabled=uses_bf16(device, recipe))


def uses_bf16(device: torch.device, recipe: Recipe) -> bool:
    """Whether the network runs in bf16: ``auto`` wants processors that multiply it.

    Others emulate it: on AVX2 alone a training step took 30 times as long (docs/experiments.md).
    """
    if recipe.precision != "auto":
        return recipe.precision == "bf16"
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def compile_transforms(model: nn.Module, device: torch.device, recipe: Recipe) -> None:
    """Compile the transforms in place where the recipe wants it; names of weights stay as they are.

    On 2 CPU cores compiled transforms were slower (docs/training.md), so ``auto`` compiles on a GPU only.
    """
    if recipe.compile == "on" or (recipe.compile == "auto" and device.type == "cuda"):
        for name in COMPILED:
            model.get_submodule(name).compile(dynamic=False)  # two crop sizes: two graphs, each specialised
