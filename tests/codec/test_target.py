"""The quality that hits a target: what is promised holds, and the next quality would break it."""

import io

import numpy as np
import pytest
from PIL import Image

import tadan
from cli_examples import fails, run
from codec_examples import CODEC
from photo_examples import photo
from tadan.codec.options import EncodeOptions
from tadan.codec.target import Target, encode_to, psnr
from tadan.errors import InvalidInput, MissingPackage, TargetMissed

PICTURE = photo("coffee", 64, 96)
QUICK = EncodeOptions(effort=0, schedule="fast", fallback=False)


def size(quality, **options):
    return len(CODEC.encode(PICTURE, quality=quality, effort=0, schedule="fast", fallback=False, **options))


@pytest.mark.parametrize("most", [150, 300, 900])
def test_the_best_file_that_fits(most):
    coded = encode_to(CODEC, PICTURE, Target.size(most), QUICK)
    quality = tadan.inspect(coded.data).quality
    assert len(coded.data) <= most
    assert quality == 100 or most < size(quality + 1)
    assert coded.data == CODEC.encode(PICTURE, quality=quality, effort=0, schedule="fast", fallback=False)


def test_the_search_of_the_encoder_counts():
    """Bisection runs without it; the answer must hold with it."""
    options = EncodeOptions(effort=3, fallback=False)
    coded = encode_to(CODEC, PICTURE, Target.size(400), options)
    quality = tadan.inspect(coded.data).quality
    assert len(coded.data) <= 400 < len(CODEC.encode(PICTURE, quality=quality + 1, fallback=False))


@pytest.mark.parametrize("least", [28.5, 34.0])
def test_the_smallest_file_that_is_good_enough(least):
    coded = encode_to(CODEC, PICTURE, Target.psnr(least), QUICK)
    quality = tadan.inspect(coded.data).quality
    reached = psnr(PICTURE, np.asarray(CODEC.decode(coded.data)))
    below = CODEC.encode(PICTURE, quality=quality - 1, effort=0, schedule="fast", fallback=False)
    assert psnr(PICTURE, np.asarray(CODEC.decode(below))) < least <= reached


def test_a_score():
    pytest.importorskip("ssimulacra2")
    from tadan.pictures.ssimulacra2 import ssimulacra2

    coded = encode_to(CODEC, PICTURE, Target.score(50), QUICK)
    assert ssimulacra2(PICTURE, np.asarray(CODEC.decode(coded.data))) >= 50
    with pytest.raises(TargetMissed, match="the best has"):
        encode_to(CODEC, PICTURE, Target.score(100.5), QUICK)


def test_a_score_without_the_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ssimulacra2.ssimulacra2", None)
    with pytest.raises(MissingPackage, match=r'pip install "tadan\[lab\]"'):
        encode_to(CODEC, PICTURE, Target.score(50), QUICK)


def test_targets_that_nothing_meets():
    with pytest.raises(TargetMissed, match=r"at most 20 bytes; the smallest has \d+"):
        encode_to(CODEC, PICTURE, Target.size(20), QUICK)
    with pytest.raises(TargetMissed, match=r"reaches 99 dB; the best has"):
        encode_to(CODEC, PICTURE, Target.psnr(99), QUICK)
    for value in (0, -5, float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="positive number"):
            Target.size(value)


def test_alpha_and_metadata_count_for_the_size():
    image = Image.fromarray(np.dstack([PICTURE, PICTURE[:, :, :1]]))
    image.info["icc_profile"] = bytes(500)
    plain = tadan.inspect(encode_to(CODEC, PICTURE, Target.size(3600), QUICK).data).quality
    coded = encode_to(CODEC, image, Target.size(3600), QUICK)
    assert len(coded.data) <= 3600
    assert tadan.inspect(coded.data).quality < plain


def test_the_command_line(tmp_path):
    source = tmp_path / "in.png"
    Image.fromarray(PICTURE).save(source)
    line = run("encode", source, tmp_path / "a.tdn", "--target-size", "0.4k", "-e", 0).stdout
    data = (tmp_path / "a.tdn").read_bytes()
    assert len(data) <= 400
    assert f"quality {tadan.inspect(data).quality}" in line
    run("encode", source, tmp_path / "b.tdn", "--target-psnr", 31, "-e", 0)
    assert psnr(PICTURE, np.asarray(CODEC.decode((tmp_path / "b.tdn").read_bytes()))) >= 31
    fails("encode", source, tmp_path / "c.tdn", "--target-size", "20", "-e", 0, message="the smallest has")
    fails("encode", source, tmp_path / "c.tdn", "--target-size", "much", message="such as 200000, 200k or 1.5M")
    for pair in (["--target-psnr", 30], ["-q", 50], ["--lossless"]):
        fails("encode", source, tmp_path / "c.tdn", "--target-size", "1k", *pair, message="exclude each other")
    assert not (tmp_path / "c.tdn").exists()


def test_lossless(tmp_path):
    source = tmp_path / "in.png"
    Image.fromarray(PICTURE).save(source)
    run("encode", source, tmp_path / "a.tdn", "--lossless")
    data = (tmp_path / "a.tdn").read_bytes()
    np.testing.assert_array_equal(np.asarray(CODEC.decode(data)), PICTURE)
    assert tadan.inspect(data).content in ("png", "webp")
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, "PNG", optimize=True)
    assert len(data) < len(buffer.getvalue()) + 64
