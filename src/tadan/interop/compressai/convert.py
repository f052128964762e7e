"""Other schedules for CompressAI's models: the context is exchanged, every other weight stays."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from tadan.errors import InvalidInput
from tadan.interop.compressai.codec import MultistageLatentCodec
from tadan.interop.compressai.context import MultistageContext, parsed
from tadan.interop.compressai.layouts import hyperprior
from tadan.interop.compressai.loading import load
from tadan.schedule import PatternSchedule, ScanSchedule, Schedule

load()
from compressai.latent_codecs import (  # noqa: E402
    CheckerboardLatentCodec,
    GaussianConditionalLatentCodec,
    RasterScanLatentCodec,
)
from compressai.models import JointAutoregressiveHierarchicalPriors  # noqa: E402

#: One for all, or one for each place in the model, in the order of its modules.
Schedules = Schedule | str | Sequence[Schedule | str]


def from_checkerboard(
    codec: Any, schedule: Schedule | str | None = None, streams: str | None = None, compute: str | None = None
) -> MultistageLatentCodec:
    """A :class:`MultistageLatentCodec` in place of a ``CheckerboardLatentCodec``, which is left as it is.

    Without further arguments it is the same codec: its own checkerboard, streams of the same bytes, computed with the
    same operations. All parts are shared but the context, which is copied.

    Args:
        codec: of CompressAI.
        schedule: another one; the context starts with the weights of neighbours that the checkerboard knows, zero
            elsewhere, and has to be trained.
        streams: see :class:`MultistageLatentCodec`. Default: ``"stage"`` for its own schedule, else ``"joint"``.
        compute: the same; default: ``"dense"`` for its own schedule, else ``"gather"``.

    Raises:
        InvalidInput: ``codec`` is no ``CheckerboardLatentCodec``.
    """
    if not isinstance(codec, CheckerboardLatentCodec):
        raise InvalidInput(f"{type(codec).__name__} is no CheckerboardLatentCodec; convert() takes whole models")
    board = PatternSchedule([[0, 1], [1, 0]] if codec.anchor_parity == "even" else [[1, 0], [0, 1]])
    wanted = board if schedule is None else parsed(schedule)
    same = wanted == board
    made = MultistageLatentCodec(
        latent_codec={"y": codec.latent_codec["y"]},
        entropy_parameters=codec.entropy_parameters,
        context_prediction=_context(codec.context_prediction, wanted),
        forward_method="onepass" if codec.forward_method == "onepass" else "multipass",
        streams=streams or ("stage" if same else "joint"),
        compute=compute or ("dense" if same else "gather"),
    )
    return made.train(codec.training)


def from_raster(
    codec: Any, schedule: Schedule | str | None = None, streams: str | None = None, compute: str | None = None
) -> MultistageLatentCodec:
    """The same in place of a ``RasterScanLatentCodec``, or of the y part of an autoregressive model.

    Args:
        codec: what has ``context_prediction``, ``entropy_parameters`` and ``gaussian_conditional``.
        schedule: see :func:`from_checkerboard`; default raster.
        streams: default ``"joint"``, as CompressAI has it.
        compute: default ``"dense"`` for raster, else ``"gather"``.
    """
    wanted = ScanSchedule() if schedule is None else parsed(schedule)
    made = MultistageLatentCodec(
        latent_codec={"y": GaussianConditionalLatentCodec(gaussian_conditional=codec.gaussian_conditional)},
        entropy_parameters=codec.entropy_parameters,
        context_prediction=_context(codec.context_prediction, wanted),
        streams=streams or "joint",
        compute=compute or ("dense" if wanted == ScanSchedule() else "gather"),
        context_first=False,
    )
    return made.train(codec.training)


def convert(
    model: nn.Module, schedule: Schedules = "4x4", streams: str | None = None, compute: str | None = None
) -> Any:
    """A copy of a CompressAI model under another schedule; every weight but those of contexts is the same.

    Models with ``CheckerboardLatentCodec`` or ``RasterScanLatentCodec`` anywhere inside (Cheng2020 with checkerboard,
    ELIC) keep their class. Autoregressive models (mbt2018, Cheng2020) become :class:`~.models.MultistagePriors`, whose
    streams and shapes are still two: y and z. A context that sees what it saw before is the same network; for a new
    schedule it starts from the weights it has and has to be trained.

    Args:
        model: of CompressAI.
        schedule: decoding order; a sequence gives one to each context in the order of the modules (in ELIC: of the
            channel groups).
        streams: see :class:`MultistageLatentCodec`; default: as CompressAI has it where the schedule is its own, else
            ``"joint"``. All contexts of a model have the same.
        compute: the same; default: ``"dense"`` where the schedule is its own, else ``"gather"``.

    Raises:
        InvalidInput: the model has no spatial context, or another number of them than ``schedule`` has.
    """
    if isinstance(model, JointAutoregressiveHierarchicalPriors):
        from tadan.interop.compressai.models import MultistagePriors

        [wanted] = _one_each(schedule, 1)
        source = copy.deepcopy(model)
        y = from_raster(source, wanted, streams, compute)
        codec = hyperprior(y, source.entropy_bottleneck, source.h_a, source.h_s, "noise")
        return MultistagePriors(source.g_a, source.g_s, codec).train(model.training)
    result = copy.deepcopy(model)
    places, made = list(_contexts(result)), []
    for (parent, name, codec), wanted in zip(places, _one_each(schedule, len(places)), strict=True):
        make = from_checkerboard if isinstance(codec, CheckerboardLatentCodec) else from_raster
        made.append(make(codec, wanted, streams, compute))
        _replace(parent, name, codec, made[-1])
    if len({one.streams for one in made}) > 1:  # channel groups need equally many streams
        for one in made:
            one.streams = "joint"
    return result


def _one_each(schedule: Schedules, places: int) -> list[Schedule]:
    if places == 0:
        raise InvalidInput(
            "the model has no spatial context to exchange; take one with CheckerboardLatentCodec, "
            "RasterScanLatentCodec or context_prediction"
        )
    given = [schedule] * places if isinstance(schedule, str | Schedule) else list(schedule)
    if len(given) != places:
        raise InvalidInput(f"the model has {places} contexts, not {len(given)}; give one schedule, or one for each")
    return [parsed(one) for one in given]


def _contexts(module: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """Codecs to exchange, each with what holds it and its name there."""
    for name, child in module.named_children():
        if isinstance(child, CheckerboardLatentCodec | RasterScanLatentCodec):
            yield module, name, child
        else:
            yield from _contexts(child)


def _replace(parent: Any, name: str, old: Any, new: Any) -> None:
    """Put a codec into its place, and into the plain dictionary in which CompressAI keeps it beside."""
    if isinstance(parent, nn.ModuleDict):
        parent[name] = new
        return
    setattr(parent, name, new)
    beside = parent.__dict__.get("latent_codec")
    if isinstance(beside, Mapping):
        parent.latent_codec = {key: new if codec is old else codec for key, codec in beside.items()}


def _context(convolution: Any, schedule: Schedule) -> MultistageContext:
    """g_cm with the weights of a masked convolution."""
    [size] = set(convolution.kernel_size)
    context = MultistageContext(
        convolution.in_channels, convolution.out_channels, schedule, size, bias=convolution.bias is not None
    )
    context.load_kernel(convolution.weight * convolution.mask, convolution.bias)
    return context.to(convolution.weight)
