"""The training loop: one recipe on two CPU cores, one GPU or many; resumable, evaluated while it runs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tadan.errors import InvalidInput, TadanError
from tadan.files import make_folder
from tadan.models import ModelConfig
from tadan.nn.model import LAMBDA_REFERENCE, TadanModel, lambdas
from tadan.schedule import Schedule, get_schedule
from tadan.train.checkpoint import State, load_state, save_state, save_tensors
from tadan.train.data import draw_crops, draw_factor, draw_gains, expose, held_out_count, load, shrink
from tadan.train.device import World, autocast, choose_device, compile_transforms, local_rank, settle
from tadan.train.evaluation import evaluate
from tadan.train.log import Display, RunLog, StepFacts
from tadan.train.objective import distortion, draw_schedule
from tadan.train.optimizers import make_optimizers, set_learning_rate
from tadan.train.recipe import Recipe, write_settings
from tadan.train.replay import Lesson, Replay
from tadan.train.search import Search, curvature, moved
from tadan.train.start import start_linear, start_lite
from tadan.train.stopping import RECOVERIES, Health, StopRequest, TimeLimit


class Trainer:
    """Holds model, average, optimisers and position; :meth:`run` goes on from the last checkpoint in ``folder``.

    Files in ``folder``: ``state.safetensors`` (resume), ``ema.safetensors`` (averaged weights, what is exported),
    ``log.jsonl`` (one line per report), ``recipe.json``.

    Args:
        folder: of the run; on a storage that all processes share, if there are several.
        data: folder of training pictures.
        recipe: settings.
        config: sizes of a fresh model.
        init: weights to start from, instead of the linear start; a checkpoint in ``folder`` comes first.
        device: as :func:`~tadan.train.device.choose_device` takes it.
        teacher: of a ``lite`` recipe: the model whose latents are shown, and whose weights all but g_s are. With
            ``init``, the weights of all are given, and nothing is fitted.

    Raises:
        InvalidInput: there are fewer than two usable pictures, or no such device.
    """

    def __init__(
        self,
        folder: Path,
        data: Path,
        recipe: Recipe,
        config: ModelConfig,
        init: Mapping[str, Tensor] | None = None,
        device: str = "auto",
        teacher: TadanModel | None = None,
    ) -> None:
        self.folder, self.recipe, self.config = make_folder(folder), recipe, config
        state = folder / "state.safetensors"
        self._fresh = not state.exists()  # looked at before the processes meet: none can have written one by then
        self.device = choose_device(device, local_rank())
        settle(self.device, recipe)
        self.world = World.join(self.device)
        say = Display(recipe.steps, 0, not self.world.leads).line
        pictures = load(data, recipe.largest_size, recipe.memory_gb * 1e9, say)
        if len(pictures) < 2:
            raise InvalidInput(
                f"1 picture of {recipe.largest_size} pixels a side below {data}; training needs 2 at least, one of "
                "them to evaluate on: add more"
            )
        torch.manual_seed(recipe.seed)
        self.model = TadanModel(config)
        if self._fresh and init is not None:
            self.model.load_state_dict(dict(init))
        elif self._fresh and teacher is None and self.world.leads:
            start_linear(self.model, pictures.split(held_out_count(len(pictures)))[0], recipe)
        elif self._fresh and teacher is not None:
            start_lite(self.model, teacher, pictures.split(held_out_count(len(pictures)))[0], recipe)
        self.model.to(self.device)
        self.teacher = None if teacher is None else teacher.to(self.device).requires_grad_(False)
        pictures = pictures.to(self.device, say)
        self.pictures, self.held_out = pictures.split(held_out_count(len(pictures)))
        self.smallest = min(min(shape) for shape in self.pictures.shapes)
        self.world.share(self.model.state_dict().values())
        compile_transforms(self.model, self.device, recipe)
        self.trained = {name: value for name, value in self.model.named_parameters() if recipe.trains(name)}
        for name, value in self.model.named_parameters():
            value.requires_grad_(name in self.trained)
        self.optimizers = make_optimizers(self.trained, recipe, self.world)
        self.search: Search | None = None
        self.replay = Replay(self._taught, recipe.reuse)
        self.step, self.health = 0, Health()
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        if not self._fresh:
            self._load(state)
        if recipe.search and self.search is None:  # of the weights that it starts from, never of those before loading
            self.search = self._search()
        if self.world.leads:
            write_settings(folder, recipe, config)

    def run(self, seconds: float = math.inf) -> int | None:
        """Train until all steps are done, ``seconds`` have nearly passed or a signal comes; the position is saved.

        At least one step is taken. All processes stop after the same step, whichever of them has a reason.

        Returns:
            the number of the signal that ended the piece, or None.

        Raises:
            TadanError: steps were not finite, and going back to a checkpoint did not help.
        """
        recipe, limit, stop = self.recipe, TimeLimit(seconds), False
        display = Display(recipe.steps, self.step, not self.world.leads)
        log = RunLog(self.folder, display, self.world.leads)
        if self.step >= recipe.steps:
            display.line(f"all {recipe.steps} steps are done; for more, repeat with --set steps=N")
            return None
        if self._fresh:
            self.save()  # somewhere to go back to
            self._fresh = False
        with StopRequest() as request, display:
            while self.step < recipe.steps and not stop:
                begun = time.monotonic()
                facts, stop = self.one_step(limit.reached() or request.signal is not None)
                self.step += 1
                self.health.note(facts is not None)
                log.note(facts)
                display.step(self.step, None if facts is None else facts.loss)
                limit.note(step=time.monotonic() - begun)
                if self.health.lost:
                    self._recover(log)
                    continue
                if self.step % recipe.log_every == 0:
                    log.steps(self.step, self.learning_rate(), self.health.skipped)
                if self.step % recipe.save_every == 0 and self.step < recipe.steps and not stop:
                    begun = time.monotonic()
                    self.save()
                    self._evaluate(log)
                    limit.note(save=time.monotonic() - begun)
                    log.forget_pause(begun)
            self.save()
            if self.step == recipe.steps:
                self._evaluate(log)
        if stop and self.step < recipe.steps:
            display.line(f"stopped after step {self.step} of {recipe.steps}; the same command goes on")
        return request.signal

    def one_step(self, wish: bool = False) -> tuple[StepFacts | None, bool]:
        """One update.

        Args:
            wish: whether this process wants to stop.

        Returns:
            what is logged of the step, None if it was not finite and therefore skipped; whether any process wants to
            stop.
        """
        recipe, world = self.recipe, self.world
        with autocast(self.device, recipe):
            if recipe.lite:
                lesson = self.replay.batch(*recipe.crops_at(self.step), self.step, recipe.seed + world.rank)
            else:
                lesson = self._lesson()
            picture, on_cpu = lesson.picture, lesson.quality
            quality = on_cpu.to(self.device)
            losses = self.model.compare(
                picture, quality, lesson.coded, recipe.eye > 0, recipe.looks_near, lesson.wanted
            )
        rate = losses.y_bpp + recipe.price_of_z(self.step) * losses.z_bpp
        # J grows about as sqrt(lambda); dividing by it makes one per cent weigh the same at every quality.
        weight = (lambdas(self.config, quality) / LAMBDA_REFERENCE) ** -recipe.quality_power
        loss = (weight * (distortion(losses, self.config, recipe, on_cpu) + rate)).mean()
        set_learning_rate(self.optimizers, self.learning_rate())
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        psnr = -10 * losses.mse.detach().log10().mean()
        means = [loss.detach(), losses.y_bpp.detach().mean(), losses.z_bpp.detach().mean(), psnr]
        facts = torch.stack([*means, torch.full_like(psnr, float(wish))])
        facts = world.average(self.trained.values(), facts)
        norm = torch.nn.utils.clip_grad_norm_(self.trained.values(), recipe.clip)
        *row, wishes, norm_value = torch.cat([facts, norm.reshape(1)]).tolist()  # the one wait for the device
        if not (math.isfinite(row[0]) and math.isfinite(norm_value)):
            return None, wishes > 0
        for optimizer in self.optimizers:
            optimizer.step()
        decay = min(recipe.ema, (self.step + 1) / (self.step + 20))
        with torch.no_grad():
            mine = [self.average[name] for name in self.trained]
            torch._foreach_lerp_(mine, [value.detach() for value in self.trained.values()], 1 - decay)
        pixels = float(len(picture) * world.size * picture.shape[1] * picture.shape[2])
        loss_value, y_bpp, z_bpp, psnr_value = row
        return StepFacts(loss_value, y_bpp, z_bpp, psnr_value, norm_value, pixels), wishes > 0

    def _lesson(self) -> Lesson:
        """A new batch and its latents."""
        picture, on_cpu, schedule = self._batch()
        quality = on_cpu.to(self.device)
        latents = moved(self.search, self.model, picture, quality, schedule)
        return Lesson(picture, on_cpu, self.model.coded(quality, schedule, latents), None)

    @torch.no_grad()
    def _taught(self) -> Lesson:
        """A new batch with what the teacher shows of it."""
        lesson = self._lesson()
        if self.teacher is None or not self.recipe.distill:
            return lesson
        return lesson._replace(wanted=self.teacher.synthesise(lesson.coded.y_hat, lesson.quality.to(self.device)))

    def _batch(self) -> tuple[Tensor, Tensor, Schedule]:
        """Crops, qualities on the CPU and schedule: they follow from seed, step and rank alone.

        Every process draws for all of them and takes its part, so that N processes with B pictures see what one
        process with N * B pictures sees, under the same schedule.
        """
        recipe, world = self.recipe, self.world
        rng = np.random.default_rng((recipe.seed, self.step))  # a resumed run sees the batches it would have seen
        torch.manual_seed(recipe.seed * 1_000_003 + self.step + world.rank * 10_000_000_019)
        batch, size = recipe.crops_at(self.step)
        cut = draw_factor(size, self.smallest, recipe.shrunk, rng)
        draw = draw_crops(self.pictures.shapes, batch * world.size, cut, rng)
        picture = self.pictures.cut(draw.part(world.rank, batch), self.device)
        gains = draw_gains(batch * world.size, recipe.exposed, rng)
        own = slice(world.rank * batch, (world.rank + 1) * batch)
        picture = expose(shrink(picture, size), gains[own])
        quality = torch.from_numpy(rng.uniform(1, 100, batch * world.size)).float()
        if recipe.specialise:
            return picture, quality[own], get_schedule(recipe.specialise)
        return picture, quality[own], draw_schedule(rng, self.config.schedule_groups)

    def _search(self) -> Search:
        draw = draw_crops(self.held_out.shapes, min(8, len(self.held_out)), self.recipe.size, np.random.default_rng(0))
        return self._search_with(torch.from_numpy(curvature(self.model, self.held_out.cut(draw, self.device))))

    def _search_with(self, curved: Tensor) -> Search:
        return Search(self.recipe.search, curved, self.recipe.tune)

    def learning_rate(self) -> float:
        """Of the next step: the recipe's, lowered by what went wrong."""
        return self.recipe.learning_rate(self.step) * self.health.lr_factor

    def evaluate(self) -> dict[str, Any]:
        """Rate, PSNR and J of the average on the held-out pictures (:func:`tadan.train.evaluation.evaluate`)."""
        return evaluate(self.average, self.config, self.recipe, self.held_out, self.device, self.search)

    def set_length(self, steps: int, warmup: int) -> None:
        """Change the schedule of a run that has not begun."""
        self.recipe = replace(self.recipe, steps=steps, warmup=warmup)
        write_settings(self.folder, self.recipe, self.config)

    def _recover(self, log: RunLog) -> None:
        health, failed = self.health, self.step
        if health.hopeless:
            raise TadanError(
                f"{health.in_a_row} steps in a row were not finite, after {RECOVERIES} returns to a checkpoint with "
                f"half the learning rate each; start a new run from the averaged weights: --run NEW --init "
                f"{self.folder / 'ema.safetensors'} --set lr={self.recipe.lr * health.lr_factor / 4:.1e}"
            )
        self.world.wait()  # rank 0 may still be writing
        self._load(self.folder / "state.safetensors")
        self.health = health.recovered()
        log.display.line(
            f"{health.in_a_row} steps in a row up to {failed} were not finite: back to step {self.step}, learning rate "
            f"times {self.health.lr_factor:g}"
        )
        log.write({"step": self.step, "recovered_from": failed, "lr_factor": self.health.lr_factor})
        log.restart()
        self.save()  # a restart must not forget the lower rate

    def _evaluate(self, log: RunLog) -> None:
        if self.world.leads:
            log.held_out(self.step, self.evaluate())

    def save(self) -> None:
        """Write the resume state and the averaged weights, unless the last steps put the weights in doubt."""
        # GPUs of different kinds round differently: small differences between ranks end here.
        self.world.share([*self.model.state_dict().values(), *self.average.values()])
        if not self.world.leads or self.health.doubtful:
            return
        facts = {"step": self.step, "health": self.health.to_dict(), "optimizer": self.recipe.optimizer}
        if self.search is not None:
            facts["curvature"] = self.search.curvature.tolist()
        state = State(dict(self.model.state_dict()), self.average, facts)
        save_state(self.folder / "state.safetensors", state, self.trained, self.optimizers)
        metadata = {"config": json.dumps(self.config.to_dict()), "tune": self.recipe.tune}
        save_tensors(self.folder / "ema.safetensors", self.average, metadata)

    def _load(self, path: Path) -> None:
        state = load_state(path, self.trained, self.optimizers, self.recipe.optimizer)
        self.model.load_state_dict(state.model)
        self.average = {name: value.to(self.device) for name, value in state.average.items()}
        self.step = int(state.facts["step"])
        self.health = Health(**state.facts.get("health", {}))
        if self.recipe.search and "curvature" in state.facts:
            self.search = self._search_with(torch.tensor(state.facts["curvature"]))
