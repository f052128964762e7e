"""Options that several verbs share, each with one name, one type and one help text."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tadan.codec.options import check_decoder
from tadan.errors import InvalidInput

if TYPE_CHECKING:
    from tadan.codec.codec import Codec
    from tadan.codec.profile import Profile

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(i?b)?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}

Output = Annotated[
    Path | None, typer.Option("-o", "--out", "--output", help="Write here; '-' is standard output.", show_default=False)
]
OutDir = Annotated[
    Path | None,
    typer.Option("--out-dir", help="Write all outputs below this folder, which is created.", show_default=False),
]
Force = Annotated[
    bool | None,
    typer.Option(
        "--force/--no-clobber",
        "-f/-n",
        help="Replace outputs that exist / skip inputs whose output exists.",
        show_default="neither: an output that exists is an error",
    ),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Processor threads to use.", show_default="all")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Files to work on side by side.")]
Decoder = Annotated[
    str | None,
    typer.Option(
        "--decoder",
        metavar="full|lite|FILE",
        help="What shows pixels; lite: faster, not quite as good.",
        show_default="full",
    ),
]
ModelName = Annotated[str | None, typer.Option("--model", help="Name or file of a model.", show_default="bundled")]
Quiet = Annotated[bool, typer.Option("-Q", "--quiet", help="Print errors only.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Show no progress bar.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per file and line.")]
MaxPixels = Annotated[
    str | None,
    typer.Option("--max-pixels", help="Refuse larger pictures; 300M is 300 megapixels.", show_default="178956970"),
]
Memory = Annotated[
    str | None,
    typer.Option("--memory", help="Bytes to stay below, such as 2G; bounds the tiles in work.", show_default="1G"),
]
ProfileFile = Annotated[
    Path | None,
    typer.Option("--profile", help="Take settings from this file of `tadan tune`; other options win over it."),
]


def parse_size(text: str, what: str) -> int:
    """``"200k"``, ``"1.5M"`` or ``"2GB"`` as a whole number; units are powers of 1000, or of 1024 with an i (``KiB``).

    Raises:
        InvalidInput: it is no such number, or less than 1.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"{what} is a number such as 200000, 200k or 1.5M, not {text!r}")
    unit = match[2].lower()
    binary = bool(match[3]) and match[3].lower() == "ib"
    value = int(float(match[1]) * (1024 ** " kmg".index(unit or " ") if binary else _UNITS[unit]))
    if value < 1:
        raise InvalidInput(f"{what} is at least 1, not {text}")
    return value


class ProfileChoice:
    """Values of options: what was typed, else what a profile says, else the default of the option.

    Args:
        path: of the profile; None: there is none.
        context: of the command, which knows what was typed.

    Raises:
        UnreadableInput, InvalidInput: as :func:`tadan.codec.profile.load_profile`; or the profile was made for another
            model than would be used.
    """

    def __init__(self, path: Path | None, context: typer.Context) -> None:
        """Read the profile."""
        self._context = context
        self.profile: Profile | None = None
        if path is not None:
            from tadan.codec.profile import load_profile

            self.profile = load_profile(path)

    def typed(self, *names: str) -> bool:
        """Whether any of the options was typed."""
        sources = (self._context.get_parameter_source(name) for name in names)
        return any(source is not None and source.name != "DEFAULT" for source in sources)

    def __call__(self, name: str, value: Any) -> Any:
        """Value of an option of the encoder, whose value is ``value`` by what was typed or by default."""
        own = None if self.profile is None else getattr(self.profile, name)
        return value if own is None or self.typed(name) else own

    def of_machine(self, name: str, value: Any, *together: str) -> Any:
        """The same of the machine; where one of ``together`` was typed, the profile says nothing of any of them."""
        own = None if self.profile is None else getattr(self.profile.machine, name)
        return value if own is None or self.typed(name, *together) else own

    def model(self, value: str | None) -> str | None:
        """Name of the model; one that was not typed has to be that of the profile."""
        name: str | None = self("model", value)
        if self.profile is not None and self.profile.model_id is not None and not self.typed("model"):
            from tadan.models import load_model

            self.profile.check_model(load_model(name).id_hex)
        return name


class CodecChoice:
    """The codec that the options ask for; it can go to other processes, each of which opens its own.

    Args:
        model: name or file; None for the bundled one.
        threads: of each process; None for all cores, shared by ``jobs``.
        jobs: processes that work side by side.
        max_pixels: of a picture, as typed.
        memory: bytes that each process should stay below, as typed.
        encodes: the model must be able to encode.
        decoder: "full", "lite" or a file; None for full.

    Raises:
        InvalidInput: a size is none, or there is no such decoder.
        ModelMissing: there is no such model, or it cannot encode: one error here, not one per file later.
    """

    def __init__(
        self,
        model: str | None,
        threads: int | None,
        jobs: int = 1,
        max_pixels: str | None = None,
        memory: str | None = None,
        encodes: bool = False,
        decoder: str | None = None,
    ) -> None:
        """Check what was typed."""
        self._decoder = None if decoder is None else check_decoder(decoder)
        self._model = model
        self._threads = threads if threads is not None or jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)
        self._max_pixels = None if max_pixels is None else parse_size(max_pixels, "--max-pixels")
        self._memory = None if memory is None else parse_size(memory, "--memory")
        self._codec: Codec | None = None
        if model is not None:
            from tadan.models import load_model

            loaded = load_model(model)
            if encodes:
                loaded.check_encoder()

    @property
    def codec(self) -> Codec:
        """The codec of this process."""
        if self._codec is None:
            import tadan
            from tadan.bitstream import Limits

            chosen: dict[str, Any] = {}
            if self._max_pixels is not None:
                from PIL import Image

                chosen["limits"] = Limits(max_pixels=self._max_pixels)
                # Ours is the one that counts: Pillow's own must not be lower.
                Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, self._max_pixels)
            if self._memory is not None:
                chosen["memory"] = self._memory
            if self._decoder is not None:
                chosen["decoder"] = self._decoder
            self._codec = tadan.Codec(self._model, threads=self._threads, **chosen)
        return self._codec

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the codec."""
        return {**self.__dict__, "_codec": None}
