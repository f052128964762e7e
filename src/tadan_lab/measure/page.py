"""Pages of measurements: one HTML file each that fetches nothing, from the templates beside this module."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from tadan.optional import require
from tadan.text import plain

_TEMPLATES = files("tadan_lab.measure").joinpath("templates")


def text(name: str) -> str:
    """A file of the templates."""
    return _TEMPLATES.joinpath(name).read_text(encoding="utf-8")


def template(name: str) -> Any:
    """A template of Jinja2 that escapes everything that is put into it, whatever it holds.

    Raises:
        MissingPackage: Jinja2 is not installed.
    """
    jinja2 = require("jinja2", "lab", "The report")

    def visible(value: object) -> object:
        """Without what a browser cannot show or a terminal would obey; the engine then escapes it."""
        return value if hasattr(value, "__html__") else plain(str(value))

    environment = jinja2.Environment(
        autoescape=True, finalize=visible, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["exactly"] = repr
    return environment.from_string(text(name))


def policy(script: str | None = None) -> str:
    """Content security policy: the browser may fetch nothing, and run this script alone, if there is one."""
    allowed = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    if script is None:
        return allowed
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"{allowed}; script-src 'sha256-{digest}'"
