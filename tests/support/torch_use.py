"""Which files of tests need torch: those that import it, by themselves or through what they import."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOMES = [ROOT / "src", ROOT / "tests" / "support", ROOT / "fuzz"]


def _statements(node, inside):
    """Statements that run on import; those of functions, too, where inside says so."""
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if typing_only or (isinstance(child, ast.FunctionDef | ast.Lambda) and not inside):
            continue
        yield child
        yield from _statements(child, inside)


def _names(path, inside):
    for node in _statements(ast.parse(path.read_text(encoding="utf-8")), inside):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file_of(name):
    for home in HOMES:
        stem = home.joinpath(*name.split("."))
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path
    return None


@cache
def _imports(path, inside):
    """Whether a file imports torch itself, and the files of ours that it imports."""
    names = set(_names(path, inside))
    return any(name.split(".")[0] == "torch" for name in names), {_file_of(name) for name in names} - {None, path}


def needs_torch(path):
    """Whether a Python file imports torch; in modules that it imports only what runs on import counts."""
    waiting, seen = [path], set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        torch, files = _imports(file, inside=file == path)
        if torch:
            return True
        waiting.extend(files)
    return False
