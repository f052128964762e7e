"""Several processes that train one model: started by torch's launcher, or the single process of an ordinary start.

Gradients are averaged by one explicit sum over a flat buffer. All ranks then hold the same gradients and take the same
step with any optimiser; what must not differ between them (schedule, learning rate, when to stop) follows from the
seed, the step and that buffer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist

from tadan.errors import InvalidInput


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
        buffer = torch.cat([*(grad.flatten().float() for grad in grads), present, facts])
        dist.all_reduce(buffer)
        buffer /= self.size
        sizes = [grad.numel() for grad in grads]
        *means, present, facts = buffer.split([*sizes, len(owners), len(facts)])
        for owner, mean, anywhere in zip(owners, means, present.tolist(), strict=True):
            owner.grad = mean.view_as(owner).to(owner.dtype) if anywhere else None
        return facts

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
