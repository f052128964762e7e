"""Checkpoints in safetensors: the state that a run goes on from, and the averaged weights that are exported.

Names in ``state.safetensors``: ``model/NAME``, ``average/NAME``, ``optimizer/KEY/NAME`` for the moments of a parameter
(``KEY#0``, ``KEY#1`` ... where an optimiser keeps a list). What is no tensor stands as JSON in the metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tadan.errors import Corrupt, UnwritableOutput

Optimizers = Sequence[torch.optim.Optimizer]
_KEPT = ("step",)  # of a parameter group; some optimisers count there


@dataclass
class State:
    """What a checkpoint holds beside the moments of the optimisers.

    Attributes:
        model: weights as trained.
        average: their exponential moving average.
        facts: JSON-able values of the trainer: step, health, name of the optimiser.
    """

    model: dict[str, Tensor]
    average: dict[str, Tensor]
    facts: dict[str, Any]


def save_state(path: Path, state: State, trained: Mapping[str, torch.nn.Parameter], optimizers: Optimizers) -> None:
    """Write a checkpoint; the old one stands until the new one is complete."""
    tensors = {f"model/{name}": value for name, value in state.model.items()}
    tensors |= {f"average/{name}": value for name, value in state.average.items()}
    scalars: dict[str, Any] = {}
    for name, value in trained.items():
        for optimizer in optimizers:
            for key, moment in optimizer.state.get(value, {}).items():
                _flatten(f"optimizer/{key}", name, moment, tensors, scalars)
    groups = [
        {key: group[key] for key in _KEPT if key in group}
        for optimizer in optimizers
        for group in optimizer.param_groups
    ]
    metadata = {"step": state.facts["step"], "facts": state.facts, "scalars": scalars, "groups": groups}
    save_tensors(path, tensors, {key: json.dumps(value) for key, value in metadata.items()})


def load_state(
    path: Path, trained: Mapping[str, torch.nn.Parameter], optimizers: Optimizers, optimizer_name: str
) -> State:
    """Read a checkpoint; moments go to ``optimizers`` unless another optimiser than ``optimizer_name`` left them.

    Raises:
        Corrupt: the file cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise Corrupt(f"cannot read the checkpoint {path}: {error}; remove it to start again") from error
    facts = metadata.get("facts", {"step": metadata["step"]})
    for optimizer in optimizers:
        optimizer.state.clear()
    if facts.get("optimizer", optimizer_name) == optimizer_name:
        _load_moments(tensors, metadata, trained, optimizers)
    return State(_below(tensors, "model/"), _below(tensors, "average/"), facts)


def _flatten(key: str, name: str, value: Any, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
    if isinstance(value, Tensor):
        tensors[f"{key}/{name}"] = value
    elif isinstance(value, list) and value:
        for index, one in enumerate(value):
            _flatten(f"{key}#{index}", name, one, tensors, scalars)
    else:  # numbers, None and empty lists
        scalars[f"{key}/{name}"] = value


def _load_moments(
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    trained: Mapping[str, torch.nn.Parameter],
    optimizers: Optimizers,
) -> None:
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    for group, stored in zip(groups, metadata.get("groups", []), strict=False):
        group.update(stored)
    owner = {value: opt for opt in optimizers for group in opt.param_groups for value in group["params"]}
    found = {name: value for name, value in tensors.items() if name.startswith("optimizer/")}
    for full, moment in sorted({**metadata.get("scalars", {}), **found}.items()):
        _, key, name = full.split("/")
        if name not in trained:
            continue  # of a part that this recipe does not train
        parameter = trained[name]
        if isinstance(moment, Tensor):
            moment = moment.to(parameter.device)
        state = owner[parameter].state[parameter]
        if "#" in key:
            key, index = key.split("#")
            row = state.setdefault(key, [])
            row.extend([None] * (int(index) + 1 - len(row)))
            row[int(index)] = moment
        else:
            state[key] = moment


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def load_weights(path: Path) -> dict[str, Tensor]:
    """Averaged weights of a run (``ema.safetensors``)."""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file to a temporary name, then rename it.

    Raises:
        UnwritableOutput: the disk is full or the folder not permitted; the old file is unchanged.
    """
    temporary = path.with_suffix(".tmp")
    try:
        save_file({name: value.detach().contiguous() for name, value in tensors.items()}, temporary, metadata)
        os.replace(temporary, path)
    except (SafetensorError, OSError) as error:
        raise UnwritableOutput(f"Cannot write {path}: {error}; the old file is unchanged. Free some space.") from error
