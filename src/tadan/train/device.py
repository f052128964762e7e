"""What a run trains on: device and precision, and the processes that train one model together.

Processes are started by torch's launcher, or there is the single one of an ordinary start. Gradients are averaged by
one explicit sum over a flat buffer. All ranks then hold the same gradients and take the same step with any optimiser;
what must not differ between them (schedule, learning rate, when to stop) follows from the seed, the step and that
buffer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist

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
    return recipe.precision == "bf16" if recipe.precision != "auto" else multiplies_bf16(device)


def multiplies_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for products in bf16."""
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def compile_transforms(model: nn.Module, device: torch.device, recipe: Recipe) -> None:
    """Compile the transforms in place where the recipe wants it; names of weights stay as they are.

    On 2 CPU cores compiled transforms were slower (docs/training.md), so ``auto`` compiles on a GPU only.
    """
    if recipe.compile == "on" or (recipe.compile == "auto" and device.type == "cuda"):
        for name in COMPILED:
            model.get_submodule(name).compile(dynamic=False)  # two crop sizes: two graphs, each specialised


@dataclass(frozen=True)
class World:
    """Place of this process among all that train one model.

    Attributes:
        rank: 0 for the process that logs, saves and evaluates.
        size: number of processes; 1 for an ordinary start.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> World:
        """Join the processes that ``torchrun`` started (it sets RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT).

        Raises:
            InvalidInput: torch was built without the transport that the device needs.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        backend = "nccl" if device.type == "cuda" else "gloo"
        if not dist.is_available() or not dist.is_backend_available(backend):
            raise InvalidInput(f"this build of torch has no {backend}; train in one process or install another build")
        dist.init_process_group(backend, device_id=device if device.type == "cuda" else None)
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this process logs, saves and evaluates."""
        return self.rank == 0

    def average(self, parameters: Iterable[torch.nn.Parameter], facts: Tensor) -> Tensor:
        """Replace every gradient by its mean over all ranks.

        A gradient that is None on some ranks counts as zeros there; one that is None everywhere stays None, so that
        an optimiser leaves the parameter alone as it does in a single process. A gradient that is not finite on one
        rank is not finite on any afterwards: all ranks decide alike.

        Args:
            parameters: in the same order on all ranks.
            facts: float32 (n,), averaged along.

        Returns:
            mean of ``facts`` over the ranks.
        """
        if self.size == 1:
            return facts
        owners = list(parameters)
        present = torch.tensor([owner.grad is not None for owner in owners], dtype=torch.float32).to(facts.device)
        grads = [torch.zeros_like(owner) if owner.grad is None else owner.grad for owner in owners]
        facts = facts.clone()
        self.sum([*grads, present, facts])
        for owner, grad, anywhere in zip(owners, grads, present.tolist(), strict=True):
            owner.grad = grad / self.size if anywhere else None
        return facts / self.size

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its sum over all ranks; shapes are the same on all."""
        if self.size == 1 or not tensors:
            return
        buffer = torch.cat([value.flatten() for value in tensors])
        dist.all_reduce(buffer)
        for value, total in zip(tensors, buffer.split([value.numel() for value in tensors]), strict=True):
            value.copy_(total.view_as(value))

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite ``tensors`` with those of rank 0."""
        if self.size > 1:
            for value in tensors:
                dist.broadcast(value.detach(), 0)

    def wait(self) -> None:
        """Return when all ranks have come here; a plain sum, which every transport knows."""
        if self.size > 1:
            device = "cuda" if dist.get_backend() == "nccl" else "cpu"
            dist.all_reduce(torch.zeros(1, device=device))

    def leave(self) -> None:
        """End the connection; harmless in a single process."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()


def local_rank() -> int:
    """Number of this process on its machine, as ``torchrun`` tells."""
    return int(os.environ.get("LOCAL_RANK", "0"))
