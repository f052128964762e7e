"""A transformer context: attention over the visible positions of the window. Research code.

It takes the place of :class:`tadan.interop.compressai.MultistageContext` in a latent codec for CompressAI. Only visible
positions take part, so no mask is needed: all latents that share a pattern see equally many. It is not exact (softmax),
so it cannot become a context of Tadan's own files.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadan.errors import InvalidInput
from tadan.interop.compressai.context import MultistageContext, parsed, schedule_text
from tadan.interop.compressai.loading import load
from tadan.interop.compressai.walk import Pattern, patterns
from tadan.schedule import Schedule

load()
from compressai.registry import register_module  # noqa: E402


@register_module("WindowedAttentionContext")
class WindowedAttentionContext(nn.Module):
    """One block of a transformer, for every latent over what its schedule shows it.

    Keys and values are projections of the latents, once for every position, plus an embedding of the neighbour's place
    in the window; the query is learned for every pattern. Attention, a projection, a layer of 4 ``width``, and the
    output; the residual path begins with the query. Arithmetic of one latent: :meth:`macs`.

    Args:
        in_channels: channels of y.
        out_channels: of the context.
        schedule: decoding order without channel groups.
        kernel_size: of the window, odd.
        width: of the block, a multiple of ``heads``.
        heads: of attention.

    Raises:
        InvalidInput: the sizes do not fit, or the schedule has channel groups.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        schedule: Schedule | str,
        kernel_size: int = 5,
        width: int = 128,
        heads: int = 8,
    ) -> None:
        super().__init__()
        self.schedule = parsed(schedule)
        if self.schedule.groups > 1:
            raise InvalidInput("the transformer context knows no channel groups; choose another schedule")
        if width % heads or kernel_size % 2 == 0:
            raise InvalidInput(f"a width of {width} must divide by {heads} heads, a window of {kernel_size} be odd")
        self.in_channels, self.out_channels, self.channels = in_channels, out_channels, in_channels
        self.kernel_size, self.radius, self.width, self.heads = kernel_size, kernel_size // 2, width, heads
        self.patterns: tuple[Pattern, ...] = patterns(self.schedule, self.radius)
        self.queries = nn.Parameter(torch.randn(len(self.patterns), width))
        self.places = nn.Parameter(torch.randn(kernel_size, kernel_size, 2 * width) * 0.5)
        self.keys_values = nn.Linear(in_channels, 2 * width)
        self.project = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.last = nn.Linear(width, out_channels)

    def macs(self, visible: float) -> float:
        """Multiplications for one latent that sees ``visible`` neighbours."""
        w = self.width
        return 2 * w * self.in_channels + 2 * w * visible + w * w + 8 * w * w + w * self.out_channels

    def gathered(self, rows: Tensor, kernel: int, neighbours: Tensor) -> Tensor:
        """Context of positions that share a pattern: (B, buffer rows, channels) -> (B, m, out_channels)."""
        seen, (batch, m, v) = self.patterns[kernel], (len(rows), *neighbours.shape)
        tokens = self.keys_values(rows).index_select(1, neighbours.flatten()).view(batch, m, v, -1)
        tokens = tokens + self.places[seen.rows, seen.cols]
        keys, values = (part.unflatten(-1, (self.heads, -1)).transpose(2, 3) for part in tokens.chunk(2, -1))
        query = self.queries[kernel]
        own = query.view(self.heads, 1, -1).expand(batch, m, -1, -1, -1)
        attended = F.scaled_dot_product_attention(own, keys, values).flatten(2)
        state = query + self.project(attended)
        state = state + self.narrow(F.gelu(self.hidden(self.norm(state))))
        result: Tensor = self.last(state)
        return result

    forward = MultistageContext.forward  # which needs no more than what stands above

    def extra_repr(self) -> str:
        """Sizes and order, for ``print(model)``."""
        return f"{self.in_channels}, {self.out_channels}, schedule={schedule_text(self.schedule)}, width={self.width}"
