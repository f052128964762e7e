"""What a run measures and how long it may take: fixed before it begins, and part of the report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tadan.codec.options import DEFAULT_QUALITY, EncodeFields
from tadan.errors import InvalidInput

#: In the order in which they run. ``money`` needs ``bytes`` and ``latency``.
SECTIONS = ("pictures", "bytes", "latency", "scenarios", "memory", "recovery", "exactness", "money")


@dataclass(frozen=True)
class Plan:
    """Everything that decides what is measured.

    Attributes:
        seed: of the sample, of arrivals and of damage.
        quality: of Tadan wherever one setting is timed.
        effort: of the encoder; None: its default.
        model: name or path; None: the bundled one.
        threads: of the library; None: all cores.
        against: names of the rivals.
        score: SSIMULACRA2 at which KPIs compare bytes.
        scores: all at which the report does.
        sample: pictures whose bytes are compared.
        timed: pictures of latency, scenarios and recovery.
        megapixels: where bytes are compared a larger picture is cut to so many, out of its middle at its own scale.
        timed_megapixels: the same where time is measured.
        points: qualities of every codec.
        cold: fresh processes of each kind.
        repeat: warm rounds over the timed pictures.
        seconds: of every scenario.
        held: seconds for which the rate found in the server scenario is held.
        bound: seconds within which an answer counts in the server scenario.
        reads: share of decodes in the server scenario; the others are encodes.
        workers: processes of the service and threads of the library in scenarios; None: one for each core.
        sizes: megapixels of the section memory.
        damaged: pictures of the section recovery.
        trials: files damaged in each way, for every one of them.
        kills: of a worker of the service.
    """

    seed: int = 1
    quality: int = DEFAULT_QUALITY
    effort: int | None = None
    model: str | None = None
    threads: int | None = None
    against: tuple[str, ...] = ("jpeg", "webp", "avif", "jxl")
    score: float = 70
    scores: tuple[float, ...] = (60, 70, 80)
    sample: int = 24
    timed: int = 8
    megapixels: float = 4.0
    timed_megapixels: float = 16.0
    points: int = 6
    cold: int = 5
    repeat: int = 5
    seconds: float = 20
    held: float = 300
    bound: float = 2.0
    reads: float = 0.9
    workers: int | None = None
    sizes: tuple[float, ...] = (1, 4, 12)
    damaged: int = 4
    trials: int = 10
    kills: int = 3

    def __post_init__(self) -> None:
        """Raise InvalidInput for what cannot be measured."""
        for name in ("sample", "timed", "points", "cold", "repeat", "damaged", "trials", "kills"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is at least 1, not {getattr(self, name)}")
        for name in ("megapixels", "timed_megapixels", "seconds", "held", "bound"):
            if not getattr(self, name) > 0:
                raise InvalidInput(f"{name} is above 0, not {getattr(self, name)}")
        if self.points < 2:
            raise InvalidInput("points is at least 2: nothing lies between one")
        if not 0 < self.reads <= 1:
            raise InvalidInput(f"reads is a share above 0 and at most 1, not {self.reads:g}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return json.loads(json.dumps(asdict(self)))


FULL = Plan()
QUICK = replace(
    FULL,
    sample=4,
    timed=3,
    megapixels=0.5,
    timed_megapixels=0.5,
    points=4,
    cold=2,
    repeat=3,
    seconds=3,
    held=10,
    sizes=(0.5, 2),
    damaged=2,
    trials=3,
    kills=1,
)


def encode_fields(plan: Plan) -> EncodeFields:
    """How Tadan encodes wherever one setting is measured; a file may be stored as it is, as for users."""
    fields: EncodeFields = {"quality": plan.quality}
    if plan.effort is not None:
        fields["effort"] = plan.effort
    return fields


def encode_words(plan: Plan) -> list[str]:
    """The same on a command line."""
    return [word for name, value in encode_fields(plan).items() for word in (f"--{name}", str(value))]


def fingerprint(plan: Plan, pictures: Sequence[tuple[str, int]]) -> str:
    """Hash of the plan and of the folder (names and bytes): results of another one must not be mixed in."""
    text = json.dumps([plan.to_dict(), sorted(pictures)])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def chosen_sections(only: str | None, skip: str | None) -> list[str]:
    """Sections by commas, in the order in which they run.

    Raises:
        InvalidInput: a name that is none, or nothing is left.
    """
    wanted, unwanted = _names(only) or list(SECTIONS), _names(skip)
    left = [name for name in SECTIONS if name in wanted and name not in unwanted]
    if not left:
        raise InvalidInput("no section is left to run; leave some out of --skip")
    return left


def _names(text: str | None) -> list[str]:
    names = [word.strip() for word in (text or "").split(",") if word.strip()]
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise InvalidInput(f"there is no section {unknown[0]!r}; choose from {', '.join(SECTIONS)}")
    return names
