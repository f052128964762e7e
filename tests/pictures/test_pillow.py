"""Pillow and imageio with .tdn files: opening without decoding, saving, limits, damaged files, threads."""

import copy
import io
import os
import pickle
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

import tadan
from codec_examples import CODEC, with_header, with_tile
from photo_examples import photo, psnr
from tadan.codec import pillow
from tadan.codec.options import DEFAULT_QUALITY
from tadan.codec.pillow import LoadError, OpenError
from tadan.errors import Corrupt, InvalidInput, ModelMissing, TadanError, Truncated, UnsupportedVersion

PHOTO = Image.fromarray(photo())
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_bytes(description="a description"):
    exif = Image.Exif()
    exif[0x010E] = description
    return exif.tobytes()


def encoded(image=PHOTO, **options):
    return CODEC.encode(image, quality=options.pop("quality", 60), effort=0, **options)


def tagged():
    image = PHOTO.copy()
    image.info |= {"icc_profile": ICC, "exif": exif_bytes(), "xmp": XMP}
    return image


DATA = encoded()
TAGGED = encoded(tagged())


def opened(data):
    return Image.open(io.BytesIO(data))


@pytest.fixture
def no_decoding(monkeypatch):
    def fail(*arguments):
        raise AssertionError("decoded")

    monkeypatch.setattr(pillow, "_decoded", fail)


# --- opening ----------------------------------------------------------------------------------------------------------


def test_an_opened_file_decodes_as_the_codec_does(tmp_path):
    path = tmp_path / "photo.tdn"
    path.write_bytes(DATA)
    for name in (path, str(path), os.fsencode(path)):
        with Image.open(name) as image:
            assert (image.format, image.mode, image.size) == ("TADAN", "RGB", PHOTO.size)
            assert image.get_format_mimetype() == "image/x-tadan"
            np.testing.assert_array_equal(image, CODEC.decode(DATA))
            image.load()
            assert image.fp is None


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_modes(mode):
    data = encoded(PHOTO.convert(mode))
    image = opened(data)
    assert image.mode == mode
    np.testing.assert_array_equal(image, CODEC.decode(data))


def test_names_are_registered():
    assert Image.registered_extensions()[".tdn"] == "TADAN"
    assert Image.MIME["TADAN"] == "image/x-tadan"


def test_importing_the_package_is_enough(tmp_path):
    (tmp_path / "photo.tdn").write_bytes(DATA)
    script = """
    import sys
    {first}
    image = Image.open(sys.argv[1])
    print(image.size, sorted({{"numpy", "onnxruntime", "tadan.codec.codec"}} & set(sys.modules)))
    """
    for first in ("import tadan; from PIL import Image", "from PIL import Image; import tadan"):
        command = [sys.executable, "-c", textwrap.dedent(script.format(first=first)), str(tmp_path / "photo.tdn")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == "(96, 80) []", done.stderr


def test_the_package_works_without_pillow():
    script = """
    import sys
    sys.modules["PIL"] = None
    import tadan, tadan.bitstream
    print(tadan.inspect(bytes.fromhex(sys.argv[1])).width)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), DATA[:64].hex()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "96", done.stderr


@pytest.mark.usefixtures("no_decoding")
def test_opening_reads_header_and_metadata_only():
    image = opened(TAGGED)
    assert (image.size, image.mode) == (PHOTO.size, "RGB")
    assert image.info == {"icc_profile": ICC, "exif": exif_bytes(), "xmp": XMP}
    assert image.getexif()[0x010E] == "a description"


@pytest.mark.usefixtures("no_decoding")
def test_metadata_longer_than_the_longest_header_is_read_at_once():
    image = PHOTO.copy()
    image.info["xmp"] = b"<x:xmpmeta>" + b" " * 200_000 + b"</x:xmpmeta>"
    assert opened(encoded(image)).info["xmp"] == image.info["xmp"]


@pytest.mark.usefixtures("no_decoding")
def test_a_file_that_ends_after_its_header_still_opens():
    complete = [opened(DATA[:length]).size for length in range(55, len(DATA), 97)]
    assert set(complete) == {PHOTO.size}
    assert opened(TAGGED[:300]).info == {}


def test_pillow_operations_work_on_an_opened_file(tmp_path):
    small = opened(DATA)
    small.thumbnail((40, 40))
    assert small.size == (40, 33)
    assert opened(DATA).crop((3, 4, 13, 24)).size == (10, 20)
    assert opened(DATA).convert("L").mode == "L"
    opened(TAGGED).save(tmp_path / "photo.png")
    for copied in (copy.copy(opened(DATA)), copy.deepcopy(opened(DATA)), pickle.loads(pickle.dumps(opened(DATA)))):
        np.testing.assert_array_equal(copied, CODEC.decode(DATA))


def test_other_formats_are_still_found(tmp_path):
    PHOTO.save(tmp_path / "photo.tdn", "PNG")
    with Image.open(tmp_path / "photo.tdn") as image:
        assert image.format == "PNG"
    with pytest.raises(UnidentifiedImageError):
        opened(b"no picture at all")
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(DATA), formats=["PNG"])


# --- saving -----------------------------------------------------------------------------------------------------------


def test_saving_passes_the_options_on(tmp_path):
    path = tmp_path / "photo.tdn"
    PHOTO.save(path, quality=60, effort=0)
    assert path.read_bytes() == DATA
    buffer = io.BytesIO()
    PHOTO.save(buffer, "TADAN", quality=30, effort=1, schedule="4x4", verify=True)
    info = tadan.inspect(buffer.getvalue())
    assert (info.quality, info.schedule) == (30, "4x4")
    assert buffer.getvalue() == CODEC.encode(PHOTO, quality=30, schedule="4x4", effort=1)
    buffer.truncate(0)
    buffer.seek(0)
    PHOTO.save(buffer, "tadan", effort=0)
    assert tadan.inspect(buffer.getvalue()).quality == DEFAULT_QUALITY


def saved(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "TADAN", effort=0, **options)
    return opened(buffer.getvalue()).info


def test_metadata_is_kept_replaced_or_left_out():
    image = tagged()
    everything = dict(image.info)
    assert saved(image) == everything
    assert saved(image, strip=True) == {}
    assert saved(image, icc_profile=None) == {"exif": exif_bytes(), "xmp": XMP}
    assert saved(image, exif=exif_bytes("another")) == everything | {"exif": exif_bytes("another")}
    exif = Image.Exif()
    exif[0x010E] = "a third"
    assert saved(image, exif=exif, xmp=b"<y/>") == everything | {"exif": exif_bytes("a third"), "xmp": b"<y/>"}
    assert saved(PHOTO, xmp="<text/>", icc_profile=ICC) == {"xmp": b"<text/>", "icc_profile": ICC}
    assert image.info == everything


def test_an_opened_file_can_be_saved_over_itself(tmp_path):
    path = tmp_path / "photo.tdn"
    path.write_bytes(DATA)
    with Image.open(path) as image:
        image.save(path, quality=20, effort=0)
    with Image.open(path) as image:
        assert psnr(image, PHOTO) > 20
    assert tadan.inspect(path.read_bytes()).quality == 20


@pytest.mark.parametrize("options", [{"qualty": 50}, {"optimize": True}, {"append": True}])
def test_unknown_options_are_refused(options):
    with pytest.raises(InvalidInput, match=rf"no option {next(iter(options))} .*quality, schedule, effort"):
        PHOTO.save(io.BytesIO(), "TADAN", **options)


@pytest.mark.parametrize("options", [{"save_all": True}, {"append_images": [PHOTO]}])
def test_several_frames_are_refused(options):
    with pytest.raises(InvalidInput, match="one picture"):
        PHOTO.save(io.BytesIO(), "TADAN", **options)


def test_a_failed_save_leaves_no_new_file(tmp_path):
    for image, options in ((PHOTO, {"quality": 0}), (PHOTO, {"schedule": "none"}), (PHOTO.convert("F"), {})):
        with pytest.raises(InvalidInput):
            image.save(tmp_path / "photo.tdn", **options)
    assert not list(tmp_path.iterdir())


# --- damaged files, limits, threads -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (DATA[:20], Truncated),
        (DATA[:8] + b"\xc8" + DATA[9:], UnsupportedVersion),
        (DATA[:12] + bytes([DATA[12] ^ 1]) + DATA[13:], Corrupt),
        (b"\x89TDN\r\r\n\x1a\r\n" + DATA[8:], Corrupt),
    ],
    ids=["cut", "version", "changed", "text mode"],
)
def test_headers_that_cannot_be_read(data, cause):
    with pytest.raises(UnidentifiedImageError) as caught:
        opened(data)
    assert isinstance(caught.value, OpenError | TadanError)
    assert isinstance(caught.value.__cause__, cause)
    assert str(caught.value) == str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (DATA[:-30], Truncated),
        (DATA[:200] + bytes([DATA[200] ^ 1]) + DATA[201:], Corrupt),
        (with_tile(DATA, content_crc=5), Corrupt),
        (with_header(DATA, model_id=bytes(range(16))), ModelMissing),
        (TAGGED[:100] + bytes([TAGGED[100] ^ 1]) + TAGGED[101:], Corrupt),
    ],
    ids=["cut", "changed", "checksum of latents", "model", "metadata"],
)
def test_files_that_open_but_cannot_be_decoded(data, cause):
    image = opened(data)
    assert image.size == PHOTO.size
    for _ in range(2):
        for kind in (OSError, TadanError):
            with pytest.raises(kind) as caught:
                image.load()
            assert isinstance(caught.value, LoadError)
            assert isinstance(caught.value.__cause__, cause)


def test_loading_truncated_images_shows_what_arrived(monkeypatch):
    image = opened(DATA[: len(DATA) * 9 // 10])
    with pytest.raises(LoadError):
        image.load()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert psnr(image, PHOTO) > 15
    with pytest.raises(UnidentifiedImageError):
        opened(DATA[:20])


def test_verify_checks_the_container(tmp_path):
    opened(DATA).verify()
    for bad in (DATA[:-1], DATA[:200] + bytes([DATA[200] ^ 1]) + DATA[201:]):
        with pytest.raises(LoadError):
            opened(bad).verify()


def test_closed_files_say_so():
    image = opened(DATA)
    image.close()
    with pytest.raises((LoadError, ValueError)):
        image.load()


def test_bombs_are_judged_by_pillows_limit(monkeypatch):
    pixels = PHOTO.width * PHOTO.height
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        opened(DATA).load()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels // 2 - 1)
    with pytest.raises(Image.DecompressionBombError):
        opened(DATA)


@pytest.mark.usefixtures("no_decoding")
def test_headers_that_claim_enormous_pictures():
    data = with_header(DATA, width=2**31 - 1, height=2**31 - 1)
    with pytest.raises(Image.DecompressionBombError):
        opened(data)


def test_our_limit_does_not_contradict_pillows(monkeypatch):
    monkeypatch.setattr(pillow, "_DEFAULT", pillow.Limits(max_pixels=100))  # as if the picture were above ours
    for limit in (10**6, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        np.testing.assert_array_equal(opened(DATA), CODEC.decode(DATA))
        PHOTO.save(io.BytesIO(), "TADAN", effort=0)
    assert pillow._codec(10**9).limits.max_pixels == 10**9
    assert pillow._codec(50).limits == tadan.Codec().limits


def test_threads_may_share_an_image_and_the_codec():
    expected = np.asarray(CODEC.decode(DATA))
    image = opened(DATA)
    with ThreadPoolExecutor(4) as pool:
        shared = list(pool.map(lambda _: np.asarray(image), range(4)))
        apart = list(pool.map(lambda _: np.asarray(opened(DATA)), range(8)))
        files = list(pool.map(lambda _: saved(PHOTO), range(4)))
    assert all(np.array_equal(result, expected) for result in shared + apart)
    assert files == [{}] * 4


# --- imageio ----------------------------------------------------------------------------------------------------------


def test_imageio_reads_and_writes(tmp_path):
    path = tmp_path / "photo.tdn"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        iio.imwrite(path, photo(), quality=60, effort=0)
        assert path.read_bytes() == DATA
        np.testing.assert_array_equal(iio.imread(path), CODEC.decode(DATA))
        np.testing.assert_array_equal(iio.imread(DATA), CODEC.decode(DATA))
        assert iio.improps(path).shape == (80, 96, 3)
        written = iio.imwrite("<bytes>", photo(), plugin="pillow", extension=".tdn", quality=60, effort=0)
    assert written == DATA


def test_imageio_hears_of_metadata(tmp_path):
    (tmp_path / "photo.tdn").write_bytes(TAGGED)
    meta = iio.immeta(tmp_path / "photo.tdn")
    assert meta["icc_profile"] == ICC
    assert meta["ImageDescription"] == "a description"


# --- the command ------------------------------------------------------------------------------------------------------


def test_decoding_to_tdn_is_no_conversion(tmp_path):
    from typer.testing import CliRunner

    from tadan.cli.main import app

    (tmp_path / "photo.tdn").write_bytes(DATA)
    result = CliRunner().invoke(app, ["decode", str(tmp_path / "photo.tdn"), "-o", str(tmp_path / "other.tdn")])
    assert result.exit_code == 2
    assert "use .png" in result.stderr
