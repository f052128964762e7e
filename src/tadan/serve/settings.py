"""What an operator can choose; see ``tadan serve --help``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tadan.codec.options import DECODERS, DEFAULT_EFFORT, DEFAULT_QUALITY, DEFAULT_SCHEDULE, FULL, EncodeOptions
from tadan.errors import InvalidInput, UnreadableInput
from tadan.files import user_folder

MEGABYTE = 2**20
AUTO = "auto"
TOKENS_VARIABLE = "TADAN_TOKENS"


@dataclass(frozen=True)
class Settings:
    """Choices of one service.

    Attributes:
        store: folder or fsspec URL of the pictures; None: the service keeps none.
        cache: folder of renditions, made once; they can be deleted at any time.
        cache_bytes: that the cache may grow to.
        workers: processes that work on pictures, one thread each.
        queue_jobs: requests that work or wait; more are answered 429.
        queue_bytes: of bodies that work or wait.
        queue_pixels: of pictures that work or wait.
        deadline: seconds until a request is given up (504).
        max_body: bytes of one body.
        max_pixels: of one picture.
        tokens: any of them lets a request in; none: everybody is let in.
        public_reads: whether pictures are handed out without a token.
        origins: that browsers may call from (CORS); none: only pages of the service itself.
        model: name or path; None: the bundled one.
        memory: bytes that each worker stays below.
        decoder: what shows .tdn files: "full", "lite" (docs/lite.md), or "auto" for lite while many requests wait.
        quality: of pictures that are encoded, where a request says nothing; so are the two below.
        effort: of the encoder.
        schedule: order of decoding.
        tile: pixels a side of tiles; None: by size. Requests cannot choose it.
    """

    store: str | None = "tadan-pictures"
    cache: Path = field(default_factory=lambda: user_folder("cache") / "renditions")
    cache_bytes: int = 1024 * MEGABYTE
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    queue_jobs: int = 64
    queue_bytes: int = 256 * MEGABYTE
    queue_pixels: int = 400_000_000
    deadline: float = 120.0
    max_body: int = 100 * MEGABYTE
    max_pixels: int = 178_956_970
    tokens: tuple[str, ...] = ()
    public_reads: bool = False
    origins: tuple[str, ...] = ()
    model: str | None = None
    memory: int = 1024 * MEGABYTE
    decoder: str = FULL
    quality: int = DEFAULT_QUALITY
    effort: int = DEFAULT_EFFORT
    schedule: str = DEFAULT_SCHEDULE
    tile: int | None = None

    def __post_init__(self) -> None:
        """Raise InvalidInput for what cannot work."""
        for name in ("workers", "queue_jobs", "queue_bytes", "queue_pixels", "deadline", "max_body", "max_pixels"):
            if getattr(self, name) <= 0:
                raise InvalidInput(f"{name} is positive, not {getattr(self, name)}")
        if self.decoder not in (*DECODERS, AUTO):
            raise InvalidInput(f"decoder is one of {', '.join((*DECODERS, AUTO))}, not {self.decoder!r}")
        EncodeOptions(quality=self.quality, effort=self.effort, schedule=self.schedule, tile=self.tile)
        if any(len(token) < 16 or not token.isascii() for token in self.tokens):
            raise InvalidInput("a token has 16 or more ASCII characters; make one with: openssl rand -hex 24")


def read_tokens(path: Path | None, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Tokens from a file, one a line (lines that begin with # are comments), and from TADAN_TOKENS, by commas.

    Raises:
        UnreadableInput: the file cannot be read.
        InvalidInput: it holds no token, which would let everybody in.
    """
    found = [word.strip() for word in environment.get(TOKENS_VARIABLE, "").split(",")]
    if path is not None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableInput(f"cannot read the tokens in {path}: {error}") from error
        own = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
        if not own:
            raise InvalidInput(f"{path} holds no token; write one a line")
        found += own
    return tuple(dict.fromkeys(word for word in found if word))
