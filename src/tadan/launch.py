"""Runs one command and prints what it cost as JSON. A program of its own that imports next to nothing, on purpose.

Linux counts towards the peak memory of a process what its parent held when it was started: measured from a process with
numpy and a picture in memory, every command would seem to need as much. This one is small.
"""

import json
import os
import subprocess
import sys
import time

PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in ru_maxrss; getrusage(2) of either system


def main(command: list[str]) -> None:
    """Run ``command``; print exit status (negative: a signal), wall and CPU seconds, peak bytes (null if not known)."""
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    cpu, peak = None, None
    if hasattr(os, "wait4"):
        _, status, usage = os.wait4(child.pid, 0)
        code = child.returncode = os.waitstatus_to_exitcode(status)
        cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * PEAK_UNIT
    else:
        code = child.wait()
    seconds = time.perf_counter() - begun
    print(json.dumps({"code": code, "seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak}))


if __name__ == "__main__":
    main(sys.argv[1:])
