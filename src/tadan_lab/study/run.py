"""The study from pictures to results: every piece is a file, and what stands is not done again.

::

    RUN/training/, RUN/pictures/    frozen latents                                   tadan_lab.study.latents
    RUN/any.safetensors             any-schedule network, trained on neutral draws   tadan_lab.study.training
    RUN/orders.json                 measured costs, best schedules for every K       tadan.schedule.optimize
    RUN/any.json                    its rate under every schedule, no retraining
    RUN/special/KEY.json            rate of each specialised network
    RUN/groups/N.json               entropy models of N channel groups, trained alike    tadan_lab.study.groups
    RUN/groups/times.json           milliseconds of their decoders, in turn
    RUN/codec.json, speed-*.json    bytes and decode times of the real codec         tadan_lab.study.plan
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from tadan.codec.info import pattern_text
from tadan.errors import InvalidInput
from tadan.files import make_folder, write_atomically
from tadan.models import Model, load_model
from tadan.nn.entropy_model import EntropyModel
from tadan.pictures.folder import list_pictures
from tadan.schedule import PatternSchedule, Schedule, parse_schedule
from tadan.schedule.optimize import search, used_subsets
from tadan.train.checkpoint import load_weights
from tadan.train.data import HELD_OUT, SUFFIXES
from tadan.train.restore import restore
from tadan_lab.study import plan
from tadan_lab.study.costs import NetworkCosts
from tadan_lab.study.groups import (
    CALIBRATION_SIZE,
    crops,
    decode_times,
    fresh,
    integer_model,
    measure,
    merged,
    timed_picture,
)
from tadan_lab.study.latents import (
    Picture,
    TrainingLatents,
    cache_pictures,
    cache_training,
    load_pictures,
    picture_facts,
)
from tadan_lab.study.plan import LISTED, STAGES, coded_rates, found_patterns, timed
from tadan_lab.study.training import Fit, evaluate, parameter_count, save_weights, train

Say = Callable[[str], None]
CALIBRATION = 4  # training pictures that integer networks are calibrated on
STAGES_CONFIRMED = (2, 4, 8)  # best K-stage schedules of 4x4 that get a specialised network, beside the full order


@dataclass(frozen=True)
class StudyRecipe:
    """Sizes of the study; every specialised network gets the same ``special``.

    Attributes:
        qualities: of the bundled model whose latents are frozen.
        crop: pixels a side of the centre of a training picture that is used.
        held_out: training pictures that orders are measured on, half of them, and checked on, the other half. The
            default leaves out those that the bundled model was not trained on either.
        general: training of the any-schedule network, both threads.
        special: training of each specialised network, one thread each.
        grouped: training of each entropy model with other channel groups, from random weights.
        budget: subsets of the 4x4 patch to measure; smaller patches are measured in full.
        positions: latent positions that each subset is measured on, per quality.
        repeat: rounds of timing.
    """

    qualities: tuple[int, ...] = plan.QUALITIES
    crop: int = 512
    held_out: int = HELD_OUT
    general: Fit = field(default_factory=lambda: Fit(steps=2600, lr=5e-4, draws=2, warmup=100))
    special: Fit = field(default_factory=lambda: Fit(steps=1200, lr=3e-4))
    grouped: Fit = field(default_factory=lambda: Fit(steps=1200, lr=1e-3, warmup=100))
    budget: int = 4000
    positions: int = 1024
    repeat: int = 7


class Study:
    """One study in a folder; :meth:`run` does what is missing.

    Args:
        folder: of all its files.
        data: folder of training pictures, searched recursively.
        pictures: folder of evaluation pictures.
        speed: pictures to time decoding on, may be empty.
        recipe: sizes.
        jobs: specialised networks trained side by side.
        seeds: how often the schedules of :data:`tadan_lab.study.plan.REPEATED` are trained, 1 to 3.
        only: names of schedules to train specialised networks for; empty for all.
        groups: numbers of channel groups to compare, joined from the model's; empty: the model's, and one.
        model: name or path; None for the bundled one.
        say: takes progress messages.
    """

    def __init__(
        self,
        folder: Path,
        data: Path,
        pictures: Path,
        speed: Sequence[Path] = (),
        recipe: StudyRecipe | None = None,
        jobs: int = 2,
        seeds: int = len(plan.SEEDS),
        only: Sequence[str] = (),
        groups: Sequence[int] = (),
        model: str | None = None,
        say: Say = print,
    ) -> None:
        self.folder, self.data, self.pictures = make_folder(folder), data, pictures
        self.seeds, self.only = seeds, tuple(only)
        self.speed, self.recipe = list(speed), recipe or StudyRecipe()
        self.jobs, self.model, self.say = jobs, model, say
        self.config = load_model(model).config
        self.groups = tuple(groups) or (self.config.groups, 1)
        for count in self.groups:
            merged(self.config, count)  # refuses what cannot be joined before anything is trained

    def run(self) -> None:
        """Do all pieces that are missing, in order.

        Raises:
            InvalidInput: too few training pictures, or the folder belongs to a study of other settings.
            UnreadableInput: a picture cannot be read.
        """
        self._settings()
        self._latents()
        self._general()
        self._orders()
        self._evaluate_general()
        self._specialised()
        self._grouped()
        self._practice()

    def compare_groups(self) -> None:
        """Only what channel groups are compared with; errors as of :meth:`run`, which goes on from there."""
        self._settings()
        self._latents()
        self._grouped()

    def _settings(self) -> None:
        settings = {"model": load_model(self.model).id.hex(), **json.loads(json.dumps(asdict(self.recipe)))}
        path = self.folder / "settings.json"
        if path.exists() and json.loads(path.read_text()) != settings:
            raise InvalidInput(f"{self.folder} holds a study of another model or recipe; choose another --run")
        _write(path, settings)

    def _latents(self) -> None:
        model, qualities = load_model(self.model), self.recipe.qualities
        evaluation = list_pictures(self.pictures)
        self.say(f"latents of {len(evaluation)} evaluation pictures")
        cache_pictures(model, evaluation, qualities, self.folder / "pictures")
        training = training_pictures(self.data)
        self.say(f"latents of {len(training)} training pictures")
        recipe = self.recipe
        cache_training(model, training, qualities, recipe.crop, recipe.held_out, self.folder / "training")

    def _general(self) -> None:
        path = self.folder / "any.safetensors"
        if path.exists():
            return
        self.say("any-schedule network")
        network = _entropy_of(self.model)
        latents = TrainingLatents(self.folder / "training")
        state = self.folder / "any.state.safetensors"
        allowed, log = self.config.schedule_groups, _logger(self.folder / "any.jsonl")
        train(network, latents, lambda rng: plan.draw(rng, allowed), self.recipe.general, plan.SEEDS[0], state, log)
        save_weights(path, dict(network.state_dict()))

    def _orders(self) -> None:
        path = self.folder / "orders.json"
        if path.exists():
            return
        network = general_network(self.folder, self.model)
        latents = TrainingLatents(self.folder / "training")
        out: dict[str, Any] = {}
        for size in (2, 3, 4):
            shape = (size, size)
            self.say(f"orders of {size}x{size}")
            costs, apart = (
                NetworkCosts(network, latents, shape, self.recipe.positions, part=part) for part in range(2)
            )
            budget = self.recipe.budget if size == 4 else 2**8
            began = time.monotonic()
            found = search(shape, costs, budget)
            used = {n: s for n, s in plan.listed().items() if isinstance(s, PatternSchedule) and s.tiles(shape)}
            rows = {f"best-{one.stages}": one.schedule for one in found.best} | used
            self.say(f"{found.measured} of {found.subsets} subsets in {time.monotonic() - began:.0f} s")
            out[f"{size}x{size}"] = {
                "measured": found.measured,
                "subsets": found.subsets,
                "model_error": found.model_error,
                "model_r2": found.model_r2,
                "without_context": found.costs.of(0, 0).item(),
                "schedules": {
                    name: {
                        "pattern": pattern_text(schedule.pattern.tolist()),
                        "bits": measured_rate(costs, shape, schedule),
                        "bits_apart": measured_rate(apart, shape, schedule),
                    }
                    for name, schedule in rows.items()
                },
            }
        _write(path, out)

    def schedules(self) -> dict[str, Schedule]:
        """All schedules that get a specialised network: the listed ones, then those that the search adds to them."""
        allowed = self.config.schedule_groups
        schedules = {name: one for name, one in plan.listed().items() if one.groups in allowed}
        orders = json.loads((self.folder / "orders.json").read_text())
        for size in (2, 3, 4):
            best = orders[f"{size}x{size}"]["schedules"]
            stages = (*(STAGES_CONFIRMED if size == 4 else ()), size * size)
            for count in stages:
                name = f"{size}x{size}-optimised" + (f"-{count}" if count < size * size else "")
                found = parse_schedule(best[f"best-{count}"]["pattern"])
                if found not in schedules.values():  # the listed 2x2 order is the best one
                    schedules[name] = found
        return schedules

    def _evaluate_general(self) -> None:
        path = self.folder / "any.json"
        if path.exists():
            return
        network = general_network(self.folder, self.model)
        pictures = evaluation_pictures(self.folder, self.recipe.qualities)
        best = json.loads((self.folder / "orders.json").read_text())["4x4"]["schedules"]
        schedules = self.schedules() | {
            name: parse_schedule(one["pattern"]) for name, one in best.items() if name.startswith("best-")
        }
        out = {}
        for name, schedule in schedules.items():
            rows = evaluate(network, schedule, pictures)
            out[name] = {"schedule": schedule_label(schedule), "rows": rows}
            self.say(f"any-schedule network under {name}: {_mean_bpp(rows)}")
        facts = {str(q): picture_facts([p for p in pictures if p.quality == q]) for q in self.recipe.qualities}
        _write(path, {"pictures": facts, "parameters": parameter_count(network), "schedules": out})

    def _specialised(self) -> None:
        make_folder(self.folder / "special")
        wanted = plan.entries(self.schedules(), self.seeds, self.only)
        missing = [one for one in wanted if not _result(self.folder, one.key).exists()]
        if not missing:
            return
        with ProcessPoolExecutor(self.jobs, get_context("spawn")) as pool:
            jobs = [pool.submit(train_specialised, self.folder, self.recipe, self.model, entry) for entry in missing]
            try:
                for number, job in enumerate(as_completed(jobs), 1):
                    self.say(f"[{number}/{len(missing)}] {job.result()}")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # or the error would wait for an hour of training
                raise

    def _grouped(self) -> None:
        files, recipe = make_folder(self.folder / "groups"), self.recipe
        for count in self.groups:
            target = files / f"{count}.json"
            if target.exists():
                continue
            self.say(f"entropy model of {count} channel groups")
            model, latents = load_model(self.model), TrainingLatents(self.folder / "training")
            network = fresh(merged(self.config, count), _entropy_of(self.model), latents)
            state, log = files / f"{count}.state.safetensors", _logger(files / f"{count}.jsonl")
            train(network, latents, lambda rng: plan.draw(rng, (1,)), recipe.grouped, plan.SEEDS[0], state, log)
            save_weights(files / f"{count}.safetensors", dict(network.state_dict()))
            exact, pictures = self._integer(model, network, latents), evaluation_pictures(self.folder, recipe.qualities)
            _write(target, measure(model, exact, network, pictures, list_pictures(self.pictures)))
        self._time_groups()

    def _integer(self, model: Model, network: EntropyModel, latents: TrainingLatents) -> Model:
        usable = [path for path in training_pictures(self.data) if path.name in latents.names[:CALIBRATION]]
        return integer_model(model, network, crops(usable, min(CALIBRATION_SIZE, self.recipe.crop)))

    def _time_groups(self) -> None:
        target = self.folder / "groups" / "times.json"
        if target.exists():
            return
        self.say("decode times of channel groups")
        model, latents = load_model(self.model), TrainingLatents(self.folder / "training")
        models = {}
        for count in self.groups:
            network = EntropyModel(merged(self.config, count))
            network.load_state_dict(load_weights(target.with_name(f"{count}.safetensors")))
            models[count] = self._integer(model, network, latents)
        picture = timed_picture(evaluation_pictures(self.folder, self.recipe.qualities))
        ms = decode_times(models, picture, self.recipe.repeat)
        _write(target, {"picture": [picture.name, picture.quality], "ms": ms})

    def _practice(self) -> None:
        orders = json.loads((self.folder / "orders.json").read_text())
        target = self.folder / "codec.json"
        if not target.exists():
            self.say("the codec as installed under each schedule")
            schedules = {name: name for name in LISTED} | found_patterns(orders, STAGES)
            _write(target, coded_rates(self.model, list_pictures(self.pictures), self.recipe.qualities, schedules))
        frontier = list(found_patterns(orders, range(2, 17)).values())
        for path in self.speed:
            target = self.folder / f"speed-{path.stem}.json"
            if not target.exists():
                self.say(f"decode times on {path.name}")
                _write(target, timed(self.model, path, frontier, self.recipe.repeat))


def training_pictures(folder: Path) -> list[Path]:
    """Pictures below a folder, in the order of their paths."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def general_network(folder: Path, model: str | None) -> EntropyModel:
    """The any-schedule network of a study."""
    network = _entropy_of(model)
    network.load_state_dict(load_weights(folder / "any.safetensors"))
    return network


def _entropy_of(model: str | None) -> EntropyModel:
    return restore(load_model(model)).entropy


def evaluation_pictures(folder: Path, qualities: Sequence[int]) -> list[Picture]:
    """Latents of all evaluation pictures of a study, quality by quality."""
    return [one for quality in qualities for one in load_pictures(folder / "pictures", quality)]


def train_specialised(folder: Path, recipe: StudyRecipe, model: str | None, entry: plan.Entry) -> str:
    """Train and evaluate one specialised network on one thread, in a process of its own; returns a line about it.

    It is the any-schedule network, trained further under this schedule alone.
    """
    torch.set_num_threads(1)
    network = general_network(folder, model)
    files = folder / "special"
    state, log = files / f"{entry.key}.state.safetensors", _logger(files / f"{entry.key}.jsonl")
    latents = TrainingLatents(folder / "training")
    train(network, latents, lambda _: entry.schedule, recipe.special, entry.seed, state, log)
    rows = evaluate(network, entry.schedule, evaluation_pictures(folder, recipe.qualities))
    facts = {"name": entry.name, "seed": entry.seed, "schedule": schedule_label(entry.schedule)}
    _write(_result(folder, entry.key), {**facts, "parameters": parameter_count(network), "rows": rows})
    return f"{entry.key}: {_mean_bpp(rows)}"


def measured_rate(costs: NetworkCosts, shape: tuple[int, int], schedule: PatternSchedule) -> float:
    """Mean bits per latent of a schedule, every subset that it uses measured."""
    shares = used_subsets(shape, schedule.pattern[0])
    return float(costs(list(shares)) @ list(shares.values()))


def schedule_label(schedule: Schedule) -> str:
    """Inline pattern, or the name of a scan."""
    if isinstance(schedule, PatternSchedule):
        return pattern_text(schedule.pattern.tolist())
    return str(schedule.name)


def _mean_bpp(rows: Sequence[dict[str, Any]]) -> str:
    qualities = sorted({row["quality"] for row in rows})
    means = [[row["bpp"] for row in rows if row["quality"] == quality] for quality in qualities]
    return ", ".join(f"{sum(one) / len(one):.4f}" for one in means) + " bpp"


def _result(folder: Path, key: str) -> Path:
    return folder / "special" / f"{key}.json"


def _logger(path: Path) -> Callable[[dict[str, Any]], None]:
    def log(row: dict[str, Any]) -> None:
        with open(path, "a") as file:
            file.write(json.dumps({"time": time.strftime("%Y-%m-%d %H:%M:%S"), **row}) + "\n")

    return log


def _write(path: Path, content: Any) -> None:
    write_atomically(path, json.dumps(content, indent=1).encode() + b"\n")
