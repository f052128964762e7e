"""Sizes of the integer networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tadan.errors import Corrupt


class NetworkConfig(Protocol):
    """What the integer networks read of :class:`tadan.models.config.ModelConfig`, which documents it.

    A protocol, because :mod:`tadan.models` is built on this package.
    """

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """Channels of y of each model group."""
        ...

    @property
    def embed_sizes(self) -> tuple[int, ...]:
        """Embedded values of each model group."""
        ...

    @property
    def z_channels(self) -> int:
        """Channels of z."""
        ...

    @property
    def hyper_widths(self) -> tuple[int, ...]:
        """Inner channels of h_s, three of them."""
        ...

    @property
    def radius(self) -> int:
        """Of the context window."""
        ...

    @property
    def hidden(self) -> int:
        """Channels of the parameter network."""
        ...

    @property
    def late(self) -> int:
        """Channels of what groups of a position tell each other."""
        ...

    @property
    def mask_hidden(self) -> int:
        """Channels of the network that reads visibility patterns."""
        ...

    @property
    def bases(self) -> int:
        """Base kernels that a visibility pattern mixes."""
        ...

    @property
    def knots(self) -> int:
        """Supporting points of what depends on quality."""
        ...

    @property
    def latent(self) -> int:
        """Channels of y."""
        ...

    @property
    def window(self) -> int:
        """Positions in the context window."""
        ...

    @property
    def visibility_bits(self) -> int:
        """Bits of a visibility pattern."""
        ...


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
    def of(cls, config: NetworkConfig) -> TwinSizes:
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
