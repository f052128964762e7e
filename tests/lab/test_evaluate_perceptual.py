"""SSIMULACRA2, Butteraugli and ColorVideoVDP, on photographs that scikit-image ships."""

import importlib.util
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs

from evaluate_examples import needs_program, noisy
from tadan.errors import InvalidInput, MissingPackage, ToolFailed
from tadan_lab.measure import metrics
from tadan_lab.measure.metrics import butteraugli, color_video_vdp, ssimulacra2
from tadan_lab.measure.yardsticks import METRICS, choose_metrics

CAT, COFFEE = photographs.chelsea(), photographs.coffee()  # (300, 451, 3), (400, 600, 3)
SMALL = COFFEE[100:180, 200:300]
SIGMAS = (2, 5, 10, 20, 40)
needs_cvvdp = pytest.mark.skipif(importlib.util.find_spec("pycvvdp") is None, reason="cvvdp is not installed")
posix = pytest.mark.skipif(os.name != "posix", reason="scripts as programs")


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts a Python script into the place of butteraugli_main."""

    def install(body):
        path = tmp_path / "butteraugli_main"
        path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return install


# SSIMULACRA2

REFERENCE = [  # ssimulacra2 of github.com/cloudinary/ssimulacra2, commit 81feacf, on the same pictures as PNG
    (CAT, noisy(CAT, 25), -0.0366),
    (CAT, noisy(CAT, 5), 76.4863),
    (CAT, CAT // 32 * 32 + 16, 15.9764),
    (COFFEE, noisy(COFFEE, 25), -7.8388),
    (COFFEE, noisy(COFFEE, 5), 76.0756),
    (COFFEE, COFFEE // 32 * 32 + 16, 23.5210),
    (COFFEE[:113, :201], noisy(COFFEE[:113, :201], 25), -16.1945),  # the last size with six scales
    (SMALL, SMALL // 32 * 32 + 16, 50.7213),  # five scales
]


@pytest.mark.parametrize(("original", "decoded", "expected"), REFERENCE)
def test_ssimulacra2_is_that_of_the_reference(original, decoded, expected):
    """The reference computes in float32: that is the rest of the difference."""
    assert ssimulacra2(original, decoded) == pytest.approx(expected, abs=0.05)


def test_ssimulacra2_falls_with_noise_and_below_zero():
    values = [ssimulacra2(CAT, CAT), *(ssimulacra2(CAT, noisy(CAT, sigma)) for sigma in SIGMAS)]
    assert values[0] == 100.0
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0


def test_grey_pictures_are_those_with_three_equal_channels():
    grey = CAT[:, :, 1]
    worse = noisy(grey, 10)
    expected = ssimulacra2(np.dstack([grey] * 3), np.dstack([worse] * 3))
    assert ssimulacra2(grey, worse) == expected
    assert ssimulacra2(grey[:, :, np.newaxis], worse[:, :, np.newaxis]) == expected
    assert ssimulacra2(Image.fromarray(grey), Image.fromarray(worse)) == expected
    assert ssimulacra2(grey, grey) == 100.0


@pytest.mark.parametrize("measure", [ssimulacra2, butteraugli, color_video_vdp])
def test_what_cannot_be_compared_is_refused(measure):
    with pytest.raises(InvalidInput, match="8x8"):
        measure(CAT[:7], CAT[:7])
    with pytest.raises(InvalidInput, match="differ in size"):
        measure(CAT, CAT[1:])
    with pytest.raises(InvalidInput, match="4 channels"):
        measure(np.zeros((20, 20, 4), np.uint8), np.zeros((20, 20, 4), np.uint8))


def test_the_smallest_picture_has_a_value_and_a_smaller_one_none():
    metric = METRICS["ssimulacra2"]
    eight, seven = (Image.fromarray(CAT[:side, :20]) for side in (8, 7))
    assert metric.value(eight, eight) == 100.0
    assert metric.value(seven, seven) is None


def test_a_missing_package_is_named_before_any_coding(monkeypatch):
    monkeypatch.setitem(sys.modules, "ssimulacra2.ssimulacra2", None)  # the import then fails
    for call in (lambda: ssimulacra2(CAT, CAT), lambda: choose_metrics("ssimulacra2")):
        with pytest.raises(MissingPackage, match=r'pip install "tadan\[lab\]"'):
            call()


# Butteraugli


@needs_program("butteraugli_main")
def test_butteraugli_rises_with_noise():
    values = [butteraugli(SMALL, SMALL), *(butteraugli(SMALL, noisy(SMALL, sigma)) for sigma in SIGMAS)]
    assert values[0] == 0.0
    assert values == sorted(set(values))
    grey = SMALL[:, :, 1]
    assert butteraugli(grey, noisy(grey, 10)) > butteraugli(grey, grey) == 0.0


@needs_program("butteraugli_main")
def test_the_real_program_is_understood_at_its_smallest_size():
    eight = COFFEE[100:108, 200:208]
    assert butteraugli(eight, 255 - eight) > 1


def test_a_missing_program_is_said_clearly(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolFailed, match="apt-get install libjxl-devtools"):
        butteraugli(SMALL, SMALL)
    with pytest.raises(InvalidInput, match=r"libjxl-devtools.*leave butteraugli out"):
        choose_metrics("psnr,butteraugli")
    metrics, skipped = choose_metrics(None)
    assert "butteraugli" not in [metric.name for metric in metrics]
    assert "Butteraugli left out" in skipped[0]


@posix
def test_the_program_sees_the_pixels_of_both_pictures(program):
    program("print('17.5'); print('3-norm:', open(sys.argv[1], 'rb').read()[-1] + open(sys.argv[2], 'rb').read()[-1])")
    assert butteraugli(SMALL, 255 - SMALL) == 255.0


@posix
@pytest.mark.parametrize(
    "printed", ["", "12.5", "3-norm: banana", "3-norm: nan", "3-norm: -1", "13-norm: 2", "3-norm:"]
)
def test_output_that_is_not_understood_is_an_error(program, printed):
    program(f"print({printed!r})")
    with pytest.raises(ToolFailed, match="printed no distance"):
        butteraugli(SMALL, SMALL)


@posix
def test_a_program_that_fails_passes_on_its_words(program):
    program("print('out of luck', file=sys.stderr); sys.exit(3)")
    with pytest.raises(ToolFailed, match="exit code 3: out of luck"):
        butteraugli(SMALL, SMALL)


@posix
def test_a_program_that_hangs_or_does_not_start_is_an_error(program, monkeypatch):
    program("import time; time.sleep(60)")
    monkeypatch.setattr(metrics, "_PATIENCE", 0.2)
    with pytest.raises(ToolFailed, match="could not be run"):
        butteraugli(SMALL, SMALL)
    Path(os.environ["PATH"], "butteraugli_main").write_text("#!/no/such/interpreter\n")
    with pytest.raises(ToolFailed, match="could not be run"):
        butteraugli(SMALL, SMALL)


# ColorVideoVDP


@needs_cvvdp
def test_jod_fall_with_noise():
    values = [color_video_vdp(CAT, CAT), *(color_video_vdp(CAT, noisy(CAT, sigma)) for sigma in SIGMAS)]
    assert values[0] == 10.0
    assert values == sorted(values, reverse=True)
    with pytest.raises(InvalidInput, match="no_such_display"):
        color_video_vdp(CAT, CAT, "no_such_display")


def test_missing_cvvdp_is_said_clearly(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycvvdp", None)
    metrics._predictor.cache_clear()
    with pytest.raises(InvalidInput, match="pip install cvvdp"):
        color_video_vdp(SMALL, SMALL)
    with pytest.raises(InvalidInput, match="pip install cvvdp"):
        choose_metrics("cvvdp")


@pytest.mark.torch
def test_cvvdp_gets_the_decoded_picture_first_and_the_display(monkeypatch):
    """The package calls its arguments test and reference, in this order."""
    calls = []

    class Predictor:
        def __init__(self, **options):
            calls.append(options["display_name"])

        def predict(self, test, reference, dim_order):
            calls.append((int(test.max()), int(reference.max()), dim_order))
            return 9.5, None

    package = SimpleNamespace(cvvdp=Predictor, vq_exception=RuntimeError, __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "pycvvdp", package)
    metrics._predictor.cache_clear()
    metric = choose_metrics("cvvdp", "standard_phone")[0][-1]
    flat = [Image.new("RGB", (20, 20), (level, level, level)) for level in (200, 100)]
    assert metric.value(*flat) == 9.5
    assert calls == ["standard_phone", (100, 200, "HWC")]
    metrics._predictor.cache_clear()
