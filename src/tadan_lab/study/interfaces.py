"""Interfaces of a float model, where probes look: what passes there is read, changed, or computed only once.

An interface is the output of a layer, before its ReLU, or what a layer reads. In the order of computation::

    picture -> g_a -> y -> h_a -> z -> [h_s, context, hidden layers] -> mean, scale -> g_s -> picture
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from tadan.nn.blocks import SIDE
from tadan.nn.model import Losses, TadanModel
from tadan.schedule import Schedule

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Interface:
    """One place in a model.

    Attributes:
        name: in tables.
        owner: path of the module, as of ``get_submodule``.
        method: of the module; its output is the interface.
        reads: the first argument is the interface instead.
        parts: the last axis holds so many vectors, positions of a finer plane (``depth_to_space`` comes next).
        batch: axis of the pictures.
        paid: the file carries all that a change here tells the decoder, so that J counts it.
    """

    name: str
    owner: str
    method: str = "forward"
    reads: bool = False
    parts: int = 1
    batch: int = 0
    paid: bool = False

    def vectors(self, x: Tensor) -> Tensor:
        """A tensor of the interface with the pictures first and one vector of channels last: (B, ..., C)."""
        return x.movedim(self.batch, 0).unflatten(-1, (self.parts, -1))

    def tensor(self, vectors: Tensor) -> Tensor:
        """Inverse of :meth:`vectors`."""
        return vectors.flatten(-2).movedim(0, self.batch)


def interfaces(model: TadanModel) -> list[Interface]:
    """All interfaces of a model, in the order of computation."""
    paid = ["g_a.inlet", *(f"g_a.blocks.{n}" for n in range(len(model.g_a.blocks))), "g_a.outlet"]
    paid += ["entropy.h_a.first_spatial", "entropy.h_a.second_spatial", "entropy.h_a.third"]
    named = {"g_a.outlet": "y", "entropy.h_a.third": "z"}
    found = [Interface(named.get(path, path.removeprefix("entropy.")), path, paid=True) for path in paid]
    for layer, parts in (("conv1", 1), ("up1", 4), ("conv2", 1), ("up2", 4), ("outlet", 1)):
        found.append(Interface(f"h_s.{layer}", f"entropy.h_s.{layer}", parts=parts))
    found.append(Interface("context", "entropy.context"))
    found.append(Interface("hidden.first", "entropy.layer", reads=True))
    found.append(Interface("hidden.second", "entropy.layer"))
    found.append(Interface("hidden.late", "entropy", "late_activations", batch=1))
    blocks = [f"g_s.blocks.{n}" for n in range(len(model.g_s.blocks))]
    found += [Interface(path, path) for path in ("g_s.inlet", *blocks)]
    found.append(Interface("g_s.to_grid", "g_s.to_grid", parts=SIDE * SIDE))
    found += [Interface(f"g_s.renderer.{n}", f"g_s.renderer.{n}") for n in range(len(model.g_s.renderer))]
    return found


@contextmanager
def changed(model: TadanModel, at: Interface, change: Change) -> Iterator[None]:
    """While open, whatever passes the interface is replaced by ``change`` of it, each time that it passes."""
    before = getattr(model.get_submodule(at.owner), at.method)

    def reading(x: Tensor, *others: Any) -> Any:
        return before(change(x), *others)

    def writing(*arguments: Any) -> Any:
        return change(before(*arguments))

    with _instead(model, at.owner, at.method, reading if at.reads else writing):
        yield


@contextmanager
def _instead(model: TadanModel, owner: str, method: str, function: Callable[..., Any]) -> Iterator[None]:
    module = model.get_submodule(owner)
    outer = vars(module).get(method)  # another replacement, which this one may call
    setattr(module, method, function)
    try:
        yield
    finally:
        if outer is None:
            delattr(module, method)
        else:
            setattr(module, method, outer)


class Replay:
    """A batch that was coded once: what stands before an interface is then taken from memory, not computed again.

    Args:
        model: in inference mode.
        picture: float32 (B, H, W, 3) in 0..1, H and W multiples of 64.
        quality: float (B,).
        schedule: decoding order.
    """

    def __init__(self, model: TadanModel, picture: Tensor, quality: Tensor, schedule: Schedule) -> None:
        self.model, self.picture, self.quality, self.schedule = model, picture, quality, schedule
        self._parts = [(at.owner, at.method) for at in interfaces(model) if at.owner.startswith("g_a.")]
        self._parts += [("entropy.h_a", "forward"), ("entropy", "parameters_for")]
        self._parts += [(at.owner, at.method) for at in interfaces(model) if at.owner.startswith("g_s.")]
        self._kept: dict[tuple[str, str], list[Any]] = {part: [] for part in self._parts}
        with ExitStack() as stack, torch.no_grad():
            for part in self._parts:
                stack.enter_context(_instead(model, *part, self._keeping(part)))
            self.losses: Losses = model(picture, quality, schedule)

    def run(self, at: Interface, change: Change) -> Losses:
        """Code the batch with hard rounding while ``change`` stands at the interface."""
        with ExitStack() as stack:
            for part in self._before(at):
                outputs = cycle(self._kept[part])
                stack.enter_context(_instead(self.model, *part, lambda *_, outputs=outputs: next(outputs)))
            stack.enter_context(changed(self.model, at, change))
            losses: Losses = self.model(self.picture, self.quality, self.schedule)
        return losses

    def _keeping(self, part: tuple[str, str]) -> Callable[..., Any]:
        owner, method = part
        before = getattr(self.model.get_submodule(owner), method)

        def keep(*arguments: Any) -> Any:
            self._kept[part].append(before(*arguments))
            return self._kept[part][-1]

        return keep

    def _before(self, at: Interface) -> list[tuple[str, str]]:
        place = (at.owner, at.method)
        if place in self._parts and not at.reads:
            return self._parts[: self._parts.index(place) + 1]
        inside = ("entropy.h_a", "forward") if at.owner.startswith("entropy.h_a") else ("entropy", "parameters_for")
        return self._parts[: self._parts.index(inside)]
