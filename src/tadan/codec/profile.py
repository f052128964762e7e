"""A profile: settings of the encoder and of the machine in a TOML file, as ``tadan tune`` writes it and verbs take it.

Explicit options of a command win over it. A profile is read strictly: a word that is not known is an error, as it would
otherwise be a wish that nobody fulfils.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from os import PathLike, fspath
from typing import Any

from tadan.codec.options import (
    DEFAULT_EFFORT,
    DEFAULT_QUALITY,
    DEFAULT_SCHEDULE,
    EncodeOptions,
    whole_number,
)
from tadan.errors import InvalidInput
from tadan.files import write_atomically
from tadan.models.config import TUNES
from tadan.toml import dumps, read_toml

FORMAT = "tadan profile 1"
_MANY = 2**31
_HEADING = (
    "A profile of Tadan. Use it:",
    "  tadan encode FOLDER --out-dir CODED --profile THIS-FILE",
    "  tadan serve --profile THIS-FILE",
    "Options on the command line win over it. [encode] and [machine] are read, all else says where it came from.",
)
_NEXT = "correct it, or make it anew with: tadan tune FOLDER --for TARGET"


@dataclass(frozen=True)
class MachineUse:
    """How much of the machine is used; None where nothing is said.

    Attributes:
        jobs: processes that encode files side by side.
        workers: processes of the service, each with one thread.
        threads: of each process that encodes files.
        memory: bytes that each process stays below.
    """

    jobs: int | None = None
    workers: int | None = None
    threads: int | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None:
                most = 2**63 - 1 if one.name == "memory" else _MANY
                object.__setattr__(self, one.name, whole_number(one.name, value, 1, most))


@dataclass(frozen=True)
class Profile:
    """What a file says.

    Attributes:
        quality: 1..100.
        schedule: name or pattern.
        effort: 0..9.
        tile: pixels a side; None: chosen by size.
        tune: "eye", "psnr" or None, as of :class:`~tadan.codec.options.EncodeOptions`.
        model: name or file; None for the bundled one.
        model_id: hex, of the model that it was made for; None if that does not matter.
        machine: what is said of the machine.
        origin: nested tables that say where it came from: pictures, machine, target, predicted figures.

    Raises:
        InvalidInput: a field has another type or is out of range, or there is no such schedule.
    """

    quality: int = DEFAULT_QUALITY
    schedule: str = DEFAULT_SCHEDULE
    effort: int = DEFAULT_EFFORT
    tile: int | None = None
    tune: str | None = None
    model: str | None = None
    model_id: str | None = None
    machine: MachineUse = MachineUse()
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every field."""
        for name in ("model", "model_id", "tune"):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), str):
                raise InvalidInput(f"{name} is a text, not {getattr(self, name)!r}")
        _ = self.options()

    def options(self, **explicit: Any) -> EncodeOptions:
        """For the encoder; ``explicit`` fields that are not None win over the profile."""
        own = {name: getattr(self, name) for name in ("quality", "schedule", "effort", "tile", "tune")}
        return EncodeOptions(**{**own, **{name: value for name, value in explicit.items() if value is not None}})

    def check_model(self, model_id: str) -> None:
        """Refuse another model than the one that the profile was made for.

        Raises:
            InvalidInput: it is another one.
        """
        if self.model_id is not None and self.model_id != model_id:
            raise InvalidInput(
                f"the profile was made for model {self.model_id}, but this is {model_id}; tune again, or remove the "
                "line model_id from the profile"
            )

    def save(self, path: str | PathLike[str], replace: bool = True) -> None:
        """Write it.

        Raises:
            OutputExists: it is there and ``replace`` is False.
            UnwritableOutput: it cannot be written.
        """
        write_atomically(path, dumps(self.to_dict(), _HEADING).encode(), replace)

    def to_dict(self) -> dict[str, Any]:
        """Nested tables, as they are written."""
        encode = {name: getattr(self, name) for name in _ENCODE}
        return {"format": FORMAT, "encode": encode, "machine": asdict(self.machine), **self.origin}

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that stand for the settings, whatever is said of their origin."""
        said = dumps({"encode": self.to_dict()["encode"], "machine": asdict(self.machine)})
        return hashlib.sha256(said.encode()).hexdigest()[:16]


_ENCODE = ("quality", "schedule", "effort", "tile", "tune", "model", "model_id")
_ORIGIN = ("tuned", "pictures", "planned_for", "predicted")


def load_profile(path: str | PathLike[str]) -> Profile:
    """Read a profile.

    Raises:
        UnreadableInput: it cannot be read.
        InvalidInput: it is none, has a word that is not known, or a value that cannot be.
    """
    document = read_toml(path, "a profile")
    name = fspath(path)
    if document.get("format") != FORMAT:
        said = document.get("format", "no format")
        raise InvalidInput(f"{name} is no profile of this version ({said!r}, not {FORMAT!r}); {_NEXT}")
    _known(name, "the file", document, ("format", "encode", "machine", *_ORIGIN))
    for table in ("encode", "machine", *_ORIGIN):
        if not isinstance(document.get(table, {}), dict):
            raise InvalidInput(f"{name}: {table} is a table, written [{table}]; {_NEXT}")
    encode, machine = document.get("encode", {}), document.get("machine", {})
    _known(name, "[encode]", encode, _ENCODE)
    _known(name, "[machine]", machine, tuple(one.name for one in fields(MachineUse)))
    if encode.get("tune") not in (None, *TUNES):
        raise InvalidInput(f"{name}: tune is one of {', '.join(TUNES)}, not {encode['tune']!r}; {_NEXT}")
    try:
        origin = {table: document[table] for table in _ORIGIN if table in document}
        return Profile(**encode, machine=MachineUse(**machine), origin=origin)
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}; {_NEXT}") from error


def _known(name: str, where: str, table: Mapping[str, Any], words: tuple[str, ...]) -> None:
    unknown = ", ".join(sorted(set(table) - set(words)))
    if unknown:
        raise InvalidInput(f"{name}: {where} has {unknown}, which nobody reads; it may have: {', '.join(words)}")
