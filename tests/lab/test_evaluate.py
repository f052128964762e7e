"""Metrics and BD-rate, on a photograph that scikit-image ships."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs
from skimage.metrics import structural_similarity

from evaluate_examples import noisy
from tadan.errors import InvalidInput
from tadan_lab.measure import (
    BDRate,
    Curve,
    bd_rate,
    ms_ssim,
    ms_ssim_scales,
    psnr,
    ssim,
)
from tadan_lab.measure.bdrate import compare, other_pictures
from tadan_lab.measure.metrics import similarity_db

CAT = photographs.chelsea()  # (300, 451, 3)


def curve(name: str, bpp: list[float], decibels: list[float]) -> Curve:
    return Curve(name, "", {"quality": list(range(len(bpp)))}, {"bpp": bpp, "psnr-rgb": decibels})


REFERENCE = curve("reference", [0.1, 0.25, 0.5, 1.0, 1.8], [27.0, 30.5, 33.2, 36.4, 39.5])


def test_identical_pictures_are_perfect() -> None:
    assert psnr(CAT, CAT) == math.inf
    assert ms_ssim(CAT, CAT) == 1.0
    assert ssim(CAT, CAT) == 1.0


def test_metrics_are_symmetric_and_fall_with_noise() -> None:
    steps = [noisy(CAT, sigma) for sigma in (2, 5, 10, 20, 40)]
    for metric in (psnr, ms_ssim, ssim):
        values = [metric(CAT, step) for step in steps]
        assert values == sorted(values, reverse=True)
        assert metric(steps[2], CAT) == values[2]


def test_psnr_is_that_of_the_definition() -> None:
    assert psnr(np.zeros((4, 5, 3), np.uint8), np.full((4, 5, 3), 255, np.uint8)) == 0.0
    off_by_one = np.clip(CAT.astype(int) + 1, 1, 255).astype(np.uint8)
    changed = np.mean(off_by_one != CAT)
    assert psnr(CAT, off_by_one) == pytest.approx(20 * math.log10(255) - 10 * math.log10(changed))
    assert psnr(Image.fromarray(CAT), Image.fromarray(noisy(CAT, 5))) == psnr(CAT, noisy(CAT, 5))


@pytest.mark.parametrize("sigma", [3, 30])
def test_single_scale_agrees_with_skimage(sigma: float) -> None:
    other = noisy(CAT, sigma)
    expected = structural_similarity(
        CAT, other, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=2
    )
    assert ssim(CAT, other) == pytest.approx(expected, abs=1e-5)


def test_a_small_picture_uses_fewer_scales() -> None:
    assert [ms_ssim_scales(side, 1000) for side in (10, 11, 20, 21, 80, 81, 160, 161)] == [0, 1, 1, 2, 3, 4, 4, 5]
    small = CAT[:20, :300]
    assert ms_ssim(small, noisy(small, 9)) == ssim(small, noisy(small, 9))  # one scale, its weight rescaled to 1
    assert 0 < ms_ssim(CAT[:100], noisy(CAT[:100], 9)) < 1
    with pytest.raises(InvalidInput, match="11x11"):
        ms_ssim(CAT[:10], CAT[:10])


def test_ms_ssim_agrees_with_pytorch_msssim() -> None:
    """Values of pytorch-msssim 1.0.0 (``ms_ssim(x, y, data_range=255)``), odd sizes included."""
    for (height, width), expected in PYTORCH_MSSSIM.items():
        crop = CAT[:height, :width]
        assert ms_ssim(crop, noisy(crop, 25)) == pytest.approx(expected, abs=2e-6)


PYTORCH_MSSSIM = {(300, 451): 0.8063798, (256, 256): 0.8306467, (161, 333): 0.8497003, (201, 177): 0.8240261}


def test_metrics_refuse_what_cannot_be_compared() -> None:
    with pytest.raises(InvalidInput, match="differ in size"):
        psnr(CAT, CAT[1:])
    with pytest.raises(InvalidInput, match="uint8"):
        psnr(CAT.astype(np.float32), CAT.astype(np.float32))
    with pytest.raises(InvalidInput, match="no pixels"):
        psnr(CAT[:0], CAT[:0])


# BD-rate


@pytest.mark.parametrize("method", ["pchip", "akima"])
def test_bd_rate_of_known_curves(method: str) -> None:
    cheaper = replace(REFERENCE, results={**REFERENCE.results, "bpp": [0.8 * r for r in REFERENCE.results["bpp"]]})
    same = bd_rate(REFERENCE, REFERENCE, method)
    assert same.percent == pytest.approx(0.0, abs=1e-9)
    assert (same.low, same.high, same.coverage) == (27.0, 39.5, 1.0)
    assert bd_rate(REFERENCE, cheaper, method).percent == pytest.approx(-20.0, abs=1e-9)
    assert bd_rate(cheaper, REFERENCE, method).percent == pytest.approx(25.0, abs=1e-9)


def test_bd_rate_takes_points_in_any_order_and_states_the_overlap() -> None:
    upper = curve("upper", [1.8, 1.0, 0.5, 0.5, 0.25, 0.9], [41.0, 36.0, 33.0, 33.0, 30.0, 36.0])
    value = bd_rate(REFERENCE, upper)
    assert (value.low, value.high) == (30.0, 39.5)
    assert value.coverage == pytest.approx(9.5 / 14.0)
    assert "30.0 to 39.5 dB" in str(value)


def test_bd_rate_by_ms_ssim_counts_in_decibels() -> None:
    """10 dB are 0.9, 20 dB are 0.99: the same curve as by PSNR when the MS-SSIM say the same dB."""
    halves = [0.5 * r for r in REFERENCE.results["bpp"]]
    similarity = [1 - 10 ** (-db / 10) for db in REFERENCE.results["psnr-rgb"]]
    anchor = replace(REFERENCE, results={**REFERENCE.results, "ms-ssim-rgb": similarity})
    test = replace(anchor, results={**anchor.results, "bpp": halves, "psnr-rgb": [10.0, 20.0, 30.0, 40.0, 50.0]})
    value = bd_rate(anchor, test, metric="ms-ssim-rgb")
    assert value.percent == pytest.approx(-50.0, abs=1e-6)
    assert (value.low, value.high) == pytest.approx((27.0, 39.5))
    [comparison] = compare(test, [REFERENCE])
    assert isinstance(comparison.values["psnr-rgb"], BDRate)
    assert "no MS-SSIM" in str(comparison.values["ms-ssim-rgb"])
    assert similarity_db(1.0) == pytest.approx(60.0)


def test_other_pictures_are_noticed() -> None:
    rows = [{"picture": "a.png"}, {"picture": "b.png"}]
    two, one = replace(REFERENCE, pictures=rows), replace(REFERENCE, pictures=rows[:1])
    assert other_pictures(two, two) is None
    assert other_pictures(two, REFERENCE) is None  # a curve without rows does not say
    assert "2, of which 1 are among our 1" in (other_pictures(one, two) or "")


def test_bd_rate_refuses() -> None:
    with pytest.raises(InvalidInput, match="4 are needed"):
        bd_rate(REFERENCE, curve("short", [0.1, 0.2, 0.3, 0.3], [28.0, 30.0, 31.0, 31.0]))
    with pytest.raises(InvalidInput, match="overlaps"):
        bd_rate(REFERENCE, curve("far", [2, 3, 4, 5], [40.0, 41.0, 42.0, 43.0]))
    with pytest.raises(InvalidInput, match="cubic"):
        bd_rate(REFERENCE, REFERENCE, "cubic")
    with pytest.raises(InvalidInput, match="vmaf"):
        bd_rate(REFERENCE, REFERENCE, metric="vmaf")
    with pytest.raises(InvalidInput, match="nan"):
        bd_rate(REFERENCE, curve("broken", [0.1, 0.2, 0.3, 0.4], [28.0, math.nan, 31.0, 32.0]))
