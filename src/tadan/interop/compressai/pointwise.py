"""Pointwise networks on rows: 1x1 convolutions as matrix products, without the layouts that convolutions ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from tadan.errors import InvalidInput

#: Functions of single values, which take rows as they take planes.
_ELEMENTWISE = (nn.Identity, nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.ELU)


def check_pointwise(network: nn.Module) -> None:
    """Raise unless every convolution of ``network`` is 1x1.

    Raises:
        InvalidInput: one reads neighbours, which may not be decoded yet.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and (module.kernel_size != (1, 1) or module.stride != (1, 1)):
            raise InvalidInput(
                f"entropy_parameters has a convolution of {module.kernel_size}, which reads positions that may not be "
                "decoded yet; give it 1x1 convolutions only"
            )


def layers(network: nn.Module) -> list[Any] | None:
    """Layers of a network that :func:`apply` can run on rows; None if it has others."""
    found = list(_flattened(network))
    plain = all(
        isinstance(layer, _ELEMENTWISE) or (type(layer) is nn.Conv2d and layer.groups == 1 and not any(_padding(layer)))
        for layer in found
    )
    return found if plain else None


def apply(found: list[Any], rows: Tensor) -> Tensor:
    """(B, n, channels) -> (B, n, channels of the last layer)."""
    for layer in found:
        rows = F.linear(rows, layer.weight.flatten(1), layer.bias) if type(layer) is nn.Conv2d else layer(rows)
    return rows


def _flattened(network: nn.Module) -> Iterator[nn.Module]:
    if type(network) is nn.Sequential:
        for child in network:
            yield from _flattened(child)
    else:
        yield network


def _padding(layer: nn.Conv2d) -> tuple[int, ...]:
    return layer.padding if isinstance(layer.padding, tuple) else (0 if layer.padding == "valid" else 1,)
