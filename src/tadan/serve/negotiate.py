"""Which format a client gets, and whether it has it already: Accept, entity tags and ranges (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tadan.serve.work import MEDIA_TYPES

#: Best first, for clients that take several equally well.
PREFERENCE = ("avif", "webp", "jpeg", "png")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_WEIGHT = re.compile(r"(0(\.\d{0,3})?|1(\.0{0,3})?)")


def accepted(header: str | None) -> list[tuple[str, float]]:
    """Media ranges of an Accept header with their weights; what is not understood is left out."""
    found = []
    for part in (header or "*/*").split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                weight = float(value) if _WEIGHT.fullmatch(value.strip()) else 0.0
        if re.fullmatch(r"(\*|[\w.+-]+)/(\*|[\w.+-]+)", kind):
            found.append((kind, weight))
    return found


def choose_format(header: str | None, alpha: bool) -> str | None:
    """The format of a picture for an Accept header; None if there is none that the client takes.

    ``.tdn`` is handed out to those alone who name it, as others could not show it. Who takes everything gets what
    everybody shows: JPEG, or PNG for pictures with alpha.
    """
    ranges = accepted(header)

    def weight(form: str) -> float:
        kind = MEDIA_TYPES[form]
        for pattern in (kind, "image/*", "*/*"):  # the most specific one counts
            for known, value in ranges:
                if known == pattern:
                    return value
        return 0.0

    named = {form: q for form in ("tdn", *PREFERENCE) for known, q in ranges if known == MEDIA_TYPES[form] and q > 0}
    if named:
        return max(named, key=lambda form: named[form])  # of equals the first, which is the best
    plain = "png" if alpha else "jpeg"
    return next((form for form in (plain, *PREFERENCE) if weight(form) > 0), None)


def matches(header: str | None, etag: str) -> bool:
    """Whether an If-None-Match (or If-Match) header names this entity tag."""
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags


@dataclass(frozen=True)
class Part:
    """Bytes ``first`` to ``last`` (included) of a body; ``satisfiable`` is False if it has none of them."""

    first: int
    last: int
    satisfiable: bool = True


def requested_part(headers: Mapping[str, str], etag: str, length: int) -> Part | None:
    """The part that a Range header asks for; None for the whole, which several ranges get, too."""
    found = _RANGE.fullmatch(headers.get("range", "").strip())
    if found is None or headers.get("if-range", etag) != etag or found[1] == found[2] == "":
        return None
    if found[1] == "":
        count = int(found[2])
        return Part(max(0, length - count), length - 1, satisfiable=count > 0 and length > 0)
    first = int(found[1])
    last = min(int(found[2]) if found[2] else length - 1, length - 1)
    if found[2] and int(found[2]) < first:
        return None
    return Part(first, last, satisfiable=first < length)
