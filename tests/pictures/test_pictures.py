"""What goes in and what comes out: modes, alpha, arrays, paths, orientation and metadata."""

import io
import pathlib
import struct
import subprocess
import sys
import textwrap
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

import icc_examples
import tadan
from codec_examples import CODEC
from photo_examples import photo, psnr
from tadan.bitstream import read_stream
from tadan.errors import InvalidInput, LimitExceeded, UnreadableInput
from tadan.pictures import reading
from tadan.pictures.reading import read_picture
from tadan.pictures.samples import fill_hidden, round_to_8

PHOTO = Image.fromarray(photo())
RAMP = np.add.outer(np.arange(80), 2 * np.arange(96)).astype(np.uint8)  # alpha that a lossy codec would change


def with_alpha(image, alpha=RAMP):
    image = image.copy()
    image.putalpha(Image.fromarray(alpha))
    return image


def round_trip(picture, quality=90):
    return CODEC.decode(CODEC.encode(picture, quality=quality, effort=0))


def planes(picture, strip=False):
    return read_picture(picture, 10**6, strip)


def pixels(picture, strip=False):
    """uint8 (H, W, channels): what would be coded."""
    read = planes(picture, strip)
    colour = read.rgb[:, :, :1] if read.mode.startswith("L") else read.rgb
    assert (read.alpha is None) == (read.mode in ("L", "RGB"))
    return colour if read.alpha is None else np.dstack([colour, read.alpha])


def in_memory(image, format, **options):
    """The image, saved and opened again; not loaded."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return Image.open(file)


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


@pytest.mark.parametrize("rows", [1, 7, 80, 1000])
@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
)
def test_conversion_in_strips_is_that_of_the_whole(mode, rows, monkeypatch):
    monkeypatch.setattr(reading, "_STRIP", 96 * rows + 5)
    alpha = mode in ("LA", "La", "PA", "RGBA", "RGBa")
    source = with_alpha(PHOTO.convert("L") if mode.startswith("L") else PHOTO) if alpha else PHOTO
    image = source.convert(mode)
    coded = ("L" if mode in ("1", "L", "LA", "La") else "RGB") + ("A" if alpha else "")
    expected = np.asarray(image.convert(coded)).reshape(80, 96, -1)
    read = planes(image)
    assert read.mode == coded
    np.testing.assert_array_equal(pixels(image), expected)
    assert read.rgb.flags.c_contiguous
    assert not np.shares_memory(read.rgb, np.asarray(image))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_modes_without_a_range_are_refused(mode):
    with pytest.raises(InvalidInput, match="convert the picture to L or RGB"):
        CODEC.encode(PHOTO.convert("L").convert(mode))


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_only_the_first_frame_is_coded(tmp_path, suffix):
    path = tmp_path / f"moving.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    PHOTO.save(path, save_all=True, append_images=[PHOTO.rotate(180)], **options)
    with pytest.warns(UserWarning, match="several frames"):
        read = planes(path)
    assert psnr(read.rgb, PHOTO) > 25
    with Image.open(path) as image:
        image.seek(1)
        with pytest.warns(UserWarning, match="several frames"):
            np.testing.assert_array_equal(planes(image).rgb, read.rgb)


# --- 16 bits ----------------------------------------------------------------------------------------------------------

DEEP = np.random.default_rng(1).integers(0, 65536, (37, 23, 4)).astype(np.uint16)


def rounded(deep):
    return np.rint(deep * (255 / 65535)).astype(np.uint8)


def deep_png(array, transparent=None):
    """PNG of 16 bits as Pillow cannot write it; uint16 (H, W, channels)."""
    height, width, channels = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    if transparent is not None:
        chunks.insert(1, (b"tRNS", struct.pack(">H", transparent)))
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return Image.open(io.BytesIO(data))


def deep_tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return Image.open(file)


def deep_ppm(array, white=65535):
    height, width, channels = array.shape
    head = b"P%d\n%d %d\n%d\n" % (5 if channels == 1 else 6, width, height, white)
    return Image.open(io.BytesIO(head + array.astype(">u2").tobytes()))


@pytest.mark.parametrize("white", [4095, 65535])
def test_rounding_is_to_the_nearest_level(white):
    samples = np.arange(65536, dtype=np.uint16)
    exact = np.minimum(samples, white) * (255 / white)
    assert np.abs(round_to_8(samples, white) - exact).max() <= 0.5
    for shape in ((256, 256), (1, 65536), (65536, 1), (64, 256, 4)):
        np.testing.assert_array_equal(
            round_to_8(samples.reshape(shape), white), round_to_8(samples, white).reshape(shape)
        )
    np.testing.assert_array_equal(round_to_8(np.arange(256) * 257), np.arange(256))


@pytest.mark.parametrize("order", ["<u2", ">u2"])
@pytest.mark.parametrize("shape", [(), (1,), (2,), (3,), (4,)])
def test_uint16_arrays_are_rounded_with_a_warning(shape, order):
    array = DEEP[:, :, : shape[0]] if shape else DEEP[:, :, 0]
    with pytest.warns(UserWarning, match="rounded to 8 bits"):
        got = pixels(array.astype(order))
    np.testing.assert_array_equal(got, rounded(array).reshape(37, 23, -1))


@pytest.mark.parametrize(
    "image",
    [
        Image.frombytes("I;16", (23, 37), DEEP[:, :, 0].astype("<u2").tobytes()),
        Image.frombytes("I;16B", (23, 37), DEEP[:, :, 0].astype(">u2").tobytes()),
        deep_png(DEEP[:, :, :1]),
        deep_tiff(DEEP[:, :, 0]),
        deep_tiff(DEEP[:, :, 0], byteorder=">", compression="zlib"),
        deep_ppm(DEEP[:, :, :1]),
    ],
    ids=["I;16", "I;16B", "png", "tiff", "big-endian tiff", "pgm"],
)
def test_16_bit_grey_is_rounded_with_a_warning(image):
    with pytest.warns(UserWarning, match="16-bit samples are rounded"):
        read = planes(image)
    assert read.mode == "L"
    np.testing.assert_array_equal(read.rgb, rounded(DEEP[:, :, :1]).repeat(3, axis=2))


def test_a_transparent_level_of_16_bit_grey_becomes_alpha():
    key = int(DEEP[3, 4, 0])
    with pytest.warns(UserWarning, match="16-bit"):
        read = planes(deep_png(DEEP[:, :, :1], key))
    assert read.mode == "LA"
    np.testing.assert_array_equal(read.alpha, np.where(DEEP[:, :, 0] == key, 0, 255))


def test_16_bit_ppm_is_rounded_by_pillow():
    for white in (65535, 1023):
        deep = DEEP[:, :, :3] & white
        with pytest.warns(UserWarning, match="rounded"):
            np.testing.assert_allclose(pixels(deep_ppm(deep, white)), deep * (255 / white), atol=0.501)


@pytest.mark.parametrize(
    ("make", "channels"),
    [
        (deep_png, 2),
        (deep_png, 3),
        (deep_png, 4),
        (lambda array: deep_tiff(array, photometric="rgb"), 3),
        (lambda array: deep_tiff(array, photometric="rgb", byteorder=">", compression="zlib"), 3),
        (lambda array: deep_tiff(array, photometric="rgb", extrasamples=["unassalpha"]), 4),
    ],
    ids=["png LA", "png RGB", "png RGBA", "tiff RGB", "big-endian tiff RGB", "tiff RGBA"],
)
def test_16_bit_colour_is_cut_with_a_warning(make, channels):
    deep = DEEP[:, :, :channels]
    with pytest.warns(UserWarning, match="high bytes only"):
        got = pixels(make(deep))
    np.testing.assert_array_equal(got, deep >> 8)
    assert np.abs(got.astype(int) - rounded(deep)).max() <= 1


def test_other_16_bit_formats_warn_too():
    with pytest.warns(UserWarning, match="16-bit"):
        planes(in_memory(PHOTO, "SGI", bpc=2))
    with pytest.warns(UserWarning, match="16-bit"):
        planes(in_memory(Image.fromarray(DEEP[:, :, 0]), "JPEG2000"))


def test_16_bit_planes_that_pillow_misreads_are_refused():
    image = deep_tiff(DEEP[:, :, :3].transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate")
    with pytest.raises(InvalidInput, match="interleaved"):
        planes(image)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", "JPEG2000", "WEBP", "JPEG"])
def test_8_bit_pictures_give_no_warning(format):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        planes(in_memory(PHOTO, format))


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
    data = CODEC.encode(array, quality=80)
    assert tadan.inspect(data).mode == mode
    assert data == CODEC.encode(
        Image.fromarray(array[:, :, 0] if mode == "L" and array.ndim == 3 else array), quality=80
    )


def test_layout_in_memory_does_not_matter():
    picture = photo()
    data = CODEC.encode(picture, quality=80)
    wide = np.zeros((80, 192, 3), np.uint8)
    wide[:, ::2] = picture
    for same in (np.asfortranarray(picture), picture[::-1].copy()[::-1], wide[:, ::2]):
        assert CODEC.encode(same, quality=80) == data
    transposed = CODEC.encode(picture.transpose(1, 0, 2), quality=80)
    assert tadan.inspect(transposed).width == 80


@pytest.mark.parametrize(
    "array",
    [
        photo().astype(np.float32),
        photo().astype(np.int64),
        photo().astype(np.int16),
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


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(orientation, format, monkeypatch):
    monkeypatch.setattr(reading, "_STRIP", 96 * 7)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    upright = np.asarray(ImageOps.exif_transpose(in_memory(PHOTO, format, exif=exif)))
    read = planes(in_memory(PHOTO, format, exif=exif))
    np.testing.assert_array_equal(read.rgb, upright)
    assert read.rgb.shape[:2] == ((80, 96) if orientation < 5 else (96, 80))
    kept = Image.Exif()
    kept.load(read.metadata["exif"])
    assert kept.get(0x0112, 1) == 1
    assert kept[0x010F] == "Maker"


def test_alpha_is_turned_with_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = with_alpha(PHOTO)
    np.testing.assert_array_equal(
        pixels(in_memory(image, "PNG", exif=exif)), np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_exif_is_kept_byte_for_byte_but_for_the_orientation(order, prefix):
    entries = [(0x010F, 2, 4, b"abc\0"), (0x0112, 3, 1, struct.pack(order + "HH", 6, 0)), (0x9999, 7, 4, b"\1\2\3\4")]
    body = struct.pack(order + "H", len(entries))
    body += b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries) + bytes(4)
    exif = (
        prefix + {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8) + body + b"what Pillow would drop"
    )
    image = PHOTO.copy()
    image.info["exif"] = exif
    read = planes(image)
    assert read.rgb.shape[:2] == (96, 80)
    assert read.metadata["exif"] == exif.replace(
        struct.pack(order + "HIH", 3, 1, 6), struct.pack(order + "HIH", 3, 1, 1)
    )


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_do_not_exist_are_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = planes(in_memory(PHOTO, "PNG", exif=exif))
    np.testing.assert_array_equal(read.rgb, PHOTO)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"II*\0\xff\xff\xff\x7f", b"MM\0*\0\0\0\x08\xff\xff", b"x"])
def test_damaged_exif_does_not_stop_anything(exif):
    image = PHOTO.copy()
    image.info["exif"] = exif
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = planes(image)
    np.testing.assert_array_equal(read.rgb, PHOTO)
    assert read.metadata.get("exif") is None


def test_orientation_in_xmp_counts_and_is_reset():
    image = PHOTO.copy()
    image.info["xmp"] = b'<x:xmpmeta><rdf:Description tiff:Orientation="8" tiff:Make="x"/></x:xmpmeta>'
    read = planes(image)
    np.testing.assert_array_equal(read.rgb, np.asarray(PHOTO.transpose(Image.Transpose.ROTATE_90)))
    assert read.metadata == {"xmp": image.info["xmp"].replace(b'"8"', b'"1"')}
    image.info["xmp"] = image.info["xmp"].decode()
    assert planes(image).metadata == read.metadata
    assert planes(image).rgb.shape == read.rgb.shape


def test_layout_tags_of_tiff_are_not_kept_as_exif():
    tags = Image.Exif()
    tags[0x010E] = "a description"
    read = planes(in_memory(PHOTO, "TIFF", exif=tags))
    kept = Image.Exif()
    kept.load(read.metadata["exif"])
    assert dict(kept) == {0x010E: "a description"}
    assert "exif" not in planes(in_memory(PHOTO, "TIFF")).metadata


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


# --- profiles, and leaving metadata out ---


def shifted(image, icc, mode="RGB"):
    """The image in sRGB, by the long way of ImageCms."""
    profile, srgb = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    return np.asarray(ImageCms.profileToProfile(image, profile, srgb, intent, outputMode=mode, flags=flags))


def tagged(image, icc):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    image = image.copy()
    image.info |= {"icc_profile": icc, "exif": exif.tobytes(), "xmp": b"<x:xmpmeta/>"}
    return image


def test_strip_leaves_everything_out():
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = tagged(PHOTO, icc)
    assert set(planes(image).metadata) == {"icc", "exif", "xmp"}
    stripped = planes(image, strip=True)
    assert stripped.metadata == {}
    np.testing.assert_array_equal(stripped.rgb, PHOTO)  # sRGB already


def test_strip_still_turns_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert planes(in_memory(PHOTO, "JPEG", exif=exif), strip=True).rgb.shape == (96, 80, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_strip_converts_a_wide_gamut_to_srgb(mode, monkeypatch):
    monkeypatch.setattr(reading, "_STRIP", 96 * 7)
    icc = icc_examples.adobe_rgb()
    image = with_alpha(PHOTO) if mode == "RGBA" else PHOTO.convert(mode)
    plain = image.convert("RGB")
    kept = planes(tagged(image, icc))
    assert kept.metadata["icc"] == icc
    np.testing.assert_array_equal(kept.rgb, plain)
    stripped = planes(tagged(image, icc), strip=True)
    assert stripped.metadata == {}
    np.testing.assert_array_equal(stripped.rgb, shifted(plain, icc))
    assert np.abs(stripped.rgb.astype(int) - kept.rgb).mean() > 1
    if mode == "RGBA":
        np.testing.assert_array_equal(stripped.alpha, RAMP)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_strip_converts_grey_profiles_too(mode):
    image = PHOTO.convert("L")
    if mode == "LA":
        image = with_alpha(image)
    stripped = planes(tagged(image, icc_examples.grey()), strip=True)
    assert (stripped.mode, stripped.metadata) == (mode, {})
    expected = shifted(PHOTO.convert("L"), icc_examples.grey())
    np.testing.assert_array_equal(stripped.rgb[:, :, 0], expected[:, :, 1])
    assert stripped.rgb.mean() > np.asarray(image.getchannel(0)).mean() + 20


@pytest.mark.parametrize("icc", [b"no profile", icc_examples.ink(), icc_examples.adobe_rgb()[:200]])
def test_a_profile_that_cannot_be_applied_is_kept_rather_than_its_colours_lost(icc):
    with pytest.warns(UserWarning, match="profile is kept"):
        stripped = planes(tagged(PHOTO, icc), strip=True)
    assert stripped.metadata == {"icc": icc}
    np.testing.assert_array_equal(stripped.rgb, PHOTO)


@pytest.mark.parametrize("strip", [False, True])
def test_ink_is_converted_by_its_profile_which_is_not_kept(strip):
    image = Image.merge("CMYK", [*[Image.new("L", PHOTO.size)] * 3, PHOTO.convert("L")])
    icc = icc_examples.ink()
    read = planes(tagged(image, icc), strip)
    np.testing.assert_array_equal(read.rgb, shifted(image, icc))
    assert set(read.metadata) == (set() if strip else {"exif", "xmp"})
    assert read.rgb.min() > 100  # full ink is L* = 50; the plain formula gives black
    np.testing.assert_array_equal(planes(image).rgb, image.convert("RGB"))


def test_ink_with_a_profile_of_something_else_is_approximate(tmp_path):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = tmp_path / "ink.jpg"
    PHOTO.convert("CMYK").save(path, icc_profile=icc)
    with pytest.warns(UserWarning, match="colours are approximate"):
        assert planes(path).metadata == {}


# --- errors and memory ---


def test_lazy_images_that_turn_out_damaged_are_our_error():
    data = in_memory(PHOTO, "PNG").fp.getvalue()
    with pytest.raises(UnreadableInput, match="cannot read the picture"):
        planes(Image.open(io.BytesIO(data[: len(data) // 2])))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reading_holds_the_picture_of_pillow_and_one_array(tmp_path):
    side = 4000  # 16 megapixels: 64 MB in Pillow, 48 MB as an array; 48 MB more if it were copied
    path = tmp_path / "large.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    PHOTO.resize((side, side)).save(path, quality=60, exif=exif)
    script = """
    import sys
    from tadan.pictures.reading import read_picture
    def kilobytes(name):
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
    before = kilobytes("VmHWM")
    planes = read_picture(sys.argv[1], 10**8)
    print(kilobytes("VmHWM") - before, kilobytes("VmRSS") - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)], capture_output=True, text=True, timeout=60
    )
    peak, after = (int(number) / 1024 for number in done.stdout.split())
    assert peak < (4 + 3) * side**2 / 2**20 + 25
    assert after < 3 * side**2 / 2**20 + 25


def test_colours_that_nobody_can_see_cost_nothing_and_tell_nothing():
    picture = np.dstack([photo("astronaut", 128, 160), np.zeros((128, 160), np.uint8)])
    rows, cols = np.mgrid[:128, :160]
    picture[(rows - 60) ** 2 + (cols - 80) ** 2 < 50**2, 3] = 255
    picture[40:50, 60:70, 3] = 1  # hardly visible counts as visible
    hidden = picture[:, :, 3] == 0
    files = []
    for filling in (None, 0, np.random.default_rng(1).integers(0, 256, (int(hidden.sum()), 3), np.uint8)):
        other = picture.copy()
        if filling is not None:
            other[hidden, :3] = filling
        files.append(CODEC.encode(other, quality=40, effort=0))
        assert (other[hidden, :3] == (picture[hidden, :3] if filling is None else filling)).all()  # ours is a copy
    assert files[1] == files[0]
    assert files[2] == files[0]
    kept = CODEC.encode(picture, quality=40, effort=0, keep_hidden=True)
    assert len(files[0]) < 0.8 * len(kept)
    shown = np.asarray(CODEC.decode(files[0]))
    np.testing.assert_array_equal(shown[:, :, 3], picture[:, :, 3])
    difference = shown[~hidden, :3].astype(int) - picture[~hidden, :3]
    kept_difference = np.asarray(CODEC.decode(kept))[~hidden, :3].astype(int) - picture[~hidden, :3]
    assert (difference**2).mean() < 1.3 * (kept_difference**2).mean()
    np.testing.assert_array_equal(np.asarray(CODEC.decode(CODEC.encode(picture, lossless=True))), picture)


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (33, 17)])
def test_wholly_hidden_pictures_are_one_colour(shape):
    rgb = np.random.default_rng(2).integers(0, 256, (*shape, 3), np.uint8)
    fill_hidden(rgb, np.zeros(shape, np.uint8))
    assert (rgb == rgb[0, 0]).all()


def test_damaged_exif_does_not_hide_the_orientation_of_xmp():
    picture = Image.fromarray(photo("chelsea", 32, 48))
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    picture.info |= {"exif": b"II*\0\xff\xff\xff\x7f", "xmp": xmp}
    with pytest.warns(UserWarning, match="EXIF data are damaged"):
        decoded = CODEC.decode(CODEC.encode(picture, effort=0))
    assert decoded.size == (32, 48)
    assert b'tiff:Orientation="1"' in decoded.info["xmp"]
