"""Gaussian mixtures (Cheng2020's "GMM") as a latent codec, with streams that are all there is.

CompressAI's ``GaussianMixtureConditional`` codes one picture at a time and returns, beside the bytes, the largest
magnitude and a bitmap that no container of its own stores. Here every symbol has a window of a width that follows from
its parameters, and symbols outside are escaped; nothing travels beside the stream.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tadan.interop.compressai.coder import Reader, Tables, Writer
from tadan.interop.compressai.loading import load

load()
from compressai.entropy_models import GaussianMixtureConditional  # noqa: E402
from compressai.latent_codecs import LatentCodec  # noqa: E402
from compressai.ops import quantize_ste  # noqa: E402
from compressai.registry import register_module  # noqa: E402

HALVES = (3, 12, 48, 192)  # half widths of windows, in latents
SPREADS = 6.0  # standard deviations that fit into half a window, where one is wide enough
SCALES = (0.11, 256.0)  # bounds of standard deviations, CompressAI's
TOTAL = 2**16
AT_ONCE = 2**20  # entries of tables made at a time


@register_module("GaussianMixtureLatentCodec")
class GaussianMixtureLatentCodec(LatentCodec):
    """Latents under a mixture of K Gaussians each.

    Source: Cheng, Sun, Takeuchi, Katto, "Learned Image Compression with Discretized Gaussian Mixture Likelihoods and
    Attention Modules", CVPR 2020, equation 8. Parameters are (B, 3 K M, h, w): scales, means and the logits of weights,
    each of K times all M channels.

    Args:
        K: Gaussians of each latent.
        quantizer: ``"noise"`` or ``"ste"``, what y_hat of ``forward`` is in training; latents are rounded without their
            means, since there are K of them.
    """

    def __init__(self, K: int = 3, quantizer: str = "noise", **kwargs: Any) -> None:
        super().__init__()
        self._kwargs = kwargs
        self.K, self.quantizer = K, quantizer
        self.gaussian_conditional = GaussianMixtureConditional(K=K)

    def forward(self, y: Tensor, params: Tensor) -> dict[str, Any]:
        """Likelihoods and y_hat of latents (B, M, h, w)."""
        scales, means, logits = params.chunk(3, 1)
        weights = logits.unflatten(1, (self.K, -1)).softmax(1).flatten(1, 2)
        y_hat, likelihoods = self.gaussian_conditional(y, scales, means, weights)
        if self.quantizer == "ste":
            y_hat = quantize_ste(y)
        return {"likelihoods": {"y": likelihoods}, "y_hat": y_hat}

    @torch.no_grad()
    def compress(self, y: Tensor, params: Tensor) -> dict[str, Any]:
        """One stream for each picture."""
        coder, everything = MixtureCoder(self), slice(None)
        writers = [Writer() for _ in y]
        y_hat = [coder.encode(one, y[i : i + 1], params[i : i + 1], everything) for i, one in enumerate(writers)]
        return {"strings": [[one.bytes() for one in writers]], "shape": y.shape[2:4], "y_hat": torch.cat(y_hat)}

    @torch.no_grad()
    def decompress(self, strings: Any, shape: Any, params: Tensor, **kwargs: Any) -> dict[str, Any]:
        """Inverse of :meth:`compress`."""
        coder, size = MixtureCoder(self), params[0].numel()
        [streams] = strings
        y_hat = [coder.decode(Reader(data, size), params[i : i + 1], slice(None)) for i, data in enumerate(streams)]
        return {"y_hat": torch.cat(y_hat)}


class MixtureCoder:
    """Steps of a :class:`GaussianMixtureLatentCodec` to symbols and back; see :class:`~.coder.StageCoder`.

    Latents whose mixture is narrow come first, each class in the order of the tensor.

    Args:
        latent_codec: that codec.
    """

    def __init__(self, latent_codec: GaussianMixtureLatentCodec) -> None:
        self.codec = latent_codec

    def refresh(self) -> None:
        """There are no tables."""

    def means(self, params: Tensor, channels: slice) -> None:
        """Latents are rounded as they are."""
        return

    def encode(self, writer: Writer, y: Tensor, params: Tensor, channels: slice) -> Tensor:
        """Append latents (1, c, rows, columns); returns y_hat."""
        rounded = torch.round(y)
        symbols = rounded.flatten().int()
        for places, tables in self._classes(params, channels):
            writer.put(symbols[places].tolist(), list(range(len(places))), tables)
        return rounded

    def decode(self, reader: Reader, params: Tensor, channels: slice) -> Tensor:
        """The next latents."""
        m = params.shape[1] // (3 * self.codec.K)
        size = len(range(*channels.indices(m))), *params.shape[2:]
        y_hat = params.new_zeros(torch.Size(size).numel())
        for places, tables in self._classes(params, channels):
            y_hat[places] = torch.tensor(reader.take(list(range(len(places))), tables), device=y_hat.device).to(y_hat)
        return y_hat.view(1, *size)

    def _classes(self, params: Tensor, channels: slice) -> Any:
        """By width of the window: places of latents in their tensor, and the tables of these."""
        k = self.codec.K
        parts = params[0].float().unflatten(0, (3, k, -1))[:, :, channels].flatten(2)  # (3, K, c * n)
        scales, means, weights = parts[0].clamp(*SCALES), parts[1], parts[2].softmax(0)
        centre = (weights * means).sum(0)
        spread = ((weights * (scales**2 + means**2)).sum(0) - centre**2).clamp_min(0).sqrt()
        middle = torch.round(centre).clamp(-(2**20), 2**20)
        limits = torch.tensor(HALVES[:-1], dtype=torch.float32, device=spread.device) / SPREADS
        kinds = torch.bucketize(spread, limits)
        for kind, half in enumerate(HALVES):
            for places in (kinds == kind).nonzero().flatten().split(max(1, AT_ONCE // (2 * half + 1))):
                if len(places):
                    yield places, _tables(scales[:, places], means[:, places], weights[:, places], middle[places], half)


def _tables(scales: Tensor, means: Tensor, weights: Tensor, middle: Tensor, half: int) -> Tables:
    """One table for each latent: its window, an escape, all above 0, of sum 2**16."""
    first = middle - half
    edges = torch.arange(2 * half + 2, device=middle.device) + (first - 0.5)[:, None]  # (n, L + 1)
    below = torch.zeros_like(edges)
    for scale, mean, weight in zip(scales, means, weights, strict=True):
        below += weight[:, None] * 0.5 * torch.erfc((mean[:, None] - edges) / (scale[:, None] * 2**0.5))
    window = 2 * half + 1
    masses = below.diff(dim=1).clamp_min(0)
    masses = masses / masses.sum(1, keepdim=True).clamp_min(1)
    freqs = torch.floor(masses * (TOTAL - window - 1)).int() + 1
    cdf = torch.zeros(len(middle), window + 2, dtype=torch.int32, device=middle.device)
    cdf[:, 1:-1] = freqs.cumsum(1)
    cdf[:, -1] = TOTAL
    return Tables(cdf.tolist(), first.int().tolist())
