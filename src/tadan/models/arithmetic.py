"""Arithmetic and sequential steps of a model by schedule, whatever its design; counted, not measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from tadan.models.config import ModelConfig
from tadan.models.designs import AnyConfig
from tadan.models.renderer_config import RendererConfig
from tadan.schedule import Schedule, cost, group_cost
from tadan.schedule.cost import DecoderCost, EncoderCost, StageCost

EXAMPLE_WIDTH, EXAMPLE_HEIGHT = 768, 512  # pixels of the picture whose stages and steps are shown to people


class Arithmetic(ABC):
    """Costs of one configuration. Every method raises InvalidInput for a schedule that the model cannot follow."""

    @abstractmethod
    def decoder(self, schedule: Schedule) -> DecoderCost:
        """Decoding by part, kMAC per pixel."""

    @abstractmethod
    def encoder(self, schedule: Schedule) -> EncoderCost:
        """Encoding by part, kMAC per pixel, one pass of the entropy model."""

    @abstractmethod
    def stages(self, schedule: Schedule) -> tuple[StageCost, ...]:
        """Every stage of a schedule; a scan gives a single entry."""

    @abstractmethod
    def steps(self, schedule: Schedule, height: int, width: int) -> int:
        """Steps of a latent plane of ``height`` x ``width`` that wait for each other."""

    @abstractmethod
    def naive(self, schedule: Schedule, height: int, width: int) -> float:
        """MAC per pixel of context and parameters if every stage recomputed them on the whole latent plane."""


@dataclass(frozen=True)
class _First(Arithmetic):
    config: ModelConfig

    def decoder(self, schedule: Schedule) -> DecoderCost:
        return cost.decoder_cost(schedule, self.config)

    def encoder(self, schedule: Schedule) -> EncoderCost:
        return cost.encoder_cost(schedule, self.config)

    def stages(self, schedule: Schedule) -> tuple[StageCost, ...]:
        return cost.stage_costs(schedule, self.config)

    def steps(self, schedule: Schedule, height: int, width: int) -> int:
        return schedule.stage_count(height, width)

    def naive(self, schedule: Schedule, height: int, width: int) -> float:
        return cost.naive_context_macs_per_pixel(schedule, self.config, height, width)


@dataclass(frozen=True)
class _Groups(Arithmetic):
    config: RendererConfig

    def decoder(self, schedule: Schedule) -> DecoderCost:
        return group_cost.group_decoder_cost(schedule, self.config)

    def encoder(self, schedule: Schedule) -> EncoderCost:
        return group_cost.group_encoder_cost(schedule, self.config)

    def stages(self, schedule: Schedule) -> tuple[StageCost, ...]:
        return group_cost.group_stage_costs(schedule, self.config)

    def steps(self, schedule: Schedule, height: int, width: int) -> int:
        return group_cost.sequential_steps(schedule, self.config, height, width)

    def naive(self, schedule: Schedule, height: int, width: int) -> float:
        return group_cost.naive_group_macs_per_pixel(schedule, self.config, height, width)


def example_plane(config: AnyConfig) -> tuple[int, int]:
    """Rows and columns of the latent plane of the example picture."""
    return EXAMPLE_HEIGHT // config.stride, EXAMPLE_WIDTH // config.stride


_ARITHMETIC: dict[str, Any] = {ModelConfig.design: _First, RendererConfig.design: _Groups}


def arithmetic_of(config: AnyConfig) -> Arithmetic:
    """Costs of a model of this configuration."""
    made: Arithmetic = _ARITHMETIC[config.design](config)
    return made
