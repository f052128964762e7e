"""`tadan transcode`: from every format to every other; metadata and existing files are kept, errors say what to do."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

import tadan
from cli_examples import command, fails, run
from photo_examples import photo, psnr

XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
QUICK = ("-e", 0, "--threads", 1)
LOSSLESS = ("png", "webp", "tif", "bmp", "ppm", "tga", "jp2")


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def jpeg(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    image = Image.fromarray(photo("chelsea"))
    image.save(tmp_path / "cat.jpg", quality=95, icc_profile=PROFILE, exif=exif, xmp=XMP)
    return tmp_path / "cat.jpg"


@pytest.fixture(scope="module")
def stream():
    return tadan.encode(photo("coffee"), quality=50, effort=0)


@pytest.fixture
def tdn(stream, tmp_path):
    (tmp_path / "coffee.tdn").write_bytes(stream)
    return tmp_path / "coffee.tdn"


def check_metadata(path):
    with Image.open(path) as image:
        assert image.info["icc_profile"] == PROFILE, path
        assert image.info["xmp"] == XMP, path
        assert image.getexif()[0x010E] == "a cat", path


# --- every direction ---


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "avif", "jpeg"])
def test_other_formats_to_others_keep_pixels_and_metadata(jpeg, suffix):
    out = jpeg.with_name(f"out.{suffix}")
    assert "96 x 80 RGB" in run("transcode", jpeg, out).stdout
    check_metadata(out)
    assert psnr(pixels(out), pixels(jpeg)) > (90 if suffix in LOSSLESS else 35)


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_without_loss_every_sample_is_kept(jpeg, suffix):
    out = jpeg.with_name(f"out.{suffix}")
    run("transcode", jpeg, out, "--lossless")
    np.testing.assert_array_equal(pixels(out), pixels(jpeg))


def test_to_a_tdn_file_and_on_to_another_format(jpeg, tmp_path):
    coded, back = tmp_path / "cat.tdn", tmp_path / "back.png"
    assert "bpp" in run("transcode", jpeg, coded, "-q", 80, *QUICK).stdout
    assert tadan.inspect(coded.read_bytes()).quality == 80
    check_metadata(coded)
    run("transcode", coded, back)
    check_metadata(back)
    np.testing.assert_array_equal(pixels(back), np.asarray(tadan.decode(coded.read_bytes())))


def test_what_it_writes_is_what_encode_and_decode_write(jpeg, tdn, tmp_path):
    run("transcode", jpeg, tmp_path / "a.tdn", *QUICK)
    run("encode", jpeg, tmp_path / "b.tdn", *QUICK)
    assert (tmp_path / "a.tdn").read_bytes() == (tmp_path / "b.tdn").read_bytes()
    for suffix in ("png", "jpg", "webp"):
        run("transcode", tdn, tmp_path / f"a.{suffix}")
        run("decode", tdn, tmp_path / f"b.{suffix}")
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_tdn_file_is_known_by_its_bytes(tdn, tmp_path):
    tdn.rename(tmp_path / "photo.bin")
    run("transcode", tmp_path / "photo.bin", tmp_path / "out.png")
    assert pixels(tmp_path / "out.png").shape == photo("coffee").shape


@pytest.mark.parametrize("name", ["cat.jpg", "coffee.tdn"])
def test_pipes_carry_pictures(tdn, jpeg, name):
    with tdn.with_name(name).open("rb") as file:
        done = command("transcode", "-", "-", "--format", "png", stdin=file)
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO(done.stdout)) as image:
        assert (image.format, image.size) == ("PNG", (96, 80))


# --- what changes on the way ---


def test_pictures_are_turned_upright_as_encoding_does(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    image = Image.fromarray(photo())
    image.save(tmp_path / "turned.png", exif=exif)
    run("transcode", tmp_path / "turned.png", tmp_path / "upright.webp")
    np.testing.assert_array_equal(pixels(tmp_path / "upright.webp"), np.rot90(photo(), -1))
    with Image.open(tmp_path / "upright.webp") as upright:
        assert upright.getexif()[0x0112] == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_modes_that_the_other_format_lacks_are_converted(tmp_path, mode):
    source = Image.fromarray(photo())
    if mode.endswith("A"):  # WebP has no alpha where all is opaque
        source.putalpha(Image.fromarray(photo("coffee")).convert("L"))
    source = source.convert(mode)
    source.save(tmp_path / "in.tif")
    run("transcode", tmp_path / "in.tif", tmp_path / "out.webp")
    wanted = source.convert("RGBA" if mode in ("LA", "RGBA") else "RGB")
    assert psnr(pixels(tmp_path / "out.webp"), wanted) > 60


def test_sixteen_bits_are_rounded_with_a_warning(tmp_path):
    Image.fromarray(np.full((20, 20), 30_000, np.uint16)).save(tmp_path / "deep.png")
    assert "warning" in run("transcode", tmp_path / "deep.png", tmp_path / "out.tif").stderr


@pytest.mark.parametrize(("most", "size"), [(48, (48, 40)), (1, (1, 1)), (500, (96, 80))])
def test_larger_pictures_are_scaled_down(jpeg, tdn, tmp_path, most, size):
    for source in (jpeg, tdn):
        for out in (tmp_path / "out.png", tmp_path / "out.tdn"):
            run("transcode", "-f", source, out, "--max-side", most)
            with Image.open(out) as image:
                assert image.size == size
    run("transcode", "-f", jpeg, tmp_path / "out.png", "--max-side", most)
    check_metadata(tmp_path / "out.png")


# --- .tdn to .tdn ---


def test_a_tdn_file_is_not_encoded_again_unless_asked(tdn, tmp_path):
    fails("transcode", tdn, tmp_path / "again.tdn", message=r"already.*copy it.*-q")
    assert not (tmp_path / "again.tdn").exists()
    for name, options in (("smaller", ("-q", 20)), ("same", QUICK), ("kept", ("--lossless",))):
        run("transcode", tdn, tmp_path / f"{name}.tdn", *options)
    facts = {name: tadan.inspect((tmp_path / f"{name}.tdn").read_bytes()) for name in ("smaller", "same", "kept")}
    assert (facts["smaller"].quality, facts["same"].quality) == (20, 50)
    assert facts["kept"].content in ("png", "webp")
    np.testing.assert_array_equal(pixels(tmp_path / "kept.tdn"), pixels(tdn))


# --- errors ---


def test_options_that_do_not_fit_are_errors(jpeg, tdn, tmp_path):
    for arguments, message in (
        ((jpeg,), "--format"),
        ((jpeg, "-o", "-"), "--format"),
        ((jpeg, tmp_path / "a.xyz"), "no picture format"),
        ((jpeg, tmp_path / "a.png", "-q", 5), "no quality"),
        ((jpeg, tmp_path / "a.png", "-e", 5), "leave it out"),
        ((jpeg, tmp_path / "a.jpg", "--lossless"), "without loss"),
        ((jpeg, tmp_path / "a.tdn", "--lossless", "-q", 5), "exclude each other"),
        ((jpeg, tdn, tmp_path / "a.png"), "--out-dir"),
        ((jpeg, "--out-dir", tmp_path), "--format"),
        ((jpeg, "-o", tmp_path / "a.png", "--out-dir", tmp_path), "leave one of them out"),
    ):
        fails("transcode", *arguments, message=message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat.jpg", "coffee.tdn"]


def test_files_that_cannot_be_read_are_errors(tdn, tmp_path):
    out = tmp_path / "out.png"
    fails("transcode", tmp_path / "none.jpg", out, message="(?i)cannot read .*none.jpg")
    (tmp_path / "text.jpg").write_text("no picture")
    fails("transcode", tmp_path / "text.jpg", out, message="not a picture")
    (tmp_path / "text.tdn").write_text("no picture")
    fails("transcode", tmp_path / "text.tdn", out, message="Not a Tadan file")
    tdn.write_bytes(tdn.read_bytes()[:-9])
    fails("transcode", tdn, out, message="--salvage")
    assert not out.exists()


def test_a_picture_that_the_format_cannot_hold_is_an_error(tmp_path):
    Image.fromarray(photo()).convert("RGBA").save(tmp_path / "a.png")
    fails("transcode", tmp_path / "a.png", tmp_path / "a.jpg", message=r"JPEG cannot hold.*\.png")
    assert not (tmp_path / "a.jpg").exists()


def test_limits_hold_for_pictures_and_streams(jpeg, tdn, tmp_path):
    for source in (jpeg, tdn):
        fails("transcode", source, tmp_path / "out.png", "--max-pixels", 1000, message="--max-pixels 7680")


def test_nothing_is_replaced_unless_told(jpeg, tmp_path):
    out = tmp_path / "out.png"
    out.write_bytes(b"precious")
    fails("transcode", jpeg, out, message="exists.*-f")
    assert "skipped" in run("transcode", "-n", jpeg, out).stdout
    assert out.read_bytes() == b"precious"
    fails("transcode", "-f", jpeg, jpeg, message="is an input too")
    run("transcode", "-f", jpeg, out)
    assert pixels(out).shape == photo().shape


# --- folders ---


def test_folders_of_all_formats(jpeg, tdn, tmp_path):
    album, out = tmp_path / "album", tmp_path / "out"
    (album / "deeper").mkdir(parents=True)
    jpeg.rename(album / "cat.jpg")
    tdn.rename(album / "deeper" / "coffee.tdn")
    (album / "bad.png").write_text("no picture")
    done = fails("transcode", album, "--out-dir", out, "--format", "webp", message=r"bad\.png")
    assert done.stdout.count(" -> ") == 2
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert found == ["cat.webp", "deeper/coffee.webp"]
    check_metadata(out / "cat.webp")


def test_two_pictures_of_one_name_do_not_overwrite_each_other(jpeg, tdn, tmp_path):
    tdn.rename(tmp_path / "cat.tdn")
    fails("transcode", tmp_path, "--out-dir", tmp_path / "out", "--format", "png", message="already the output of")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["cat.png"]


@pytest.mark.slow
def test_side_by_side_the_files_are_the_same(jpeg, tdn, tmp_path):
    for jobs in (1, 2):
        out = tmp_path / f"out{jobs}"
        run("transcode", jpeg, tdn, "--out-dir", out, "--format", "png", "--jobs", jobs, "--threads", 1)
    for name in ("cat.png", "coffee.png"):
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out2" / name).read_bytes()
