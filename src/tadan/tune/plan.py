"""What a setting would mean for the user's pictures on a machine, and whether that meets a target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tadan.codec.parallel import MEMORY
from tadan.models import load_model
from tadan.tune.machine import MachineProfile
from tadan.tune.predict import CostModel, Size
from tadan.tune.rates import Rates
from tadan.tune.setting import Deployment, Setting, deployments
from tadan.tune.target import Tuning

_SHARE = 90  # percent of the pictures that bounds of seconds hold for


@dataclass(frozen=True)
class Figures:
    """Predicted for the pictures of an album.

    Attributes:
        encode: seconds that nine pictures in ten do not exceed, beside as many as the deployment has.
        decode: the same.
        speed: pictures encoded a second by all processes.
        decode_speed: pictures decoded a second.
        memory: peak bytes of all processes, each with the largest picture.
    """

    encode: float
    decode: float
    speed: float
    decode_speed: float
    memory: float

    def meets(self, tuning: Tuning) -> bool:
        """Whether every bound of time and memory holds."""
        return (
            self.encode <= tuning.encode
            and self.decode <= tuning.decode
            and self.memory <= tuning.memory
            and self.speed >= tuning.speed
        )

    def goal(self, tuning: Tuning) -> float:
        """What the goal wants much of, as far as the machine is concerned."""
        return self.decode_speed if tuning.goal == "decode-speed" else self.speed


@dataclass(frozen=True)
class Load:
    """A picture of the sample as work.

    Attributes:
        size: width and height.
        bits: of its file.
        stored_encode: seconds beyond coding latents that it takes to be stored in another format; 0 if it is not.
        stored_decode: seconds to decode it if it is stored; None if it is not.
    """

    size: Size
    bits: float
    stored_encode: float = 0.0
    stored_decode: float | None = None


class Planner:
    """Predicts figures of settings for one album on one machine.

    Args:
        machine: that it is planned for.
        loads: the pictures.
        largest: size of the largest picture of all.
        memory: bytes that all processes together may take.
    """

    def __init__(self, machine: MachineProfile, loads: Sequence[Load], largest: Size, memory: float = math.inf) -> None:
        self.machine, self._loads, self._largest, self._memory = machine, loads, largest, memory
        self._models: dict[str | None, CostModel] = {}
        self._known: dict[tuple[Setting, Deployment], Figures] = {}

    def costs(self, model: str | None) -> CostModel:
        """Of a model on the machine."""
        if model not in self._models:
            self._models[model] = CostModel(self.machine, load_model(model).config)
        return self._models[model]

    def figures(self, setting: Setting, way: Deployment) -> Figures:
        """Of a setting."""
        key = setting, way
        if key not in self._known:
            self._known[key] = self._figures(setting, way)
        return self._known[key]

    def _figures(self, setting: Setting, way: Deployment) -> Figures:
        costs, beside = self.costs(setting.model), self._beside(way)
        memory = memory_of_each(self._memory, way.jobs) or MEMORY
        encodes, decodes = [], []
        for one in self._loads:
            coding = costs.encode(setting, one.size, one.bits, way.threads, memory)
            encodes.append(beside * (coding + one.stored_encode))
            seconds = one.stored_decode
            if seconds is None:
                seconds = costs.decode(setting, one.size, one.bits, way.threads, memory)
            decodes.append(beside * seconds)
        return Figures(
            encode=float(np.percentile(encodes, _SHARE)),
            decode=float(np.percentile(decodes, _SHARE)),
            speed=way.jobs / float(np.mean(encodes)),
            decode_speed=way.jobs / float(np.mean(decodes)),
            memory=way.jobs * costs.memory(setting, self._largest, way.threads, memory),
        )

    def _beside(self, way: Deployment) -> float:
        """How many times longer a process takes beside the others; what its own threads do is in its seconds."""
        machine = self.machine
        return max(
            1.0, machine.slowdown("processes", way.jobs * way.threads) / machine.slowdown("processes", way.threads)
        )

    def ways(self, setting: Setting, tuning: Tuning) -> list[tuple[Deployment, Figures]]:
        """Deployments that meet the bounds, the one that the goal wants first."""
        found = [(way, self.figures(setting, way)) for way in deployments(self.machine.cores)]
        met = [(way, figures) for way, figures in found if figures.meets(tuning)]
        return sorted(met, key=lambda one: (-one[1].goal(tuning), one[1].encode))


def memory_of_each(total: float, jobs: int) -> int | None:
    """Bytes that each process is told to stay below where all together may take ``total``; None for its default."""
    share = total / jobs
    return None if share >= MEMORY else max(1, int(share))


def loads_of(rates: Rates, quality: int, here: MachineProfile, there: MachineProfile) -> list[Load]:
    """The sample as work on another machine, from what its parts took here. Storing takes one thread.

    Args:
        rates: of the sample; its reference is coded where that is not done yet.
        quality: of the reference.
        here: this machine.
        there: the one that is planned for.
    """
    reference = rates.reference(quality)
    costs, loads = CostModel(here, load_model(reference.model).config), []
    faster = there.storing / here.storing if here.storing else 1.0
    for number, picture in enumerate(rates.album.sample):
        coded, bits = rates.coded(reference, number), rates.bits(reference, number)
        if not coded.stored:
            loads.append(Load(picture.size, bits))
            continue
        height, width = rates.part(number).shape[:2]
        explained = costs.encode(reference, (width, height), 8.0 * coded.size)
        scale = faster * picture.size[0] * picture.size[1] / coded.pixels
        extra = max(0.0, coded.encode - explained) * scale
        loads.append(Load(picture.size, bits, extra, coded.decode * scale))
    return loads


def pareto(points: Mapping[Setting, tuple[float, ...]]) -> list[Setting]:
    """Those that no other is at least as good as in everything and better in something; less is better."""
    front = []
    for setting, values in points.items():
        beaten = any(
            all(a <= b for a, b in zip(other, values, strict=True)) and other != values
            for name, other in points.items()
            if name != setting
        )
        if not beaten:
            front.append(setting)
    return sorted(front, key=lambda one: points[one])
