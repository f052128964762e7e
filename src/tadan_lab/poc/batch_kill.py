"""``tadan batch`` killed (SIGKILL) in the middle and started again: does every picture arrive, whole and once?"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tadan.codec.codec import Codec
from tadan.errors import TadanError, ToolFailed
from tadan_lab.poc.plan import Plan, encode_words
from tadan_lab.poc.subjects import end_group

_COPIES = 24  # files of the batch, made of the pictures at hand
_PATIENCE = 600.0  # seconds


def kill_batch(plan: Plan, folder: Path, pictures: Sequence[Path]) -> dict[str, Any]:
    """Run a batch to its end for comparison; run another one, kill it when it has begun to write, and start it again.

    Returns:
        ``files``: of the batch; ``before``: whole files when it was killed; ``torn``: files that did not verify then;
        ``missing`` and ``different``: after the second start, against the batch that nobody killed; ``finish_s``.

    Raises:
        ToolFailed: a batch that nobody killed fails.
    """
    source = folder / "batch"
    source.mkdir()
    for number in range(_COPIES):
        shutil.copy(pictures[number % len(pictures)], source / f"{number:02}.png")
    whole, broken = folder / "batch-whole", folder / "batch-killed"
    _finish(_start(plan, source, whole))
    expected = _digests(whole)
    process = _start(plan, source, broken)
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None and not any(broken.rglob("*.tdn")):
        time.sleep(0.01)
    end_group(process)
    before = _digests(broken)
    codec, torn = Codec(plan.model, threads=plan.threads), 0
    for path in broken.rglob("*.tdn"):
        try:
            codec.verify(path)
        except TadanError:
            torn += 1
    begun = time.perf_counter()
    _finish(_start(plan, source, broken))
    seconds, found = time.perf_counter() - begun, _digests(broken)
    return {
        "files": len(expected),
        "before": len(before),
        "torn": torn,
        "missing": len(expected.keys() - found.keys()),
        "different": sum(found[name] != expected[name] for name in expected.keys() & found.keys()),
        "finish_s": seconds,
    }


def _start(plan: Plan, source: Path, destination: Path) -> subprocess.Popen[bytes]:
    options = encode_words(plan)
    options += [] if plan.model is None else ["--model", plan.model]
    command = [sys.executable, "-m", "tadan", "batch", str(source), str(destination), "--naming", "mirror", *options]
    quiet = subprocess.DEVNULL
    command += ["-Q", "--no-progress"]
    return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)


def _finish(process: subprocess.Popen[bytes]) -> None:
    try:
        code = process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        code = -1
    finally:
        end_group(process)
    if code != 0:
        raise ToolFailed(f"tadan batch ended with code {code}; run it by hand on a few pictures to see why")


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(folder.rglob("*.tdn"))
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
