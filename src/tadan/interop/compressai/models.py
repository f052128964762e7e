"""Models of CompressAI with multistage contexts, under its registry and in its zoo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tadan.errors import InvalidInput
from tadan.interop.compressai.codec import MultistageLatentCodec
from tadan.interop.compressai.context import MultistageContext, parsed
from tadan.interop.compressai.convert import convert
from tadan.interop.compressai.layouts import hyper_parts, hyperprior, renamed, shape_in_dict, shape_of_z
from tadan.interop.compressai.loading import load
from tadan.interop.compressai.mixture import GaussianMixtureLatentCodec
from tadan.schedule import Schedule

load()
from compressai.models import (  # noqa: E402
    Cheng2020Anchor,
    Cheng2020Attention,
    Elic2022Official,
    JointAutoregressiveHierarchicalPriors,
    SimpleVAECompressionModel,
)
from compressai.registry import register_model  # noqa: E402

_CONTEXT_STATE = "context_prediction._extra_state"


class MultistagePriors(SimpleVAECompressionModel):
    """g_a, g_s and a hyperprior whose y is coded in stages; drop-in for CompressAI's autoregressive models.

    ``compress`` gives two streams, y and z, and as ``shape`` (h, w) of z, as those do, so that CompressAI's examples
    store them; where the picture's sides are no multiples of 64, ``shape`` is the dictionary of
    ``HyperpriorLatentCodec``. ``decompress`` reads both.

    Args:
        g_a: picture (B, 3, H, W) to y (B, M, H / 16, W / 16), rounded up.
        g_s: y_hat to picture.
        latent_codec: a ``HyperpriorLatentCodec``.
    """

    def __init__(self, g_a: nn.Module, g_s: nn.Module, latent_codec: Any) -> None:
        super().__init__()
        self.g_a, self.g_s, self.latent_codec = g_a, g_s, latent_codec

    @property
    def downsampling_factor(self) -> int:
        """Pixels of a side that stand for one of z."""
        return 64

    def compress(self, x: Tensor) -> dict[str, Any]:
        """Pictures (B, 3, H, W) to streams."""
        y = self.g_a(x)
        out: dict[str, Any] = self.latent_codec.compress(y)
        height, width = shape_of_z(out["shape"])
        if tuple(y.shape[-2:]) == (4 * height, 4 * width) and len(out["strings"]) == 2:
            out["shape"] = torch.Size((height, width))
        return out

    def decompress(self, strings: Any, shape: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Streams to pictures ``x_hat`` in 0..1."""
        if not isinstance(shape, Mapping):
            y_codec: Any = self.latent_codec.y
            bottleneck: Any = hyper_parts(self.latent_codec)[0]
            height, width = shape_of_z(shape)
            m = y_codec.context_prediction.in_channels
            shape = shape_in_dict((m, 4 * height, 4 * width), (bottleneck.channels, height, width))
        y_hat = self.latent_codec.decompress(strings, shape)["y_hat"]
        return {"x_hat": self.g_s(y_hat).clamp_(0, 1)}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """Load a checkpoint of this model, of either layout of CompressAI."""
        return super().load_state_dict(renamed(state_dict, self), strict=strict)


class _FromAutoregressive(MultistagePriors):
    """A multistage model with the sizes and parts of an autoregressive one."""

    def __init__(self, source: Any, schedule: Schedule | str) -> None:
        made = convert(source, schedule)
        super().__init__(made.g_a, made.g_s, made.latent_codec)
        self.latent_codec.y.context_prediction.reset_parameters()
        self.N, self.M = source.N, source.M


def _schedule_of(state_dict: Mapping[str, Any]) -> str:
    return next((value for key, value in state_dict.items() if key.endswith(_CONTEXT_STATE)), "4x4")


@register_model("mbt2018-multistage")
class JointMultistageHierarchicalPriors(_FromAutoregressive):
    """mbt2018 with a multistage context in place of the autoregressive one.

    Source of the other parts: Minnen, Ballé, Toderici, "Joint Autoregressive and Hierarchical Priors for Learned Image
    Compression", NeurIPS 2018.

    Args:
        N: channels of the transforms.
        M: channels of y.
        schedule: decoding order.
    """

    def __init__(self, N: int = 192, M: int = 192, schedule: Schedule | str = "4x4", **kwargs: Any) -> None:
        super().__init__(JointAutoregressiveHierarchicalPriors(N, M, **kwargs), schedule)

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Any]) -> Any:
        """A model of the sizes and the schedule of a checkpoint, with its weights."""
        net = cls(state_dict["g_a.0.weight"].size(0), state_dict["g_a.6.weight"].size(0), _schedule_of(state_dict))
        net.load_state_dict(state_dict)
        return net


@register_model("cheng2020-anchor-multistage")
class Cheng2020AnchorMultistage(_FromAutoregressive):
    """Cheng2020 without attention, with a multistage context.

    Source of the other parts: Cheng, Sun, Takeuchi, Katto, CVPR 2020 (arXiv 2001.01568).

    Args:
        N: channels of all parts.
        schedule: decoding order.
    """

    _source = Cheng2020Anchor

    def __init__(self, N: int = 192, schedule: Schedule | str = "4x4", **kwargs: Any) -> None:
        super().__init__(self._source(N, **kwargs), schedule)

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Any]) -> Any:
        """A model of the size and the schedule of a checkpoint, with its weights."""
        net = cls(state_dict["g_a.0.conv1.weight"].size(0), _schedule_of(state_dict))
        net.load_state_dict(state_dict)
        return net


@register_model("cheng2020-attn-multistage")
class Cheng2020AttentionMultistage(Cheng2020AnchorMultistage):
    """Cheng2020 with attention and a multistage context: the setting of Lin et al., ICASSP 2023, one Gaussian.

    Args:
        N: channels of all parts.
        schedule: decoding order.
    """

    _source = Cheng2020Attention


@register_model("cheng2020-attn-gmm-multistage")
class Cheng2020AttentionGMMMultistage(Cheng2020AttentionMultistage):
    """The same with mixtures of K Gaussians, as in the paper.

    Args:
        N: channels of all parts.
        schedule: decoding order.
        K: Gaussians of each latent.
    """

    def __init__(self, N: int = 192, schedule: Schedule | str = "4x4", K: int = 3, **kwargs: Any) -> None:
        super().__init__(N, schedule, **kwargs)
        *layers, last = self.latent_codec.y.entropy_parameters
        y = MultistageLatentCodec(
            latent_codec={"y": GaussianMixtureLatentCodec(K)},
            entropy_parameters=nn.Sequential(*layers, nn.Conv2d(last.in_channels, 3 * K * N, 1)),
            context_prediction=MultistageContext(N, 2 * N, parsed(schedule), bias=False),
            context_first=False,
            forward_method="onepass",
        )
        self.latent_codec = hyperprior(y, *hyper_parts(self.latent_codec), "noise")

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Any]) -> Any:
        """A model of the sizes, the Gaussians and the schedule of a checkpoint, with its weights."""
        n = state_dict["g_a.0.conv1.weight"].size(0)
        *_, last = (
            one for name, one in state_dict.items() if ".entropy_parameters." in name and name.endswith(".bias")
        )
        net = cls(n, _schedule_of(state_dict), len(last) // (3 * n))
        net.load_state_dict(state_dict)
        return net


@register_model("elic2022-multistage")
class Elic2022Multistage(Elic2022Official):
    """ELIC with a multistage context in every channel group.

    Source of the other parts: He et al., "ELIC", CVPR 2022 (arXiv 2203.10886).

    Args:
        N: channels of the transforms.
        M: channels of y.
        groups: channels of each group.
        schedule: decoding order, or one for each group.
    """

    def __init__(
        self, N: int = 192, M: int = 320, groups: list[int] | None = None, schedule: Any = "4x4", **kwargs: Any
    ) -> None:
        super().__init__(N, M, groups, **kwargs)
        made = convert(self, schedule)
        self.latent_codec = made.latent_codec
        for module in self.modules():
            if isinstance(module, MultistageContext):
                module.reset_parameters()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """Load a checkpoint of either layout of CompressAI."""
        return super().load_state_dict(renamed(state_dict, self), strict=strict)

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Any]) -> Any:
        """A model of the sizes and the schedules of a checkpoint, with its weights."""
        contexts = [key for key in state_dict if key.endswith(_CONTEXT_STATE)]
        schedules = [state_dict[key] for key in contexts]
        firsts = [key.removesuffix("_extra_state") + "weights.0" for key in contexts]
        groups = [state_dict[key].size(1) if key in state_dict else 0 for key in firsts]
        if 0 in groups:
            raise InvalidInput(
                "the checkpoint has a group without context, so its channels are unknown; build the "
                "model with its groups, then call load_state_dict"
            )
        net = cls(state_dict["g_a.0.weight"].size(0), sum(groups), groups, schedules)
        net.load_state_dict(state_dict)
        return net
