"""What a measurement needs to be judged: versions and the machine."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tadan import __version__

_PACKAGES = ("numpy", "onnxruntime", "constriction", "Pillow", "bjontegaard", "matplotlib")


def machine_facts() -> dict[str, str]:
    """Return what runs here, by name in reading order: date, tadan, Python, packages, system, processor, cores."""
    facts = {"date": time.strftime("%Y-%m-%d"), "tadan": __version__}
    facts["python"] = f"{platform.python_implementation()} {platform.python_version()}"
    for package in _PACKAGES:
        try:
            facts[package.lower()] = version(package)
        except PackageNotFoundError:
            continue
    facts["system"] = f"{platform.system()} {platform.machine()}"
    facts["processor"] = _processor()
    facts["cores"] = str(os.cpu_count() or "unknown")
    return facts


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine() or "unknown"
