"""What encoder and decoder share: the model, its sessions, and how many tiles are worked on at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tadan.bitstream import Header, Limits
from tadan.codec.decoder import TileDecoder
from tadan.codec.options import FULL, check_decoder, whole_number
from tadan.codec.parallel import MEMORY, Workers
from tadan.codec.tiling import Box
from tadan.codec.transforms import Transforms
from tadan.errors import InvalidInput
from tadan.fork import ForkLock
from tadan.models import Model, find_model, load_model
from tadan.models.lite import find_lite

# Memory in bytes per pixel: of a tile with its margin in work, and of a picture with what is kept of its latents.
DECODE_BYTES = 240
ENCODE_BYTES = 290
SEARCH_BYTES = 560
PICTURE_BYTES = 5
_MANY = 2**31


class Engine:
    """Model, sessions and resources; reusable, safe to share between threads. Arguments as of :class:`tadan.Codec`."""

    def __init__(
        self,
        model: str | Path | Model | None = None,
        threads: int | None = None,
        limits: Limits = Limits(),  # noqa: B008 (immutable)
        memory: int = MEMORY,
        decoder: str = FULL,
    ) -> None:
        self.decoder_named = check_decoder(decoder)
        if not isinstance(limits, Limits):
            raise InvalidInput(f"limits is a tadan.Limits, not {limits!r}; leave it out for the default ones")
        self.named = model
        self.threads = None if threads is None else whole_number("threads", threads, 1, _MANY)
        self.memory = whole_number("memory", memory, 0, 2**63)
        self.limits = limits
        self._transforms: dict[tuple[bytes, int], Transforms] = {}
        self._lock = ForkLock()

    @property
    def model(self) -> Model:
        """The model to encode with."""
        return self.named if isinstance(self.named, Model) else load_model(self.named)

    def decoder(self, header: Header) -> TileDecoder | None:
        """Decoder of the latents of a file; None if it holds none.

        Raises:
            ModelMissing: its model is not at hand.
        """
        if header.model_id is None:
            return None
        named = self.named is not None and self.model.id == header.model_id
        return TileDecoder(header, self.model if named else find_model(header.model_id))

    def transforms(self, model: Model, threads: int) -> Transforms:
        """Sessions of the networks of a model.

        Raises:
            ModelMissing: it is to be shown by its lite decoder, and there is none.
        """
        with self._lock:
            key = model.id, threads
            if key not in self._transforms:
                lite = None if self.decoder_named == FULL else find_lite(model, self.decoder_named)
                self._transforms[key] = Transforms(model, threads, lite)
            return self._transforms[key]

    def workers(self, boxes: Sequence[Box], pixel_bytes: int) -> Workers:
        """Threads for tiles of which each takes ``pixel_bytes`` of memory a pixel."""
        areas = [box[2] * box[3] for box in boxes]
        return Workers(self.threads, len(boxes), pixel_bytes * max(areas), PICTURE_BYTES * sum(areas), self.memory)
