"""How much memory a process takes, and a bound for it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_HEADROOM = 64 * 2**20  # that a process may take beyond what it has, whatever the bound


def reset_peak() -> None:
    """Let :func:`peak_bytes` count from now on, where the system can."""
    with suppress(OSError):
        _CLEAR.write_text("5")  # proc(5): resets VmHWM


def peak_bytes() -> int | None:
    """Largest resident memory since :func:`reset_peak`, or of the process; None where the system does not tell."""
    return _status("VmHWM")


def bound_memory(most: int) -> None:
    """Have requests for memory fail once the private data of this process have ``most`` bytes (Linux).

    Resident memory would be the better measure, but no system call bounds it. Memory shared with others, such as the
    code of libraries, does not count.
    """
    taken = _status("VmData")
    if taken is None:
        return
    import resource

    soft = max(most, taken + _HEADROOM)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def usable_bytes() -> int:
    """Memory that processes may take here: what is free, or what the container leaves."""
    free = 2**31
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    with suppress(OSError, ValueError):
        most = int(Path("/sys/fs/cgroup/memory.max").read_text())
        free = min(free, most - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return free


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def _status(name: str) -> int | None:
    """A size in /proc/self/status, in bytes."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None
