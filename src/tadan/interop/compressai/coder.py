"""Symbols to and from CompressAI's rANS streams, a stage at a time.

The bytes are those of ``compressai.ans``. Its tables are Python lists of up to 3,133 entries that every call converts
again (64 rows: 9 ms); here rows are cut to their length and rows that no symbol of the call needs are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from tadan.errors import InvalidInput, Truncated

WORD = 4  # bytes; a stream begins with the coder's state of two words
FEWEST = (
    4  # symbols of a stream; CompressAI's encoder takes one word for each, and writes before them if that is too few
)


class Writer:
    """One stream, to which stages are appended."""

    def __init__(self) -> None:
        from compressai.ans import BufferedRansEncoder

        self._encoder: Any = BufferedRansEncoder()
        self._symbols = 0

    def put(self, symbols: list[int], indexes: list[int], tables: Tables) -> None:
        """Append symbols, each with the table of its index."""
        self._encoder.encode_with_indexes(symbols, indexes, tables.cdfs, tables.sizes, tables.offsets)
        self._symbols += len(symbols)

    def bytes(self) -> bytes:
        """The stream; empty if there are no symbols."""
        if not self._symbols:
            return b""
        missing = FEWEST - self._symbols
        if missing > 0:  # read after all others, that is never
            self.put([0] * missing, [0] * missing, Tables([[0, 2**15, 2**16]], [0]))
        return bytes(self._encoder.flush())


class Reader:
    """One stream, from which stages are taken.

    Args:
        data: the stream.
        symbols: how many will be read at most; CompressAI's decoder does not notice the end of a stream, so it gets
            zeros to read behind it.

    Raises:
        Truncated: the stream lacks the coder's state, or its last word.
    """

    def __init__(self, data: bytes, symbols: int) -> None:
        from compressai.ans import RansDecoder

        if len(data) < 2 * WORD or len(data) % WORD:
            raise Truncated(f"a stream of {len(data)} bytes is no whole number of words from 2; get it again")
        self._decoder: Any = RansDecoder()
        self._decoder.set_stream(data + bytes(WORD * (2 * symbols + 16)))

    def take(self, indexes: list[int], tables: Tables) -> list[int]:
        """The next symbols, each with the table of its index."""
        values: list[int] = self._decoder.decode_stream(indexes, tables.cdfs, tables.sizes, tables.offsets)
        return values


class Tables:
    """Cumulative frequencies as the extension takes them.

    Attributes:
        cdfs: for each index the cumulative frequencies, from 0 to 2**16.
        sizes: entries of each.
        offsets: symbol of the first entry of each.
    """

    def __init__(self, cdfs: list[list[int]], offsets: list[int]) -> None:
        self.cdfs, self.offsets = cdfs, offsets
        self.sizes = [len(one) for one in cdfs]

    def up_to(self, index: int) -> Tables:
        """Those of indexes from 0 to ``index``: the widest ones stand last, and are seldom needed."""
        return Tables(self.cdfs[: index + 1], self.offsets[: index + 1])


class StageCoder(Protocol):
    """Latents of a step, with the parameters that the entropy parameter network gives, to symbols and back.

    Tensors are (B, channels, rows, columns); parameters are those of all channels of y, of which ``channels`` is meant.

    Attributes:
        codec: the latent codec it stands for.
    """

    codec: Any

    def refresh(self) -> None:
        """Take over the tables of the latent codec, if it has any; InvalidInput where they were not made."""
        ...

    def encode(self, writer: Writer, y: Tensor, params: Tensor, channels: slice) -> Tensor:
        """Append the latents of a step (B = 1); returns y_hat."""
        ...

    def decode(self, reader: Reader, params: Tensor, channels: slice) -> Tensor:
        """y_hat of the next step (B = 1)."""
        ...

    def means(self, params: Tensor, channels: slice) -> Tensor | None:
        """What is subtracted before rounding, or None."""
        ...


class GaussianCoder:
    """Latents under CompressAI's ``GaussianConditionalLatentCodec``; symbols and tables are its own.

    Args:
        latent_codec: that codec, whose tables ``update()`` has made.
    """

    def __init__(self, latent_codec: Any) -> None:
        self.codec, self._model = latent_codec, latent_codec.gaussian_conditional
        self._made_of: Any = None
        self._tables, self._edges = Tables([], []), torch.empty(0)

    def refresh(self) -> None:
        """Take the tables over, if they were made anew.

        Raises:
            InvalidInput: there are none.
        """
        cdf = self._model.quantized_cdf
        if cdf.numel() == 0:
            raise InvalidInput("the model has no tables for entropy coding; call model.update() first")
        state = cdf, cdf._version  # loading a checkpoint writes into the same tensor
        if self._made_of is not None and self._made_of[0] is cdf and self._made_of[1] == cdf._version:
            return
        lengths = self._model.cdf_length.tolist()
        rows = [row[:length] for row, length in zip(cdf.tolist(), lengths, strict=True)]
        self._tables = Tables(rows, self._model.offset.tolist())
        self._edges = self._model.scale_table[:-1].float()
        self._made_of = state

    def indexes(self, scales: Tensor) -> Tensor:
        """What ``GaussianConditional.build_indexes`` gives, by bisection: the number of table entries below a scale."""
        bounded = self._model.lower_bound_scale(scales)
        return torch.bucketize(bounded.float().contiguous(), self._edges.to(bounded.device), out_int32=True)

    def encode(self, writer: Writer, y: Tensor, params: Tensor, channels: slice) -> Tensor:
        """Append latents in the order of their tensor; returns y_hat."""
        scales, means = self._split(params, channels)
        symbols = self._model.quantize(y, "symbols", means)
        indexes = self.indexes(scales).flatten().tolist()
        writer.put(symbols.flatten().tolist(), indexes, self._needed(indexes))
        return self._dequantised(symbols, means, y.dtype)

    def decode(self, reader: Reader, params: Tensor, channels: slice) -> Tensor:
        """The next latents."""
        scales, means = self._split(params, channels)
        indexes = self.indexes(scales).flatten().tolist()
        values = reader.take(indexes, self._needed(indexes))
        symbols = torch.tensor(values, dtype=torch.int32, device=scales.device).view(scales.shape)
        return self._dequantised(symbols, means, scales.dtype)

    def means(self, params: Tensor, channels: slice) -> Tensor | None:
        """Means of the latents."""
        return self._split(params, channels)[1]

    def _split(self, params: Tensor, channels: slice) -> tuple[Tensor, Tensor | None]:
        scales, means = self.codec._chunk(self.codec.entropy_parameters(params))
        if scales is None:
            raise InvalidInput(
                'the latent codec of y has no "scales" among its chunks; give it chunks=("scales", "means")'
            )
        return scales[:, channels], None if means is None else means[:, channels]

    def _needed(self, indexes: Sequence[int]) -> Tables:
        return self._tables.up_to(max(indexes, default=0))

    def _dequantised(self, symbols: Tensor, means: Tensor | None, dtype: torch.dtype) -> Tensor:
        values: Tensor = self._model.dequantize(symbols, means, dtype)
        return values
