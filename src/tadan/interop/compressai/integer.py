"""Integer twins of small convolutional networks: h_s, contexts across channel groups, parameter networks.

Every product is an :class:`tadan.exact.linear.ExactLayer`, with its proof that floating-point hardware adds integers
without rounding, in any order. Activations are integers with a number of fraction bits for each channel, 15 bits and a
sign; weights have 16 bits. LeakyReLU multiplies negative values by a whole number of 2**-12.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tadan.errors import InvalidInput
from tadan.exact.convert import fractions_for, to_integer
from tadan.exact.linear import ExactLayer

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
LIMIT = 2**15 - 1  # of an activation
BITS = 16  # of a weight
SLOPE_BITS = 12
AT_ONCE = 2**22  # values of windows that are laid out at a time


@dataclass(frozen=True)
class Output:
    """Format of what a network gives.

    Attributes:
        fraction: int64 (channels,), fraction bits.
        low: int64 (channels,), bounds.
        high: int64 (channels,).
    """

    fraction: Ints
    low: Ints
    high: Ints


def activations(maxima: NDArray[np.float64]) -> Output:
    """Format of activations whose largest magnitudes were seen, float64 (channels,)."""
    fraction = fractions_for(maxima, LIMIT)
    return Output(fraction, np.full_like(fraction, -LIMIT), np.full_like(fraction, LIMIT))


def linear_arrays(
    name: str, weight: NDArray[Any], bias: NDArray[Any] | None, fraction_in: Ints, limit: int, out: Output
) -> dict[str, NDArray[Any]]:
    """A float product (inputs, outputs) as the arrays of an integer layer, under names that begin with ``name``."""
    plain = np.zeros(weight.shape[1]) if bias is None else bias
    layer = to_integer(weight, plain, fraction_in, out.fraction, BITS)
    bounds = {f"{name}.low": out.low, f"{name}.high": out.high, f"{name}.limit": np.array([limit])}
    return {**layer.arrays(name), **bounds}


def linear_layer(arrays: Mapping[str, NDArray[Any]], name: str) -> ExactLayer:
    """The layer of :func:`linear_arrays`; Corrupt if its sums could be rounded."""
    weight, bias, shift, low, high = (arrays[f"{name}.{part}"] for part in ("weight", "bias", "shift", "low", "high"))
    return ExactLayer(weight, bias, shift, int(arrays[f"{name}.limit"][0]), low, high)


@dataclass(frozen=True)
class Exported:
    """A network as it is stored.

    Attributes:
        steps: what is done in turn, JSON-able.
        arrays: of the products among them.
        fraction: int64 (channels,), fraction bits of the outputs.
        limit: largest magnitude of an output.
    """

    steps: list[dict[str, Any]]
    arrays: dict[str, NDArray[Any]]
    fraction: Ints
    limit: int


def export(
    network: nn.Module,
    maxima: Mapping[nn.Module, NDArray[np.float64]],
    name: str,
    fraction: Ints,
    limit: int,
    last: Output | None = None,
) -> Exported:
    """The integer twin of a network.

    Args:
        network: Sequential of convolutions, transposed convolutions, PixelShuffle, ReLU and LeakyReLU.
        maxima: largest magnitude of every channel behind every convolution, by module.
        name: where the names of arrays begin.
        fraction: of the inputs, int64 (channels,).
        limit: of the inputs.
        last: format of the outputs; default: that of activations.

    Raises:
        InvalidInput: the network has other layers, or does not end with a convolution where it should.
    """
    layers = list(_leaves(network))
    if last is not None and not isinstance(layers[-1], nn.Conv2d):
        raise InvalidInput("a parameter network has to end with a convolution to be made exact")
    steps: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[Any]] = {}
    for number, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            shuffled = _factor_behind(layers[number + 1 :])
            out = last if last is not None and number == len(layers) - 1 else _grouped(maxima[layer], shuffled)
            size, weight, before = _convolution(layer)
            key = f"{name}.{number}"
            bias = None if layer.bias is None else layer.bias.detach().double().numpy()
            arrays |= linear_arrays(key, weight, bias, np.tile(fraction, size * size), limit, out)
            steps.append({**before, "op": "conv", "size": size, "name": key})
            fraction, limit = out.fraction, int(max(-out.low.min(), out.high.max()))
        elif isinstance(layer, nn.PixelShuffle):
            steps.append({"op": "shuffle", "factor": layer.upscale_factor})
            fraction = fraction[:: layer.upscale_factor**2]
        elif isinstance(layer, nn.ReLU | nn.LeakyReLU):
            steps.append({"op": "leaky", "slope": round(getattr(layer, "negative_slope", 0.0) * 2**SLOPE_BITS)})
        elif not isinstance(layer, nn.Identity):
            raise InvalidInput(f"{type(layer).__name__} has no integer twin; use convolutions, ReLU and LeakyReLU")
    return Exported(steps, arrays, fraction, limit)


def _factor_behind(layers: Sequence[nn.Module]) -> int:
    """Factor of the PixelShuffle that follows, with activations at most between; 1 if there is none."""
    for layer in layers:
        if isinstance(layer, nn.PixelShuffle):
            return int(layer.upscale_factor)
        if not isinstance(layer, nn.ReLU | nn.LeakyReLU):
            break
    return 1


def _grouped(maxima: NDArray[np.float64], factor: int) -> Output:
    """Format of activations; channels that a shuffle brings together get the same."""
    together = maxima.reshape(-1, factor**2).max(1)
    return activations(np.repeat(together, factor**2))


def _leaves(network: nn.Module) -> Iterator[nn.Module]:
    if isinstance(network, nn.Sequential):
        for child in network:
            yield from _leaves(child)
    else:
        yield network


def _convolution(layer: Any) -> tuple[int, NDArray[Any], dict[str, Any]]:
    """Size of the window, weights (size * size * inputs, outputs), and what is done to the plane before."""
    [size], [stride] = set(layer.kernel_size), set(layer.stride)
    square = layer.groups == 1 and set(layer.dilation) == {1} and layer.padding_mode == "zeros"
    [padding] = set(layer.padding)
    weight = layer.weight.detach().double().numpy()
    if isinstance(layer, nn.ConvTranspose2d) and square:
        [more] = set(layer.output_padding)
        flipped = weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)  # (rows, columns, inputs, outputs)
        margin = size - 1 - padding
        return size, flipped.reshape(-1, weight.shape[1]), {"spread": stride, "before": margin, "after": margin + more}
    if not square or stride != 1:
        raise InvalidInput("convolutions with strides, groups or dilation have no integer twin here")
    ordered = weight.transpose(2, 3, 1, 0)
    return size, ordered.reshape(-1, weight.shape[0]), {"spread": 1, "before": padding, "after": padding}


class IntegerNetwork:
    """What :func:`export` gave, run on integers.

    Args:
        steps: of it.
        arrays: of it.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any]], arrays: Mapping[str, NDArray[Any]]) -> None:
        self._steps = steps
        self._layers = {step["name"]: linear_layer(arrays, step["name"]) for step in steps if step["op"] == "conv"}

    def __call__(self, x: Floats) -> Floats:
        """Integers in float64 (h, w, channels) -> the same of the outputs."""
        for step in self._steps:
            if step["op"] == "conv":
                x = _convolved(_spread(x, step), step["size"], self._layers[step["name"]])
            elif step["op"] == "shuffle":
                x = _shuffled(x, step["factor"])
            else:
                x = np.where(x < 0, np.floor((x * step["slope"] + 2 ** (SLOPE_BITS - 1)) * 2.0**-SLOPE_BITS), x)
        return x


def _spread(x: Floats, step: Mapping[str, Any]) -> Floats:
    stride, before, after = step["spread"], step["before"], step["after"]
    if stride > 1:
        wide = np.zeros(((x.shape[0] - 1) * stride + 1, (x.shape[1] - 1) * stride + 1, x.shape[2]))
        wide[::stride, ::stride] = x
        x = wide
    return np.pad(x, ((before, after), (before, after), (0, 0))) if before or after else x


def _convolved(padded: Floats, size: int, layer: ExactLayer) -> Floats:
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))
    height, width, channels = windows.shape[:3]
    rows = max(1, AT_ONCE // (width * channels * size * size))
    pieces = []
    for top in range(0, height, rows):
        laid = windows[top : top + rows].transpose(0, 1, 3, 4, 2).reshape(-1, size * size * channels)
        pieces.append(layer(laid).reshape(-1, width, len(layer.shift)))
    return np.concatenate(pieces)


def _shuffled(x: Floats, factor: int) -> Floats:
    height, width, channels = x.shape
    parts = x.reshape(height, width, channels // factor**2, factor, factor)
    return parts.transpose(0, 3, 1, 4, 2).reshape(height * factor, width * factor, -1)
