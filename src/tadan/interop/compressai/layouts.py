"""CompressAI 1.2.8 and its main branch of 2026: how a hyperprior is put together, how its parts and shapes are named.

==============================  =====================================  ============================================
what                            1.2.8                                  main branch, since June 2026
==============================  =====================================  ============================================
h_a, h_s                        ``latent_codec.hyper.h_a``             ``latent_codec.h_a``
entropy bottleneck of z         ``latent_codec.hyper.entropy_..``      ``latent_codec.z.entropy_bottleneck``
``shape`` of a hyperprior       ``{"y": .., "hyper": (h, w)}``         ``{"y": .., "z": (N, h, w)}``
==============================  =====================================  ============================================

Autoregressive models of both keep ``h_a``, ``h_s``, ``entropy_bottleneck``, ``context_prediction`` and
``entropy_parameters`` at the top, and ``shape`` is that of z, (h, w).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tadan.interop.compressai.loading import load

load()
from compressai import latent_codecs  # noqa: E402

HyperpriorLatentCodec = latent_codecs.HyperpriorLatentCodec
#: Beginnings of keys that mean the same part; the first that the model has is taken.
_SAME_PARTS = (
    ("latent_codec.hyper.h_a.", "latent_codec.h_a.", "h_a."),
    ("latent_codec.hyper.h_s.", "latent_codec.h_s.", "h_s."),
    ("latent_codec.hyper.entropy_bottleneck.", "latent_codec.z.entropy_bottleneck.", "entropy_bottleneck."),
    ("latent_codec.y.y.gaussian_conditional.", "gaussian_conditional."),
    ("latent_codec.y.entropy_parameters.", "entropy_parameters."),
)
_Z_NAMES = ("hyper", "z")


def flat() -> bool:
    """Whether the installed CompressAI has h_a and h_s in the hyperprior's own codec, as its main branch."""
    return "h_a" in inspect.signature(HyperpriorLatentCodec.__init__).parameters


def hyperprior(y: nn.Module, entropy_bottleneck: nn.Module, h_a: nn.Module, h_s: nn.Module, quantizer: str) -> Any:
    """A ``HyperpriorLatentCodec`` of these parts, as the installed CompressAI builds it.

    Args:
        y: latent codec of y.
        entropy_bottleneck: of z.
        h_a: from y to z.
        h_s: from z_hat to side parameters.
        quantizer: ``"noise"`` or ``"ste"``, of z in training.
    """
    if not flat():
        hyper = latent_codecs.HyperLatentCodec(entropy_bottleneck, h_a=h_a, h_s=h_s, quantizer=quantizer)
        return HyperpriorLatentCodec(latent_codec={"y": y, "hyper": hyper})
    z = latent_codecs.EntropyBottleneckLatentCodec(entropy_bottleneck=entropy_bottleneck, quantizer=quantizer)
    return HyperpriorLatentCodec(latent_codec={"y": y, "z": z}, h_a=h_a, h_s=h_s)


def hyper_parts(codec: Any) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Entropy bottleneck, h_a and h_s of a ``HyperpriorLatentCodec`` of either layout."""
    if hasattr(codec, "hyper"):
        return codec.hyper.entropy_bottleneck, codec.hyper.h_a, codec.hyper.h_s
    return codec.z.entropy_bottleneck, codec.h_a, codec.h_s


def renamed(state_dict: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """A checkpoint of either layout, or of the autoregressive models, with the names that ``model`` has."""
    own = model.state_dict()
    return {_own_name(key, own): value for key, value in state_dict.items()}


def _own_name(key: str, own: Mapping[str, Tensor]) -> str:
    if key in own:
        return key
    for names in _SAME_PARTS:
        for name in names:
            if key.startswith(name):
                rest = key[len(name) :]
                return next((other + rest for other in names if any(k.startswith(other) for k in own)), key)
    return key


def shape_of_z(shape: Any) -> tuple[int, int]:
    """(h, w) of z in any of the conventions."""
    if isinstance(shape, Mapping):
        shape = next(shape[name] for name in _Z_NAMES if name in shape)
    height, width = shape[-2:]
    return int(height), int(width)


def shape_in_dict(y_shape: tuple[int, int, int], z_shape: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    """``shape`` as the installed ``HyperpriorLatentCodec`` takes it, from (M, h, w) of y and (N, h, w) of z."""
    return {"y": y_shape, "z": z_shape} if flat() else {"y": y_shape, "hyper": z_shape[1:]}
