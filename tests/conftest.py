"""What every test shares: hypothesis without deadlines, the same examples in every run, and the mark of torch."""

from importlib.util import find_spec

import pytest
from hypothesis import settings

from torch_use import needs_torch

# Deadlines measure the machine; derandomised examples make a failure repeat.
settings.register_profile("tadan", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("tadan")

_left_out = []


def pytest_ignore_collect(collection_path, config):
    """Files that need torch are not even imported where it is missing or not wanted."""
    if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    unwanted = "not torch" in config.option.markexpr or find_spec("torch") is None
    if unwanted and needs_torch(collection_path):
        _left_out.append(collection_path.name)
        return True
    return None


def pytest_collection_modifyitems(items):
    """Every test of a file that imports torch, directly or not, has the mark ``torch``."""
    for item in items:
        if needs_torch(item.path):
            item.add_marker(pytest.mark.torch)


def pytest_terminal_summary(terminalreporter):
    """Say what was left out."""
    if _left_out:
        terminalreporter.write_line(f"left out, as they need torch: {', '.join(sorted(_left_out))}")
