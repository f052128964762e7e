"""``MultistageLatentCodec``: a latent codec for CompressAI under any schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tadan.errors import InvalidInput
from tadan.interop.compressai.coder import GaussianCoder, Reader, StageCoder, Writer
from tadan.interop.compressai.context import MultistageContext
from tadan.interop.compressai.loading import load
from tadan.interop.compressai.pointwise import apply, check_pointwise, layers
from tadan.interop.compressai.state import Dense, Gathered
from tadan.interop.compressai.walk import Step, Walk, merged, stage_total, walk
from tadan.schedule import ScanSchedule, Schedule

load()
from compressai.entropy_models import EntropyModel  # noqa: E402
from compressai.latent_codecs import GaussianConditionalLatentCodec, LatentCodec  # noqa: E402
from compressai.ops import quantize_ste  # noqa: E402
from compressai.registry import register_module  # noqa: E402

#: Codes or decodes a step: (step, parameters (B, P, rows, columns)) -> y_hat of the step (B, c, rows, columns).
Exchange = Callable[[Step, Tensor], Tensor]


@register_module("MultistageLatentCodec")
class MultistageLatentCodec(LatentCodec):
    """Codes y in stages: a stage's latents at once, each knowing what earlier stages hold in its window.

    ::

        side_params ─────────────────┐
                                     ▼
        y_hat of earlier stages ──► g_cm ──► merge ──► g_ep ──► parameters of this stage's latents
               ▲                                                         │
               └──────────── y_hat of this stage ◄── rANS ◄──────────────┘

    Source: Lin, Sun, Liu, Katto, "Multistage Spatial Context Models for Learned Image Compression", ICASSP 2023. What
    is decoded when is a :class:`tadan.schedule.Schedule`; checkerboard and raster are instances. Only the positions of
    a stage, and only what they see, are computed. ``entropy_parameters`` must be pointwise (1x1 convolutions and
    functions of single values), as in CompressAI's checkerboard.

    It stands where ``CheckerboardLatentCodec`` or ``RasterScanLatentCodec`` may stand, inside
    ``HyperpriorLatentCodec`` and ``ChannelGroupsLatentCodec``. Latent planes have any size; where ``side_params`` is
    larger than y, its top left part counts.

    Args:
        latent_codec: ``{"y": codec}``, a ``GaussianConditionalLatentCodec`` or a
            :class:`~tadan.interop.compressai.mixture.GaussianMixtureLatentCodec`; another latent codec needs
            ``streams="stage"``.
        entropy_parameters: g_ep, from the merged context and side parameters to what ``latent_codec["y"]`` takes.
        context_prediction: g_cm, which holds the schedule.
        forward_method: how ``forward`` rounds. ``"multipass"``: stage by stage, around the means, straight through,
            as ``compress`` does (CompressAI's ``"twopass"``). ``"onepass"``: y plus noise in training, rounded
            otherwise, all positions at once, as CompressAI's autoregressive models do. Default: ``"multipass"``, for
            scans ``"onepass"``.
        streams: ``"joint"``: one stream for each picture. ``"stage"``: one for each stage, as CompressAI's checkerboard
            writes them; 8 bytes more for every further stage. Either way a number that only the schedule decides.
        compute: ``"gather"``: each picture alone, so that a batch does not change a stream. ``"dense"``: convolutions
            of the shapes that CompressAI's own codecs compute, so that checkerboard and raster give their very bytes.
        context_first: whether the context stands before the side parameters in the input of ``entropy_parameters``, as
            in CompressAI's checkerboard; its autoregressive models have it behind.

    Raises:
        InvalidInput: an argument is none of these, parts do not fit each other, or ``entropy_parameters`` has a
            convolution that is not 1x1.
    """

    def __init__(
        self,
        latent_codec: Mapping[str, Any] | None = None,
        entropy_parameters: nn.Module | None = None,
        context_prediction: MultistageContext | None = None,
        forward_method: str | None = None,
        streams: str = "joint",
        compute: str = "gather",
        context_first: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self._kwargs = kwargs
        if context_prediction is None:
            raise InvalidInput("a MultistageLatentCodec needs context_prediction=MultistageContext(M, 2 * M, schedule)")
        scan = isinstance(context_prediction.schedule, ScanSchedule)
        self.forward_method = forward_method or ("onepass" if scan else "multipass")
        self.streams, self.compute, self.context_first = streams, compute, context_first
        self.entropy_parameters = entropy_parameters or nn.Identity()
        self.context_prediction = context_prediction
        self.latent_codec = latent_codec or {"y": GaussianConditionalLatentCodec(quantizer="ste")}
        self.y = self.latent_codec["y"]
        self._coder: StageCoder | None = None
        self._check()

    def _check(self) -> None:
        for name, value, allowed in (
            ("forward_method", self.forward_method, ("multipass", "onepass")),
            ("streams", self.streams, ("joint", "stage")),
            ("compute", self.compute, ("gather", "dense")),
        ):
            if value not in allowed:
                raise InvalidInput(f"{name}={value!r} is neither {allowed[0]!r} nor {allowed[1]!r}; choose one of them")
        if self.streams == "stage" and stage_total(self.schedule) is None:
            raise InvalidInput('a scan has as many stages as latents; take streams="joint"')
        if self.streams == "joint" and _plain_coder(self.y) is None:
            raise InvalidInput(f'{type(self.y).__name__} makes its own streams; take streams="stage" with it')
        if _plain_coder(self.y) is None and self.schedule.groups > 1:
            raise InvalidInput(f"{type(self.y).__name__} knows no channel groups; choose another schedule")
        if self.compute == "dense" and self.schedule.groups > 1:
            raise InvalidInput('compute="dense" knows no channel groups; take "gather"')
        check_pointwise(self.entropy_parameters)

    @property
    def schedule(self) -> Schedule:
        """The decoding order, that of ``context_prediction``."""
        return self.context_prediction.schedule

    def __getitem__(self, key: str) -> Any:
        return self.latent_codec[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_coder": None}

    @staticmethod
    def merge(*args: Tensor) -> Tensor:
        """Input of ``entropy_parameters``: tensors (B, channels, rows, columns), side by side."""
        return torch.cat(args, dim=1)

    # --- training and rate estimation ---------------------------------------------------------------------------------

    def forward(self, y: Tensor, side_params: Tensor) -> dict[str, Any]:
        """Likelihoods and y_hat of latents (B, M, h, w), with side parameters (B, ., >= h, >= w)."""
        side = _cropped(side_params, y)
        return self._multipass(y, side) if self.forward_method == "multipass" else self._onepass(y, side)

    def _onepass(self, y: Tensor, side: Tensor) -> dict[str, Any]:
        y_hat = EntropyModel.quantize(None, y, "noise" if self.training else "dequantize")
        y_out = self.y(y, self.parameters_of(y_hat, side))
        return {"likelihoods": {"y": y_out["likelihoods"]["y"]}, "y_hat": y_hat}

    def parameters_of(self, y_hat: Tensor, side_params: Tensor) -> Tensor:
        """Parameters of all latents at once, each from what the schedule shows of ``y_hat``.

        Args:
            y_hat: (B, M, h, w), all of it known.
            side_params: (B, ., >= h, >= w).

        Returns:
            (B, P, h, w), what ``latent_codec["y"]`` takes.
        """
        side, walk_ = _cropped(side_params, y_hat), self._walk(y_hat)
        if self.compute == "dense":
            dense = Dense(self.context_prediction, walk_, side)
            dense.fill(y_hat)
            return self._params(dense.everywhere(), side)
        state = Gathered(self.context_prediction, walk_, side)
        state.fill(y_hat)
        groups = self.schedule.groups
        found = []
        for group in range(groups):
            positions, kernels = merged(walk_.steps, group)
            context = state.context_of(kernels, positions)
            found.append(self._row_params(context, side.flatten(2).transpose(1, 2)).flatten(2))
        if groups > 1:  # of each group's parameters only its own channels count
            m = y_hat.shape[1]
            own = [one.unflatten(1, (-1, groups, m // groups))[:, :, group] for group, one in enumerate(found)]
            found = [torch.stack(own, 2).flatten(1, 3)]
        return found[0].unflatten(2, y_hat.shape[-2:])

    def _multipass(self, y: Tensor, side: Tensor) -> dict[str, Any]:
        groups, m = self.schedule.groups, y.shape[1]
        walk_, flat = self._walk(y), y.flatten(2)
        coder = self._stage_coder(tables=False)
        params: list[list[Tensor]] = [[] for _ in range(groups)]
        y_hat: list[list[Tensor]] = [[] for _ in range(groups)]
        places: list[list[Tensor]] = [[] for _ in range(groups)]

        def rounded(step: Step, found: Tensor) -> Tensor:
            channels = self._channels(step, m)
            own = flat[:, channels].index_select(2, step.positions).unflatten(2, found.shape[-2:])
            if coder is None:
                value = self.y(own, found)["y_hat"]
            else:
                means = coder.means(found, channels)
                value = quantize_ste(own) if means is None else quantize_ste(own - means) + means
            places[step.group].append(step.positions)
            y_hat[step.group].append(value.flatten(2))
            split = (
                found.flatten(2)
                if groups == 1
                else found.flatten(2).unflatten(1, (-1, groups, m // groups))[:, :, step.group]
            )
            params[step.group].append(split)
            return value

        self._steps(walk_, side, rounded)
        found, hats = [], []
        for group in range(groups):
            order = torch.argsort(torch.cat(places[group]))
            found.append(torch.cat(params[group], -1).index_select(-1, order))
            hats.append(torch.cat(y_hat[group], -1).index_select(-1, order))
        all_params = found[0] if groups == 1 else torch.stack(found, 2).flatten(1, 3)
        y_out = self.y(y, all_params.unflatten(2, y.shape[-2:]))
        return {"likelihoods": {"y": y_out["likelihoods"]["y"]}, "y_hat": torch.cat(hats, 1).unflatten(2, y.shape[-2:])}

    # --- coding -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def compress(self, y: Tensor, side_params: Tensor) -> dict[str, Any]:
        """Code latents (B, M, h, w) with side parameters (B, ., >= h, >= w).

        Returns:
            ``strings``: list (streams) of list (pictures) of bytes; ``shape``: (M, h, w); ``y_hat``.

        Raises:
            InvalidInput: the model has no tables yet.
        """
        side, m = _cropped(side_params, y), y.shape[1]
        coder = self._stage_coder()
        results = []
        for pictures in self._pictures(len(y)):
            flat = y[pictures].flatten(2)
            writers: dict[int, Any] = {}

            def put(step: Step, params: Tensor, flat: Tensor = flat, writers: dict[int, Any] = writers) -> Tensor:
                channels = self._channels(step, m)
                own = flat[:, channels].index_select(2, step.positions).unflatten(2, params.shape[-2:])
                if coder is None:
                    out = self.y.compress(own, params)
                    [writers[step.stage]] = out["strings"]
                    return out["y_hat"]
                key = 0 if self.streams == "joint" else step.stage
                each = writers.setdefault(key, [Writer() for _ in own])
                return torch.cat(
                    [coder.encode(each[i], own[i : i + 1], params[i : i + 1], channels) for i in range(len(own))]
                )

            y_hat = self._steps(self._walk(y), side[pictures], put)
            results.append((self._finished(writers, len(flat)), y_hat))
        strings = [[one for streams, _ in results for one in streams[number]] for number in range(len(results[0][0]))]
        return {"strings": strings, "shape": y.shape[1:], "y_hat": torch.cat([y_hat for _, y_hat in results])}

    @torch.no_grad()
    def decompress(
        self, strings: Sequence[Sequence[bytes]], shape: Sequence[int], side_params: Tensor, **kwargs: Any
    ) -> dict[str, Any]:
        """Inverse of :meth:`compress`.

        Args:
            strings: as they came.
            shape: (M, h, w), or (h, w) as CompressAI's autoregressive codec has it.
            side_params: (B, ., >= h, >= w).
            kwargs: not read.

        Returns:
            ``y_hat``, (B, M, h, w).

        Raises:
            InvalidInput: the number of streams is not that of the schedule, or of the pictures.
            Truncated: a stream is no whole number of words.
        """
        m, (height, width) = self.context_prediction.in_channels, (int(size) for size in shape[-2:])
        expected = 1 if self.streams == "joint" else stage_total(self.schedule) or 1
        if len(strings) != expected or any(len(one) != len(side_params) for one in strings):
            raise InvalidInput(
                f"this codec reads {expected} streams for each of {len(side_params)} pictures, not "
                f"{[len(one) for one in strings]}; build it with the schedule and streams of the encoder"
            )
        side = side_params[..., :height, :width]
        coder = self._stage_coder()
        found = []
        for pictures in self._pictures(len(side)):
            mine = [one[pictures] for one in strings]
            readers: dict[int, Any] = {}

            def take(step: Step, params: Tensor, mine: Any = mine, readers: dict[int, Any] = readers) -> Tensor:
                if coder is None:
                    return self.y.decompress([mine[step.stage]], params.shape[-2:], params)["y_hat"]
                key = 0 if self.streams == "joint" else step.stage
                if key not in readers:
                    readers[key] = [Reader(data, m * height * width) for data in mine[key]]
                channels = self._channels(step, m)
                return torch.cat([coder.decode(one, params[i : i + 1], channels) for i, one in enumerate(readers[key])])

            plan = walk(self.schedule, height, width, self._radius, side.device)
            found.append(self._steps(plan, side[pictures], take))
        return {"y_hat": torch.cat(found)}

    # --- what all of them share ---------------------------------------------------------------------------------------

    def _steps(self, walk_: Walk, side: Tensor, exchange: Exchange) -> Tensor:
        """Go through the steps; returns y_hat (B, M, h, w)."""
        dense = self.compute == "dense"
        state = (Dense if dense else Gathered)(self.context_prediction, walk_, side)
        predict = self._params if dense else self._row_params
        for step in walk_.steps:
            state.put(step, exchange(step, predict(*state.inputs(step))))
        return state.plane()

    def _params(self, context: Tensor, side: Tensor) -> Tensor:
        """Parameters from planes (B, channels, rows, columns)."""
        parts = (context, side) if self.context_first else (side, context)
        params: Tensor = self.entropy_parameters(self.merge(*parts))
        return params

    def _row_params(self, context: Tensor, side: Tensor) -> Tensor:
        """Parameters (B, P, n, 1) from rows (B, n, channels)."""
        plain = layers(self.entropy_parameters) if type(self).merge is MultistageLatentCodec.merge else None
        if plain is None:
            return self._params(_planar(context), _planar(side))
        parts = (context, side) if self.context_first else (side, context)
        return _planar(apply(plain, torch.cat(parts, -1)))

    def _pictures(self, batch: int) -> list[slice]:
        """Pictures that are computed together: what the others hold must not change the sums of one."""
        return [slice(0, batch)] if self.compute == "dense" else [slice(i, i + 1) for i in range(batch)]

    def _finished(self, writers: dict[int, Any], pictures: int) -> list[list[bytes]]:
        total = 1 if self.streams == "joint" else stage_total(self.schedule) or 1
        strings = []
        for key in range(total):
            own = writers.get(key, [Writer() for _ in range(pictures)])  # a small plane may leave a stage empty
            strings.append([one.bytes() if isinstance(one, Writer) else one for one in own])
        return strings

    def _stage_coder(self, tables: bool = True) -> StageCoder | None:
        """What codes steps into shared streams; None if the latent codec of y makes streams of its own."""
        kind = _plain_coder(self.y)
        if kind is None:
            return None
        if self._coder is None or self._coder.codec is not self.y:
            self._coder = kind(self.y)
        if tables:
            self._coder.refresh()
        return self._coder

    def _channels(self, step: Step, m: int) -> slice:
        size = m // self.schedule.groups
        return slice(step.group * size, (step.group + 1) * size)

    @property
    def _radius(self) -> int:
        return self.context_prediction.radius

    def _walk(self, y: Tensor) -> Walk:
        return walk(self.schedule, y.shape[-2], y.shape[-1], self._radius, y.device)


def _plain_coder(codec: Any) -> Any:
    """Class that codes steps of a latent codec; None where a subclass has its own way of coding."""
    from tadan.interop.compressai.mixture import GaussianMixtureLatentCodec, MixtureCoder

    if isinstance(codec, GaussianMixtureLatentCodec):
        return MixtureCoder
    base = GaussianConditionalLatentCodec
    names = ("compress", "decompress")
    own = isinstance(codec, base) and all(getattr(type(codec), name) is getattr(base, name) for name in names)
    return GaussianCoder if own else None


def _cropped(side: Tensor, y: Tensor) -> Tensor:
    return side[..., : y.shape[-2], : y.shape[-1]]


def _planar(rows: Tensor) -> Tensor:
    """(B, n, channels) -> (B, channels, n, 1), the same memory."""
    return rows.transpose(1, 2).unsqueeze(-1)
