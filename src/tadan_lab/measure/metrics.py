"""How far a decoded picture is from its original: PSNR, SSIM, MS-SSIM, SSIMULACRA2, Butteraugli and ColorVideoVDP.

Sources: Wang, Bovik, Sheikh, Simoncelli, *Image Quality Assessment* (IEEE TIP 2004) for SSIM; Wang, Simoncelli, Bovik,
*Multi-scale Structural Similarity* (Asilomar 2003) for the scales. Windows, borders, pooling and the mean over channels
are those of the package pytorch-msssim, whose numbers learned-compression papers report. SSIMULACRA2 is
:mod:`tadan.pictures.ssimulacra2`. Butteraugli is libjxl's program ``butteraugli_main``. ColorVideoVDP is the package
``cvvdp`` of its authors: Mantiuk et al., *ColorVideoVDP: A visual difference predictor for image, video and display
distortions* (SIGGRAPH 2024).
"""

from __future__ import annotations

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

Picture = Image.Image | NDArray[np.uint8]
_Plane = NDArray[np.float32]

PEAK = 255.0
IDENTICAL_DB = 100.0  # what a losslessly coded picture (PSNR infinite) counts for in a mean
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang 2003, section 3.2; their sum is 1.0001, kept so
WINDOW = 11  # samples of the Gaussian window
WINDOW_SIGMA = 1.5  # samples
C1 = (0.01 * PEAK) ** 2  # Wang 2004, K1
C2 = (0.03 * PEAK) ** 2  # Wang 2004, K2


def psnr(original: Picture, decoded: Picture) -> float:
    """Peak signal-to-noise ratio in dB over all samples of all channels; ``inf`` for identical pictures.

    Both are Pillow pictures (converted to RGB) or uint8 arrays (H, W) or (H, W, C) of one shape; else InvalidInput.
    """
    a, b = paired_samples(original, decoded)
    error = float(np.mean(np.square(a.astype(np.int32) - b.astype(np.int32)), dtype=np.float64))
    return math.inf if error == 0.0 else 10.0 * math.log10(PEAK**2 / error)


def ms_ssim(original: Picture, decoded: Picture) -> float:
    """Multi-scale structural similarity, 1.0 for identical pictures: mean over channels of the product over scales.

    Pictures as for :func:`psnr`. A picture whose shorter side is 160 pixels or less is too small for five scales: it is
    measured on the first :func:`ms_ssim_scales` ones with their weights rescaled to sum 1, and such a number should not
    be compared with five-scale ones. InvalidInput below 11 pixels.
    """
    a, b = paired_samples(original, decoded)
    scales = ms_ssim_scales(a.shape[0], a.shape[1])
    if scales == 0:
        raise InvalidInput(f"MS-SSIM needs at least {WINDOW}x{WINDOW} pixels, got {a.shape[1]}x{a.shape[0]}.")
    return _mean_over_channels(a, b, scales)


def similarity_db(value: float) -> float:
    """MS-SSIM in dB, -10 log10(1 - value), as rate-distortion plots show it; at most 60 dB, for identical pictures."""
    return -10.0 * math.log10(max(1.0 - value, 1e-6))


def ms_ssim_scales(height: int, width: int) -> int:
    """How many of the five scales :func:`ms_ssim` uses for such a picture: each needs a window that fits (0 to 5)."""
    shorter = min(height, width)
    return sum(shorter > (WINDOW - 1) * 2**scale for scale in range(len(SCALE_WEIGHTS)))


def ssim(original: Picture, decoded: Picture) -> float:
    """Structural similarity at full resolution only, mean over windows and channels. Errors as :func:`ms_ssim`."""
    a, b = paired_samples(original, decoded)
    if ms_ssim_scales(a.shape[0], a.shape[1]) == 0:
        raise InvalidInput(f"SSIM needs at least {WINDOW}x{WINDOW} pixels, got {a.shape[1]}x{a.shape[0]}.")
    return _mean_over_channels(a, b, 1)


def _mean_over_channels(a: NDArray[np.uint8], b: NDArray[np.uint8], scales: int) -> float:
    weights = SCALE_WEIGHTS[:scales]
    if scales < len(SCALE_WEIGHTS):
        weights = tuple(weight / sum(weights) for weight in weights)
    values = []
    for channel in range(a.shape[2]):
        x, y = a[:, :, channel].astype(np.float32), b[:, :, channel].astype(np.float32)
        value = 1.0
        for scale in range(scales):
            if scale:
                x, y = _halve(x), _halve(y)
            similarity, contrast = _window_means(x, y)
            value *= max(similarity if scale == scales - 1 else contrast, 0.0) ** weights[scale]
        values.append(value)
    return float(np.mean(values))


def _window_means(x: _Plane, y: _Plane) -> tuple[float, float]:
    """Mean of SSIM and of its contrast-structure factor over all windows that lie inside the plane."""
    mean_x, mean_y = _blur(x), _blur(y)
    mean_xy, mean_squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance = _blur(x * y) - mean_xy
    variances = _blur(x * x + y * y) - mean_squares  # of x and y together: no other sum of them is ever needed
    contrast = (2.0 * covariance + np.float32(C2)) / (variances + np.float32(C2))
    similarity = contrast * (2.0 * mean_xy + np.float32(C1)) / (mean_squares + np.float32(C1))
    return float(np.mean(similarity, dtype=np.float64)), float(np.mean(contrast, dtype=np.float64))


def _taps() -> NDArray[np.float32]:
    distance = np.arange(WINDOW) - WINDOW // 2
    taps = np.exp(-(distance**2) / (2.0 * WINDOW_SIGMA**2))
    normalised: _Plane = (taps / taps.sum()).astype(np.float32)
    return normalised


_TAPS = _taps()


def _blur(plane: _Plane) -> _Plane:
    """Filter with the Gaussian window, rows then columns, (H, W) -> (H - 10, W - 10)."""
    return _blur_rows(_blur_rows(plane).T).T


def _blur_rows(plane: _Plane) -> _Plane:
    height = plane.shape[0] - WINDOW + 1
    middle = WINDOW // 2
    total: _Plane = plane[middle : middle + height] * _TAPS[middle]
    pair = np.empty_like(total)
    for tap in range(middle):  # the window is symmetric: add the two samples that share a weight, then multiply once
        mirror = WINDOW - 1 - tap
        np.add(plane[tap : tap + height], plane[mirror : mirror + height], out=pair)
        pair *= _TAPS[tap]
        total += pair
    return total


def _halve(plane: _Plane) -> _Plane:
    """2x2 mean; an odd side gets a border of zeros on both ends first, counted in the mean as torch's avg_pool2d does.

    https://github.com/VainF/pytorch-msssim/blob/master/pytorch_msssim/ssim.py (``padding = [s % 2 ...]``)
    """
    height, width = plane.shape
    if height % 2 or width % 2:
        plane = np.pad(plane, ((height % 2, height % 2), (width % 2, width % 2)))
        plane = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
    rows = plane[0::2] + plane[1::2]
    means: _Plane = (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)
    return means


def paired_samples(original: Picture, decoded: Picture) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both pictures as uint8 (H, W, C); InvalidInput if they differ in shape, hold no pixels or are not 8-bit."""
    a, b = _samples(original), _samples(decoded)
    if a.shape != b.shape:
        raise InvalidInput(f"The pictures differ in size: {_size(a)} and {_size(b)}; compare pictures of one size.")
    if a.size == 0:
        raise InvalidInput("The pictures hold no pixels.")
    return a, b


def _samples(picture: Picture) -> NDArray[np.uint8]:
    array = np.asarray(picture.convert("RGB") if isinstance(picture, Image.Image) else picture)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise InvalidInput(f"Expected a picture or a uint8 array (H, W[, C]), got {array.dtype} {array.shape}.")
    return array[:, :, np.newaxis] if array.ndim == 2 else array


def _size(array: NDArray[np.uint8]) -> str:
    return f"{array.shape[1]}x{array.shape[0]} with {array.shape[2]} channel(s)"


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
