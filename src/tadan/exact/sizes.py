"""Sizes of the integer networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tadan.errors import Corrupt


class _Config(Protocol):
    """What :meth:`TwinSizes.of` reads; :class:`tadan.models.config.ModelConfig` documents it."""

    @property
    def group_sizes(self) -> tuple[int, ...]: ...
    @property
    def embed_sizes(self) -> tuple[int, ...]: ...
    @property
    def z_channels(self) -> int: ...
    @property
    def radius(self) -> int: ...
    @property
    def hidden(self) -> int: ...
    @property
    def late(self) -> int: ...
    @property
    def bases(self) -> int: ...


@dataclass(frozen=True)
class TwinSizes:
    """Sizes of the integer networks, in channels unless stated; names as in the model's configuration."""

    group_sizes: tuple[int, ...]
    embed_sizes: tuple[int, ...]
    z_channels: int
    radius: int
    hidden: int
    late: int
    bases: int

    @classmethod
    def of(cls, config: _Config) -> TwinSizes:
        """Sizes of a :class:`~tadan.models.config.ModelConfig`.

        Raises:
            Corrupt: the configuration has no groups, or not one embedding for each.
        """
        if not config.group_sizes or len(config.group_sizes) != len(config.embed_sizes):
            raise Corrupt("the model's configuration has not one embedding per channel group; fetch it again")
        return cls(
            tuple(config.group_sizes),
            tuple(config.embed_sizes),
            config.z_channels,
            config.radius,
            config.hidden,
            config.late,
            config.bases,
        )

    @property
    def latent(self) -> int:
        """Channels of y."""
        return sum(self.group_sizes)

    @property
    def groups(self) -> int:
        """Model groups."""
        return len(self.group_sizes)

    @property
    def features(self) -> int:
        """Embedded values of one position."""
        return sum(self.embed_sizes)

    @property
    def window(self) -> int:
        """Positions in the context window."""
        return (2 * self.radius + 1) ** 2

    def channels(self, group: int) -> slice:
        """Channels of y that a model group owns."""
        start = sum(self.group_sizes[:group])
        return slice(start, start + self.group_sizes[group])

    def embedded(self, group: int) -> slice:
        """Embedded values that a model group owns."""
        start = sum(self.embed_sizes[:group])
        return slice(start, start + self.embed_sizes[group])
