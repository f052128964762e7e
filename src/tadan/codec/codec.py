"""The codec: pictures to ``.tdn`` bytes and back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

from PIL import Image

from tadan.bitstream import Limits, read_stream
from tadan.bitstream.fields import JPEG_FILE
from tadan.codec import jpeg_file
from tadan.codec.decoder import TileDecoder
from tadan.codec.engine import Engine
from tadan.codec.options import FULL, EncodeFields, EncodeOptions, check_reduce, whole_number
from tadan.codec.parallel import MEMORY
from tadan.codec.reader import Reader, Verification
from tadan.codec.reader import salvage as _salvage
from tadan.codec.salvage import Salvaged
from tadan.codec.writer import Encoded, write_picture
from tadan.errors import enough_memory
from tadan.files import Source, bytes_of, write_atomically
from tadan.latents.coder import CodedStep, Latents
from tadan.models import Model
from tadan.pictures.reading import Picture

_MANY = 2**31


class Codec:
    """Encoder and decoder; reusable, safe to share between threads.

    >>> codec = Codec(threads=2)
    >>> data = codec.encode("photo.jpg", quality=40)
    >>> codec.decode(data, region=(100, 50, 640, 480))

    Args:
        model: name or path of the model to encode with, and to try first when decoding; None for the bundled one.
        threads: threads of the networks and matrix products; None for all cores. Results do not depend on it.
        limits: sizes above which files and pictures are refused.
        memory: bytes that the process should stay below; it bounds how many tiles are worked on at a time. The pixels
            of the picture and the work on one tile are always needed.
        decoder: "full", or "lite" to show latents by the model's lite decoder, faster and not quite as good
            (docs/lite.md), or the file of one. Files and latents are the same.

    Raises:
        InvalidInput: an argument of another type or out of range.
    """

    def __init__(
        self,
        model: str | Path | Model | None = None,
        *,
        threads: int | None = None,
        limits: Limits = Limits(),  # noqa: B008 (immutable)
        memory: int = MEMORY,
        decoder: str = FULL,
    ) -> None:
        self._engine = Engine(model, threads, limits, memory, decoder)

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process: the same model and settings, sessions of its own."""
        engine = self._engine
        return _opened, (engine.named, engine.threads, engine.limits, engine.memory, engine.decoder_named)

    def __repr__(self) -> str:
        engine = self._engine
        settings = f"threads={engine.threads}, limits={engine.limits}, memory={engine.memory}"
        return f"Codec({engine.named!r}, {settings}, decoder={engine.decoder_named!r})"

    @property
    def model(self) -> Model:
        """The model that :meth:`encode` uses."""
        return self._engine.model

    @property
    def threads(self) -> int | None:
        """As given."""
        return self._engine.threads

    @property
    def limits(self) -> Limits:
        """As given."""
        return self._engine.limits

    def encode(self, image: Picture, **options: Unpack[EncodeFields]) -> bytes:
        """Encode a picture.

        Args:
            image: Pillow image, uint8 or uint16 array of shape (H, W) or (H, W, 1..4), or path (docs/pictures.md).
            **options: fields of :class:`~tadan.codec.options.EncodeOptions`: quality, schedule, effort, tile, strip,
                tune, fallback, lossless, keep_hidden, verify.

        Raises:
            InvalidInput: an option out of range, or a picture that cannot be converted.
            UnreadableInput: a path that is not a readable picture.
            LimitExceeded: the picture has more pixels than ``limits`` allow.
            ModelMissing: the model named does not exist, or its file holds the decoder alone.
            OutOfMemory: there is not enough for the picture.
        """
        return self.encode_picture(image, EncodeOptions(**options)).data

    def encode_picture(self, image: Picture, options: EncodeOptions) -> Encoded:
        """As :meth:`encode`, with what the encoder knows about the file."""
        with enough_memory("encoding the picture"):
            encoded = write_picture(self._engine, image, options)
            if options.verify:
                self.verify(encoded.data)
            return encoded

    def keep_jpeg(self, jpeg: Source) -> Encoded:
        """Keep a JPEG file byte for byte, about a fifth smaller; :meth:`original` gives it back.

        Args:
            jpeg: a whole JPEG file: bytes, a path or a binary file object.

        Raises:
            InvalidInput: it is no JPEG, or of a kind that cannot be kept so.
            UnreadableInput: it cannot be read, or is damaged.
            LimitExceeded: it has more pixels than ``limits`` allow.
            MissingPackage: the extra ``archive`` is not installed.
        """
        with enough_memory("keeping the JPEG"):
            data, words = jpeg_file.keep(bytes_of(jpeg), self.limits)
            return Encoded(data, 8.0 * words, JPEG_FILE)

    def original(self, data: Source) -> bytes:
        """The JPEG file that :meth:`keep_jpeg` kept. Raises as :meth:`decode`.

        Raises:
            InvalidInput: the file was made another way and holds no JPEG to give back.
            MissingPackage: the extra ``archive`` is not installed.
        """
        with enough_memory("unpacking the JPEG"):
            return Reader(self._engine, bytes_of(data)).original()

    def decode(
        self, data: Source, *, region: Sequence[int] | None = None, stages: int | None = None, reduce: int = 1
    ) -> Image.Image:
        """Decode a file to a Pillow image of the mode that was encoded; metadata is in ``info``.

        Args:
            data: a whole ``.tdn`` file: bytes, a path or a binary file object.
            region: x, y, width, height in pixels: only this part is decoded, from the tiles that it needs; damage in
                others does not matter.
            stages: a preview from the first stages of y (0: from z alone); all other latents take their predicted
                means. Stored pictures have no stages and are shown whole.
            reduce: 4, 8 or 16: a picture that many times smaller, each pixel the mean of so many a side; sizes are
                rounded up, a region outward. Of large pictures it is made without g_s, from the latents, and its pixels
                are near the means.

        Raises:
            NotOurFile, Truncated, Corrupt, UnsupportedVersion, ModelMissing, LimitExceeded: as their names say.
            UnreadableInput: the file cannot be read.
            InvalidInput: the region has no pixel of the picture, ``stages`` is negative, or ``reduce`` another number.
            OutOfMemory: there is not enough for the picture; the file may well be sound.
        """
        if stages is not None:
            stages = whole_number("stages", stages, 0, _MANY)
        with enough_memory("decoding the file"):
            return Reader(self._engine, bytes_of(data)).decode(region, stages, check_reduce(reduce))

    def salvage(self, data: Source) -> Salvaged:
        """Decode what is left of a damaged or truncated file.

        Tiles whose latents are proven right are shown, and the tile in which a truncated file ends as far as its stages
        arrived. Of all others nothing is known and nothing shown but grey.

        Raises:
            NotOurFile, Truncated, Corrupt, UnsupportedVersion, ModelMissing, LimitExceeded: not even the header can be
                read.
        """
        with enough_memory("decoding what is left of the file"):
            return _salvage(self._engine, bytes_of(data))

    def decode_latents(self, data: Source) -> list[Latents]:
        """Decode the latents of every tile and check them; no pixels are made. Raises as :meth:`decode`.

        Raises:
            InvalidInput: the picture is stored in another format and has no latents.
        """
        with enough_memory("decoding the latents of the file"):
            return Reader(self._engine, bytes_of(data)).latents()

    def verify(self, data: Source) -> Verification:
        """Check every checksum of a file, those of the decoded latents included. Raises as :meth:`decode`."""
        with enough_memory("checking the file"):
            return Reader(self._engine, bytes_of(data)).verify()


def _opened(model: str | Path | Model | None, threads: int | None, limits: Limits, memory: int, decoder: str) -> Codec:
    return Codec(model, threads=threads, limits=limits, memory=memory, decoder=decoder)


def bounded_codec(
    model: str | Path | Model | None,
    threads: int | None,
    max_pixels: int | None,
    memory: int | None,
    decoder: str = FULL,
) -> Codec:
    """A codec with bounds of its own, None for the usual one; Pillow's bound for pictures is raised to ``max_pixels``.

    What the arguments mean and what is raised stands at :class:`Codec`.
    """
    if max_pixels is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)  # ours is the bound that counts
    limits = Limits() if max_pixels is None else Limits(max_pixels=max_pixels)
    bound = MEMORY if memory is None else memory
    return Codec(model, threads=threads, limits=limits, memory=bound, decoder=decoder)


def file_symbols(data: bytes, model: Model, limits: Limits = Limits()) -> Iterator[CodedStep]:  # noqa: B008 (immutable)
    """What the tiles of a file code, for statistics: of each tile z, then every step of y.

    Args:
        data: a file that holds latents.
        model: that it was made with.
        limits: sizes above which it is refused.

    Raises:
        NotOurFile, Truncated, Corrupt, UnsupportedVersion, LimitExceeded: as their names say.
    """
    stream = read_stream(data, limits)
    decoder = TileDecoder(stream.header, model)
    for tile, box in zip(stream.tiles, stream.header.tile_boxes(), strict=True):
        yield from decoder.symbols(tile, box)


@cache
def default_codec() -> Codec:
    """The codec of the functions of the package, with the bundled model."""
    return Codec()


def encode(image: Picture, **options: Unpack[EncodeFields]) -> bytes:
    """Encode a picture with the bundled model; see :meth:`Codec.encode`."""
    return default_codec().encode(image, **options)


def decode(
    data: Source, *, region: Sequence[int] | None = None, stages: int | None = None, reduce: int = 1
) -> Image.Image:
    """Decode a file, given as bytes, path or binary file object; see :meth:`Codec.decode`."""
    return default_codec().decode(data, region=region, stages=stages, reduce=reduce)


def salvage(data: Source) -> Salvaged:
    """Decode what is left of a damaged or truncated file; see :meth:`Codec.salvage`."""
    return default_codec().salvage(data)


def read(
    path: str | PathLike[str], *, region: Sequence[int] | None = None, stages: int | None = None, reduce: int = 1
) -> Image.Image:
    """Read a ``.tdn`` file; as :func:`decode`, but for paths alone.

    Raises:
        UnreadableInput: there is no such file, or it may not be read. Others as :meth:`Codec.decode`.
    """
    return decode(os.fspath(path), region=region, stages=stages, reduce=reduce)


def write(
    path: str | PathLike[str], image: Picture, *, overwrite: bool = True, **options: Unpack[EncodeFields]
) -> None:
    """Encode a picture into a file, which appears whole or not at all.

    Args:
        path: of the file.
        image: as for :meth:`Codec.encode`.
        overwrite: replace a file that exists.
        **options: as for :meth:`Codec.encode`.

    Raises:
        OutputExists: the file exists and ``overwrite`` is False; it is unchanged.
        UnwritableOutput: it cannot be written. Others as :meth:`Codec.encode`.
    """
    write_atomically(path, encode(image, **options), replace=overwrite)
