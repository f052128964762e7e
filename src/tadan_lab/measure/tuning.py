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
from tadan.tune.machine import MachineProfile
from tadan.tune.plan import Planner, loads_of
from tadan.tune.predict import CostModel
from tadan.tune.rates import Rates
from tadan.tune.search import Tuned, Tuner
from tadan.tune.setting import Setting


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

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    def error(self, verb: str, cpu: bool) -> float:
        """Predicted over measured, minus 1."""
        values = self.to_dict()
        return float(values[f"{verb}_predicted"] / values[f"{verb}_cpu" if cpu else verb] - 1)


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
        codecs: dict[str | None, Codec] = {}
        for name, image in images:
            for setting in settings:
                codec = codecs.setdefault(setting.model, Codec(setting.model, threads=count))
                costs = CostModel(machine, codec.model.config)
                encoded = codec.encode_picture(image, setting.options)
                data, bits = encoded.data, 8.0 * len(encoded.data)
                codec.decode(data)
                encode = _seconds(lambda: codec.encode_picture(image, setting.options), repeat)  # noqa: B023 (at once)
                decode = _seconds(lambda: codec.decode(data), repeat)  # noqa: B023
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
                    )
                )
                on_trial()
    return rows


def _seconds(call: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Medians of wall and processor seconds."""
    wall, cpu = [], []
    for _ in range(repeat):
        begun, used = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - used)
    return median(wall), median(cpu)


def error_summary(rows: Sequence[Prediction], cpu: bool) -> dict[str, dict[str, float]]:
    """Of encoding and decoding: median and largest absolute error, and median error, all relative."""
    kept = [row for row in rows if not row.stored]
    found = {}
    for verb in ("encode", "decode"):
        errors = [row.error(verb, cpu) for row in kept]
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
