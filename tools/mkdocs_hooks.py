"""Hook of mkdocs: the page that is made when the site is built."""

from __future__ import annotations

from typing import Any

from command_page import page  # mkdocs puts the folder of a hook on the path


def on_files(files: Any, config: Any) -> Any:
    """Add commands.md."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "commands.md", content=page()))
    return files
