"""What a command costs in a process of its own: wall and CPU seconds, peak memory."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tadan import launch
from tadan.errors import InvalidInput


@dataclass(frozen=True)
class Cost:
    """Cost of one process from its start to its end.

    Attributes:
        seconds: wall clock.
        cpu_seconds: user and system time of all its threads; None where os.wait4 is missing (Windows).
        peak_bytes: largest resident set; None where os.wait4 is missing.
    """

    seconds: float
    cpu_seconds: float | None
    peak_bytes: int | None


def run_tadan(arguments: Sequence[str]) -> Cost:
    """Run ``python -m tadan`` with ``arguments`` in a fresh process.

    Raises:
        InvalidInput: it failed; the message is its own.
    """
    tadan = [sys.executable, "-m", "tadan", *arguments]
    launcher = [sys.executable, "-I", "-S", launch.__file__]
    done = subprocess.run([*launcher, *tadan], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode != 0:
        raise InvalidInput(f"no process could be started to measure tadan {arguments[0]}: {said}")
    cost = json.loads(done.stdout)
    code = cost.pop("code")
    if code < 0:
        raise InvalidInput(f"tadan {arguments[0]} was killed by {_signal(-code)}; did memory run out?")
    if code > 0:
        raise InvalidInput(f"tadan {arguments[0]} failed with exit code {code}: {said}")
    return Cost(**cost)


def _signal(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
