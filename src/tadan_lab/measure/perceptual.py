"""How far a decoded picture is from its original for the eye: SSIMULACRA2, Butteraugli and ColorVideoVDP.

SSIMULACRA2 is :mod:`tadan.pictures.ssimulacra2`. Butteraugli is libjxl's program ``butteraugli_main``. ColorVideoVDP is
the package ``cvvdp`` of its authors: Mantiuk et al., *ColorVideoVDP: A visual difference predictor for image, video and
display distortions* (SIGGRAPH 2024).
"""

import importlib.util
import math
import re
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tadan.errors import InvalidInput, ToolFailed
from tadan.pictures.ssimulacra2 import SSIMULACRA2_SMALLEST
from tadan.pictures.ssimulacra2 import ssimulacra2 as of_arrays
from tadan_lab.measure.metrics import Picture, paired_samples

BUTTERAUGLI_SMALLEST = 8  # below, butteraugli_main answers 0 whatever the pictures are
CVVDP_SMALLEST = 8  # a single pixel is an error in the package
BUTTERAUGLI = "butteraugli_main"
NO_BUTTERAUGLI = f"{BUTTERAUGLI} is not on the PATH; install libjxl's tools (Debian: apt-get install libjxl-devtools)"
NO_CVVDP = "the package cvvdp is not installed; run: pip install cvvdp"
DEFAULT_DISPLAY = "standard_4k"  # 30 inches, 3840x2160, 200 cd/m2, seen from 0.75 m

_NITS = 80  # cd/m2 of white: the program's own default, said because it may change
_PATIENCE = 3600  # seconds until a program counts as hung; 100 megapixels take two minutes
_P_NORM = re.compile(r"^\s*3-norm:\s*(\S+)\s*$", re.MULTILINE)


def ssimulacra2(original: Picture, decoded: Picture) -> float:
    """SSIMULACRA2 of 8-bit sRGB pictures, see :func:`tadan.pictures.ssimulacra2.ssimulacra2`.

    Both are Pillow pictures (converted to RGB) or uint8 arrays (H, W), (H, W, 1) or (H, W, 3) of one shape.
    """
    return of_arrays(*_rgb_pair(original, decoded, "SSIMULACRA2", SSIMULACRA2_SMALLEST))


def butteraugli(original: Picture, decoded: Picture) -> float:
    """Butteraugli distance, 3-norm, at 80 cd/m2: 0 for identical pictures, about 1 where differences become visible.

    Pictures as for :func:`ssimulacra2`. InvalidInput below 8 pixels; ToolFailed if ``butteraugli_main`` is not on the
    PATH, fails, or prints no line such as ``3-norm: 1.234``.
    """
    pair = _rgb_pair(original, decoded, "Butteraugli", BUTTERAUGLI_SMALLEST)
    program = shutil.which(BUTTERAUGLI)
    if program is None:
        raise ToolFailed(f"Butteraugli: {NO_BUTTERAUGLI}.")
    with tempfile.TemporaryDirectory(prefix="tadan-") as folder:
        paths = [Path(folder, name) for name in ("original.ppm", "decoded.ppm")]
        for path, pixels in zip(paths, pair, strict=True):
            Image.fromarray(pixels).save(path)  # PPM: no profile to interpret, read as sRGB
        said = _run([program, *map(str, paths), "--pnorm", "3", "--intensity_target", str(_NITS)])
    found = _P_NORM.findall(said)
    try:
        distance = float(found[-1])
    except (IndexError, ValueError):
        distance = math.nan
    if not (math.isfinite(distance) and distance >= 0):
        raise ToolFailed(
            f"{program} printed no distance such as '3-norm: 1.234' but {said.strip()[:200]!r}; "
            "install another version of libjxl, or leave butteraugli out of --metrics."
        )
    return distance


def color_video_vdp(original: Picture, decoded: Picture, display: str = DEFAULT_DISPLAY) -> float:
    """ColorVideoVDP of 8-bit sRGB pictures in just-objectionable differences (JOD): 10 for identical pictures.

    Pictures as for :func:`ssimulacra2`; ``display`` is one of the package's displays. Runs on the CPU, so that every
    machine gives the same number. InvalidInput below 8 pixels, for an unknown display, or without the package.
    """
    a, b = _rgb_pair(original, decoded, "ColorVideoVDP", CVVDP_SMALLEST)
    score, _ = _predictor(display).predict(b, a, dim_order="HWC")
    return float(score)


def butteraugli_missing() -> str | None:
    """Words that say how to get ``butteraugli_main``, None if it is on the PATH."""
    return NO_BUTTERAUGLI if shutil.which(BUTTERAUGLI) is None else None


def cvvdp_missing() -> str | None:
    """Words that say how to get the package ``cvvdp``, None if it is installed; nothing is imported."""
    return NO_CVVDP if importlib.util.find_spec("pycvvdp") is None else None


@lru_cache(maxsize=1)  # a second of loading; one display at a time
def _predictor(display: str) -> Any:
    try:
        package, torch = importlib.import_module("pycvvdp"), importlib.import_module("torch")
    except ImportError as error:
        raise InvalidInput(f"ColorVideoVDP: {NO_CVVDP}.") from error
    try:
        return package.cvvdp(display_name=display, device=torch.device("cpu"), quiet=True)
    except package.vq_exception as error:
        raise InvalidInput(f"ColorVideoVDP: {error}; choose a display such as {DEFAULT_DISPLAY}.") from error


def _run(command: list[str]) -> str:
    """Standard output of ``command``; ToolFailed with what it said if it fails or takes too long."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolFailed(f"{command[0]} could not be run: {error}; install it again.") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-300:]
        raise ToolFailed(f"{command[0]} failed with exit code {done.returncode}: {said or 'no message'}")
    return done.stdout.decode(errors="replace")


def _rgb_pair(
    original: Picture, decoded: Picture, what: str, smallest: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both pictures as uint8 (H, W, 3); grey ones are repeated."""
    a, b = paired_samples(original, decoded)
    height, width, channels = a.shape
    if min(height, width) < smallest:
        raise InvalidInput(f"{what} needs at least {smallest}x{smallest} pixels, got {width}x{height}.")
    if channels not in (1, 3):
        raise InvalidInput(f"{what} needs grey or RGB pictures, got {channels} channels; convert them to RGB.")
    return (a, b) if channels == 3 else (np.repeat(a, 3, axis=2), np.repeat(b, 3, axis=2))
