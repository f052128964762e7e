"""Coverage-guided fuzzing of one target with atheris: ``python fuzz/run.py TARGET --minutes 5 --seed 1``.

Inputs that find new code are kept in ``fuzz/corpus/TARGET``, those that break the contract in ``fuzz/findings``. The
last lines of the output hold executions, speed and coverage.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import atheris  # noqa: E402

with atheris.instrument_imports(include=["tadan"]):
    import corpus
    import mutators
    import targets

HERE = Path(__file__).parent
FINDINGS = HERE / "findings"
MAX_BYTES = {"file": 2**15, "entropy": 2**12, "stored": 2**14, "model": 2**15, "seed": 16}
OWN_MUTATIONS = 0.75  # the rest are libFuzzer's, which know no structure


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description="Fuzz one target with atheris.")
    parser.add_argument("target", choices=targets.TARGETS)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer; 0 for another one each time")
    parser.add_argument("--memory", type=int, default=2048, help="MiB that the process may reserve beyond its start")
    parser.add_argument("--timeout", type=int, default=60, help="seconds that one input may take")
    parser.add_argument("--input", type=Path, help="run this file only")
    parser.add_argument("--sanitize", action="store_true", help="build the C core with gcc's sanitizers, and fuzz that")
    return parser.parse_args()


def start_sanitized() -> None:
    """Become the same run with a core that stops at the first bad access, overflow or undefined shift."""
    library = Path(tempfile.mkdtemp()) / "core.so"
    sources = sorted(map(str, (HERE.parent / "native").glob("tadan_*.c")))
    flags = ["-std=c99", "-O1", "-g", "-shared", "-fPIC", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run(["gcc", *flags, "-o", str(library), *sources, "-lpthread"], check=True)
    found = subprocess.run(["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
    own = {"TADAN_CORE": str(library), "LD_PRELOAD": found.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    line = [sys.executable, *(word for word in sys.argv if word != "--sanitize")]
    os.execve(sys.executable, line, {**os.environ, **own})


def cap_memory(mib: int) -> None:
    """Allow this process so much more address space; what goes beyond raises MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + mib * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def mutate_only(target: targets.Target, options: argparse.Namespace) -> None:
    """Mutated seeds until the time is up: libFuzzer sees no coverage beside a preloaded sanitizer."""
    rng, end, runs = random.Random(options.seed), time.monotonic() + 60 * options.minutes, 0
    seeds = list(corpus.inputs(target.kind).values())
    last = FINDINGS / f"{options.target}-sanitized"  # what is there after a crash is its input
    while time.monotonic() < end:
        data = rng.choice(seeds)
        for _ in range(rng.randint(1, 3)):
            data = mutators.MUTATORS[target.kind](data, rng)[: MAX_BYTES[target.kind]]
        last.write_bytes(data)
        target.run(data)
        runs += 1
    last.unlink(missing_ok=True)
    print(f"{runs} inputs, no finding")


def main() -> None:
    """Fuzz until the time is up or the contract is broken."""
    options = arguments()
    if options.sanitize:
        start_sanitized()
    target = targets.TARGETS[options.target]
    if options.input:
        target.run(options.input.read_bytes())
        return
    folder = corpus.FOLDER / options.target
    corpus.write(target.kind, folder)
    FINDINGS.mkdir(exist_ok=True)
    for data in corpus.inputs(target.kind).values():
        target.run(data)  # the first runs start sessions and fill caches
    if "ASAN_OPTIONS" in os.environ:
        mutate_only(target, options)
        return
    cap_memory(options.memory)
    faulthandler.enable()

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < OWN_MUTATIONS:
            return mutators.MUTATORS[target.kind](data, rng)[:max_size]
        return bytes(atheris.Mutate(data, max_size))

    flags = [
        f"-max_total_time={int(60 * options.minutes)}",
        f"-seed={options.seed}",
        f"-timeout={options.timeout}",
        "-rss_limit_mb=4096",
        f"-max_len={MAX_BYTES[target.kind]}",
        f"-artifact_prefix={FINDINGS}/{options.target}-",
        "-print_final_stats=1",
        "-len_control=0",
        str(folder),
    ]
    atheris.Setup([sys.argv[0], *flags], target.run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
