"""Hooks of mkdocs: what is made when the site is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from command_page import page  # mkdocs puts the folder of a hook on the path
from web_demo import complete


def on_files(files: Any, config: Any) -> Any:
    """Add commands.md."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "commands.md", content=page()))
    return files


def on_post_build(config: Any) -> None:
    """Complete the demo of the decoder for browsers."""
    complete(Path(config["site_dir"]) / "demo")
