"""Golden sets in folders that may be changed, for the tests of the conformance checks."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from tadan.cli.main import app
from tadan.conformance import check_sets, load_sets
from tadan.conformance.golden import MANIFEST, PACKAGED

MODEL_SET = next(golden for golden in load_sets(PACKAGED) if golden.model)
STORED_SET = next(golden for golden in load_sets(PACKAGED) if not golden.model)


def small_set(folder: Path, *names: str, source=MODEL_SET):
    """A copy of ``source`` below ``folder`` that has the streams (good or damaged) of these names only."""
    target = folder / source.name
    target.mkdir(parents=True, exist_ok=True)
    for path in source.folder.iterdir():
        if path.stem in names:
            shutil.copy(path, target)
    streams = tuple(stream for stream in source.streams if stream.name in names)
    damaged = tuple(stream for stream in source.damaged if stream.name in names)
    return write_set(replace(source, folder=target, streams=streams, damaged=damaged))


def write_set(golden):
    """Write the manifest of a set, and return the set."""
    (golden.folder / MANIFEST).write_bytes(golden.manifest())
    return golden


def changed(golden, **fields):
    """The set with other fields of its first stream."""
    return write_set(replace(golden, streams=(replace(golden.streams[0], **fields), *golden.streams[1:])))


def changed_tile(golden, **fields):
    """The set with other fields of the first tile of its first stream."""
    first, *rest = golden.streams[0].tiles
    return changed(golden, tiles=(replace(first, **fields), *rest))


def flipped(text: str) -> str:
    """Another checksum."""
    return f"{int(text, 16) ^ 1:08x}"


def save_changed(path, change):
    """Change one sample of a picture by some levels, within 0 to 255."""
    pixels = np.array(Image.open(path)).astype(np.int16)
    at = (5, 7, *([0] * (pixels.ndim - 2)))
    pixels[at] += change if pixels[at] < 128 else -change
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def run(*line, code=0):
    """What `tadan selftest` prints; it must end with that exit code."""
    shown = CliRunner().invoke(app, ["selftest", *map(str, line)])
    assert shown.exit_code == code, shown.output
    return shown.stdout


def failures(sets, **options):
    """Outcomes that are not ok."""
    return [outcome for outcome in check_sets(sets, threads=1, **options) if not outcome.ok]


def failure(golden, **options):
    """The only outcome of a set that is not ok."""
    [one] = failures([golden], **options)
    return one
