"""What goes in and what comes out: modes, alpha, arrays, paths, orientation and metadata."""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

import tadan
from codec_examples import CODEC
from photo_examples import photo, psnr
from tadan.bitstream import read_stream
from tadan.errors import InvalidInput, LimitExceeded, UnreadableInput

PHOTO = Image.fromarray(photo())
RAMP = np.add.outer(np.arange(80), 2 * np.arange(96)).astype(np.uint8)  # alpha that a lossy codec would change


def with_alpha(image, alpha=RAMP):
    image = image.copy()
    image.putalpha(Image.fromarray(alpha))
    return image


def round_trip(picture, quality=90):
    return CODEC.decode(CODEC.encode(picture, quality))


# --- modes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_modes_come_back(mode):
    image = with_alpha(PHOTO.convert(mode[:-1])) if mode.endswith("A") else PHOTO.convert(mode)
    decoded = round_trip(image)
    assert (decoded.mode, decoded.size) == (mode, image.size)
    assert tadan.inspect(CODEC.encode(image)).mode == mode
    colour = "L" if mode.startswith("L") else "RGB"
    assert psnr(decoded.convert(colour), PHOTO.convert(colour)) > 30
    if mode.endswith("A"):
        np.testing.assert_array_equal(np.asarray(decoded.getchannel("A")), RAMP)


def test_alpha_survives_at_the_lowest_quality_and_over_invisible_pixels():
    noise = np.random.default_rng(0).choice(np.array([0, 1, 254, 255], np.uint8), (80, 96))
    for quality in (1, 100):
        decoded = round_trip(with_alpha(PHOTO, noise), quality)
        np.testing.assert_array_equal(np.asarray(decoded.getchannel("A")), noise)


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (PHOTO.convert("P"), "RGB"),
        (PHOTO.convert("1"), "L"),
        (PHOTO.convert("CMYK"), "RGB"),
        (PHOTO.convert("YCbCr"), "RGB"),
        (PHOTO.convert("LAB"), "RGB"),
        (PHOTO.convert("HSV"), "RGB"),
        (with_alpha(PHOTO).convert("RGBa"), "RGBA"),
        (with_alpha(PHOTO).convert("PA"), "RGBA"),
    ],
    ids=lambda value: getattr(value, "mode", value),
)
def test_other_modes_are_converted(image, mode):
    decoded = round_trip(image)
    assert (decoded.mode, decoded.size) == (mode, (96, 80))
    assert psnr(decoded, image.convert(mode)) > {"1": 8, "P": 18}.get(image.mode, 25)


@pytest.mark.parametrize(
    ("mode", "transparent", "expected"),
    [("P", 3, "RGBA"), ("P", bytes(range(0, 250, 50)), "RGBA"), ("RGB", (7, 7, 7), "RGBA"), ("L", 7, "LA")],
)
def test_transparent_colours_become_alpha(tmp_path, mode, transparent, expected):
    image = PHOTO.convert(mode)
    fill = 3 if mode == "P" else transparent
    image.paste(fill, (10, 10, 30, 30))
    path = tmp_path / "keyed.png"
    image.save(path, transparency=transparent)
    decoded = round_trip(path)
    assert decoded.mode == expected
    with Image.open(path) as opened:
        np.testing.assert_array_equal(
            np.asarray(decoded.getchannel("A")), np.asarray(opened.convert("RGBA").getchannel("A"))
        )
    assert "transparency" not in decoded.info


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_16_bit_grey_is_rounded_with_a_warning(tmp_path, mode):
    grey = np.asarray(PHOTO.convert("L"))
    deep = grey.astype(np.uint16) * 257
    picture = Image.frombytes(mode, (96, 80), deep.astype(">u2" if mode.endswith("B") else "<u2").tobytes())
    with pytest.warns(UserWarning, match="rounded to 8 bits"):
        data = CODEC.encode(picture, 90)
    assert data == CODEC.encode(grey, 90)
    if mode == "I;16":
        Image.fromarray(deep).save(tmp_path / "deep.png")
        with pytest.warns(UserWarning, match="16-bit"):
            assert CODEC.encode(tmp_path / "deep.png", 90) == data


@pytest.mark.parametrize("mode", ["I", "F"])
def test_modes_without_a_range_are_refused(mode):
    with pytest.raises(InvalidInput, match="convert the picture to L or RGB"):
        CODEC.encode(PHOTO.convert("L").convert(mode))


def test_only_the_first_frame_is_coded(tmp_path):
    path = tmp_path / "moving.gif"
    PHOTO.save(path, save_all=True, append_images=[PHOTO.rotate(180)])
    with pytest.warns(UserWarning, match="several frames"):
        assert psnr(round_trip(path).convert("RGB"), PHOTO) > 25


# --- arrays and paths -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "mode"),
    [
        (photo()[:, :, 0], "L"),
        (photo()[:, :, :1], "L"),
        (photo()[:, :, :2], "LA"),
        (photo(), "RGB"),
        (np.dstack([photo(), RAMP]), "RGBA"),
    ],
    ids=lambda value: str(getattr(value, "shape", value)),
)
def test_arrays_are_coded_as_the_images_they_are(array, mode):
    data = CODEC.encode(array, 80)
    assert tadan.inspect(data).mode == mode
    assert data == CODEC.encode(Image.fromarray(array[:, :, 0] if mode == "L" and array.ndim == 3 else array), 80)


def test_layout_in_memory_does_not_matter():
    picture = photo()
    data = CODEC.encode(picture, 80)
    wide = np.zeros((80, 192, 3), np.uint8)
    wide[:, ::2] = picture
    for same in (np.asfortranarray(picture), picture[::-1].copy()[::-1], wide[:, ::2]):
        assert CODEC.encode(same, 80) == data
    transposed = CODEC.encode(picture.transpose(1, 0, 2), 80)
    assert tadan.inspect(transposed).width == 80


@pytest.mark.parametrize(
    "array",
    [
        photo().astype(np.float32),
        photo().astype(np.int64),
        photo().astype(bool),
        photo()[None],
        photo()[0, 0],
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0), np.uint8),
        np.zeros((4, 4, 0), np.uint8),
        np.array(5, np.uint8),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_wrong_arrays_are_refused(array):
    with pytest.raises(InvalidInput, match="array"):
        CODEC.encode(array)


@pytest.mark.parametrize("picture", [None, 5, b"bytes", [[1, 2], [3, 4]]])
def test_other_things_are_refused(picture):
    with pytest.raises(InvalidInput, match="a picture is"):
        CODEC.encode(picture)


def test_an_empty_image_is_refused():
    for size in ((0, 5), (5, 0), (0, 0)):
        with pytest.raises(InvalidInput):
            CODEC.encode(Image.new("RGB", size))


def test_paths_of_every_kind(tmp_path):
    path = tmp_path / "photo.png"
    PHOTO.save(path)
    data = CODEC.encode(PHOTO)
    assert data == CODEC.encode(path) == CODEC.encode(str(path)) == CODEC.encode(pathlib.PurePath(path))


def test_unreadable_paths_name_the_path(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    buffer = io.BytesIO()
    PHOTO.save(buffer, "PNG")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    (tmp_path / "folder").mkdir()
    for name in ("text.png", "empty.jpg", "cut.png", "folder", "missing.png"):
        with pytest.raises(UnreadableInput, match=name):
            CODEC.encode(tmp_path / name)


def test_pillows_own_limit_is_our_error(tmp_path, monkeypatch):
    PHOTO.save(tmp_path / "photo.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(LimitExceeded, match="MAX_IMAGE_PIXELS"):
        CODEC.encode(tmp_path / "photo.png")


# --- metadata ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    path = tmp_path / "turned.png"
    PHOTO.save(path, exif=exif)
    with Image.open(path) as opened:
        upright = ImageOps.exif_transpose(opened)
    decoded = round_trip(path)
    assert decoded.size == upright.size == ((96, 80) if orientation < 5 else (80, 96))
    assert psnr(decoded, upright) > 30
    assert decoded.getexif().get(0x0112, 1) == 1
    assert decoded.getexif()[0x010F] == "Maker"
    np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(decoded)), np.asarray(decoded))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_icc_exif_and_xmp_are_kept(tmp_path, suffix):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b'<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/"/><?xpacket end="w"?>'
    exif = Image.Exif()
    exif[0x010E] = "a description"
    path = tmp_path / f"photo.{suffix}"
    if suffix == "png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        PHOTO.save(path, icc_profile=icc, exif=exif, pnginfo=info)
    else:
        PHOTO.save(path, icc_profile=icc, exif=exif, xmp=xmp)
    data = CODEC.encode(path)
    assert set(read_stream(data).metadata) == {"icc", "exif", "xmp"}
    decoded = CODEC.decode(data)
    assert decoded.info["icc_profile"] == icc
    assert decoded.info["xmp"] == xmp
    assert decoded.getexif()[0x010E] == "a description"
    for target in ("png", "jpg", "webp"):
        decoded.save(tmp_path / f"again.{target}", exif=decoded.getexif(), icc_profile=decoded.info["icc_profile"])


def test_a_picture_without_metadata_has_none():
    assert read_stream(CODEC.encode(PHOTO)).metadata == {}
    assert not set(round_trip(photo()).info) & {"icc_profile", "exif", "xmp"}


def test_the_profile_of_ink_is_not_kept(tmp_path):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = tmp_path / "ink.jpg"
    PHOTO.convert("CMYK").save(path, icc_profile=icc)
    assert read_stream(CODEC.encode(path)).metadata == {}
