"""The reference of the command line, made from the verbs themselves when the site is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

HEAD = """\
# The command line

Made from `tadan --help` of every verb. `tadan VERB --help` shows the same in a terminal.

| exit code | what |
| --- | --- |
| 0 | done |
| 1 | checked and found wanting |
| 2 | could not be done |
| 128 + n | ended by signal n |
"""


def root() -> Any:
    """The command ``tadan`` with all its verbs, as typer made it."""
    import typer

    from tadan.cli.main import app

    return typer.main.get_command(app)


def verbs(command: Any, name: str = "tadan") -> Iterator[tuple[str, Any]]:
    """All verbs below ``command`` in their order, each with its full name; groups come before their members."""
    for word, child in getattr(command, "commands", {}).items():
        yield f"{name} {word}", child
        yield from verbs(child, f"{name} {word}")


def options(command: Any) -> set[str]:
    """Every spelling of every option of a verb, ``--help`` and ``-h`` included."""
    return {word for param in command.params for word in (*param.opts, *param.secondary_opts)} | {"--help", "-h"}


def page() -> str:
    """Markdown of the whole reference."""
    return HEAD + "".join(_section(name, command) for name, command in verbs(root()))


def _section(name: str, command: Any) -> str:
    if getattr(command, "commands", None):
        return f"\n## {name}\n\n{_plain(command.help)}\n"
    lines = [f"\n{'#' * (len(name.split()))} {name}\n", _plain(command.help), ""]
    rows = [_row(param) for param in command.params]
    if rows:
        lines += ["| argument or option | what |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def _row(param: Any) -> str:
    words = [word for word in (*param.opts, *param.secondary_opts) if word.startswith("-")]
    shown = ", ".join(f"`{word}`" for word in words) or f"`{param.metavar or param.name.upper()}`"
    return f"| {shown} | {_plain(getattr(param, 'help', None))} |"


def _plain(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;")
