"""What a measurement needs to be judged: versions and the machine."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "tadan",
    "numpy",
    "onnxruntime",
    "constriction",
    "Pillow",
    "bjontegaard",
    "matplotlib",
    "ssimulacra2",
    "cvvdp",
)


def machine_facts() -> dict[str, str]:
    """Return what runs here, by name in reading order: date, versions, BLAS, system, processor, cores."""
    facts = {"date": time.strftime("%Y-%m-%d")}
    facts["python"] = f"{platform.python_implementation()} {platform.python_version()}"
    for package in _PACKAGES:
        try:
            facts[package.lower()] = version(package)
        except PackageNotFoundError:
            continue
    facts["blas"] = blas_facts()
    facts["system"] = f"{platform.system()} {platform.machine()}"
    facts["processor"] = _processor()
    facts["cores"] = str(os.cpu_count() or "unknown")
    return facts


def blas_facts() -> str:
    """Library that multiplies matrices for numpy, as "openblas 0.3.31 (Haswell)", or what numpy was built with."""
    import numpy
    from threadpoolctl import threadpool_info

    found = (
        f"{one['internal_api']} {one['version'] or 'of unknown version'} ({one.get('architecture', 'any processor')})"
        for one in threadpool_info()
        if one["user_api"] == "blas"
    )
    built: Any = numpy.show_config("dicts")
    name = built.get("Build Dependencies", {}).get("blas", {}).get("name", "unknown") if built else "unknown"
    return ", ".join(dict.fromkeys(found)) or f"not recognised; numpy was built with: {name}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine() or "unknown"
