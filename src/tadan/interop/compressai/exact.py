"""Safe streams for CompressAI's models: everything between bytes and latents in integers.

Networks in floating point give other sums on another processor, library or batch, and one other bit makes noise of all
that follows. Here h_s, the contexts, the networks between channel groups and the parameter networks run as integer
twins (:mod:`tadan.interop.compressai.integer`); means have 6 fraction bits; scales are compared with integer bounds;
the tables are integers that are stored, not made anew. g_a, h_a and g_s stay in floating point.

What is stored is a file of integers (safetensors), without which streams cannot be read; decoders load it and never
call ``update()``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from tadan.errors import Corrupt, InvalidInput
from tadan.exact.constants import LATENT_FRACTION, Y_LIMIT, Z_LIMIT
from tadan.exact.linear import ExactLayer
from tadan.interop.compressai.codec import MultistageLatentCodec
from tadan.interop.compressai.coder import Reader, Tables, Writer
from tadan.interop.compressai.context import MultistageContext, parsed, schedule_text
from tadan.interop.compressai.integer import (
    Floats,
    IntegerNetwork,
    Output,
    activations,
    export,
    linear_arrays,
    linear_layer,
)
from tadan.interop.compressai.layouts import hyper_parts, shape_in_dict, shape_of_z
from tadan.interop.compressai.loading import load
from tadan.interop.compressai.state import Gathered
from tadan.interop.compressai.walk import Step, merged, walk

load()
from compressai.latent_codecs import ChannelGroupsLatentCodec  # noqa: E402

SCALE_FRACTION = 12
SCALE_LIMIT = 2**20  # 256 in steps of 2**-12
FORMAT = 1
_ONE = 2**LATENT_FRACTION


class _Group:
    """The y part of one channel group, run on integers."""

    def __init__(self, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], name: str) -> None:
        self.channels: int = facts["channels"]
        self.schedule = parsed(facts["schedule"])
        self.radius: int = facts["radius"]
        self.context_first: bool = facts["context_first"]
        self.before = IntegerNetwork(facts["before"], arrays) if facts["before"] is not None else None
        self.kernels: list[ExactLayer] = [linear_layer(arrays, f"{name}.context.{i}") for i in range(facts["kernels"])]
        self.width: int = facts["context_channels"]
        self.parameters = IntegerNetwork(facts["parameters"], arrays)

    def run(self, side: Floats, exchange: Any) -> Floats:
        """Decode or encode; ``exchange(step, means, scales) -> symbols``. Returns y_hat, Q6, (h, w, channels)."""
        height, width, _ = side.shape
        plan = walk(self.schedule, height, width, self.radius, torch.device("cpu"))
        groups = self.schedule.groups
        rows = np.zeros((plan.rows, self.channels // groups))
        known = np.zeros_like(rows)  # as the networks read them
        flat = side.reshape(height * width, -1)
        for step in plan.steps:
            context = np.zeros((len(step.positions), self.width))
            for part in step.parts:
                if part.kernel >= 0:
                    seen = known[part.neighbours.numpy()].reshape(len(part.places), -1)
                    context[part.places.numpy()] = self.kernels[part.kernel](seen)
            own = flat[step.positions.numpy()]
            merged_rows = np.concatenate([context, own] if self.context_first else [own, context], 1)
            params = self.parameters(merged_rows[:, None])[:, 0]
            scales, means = (half.reshape(len(half), groups, -1)[:, step.group] for half in np.split(params, 2, 1))
            targets = step.targets.numpy()
            rows[targets] = exchange(step, means, scales) * _ONE + means
            known[targets] = np.clip(rows[targets], -Y_LIMIT, Y_LIMIT)
        inner = plan.inner.numpy()
        return np.concatenate([rows[one] for one in inner], 1).reshape(height, width, self.channels)


class ExactEntropy:
    """All between bytes and latents of one model, in integers; made by :func:`make_exact` or :meth:`load`.

    Args:
        facts: structure, JSON-able.
        arrays: integers.

    Raises:
        Corrupt: parts do not fit, or the sums of a layer could be rounded.
    """

    def __init__(self, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        if facts.get("format") != FORMAT:
            raise Corrupt(f"the exact part has format {facts.get('format')!r}, not {FORMAT}; export it again")
        self.facts, self.arrays = facts, dict(arrays)
        try:
            self._h_s = IntegerNetwork(facts["h_s"], arrays)
            self._groups = [_Group(one, arrays, f"y{i}") for i, one in enumerate(facts["groups"])]
            self._z_means = arrays["z.means"].astype(np.float64)
            self._y_tables = _tables(arrays, "y")
            self._z_tables = _tables(arrays, "z")
            self._edges = arrays["edges"]
        except KeyError as error:
            raise Corrupt(f"the exact part lacks {error}; export it again") from error

    def save(self, path: Path | str) -> None:
        """Write the integers to a safetensors file."""
        whole = {name: np.ascontiguousarray(array) for name, array in self.arrays.items()}
        save_file(whole, path, {"facts": json.dumps(self.facts)})

    @classmethod
    def load(cls, path: Path | str) -> ExactEntropy:
        """Read what :meth:`save` wrote.

        Raises:
            Corrupt: it is no such file.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "np") as file:
                facts = json.loads((file.metadata() or {})["facts"])
            arrays = load_file(path)
        except (SafetensorError, KeyError, ValueError) as error:
            raise Corrupt(f"{path} is no exact part of a model ({error}); export it again") from error
        return cls(facts, arrays)

    def encode(self, y: NDArray[np.float32], z: NDArray[np.float32]) -> tuple[bytes, bytes, NDArray[np.int64]]:
        """Latents (M, h, w) and z (N, h', w') of a picture, unrounded, to the streams of y and z, and y_hat in Q6."""
        z_symbols = np.rint(z.astype(np.float64) - self._z_means[:, None, None] / 2**LATENT_FRACTION).astype(np.int64)
        kinds = np.broadcast_to(np.arange(len(z))[:, None, None], z.shape)
        z_writer = Writer()
        z_writer.put(z_symbols.ravel().tolist(), kinds.ravel().tolist(), self._z_tables)
        writer = Writer()
        planes = y.astype(np.float64).transpose(1, 2, 0)

        def put(first: int, size: int) -> Any:
            flat = planes[..., first : first + size].reshape(-1, size)

            def exchange(step: Step, means: Floats, scales: Floats) -> Floats:
                count = means.shape[1]
                own = flat[step.positions.numpy(), step.group * count : (step.group + 1) * count]
                symbols = np.rint(own - means / _ONE)
                indexes = np.searchsorted(self._edges, scales, side="left")
                writer.put(symbols.ravel().astype(np.int64).tolist(), *self._needed(indexes))
                return symbols

            return exchange

        y_hat = self._walk(z_symbols, y.shape[1:], put)
        return writer.bytes(), z_writer.bytes(), y_hat

    def decode(
        self, y_data: bytes, z_data: bytes, y_size: tuple[int, int], z_size: tuple[int, int]
    ) -> NDArray[np.int64]:
        """Streams to y_hat, int64 (M, h, w), Q6: the same on every machine.

        Raises:
            Truncated: a stream is no whole number of words.
        """
        n = len(self._z_means)
        kinds = np.broadcast_to(np.arange(n)[:, None, None], (n, *z_size)).ravel()
        values = Reader(z_data, len(kinds)).take(kinds.tolist(), self._z_tables)
        reader = Reader(y_data, sum(one.channels for one in self._groups) * y_size[0] * y_size[1])

        def take(first: int, size: int) -> Any:
            def exchange(step: Step, means: Floats, scales: Floats) -> Floats:
                indexes, tables = self._needed(np.searchsorted(self._edges, scales, side="left"))
                return np.array(reader.take(indexes, tables), np.float64).reshape(means.shape)

            return exchange

        return self._walk(np.array(values).reshape(n, *z_size), y_size, take)

    def _walk(self, z_symbols: NDArray[np.int64], y_size: Sequence[int], exchange: Any) -> NDArray[np.int64]:
        z_hat = np.clip(z_symbols * 2.0**LATENT_FRACTION + self._z_means[:, None, None], -Z_LIMIT, Z_LIMIT)
        side = self._h_s(z_hat.transpose(1, 2, 0))[: y_size[0], : y_size[1]]
        decoded: list[Floats] = []
        first = 0
        for group in self._groups:
            own = side
            if group.before is not None:
                known = np.clip(np.concatenate(decoded, 2), -Y_LIMIT, Y_LIMIT)
                own = np.concatenate([group.before(known), side], 2)
            decoded.append(group.run(own, exchange(first, group.channels)))
            first += group.channels
        return np.concatenate(decoded, 2).transpose(2, 0, 1).astype(np.int64)

    def _needed(self, indexes: NDArray[np.intp]) -> tuple[list[int], Tables]:
        return indexes.ravel().tolist(), self._y_tables.up_to(int(indexes.max(initial=0)))


class ExactModel(nn.Module):
    """A model of CompressAI whose streams decode to the same latents everywhere.

    Args:
        model: with g_a, g_s and a hyperprior; used as it is.
        entropy: its exact part.
    """

    def __init__(self, model: Any, entropy: ExactEntropy) -> None:
        super().__init__()
        self.model, self.entropy = model, entropy

    @torch.no_grad()
    def compress(self, x: Tensor) -> dict[str, Any]:
        """Pictures (B, 3, H, W) to ``strings`` [y, z] and ``shape``, as the model's dictionary of shapes."""
        h_a = hyper_parts(self.model.latent_codec)[1]
        y = self.model.g_a(x)
        z = h_a(y)
        found = [
            self.entropy.encode(one.float().numpy(), other.float().numpy()) for one, other in zip(y, z, strict=True)
        ]
        shape = shape_in_dict((y.shape[1], y.shape[2], y.shape[3]), (z.shape[1], z.shape[2], z.shape[3]))
        y_hat = torch.from_numpy(np.stack([one[2] for one in found])).float() / _ONE
        return {"strings": [[one[0] for one in found], [one[1] for one in found]], "shape": shape, "y_hat": y_hat}

    @torch.no_grad()
    def decompress(self, strings: Sequence[Sequence[bytes]], shape: Mapping[str, Any]) -> dict[str, Tensor]:
        """Streams to ``x_hat`` in 0..1, and the latents ``y_hat``, which are exact."""
        y_size, z_size = tuple(int(size) for size in shape["y"][-2:]), shape_of_z(shape)
        found = [
            self.entropy.decode(one, other, (y_size[0], y_size[1]), z_size) for one, other in zip(*strings, strict=True)
        ]
        y_hat = torch.from_numpy(np.stack(found)).float() / _ONE
        return {"x_hat": self.model.g_s(y_hat).clamp_(0, 1), "y_hat": y_hat}


@torch.no_grad()
def make_exact(model: Any, pictures: Sequence[Tensor]) -> ExactModel:
    """The exact form of a converted model.

    Args:
        model: what :func:`tadan.interop.compressai.convert` gave, or a multistage model, trained, its tables made.
        pictures: for the ranges of activations, float (B, 3, H, W) in 0..1, sides multiples of 64; a few photographs.

    Raises:
        InvalidInput: a part of the model has no integer twin: mixtures, contexts of other kinds, other layers.
    """
    source = copy.deepcopy(model).eval().float()
    hyper = source.latent_codec
    bottleneck: Any
    bottleneck, _, h_s = hyper_parts(hyper)
    grouped = isinstance(hyper.y, ChannelGroupsLatentCodec)
    codecs = [hyper.y.latent_codec[f"y{i}"] for i in range(len(hyper.y.groups))] if grouped else [hyper.y]
    for codec in codecs:
        _check(codec)
    maxima, contexts = _ranges(source, codecs, pictures)
    y_fraction = np.full(1, LATENT_FRACTION, np.int64)
    z_fraction = np.repeat(y_fraction, int(bottleneck.channels))
    top = export(h_s, maxima, "h_s", z_fraction, Z_LIMIT)
    arrays, groups, known = dict(top.arrays), [], 0
    for i, codec in enumerate(codecs):
        context, fraction, limit, before = codec.context_prediction, top.fraction, top.limit, None
        if i > 0:
            network = hyper.y.channel_context[f"y{i}"]
            between = export(network, maxima, f"y{i}.before", np.repeat(y_fraction, known), Y_LIMIT)
            arrays |= between.arrays
            fraction, limit = np.concatenate([between.fraction, fraction]), max(limit, between.limit)
            before = between.steps
        out = activations(contexts[i])
        for number, weight in enumerate(context.weights):
            laid = weight.flatten(0, 1).double().numpy()
            bias = None if context.bias is None else context.bias[number].double().numpy()
            key = f"y{i}.context.{number}"
            arrays |= linear_arrays(key, laid, bias, np.repeat(y_fraction, len(laid)), Y_LIMIT, out)
        both = [out.fraction, fraction] if codec.context_first else [fraction, out.fraction]
        limit = max(limit, int(out.high.max()))
        last = _last(context.in_channels)
        twin = export(codec.entropy_parameters, maxima, f"y{i}.parameters", np.concatenate(both), limit, last)
        arrays |= twin.arrays
        groups.append(
            {
                "channels": context.in_channels,
                "schedule": schedule_text(context.schedule),
                "radius": context.radius,
                "context_first": codec.context_first,
                "context_channels": context.out_channels,
                "kernels": len(context.weights),
                "before": before,
                "parameters": twin.steps,
            }
        )
        known += context.in_channels
    arrays |= _stored(bottleneck, codecs[0].y.gaussian_conditional)
    facts = {"format": FORMAT, "h_s": top.steps, "groups": groups}
    return ExactModel(source, ExactEntropy(facts, arrays))


def _check(codec: Any) -> None:
    if not isinstance(codec, MultistageLatentCodec) or not isinstance(codec.context_prediction, MultistageContext):
        raise InvalidInput("only MultistageLatentCodec with convolutional contexts can be made exact; convert() first")
    chunks = getattr(codec.y, "chunks", None)
    if chunks != ("scales", "means") or not isinstance(codec.y.entropy_parameters, nn.Identity):
        raise InvalidInput("only Gaussians with scales and means can be made exact, not mixtures")


def _last(m: int) -> Output:
    """Scales, then means, of M channels each."""
    fraction = np.repeat(np.array([SCALE_FRACTION, LATENT_FRACTION], np.int64), m)
    low = np.repeat(np.array([0, -Y_LIMIT], np.int64), m)
    return Output(fraction, low, np.repeat(np.array([SCALE_LIMIT, Y_LIMIT], np.int64), m))


def _stored(bottleneck: Any, gaussian: Any) -> dict[str, NDArray[Any]]:
    """Tables, medians and bounds of scales, as integers."""
    medians = bottleneck._get_medians().flatten().double().numpy()
    floor = float(gaussian.lower_bound_scale.bound)
    edges = np.maximum(gaussian.scale_table[:-1].double().numpy(), 0) * 2**SCALE_FRACTION
    stored = {"z.means": np.rint(medians * _ONE).astype(np.int64), "edges": np.floor(edges).astype(np.int64)}
    stored["edges"] = np.where(edges < floor * 2**SCALE_FRACTION, -1, stored["edges"])  # below what a scale may be
    for name, model in (("y", gaussian), ("z", bottleneck)):
        if model.quantized_cdf.numel() == 0:
            raise InvalidInput("the model has no tables for entropy coding; call model.update() first")
        parts = ("quantized_cdf", "cdf_length", "offset")
        stored |= {f"{name}.{part}": getattr(model, part).int().numpy().copy() for part in parts}
    return stored


def _tables(arrays: Mapping[str, NDArray[Any]], name: str) -> Tables:
    cdf, lengths = arrays[f"{name}.quantized_cdf"].tolist(), arrays[f"{name}.cdf_length"].ravel().tolist()
    rows = [row[:length] for row, length in zip(cdf, lengths, strict=True)]
    return Tables(rows, arrays[f"{name}.offset"].ravel().tolist())


def _ranges(
    model: Any, codecs: Sequence[Any], pictures: Sequence[Tensor]
) -> tuple[dict[nn.Module, NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Largest magnitudes of every channel behind every convolution, and of the contexts."""
    if not pictures:
        raise InvalidInput("make_exact needs some pictures, to see how large activations become")
    maxima: dict[nn.Module, NDArray[np.float64]] = {}
    contexts = [np.zeros(codec.context_prediction.out_channels) for codec in codecs]

    def seen(module: nn.Module, _: Any, out: Tensor) -> None:
        largest = out.detach().abs().amax((0, 2, 3)).double().numpy()
        maxima[module] = np.maximum(maxima.get(module, 0.0), largest)

    networks = [hyper_parts(model.latent_codec)[2], *(codec.entropy_parameters for codec in codecs)]
    networks += list(getattr(model.latent_codec.y, "channel_context", {}).values())
    leaves = [one for network in networks for one in network.modules()]
    hooks = [one.register_forward_hook(seen) for one in leaves if isinstance(one, nn.Conv2d | nn.ConvTranspose2d)]
    inner = [codec.register_forward_hook(_whole(contexts, i)) for i, codec in enumerate(codecs)]
    for x in pictures:
        model.latent_codec(model.g_a(x))
    for hook in [*hooks, *inner]:
        hook.remove()
    return maxima, contexts


def _whole(contexts: list[NDArray[np.float64]], number: int) -> Any:
    """A hook that computes contexts and parameters once more, as planes, for the hooks on their layers."""

    def run(codec: Any, inputs: tuple[Tensor, Tensor], out: Mapping[str, Any]) -> None:
        y_hat = out["y_hat"]
        side = inputs[1][..., : y_hat.shape[-2], : y_hat.shape[-1]]
        plan = codec._walk(y_hat)
        state = Gathered(codec.context_prediction, plan, side)
        state.fill(y_hat)
        for group in range(codec.schedule.groups):
            positions, kernels = merged(plan.steps, group)
            context = state.context_of(kernels, positions)
            largest = context.abs().amax((0, 1)).double().numpy()
            contexts[number] = np.maximum(contexts[number], largest)
            codec._params(context.transpose(1, 2).unflatten(2, y_hat.shape[-2:]), side)

    return run
