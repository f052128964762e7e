"""Whether ``tadan tune`` can be believed: its seconds against real runs, its choice against trying everything."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from tadan.codec.codec import Codec
from tadan.codec.transforms import Transforms
from tadan.models import load_model
from tadan.schedule import get_schedule
from tadan.tune.machine import MachineProfile
from tadan.tune.plan import Planner, loads_of
from tadan.tune.predict import CostModel
from tadan.tune.rates import Rates
from tadan.tune.search import Tuned, Tuner
from tadan.tune.setting import Setting
from tadan.tune.work import Plane, part_work

#: Of seconds that predictions are compared with: those of the wall, of processors, and of the wall at the pace at which
#: the machine was when its profile was measured.
KINDS = ("wall", "processor", "paced")
_PROBE = (32, 48)  # latents of what shows the pace


@dataclass(frozen=True)
class Prediction:
    """One setting on one picture.

    Attributes:
        picture: its name.
        width: pixels.
        height: pixels.
        schedule: of the setting.
        effort: of the setting.
        tile: of the setting.
        threads: of the codec.
        stored: whether it was stored in another format, which the model does not predict.
        encode: median wall seconds.
        encode_cpu: median processor seconds of all threads: what a run would take alone, where there is one thread.
        encode_predicted: seconds.
        decode: as for encode.
        decode_cpu: as for encode.
        decode_predicted: as for encode.
        pace: of the machine during these runs, in times that g_s took for one of the profile: machines that others use,
            too, change theirs by a quarter within minutes.
    """

    picture: str
    width: int
    height: int
    schedule: str
    effort: int
    tile: int | None
    threads: int
    stored: bool
    encode: float
    encode_cpu: float
    encode_predicted: float
    decode: float
    decode_cpu: float
    decode_predicted: float
    pace: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    def error(self, verb: str, kind: str) -> float:
        """Predicted over measured, minus 1; ``kind`` is one of :data:`KINDS`."""
        values = self.to_dict()
        measured = values[f"{verb}_cpu" if kind == "processor" else verb]
        return float(values[f"{verb}_predicted"] * (self.pace if kind == "paced" else 1) / measured - 1)


def measure_predictions(
    images: Sequence[tuple[str, Image.Image]],
    machine: MachineProfile,
    settings: Sequence[Setting],
    threads: Sequence[int],
    repeat: int,
    on_trial: Callable[[], None] = lambda: None,
) -> list[Prediction]:
    """Run every setting on every picture, and predict it.

    Args:
        images: names and pictures, RGB.
        machine: profile of this machine.
        settings: to run.
        threads: numbers of threads.
        repeat: runs of each; medians count.
        on_trial: called after every setting.
    """
    rows = []
    for count in threads:
        probe = _Probe(machine, count)
        codecs: dict[str | None, Codec] = {}
        for name, image in images:
            for setting in settings:
                codec = codecs.setdefault(setting.model, Codec(setting.model, threads=count))
                costs = CostModel(machine, codec.model.config)
                encoded = codec.encode_picture(image, setting.options)
                data, bits = encoded.data, 8.0 * len(encoded.data)
                codec.decode(data)
                probe.forget()
                encode = _seconds(lambda: codec.encode_picture(image, setting.options), repeat, probe)  # noqa: B023
                decode = _seconds(lambda: codec.decode(data), repeat, probe)  # noqa: B023 (at once)
                rows.append(
                    Prediction(
                        name,
                        *image.size,
                        setting.schedule,
                        setting.effort,
                        setting.tile,
                        count,
                        encoded.content != "latents",
                        *encode,
                        costs.encode(setting, image.size, bits, count),
                        *decode,
                        costs.decode(setting, image.size, bits, count),
                        probe.pace,
                    )
                )
                on_trial()
    return rows


class _Probe:
    """Shows the same latents again and again, to see at which pace the machine is."""

    def __init__(self, machine: MachineProfile, threads: int) -> None:
        model, plane = load_model(), Plane(*_PROBE)
        self._transforms, self._taken = Transforms(model, threads), list[float]()
        self._usual = machine.seconds("g_s", part_work("g_s", plane, model.config, get_schedule("balanced")), threads)
        self._y_hat = np.random.default_rng(0).integers(-200, 200, (*_PROBE, model.config.latent), np.int32)
        self()

    def __call__(self) -> None:
        begun = time.perf_counter()
        self._transforms.synthesise(self._y_hat, 60)
        self._taken.append(time.perf_counter() - begun)

    def forget(self) -> None:
        """What came before."""
        self._taken.clear()

    @property
    def pace(self) -> float:
        """Median since then, of the seconds in the profile."""
        return median(self._taken) / self._usual


def _seconds(call: Callable[[], object], repeat: int, probe: Callable[[], None]) -> tuple[float, float]:
    """Medians of wall and processor seconds; the probe runs before each call."""
    wall, cpu = [], []
    for _ in range(repeat):
        probe()
        begun, used = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - used)
    return median(wall), median(cpu)


def error_summary(rows: Sequence[Prediction], kind: str) -> dict[str, dict[str, float]]:
    """Of encoding and decoding: median and largest absolute error, and median error, all relative."""
    kept = [row for row in rows if not row.stored]
    found = {}
    for verb in ("encode", "decode"):
        errors = [row.error(verb, kind) for row in kept]
        if errors:
            found[verb] = {
                "median_absolute": median(map(abs, errors)),
                "largest_absolute": max(map(abs, errors)),
                "median": median(errors),
            }
    return found


@dataclass(frozen=True)
class Regret:
    """The choice of a search beside the best of everything.

    Attributes:
        target: as it was asked for.
        chosen: setting that the search took.
        best: setting that is best on the whole sample.
        regret: what the choice loses: bytes above the least, or speed below the most, as a share.
        seconds: that the search took.
        cpu_seconds: of all its threads.
        estimated: seconds that it said it would take at most.
        files: that the search coded.
        files_of_all: that trying everything codes.
    """

    target: str
    chosen: str
    best: str
    regret: float
    seconds: float
    cpu_seconds: float
    estimated: float
    files: int
    files_of_all: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def measure_regret(tuner: Tuner, rates: Rates, estimated: float) -> tuple[Regret, Tuned]:
    """Search, then try everything that the machine can afford on the whole sample."""
    made: set[tuple[Setting, int]] = set()
    real = rates.coded

    def counted(setting: Setting, picture: int, pixels: int | None = None) -> Any:
        made.add((setting, picture))
        return real(setting, picture, pixels)

    rates.coded = counted  # type: ignore[method-assign]
    begun, used = time.perf_counter(), time.process_time()
    tuned = tuner.run(rates)
    seconds, cpu, files = time.perf_counter() - begun, time.process_time() - used, len(made)
    quality = tuned.entries[0].setting.quality
    loads = loads_of(rates, quality, tuner.here, tuner.machine)
    planner = Planner(tuner.machine, loads, tuner.album.largest, tuner.tuning.memory)
    costs: dict[Setting, float] = {}
    speeds: dict[Setting, float] = {}
    for entry in tuner.everything(planner, quality):
        base = replace(entry.setting, tile=None)
        ratios = [rates.log_ratio(base, picture) for picture in range(len(tuner.album.sample))]
        costs[entry.setting] = float(np.mean(ratios)) + entry.log_ratio
        speeds[entry.setting] = entry.figures.goal(tuner.tuning)
    own = replace(tuned.chosen.setting, quality=quality)
    least = min(costs.values())
    if tuner.tuning.goal == "bytes":
        best = min(costs, key=lambda one: costs[one])
        regret = math.expm1(costs[own] - least)
    else:
        within = [one for one, cost in costs.items() if cost <= least + math.log1p(tuner.tuning.excess) + 1e-9]
        best = max(within, key=lambda one: speeds[one])
        regret = 1 - speeds[own] / speeds[best]
    found = Regret(
        str(tuner.tuning), str(tuned.chosen.setting), str(best), regret, seconds, cpu, estimated, files, len(made)
    )
    return found, tuned
