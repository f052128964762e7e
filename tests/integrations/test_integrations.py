"""The files of ``integrations/`` with the real programs that read them, each skipped where its program is missing.

With TADAN_TESTS_NO_SKIP set, a missing program is a failure.
"""

import configparser
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageCms

import tadan
from photo_examples import photo, psnr
from tadan.bitstream import MAGIC, read_stream

FOLDER = Path(__file__).parents[2] / "integrations"
KIND = "image/x-tadan"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
DAMAGED = (b"\x89TDN\n\x1a\n\x01 text-mode transfer", b"TDN", b"\x89PNG\r\n\x1a\n" + bytes(40))


def needs(*programs):
    missing = [name for name in programs if shutil.which(name) is None]
    absent = missing and "TADAN_TESTS_NO_SKIP" not in os.environ
    return pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(missing)}")


def output(*command, **environment):
    line = [str(word) for word in command]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def stream():
    image = Image.fromarray(photo("coffee"))
    image.info["icc_profile"] = PROFILE
    return tadan.encode(image, quality=50, effort=0)


@pytest.fixture
def tdn(stream, tmp_path):
    (tmp_path / "photo.tdn").write_bytes(stream)
    return tmp_path / "photo.tdn"


@pytest.fixture
def command_path(tmp_path):
    """A PATH on which ``tadan`` is the one that is tested."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "tadan").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tadan "$@"\n')
    (folder / "tadan").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


# --- what kind of file it is ---


@needs("file")
def test_file_knows_tdn_files_by_their_bytes(tdn, tmp_path):
    nameless = tdn.rename(tmp_path / "nameless")
    magic = ("file", "-b", "-m", FOLDER / "tadan.magic")
    assert output(*magic, nameless).strip() == "Tadan image data, version 1"
    assert output(*magic, "--mime-type", nameless).strip() == KIND
    for number, start in enumerate(DAMAGED):
        (tmp_path / "other").write_bytes(start)
        assert output(*magic, "--mime-type", tmp_path / "other").strip() != KIND, number


@needs("file", "xdg-mime")
def test_xdg_mime_asks_file_which_reads_the_magic_of_the_user(tdn, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(FOLDER / "tadan.magic", home / ".magic")
    # Where there is a mimetype, xdg-mime asks that in place of file, and it reads no magic.
    (home / "mimetype").symlink_to("/bin/false")
    path = f"{home}{os.pathsep}{os.environ['PATH']}"
    desktop = {"XDG_CURRENT_DESKTOP": "", "DESKTOP_SESSION": "", "DISPLAY": "", "PATH": path}
    assert output("xdg-mime", "query", "filetype", tdn, HOME=str(home), **desktop).strip() == KIND


@needs("update-mime-database", "gio")
def test_the_shared_mime_database_knows_ending_and_bytes(tdn, tmp_path):
    packages = tmp_path / "data" / "mime" / "packages"
    packages.mkdir(parents=True)
    shutil.copy(FOLDER / "tadan.xml", packages)
    output("update-mime-database", packages.parent)
    places = {"XDG_DATA_DIRS": f"{tmp_path / 'data'}:/usr/share", "XDG_DATA_HOME": str(tmp_path / "none")}

    def kind(path):
        lines = output("gio", "info", "-a", "standard::content-type", path, **places).splitlines()
        return next(line.split()[-1] for line in lines if "standard::content-type" in line)

    shutil.copy(tdn, tmp_path / "nameless")
    (tmp_path / "empty.tdn").touch()
    (tmp_path / "named.tdn").write_bytes(MAGIC[:4])
    assert [kind(tmp_path / name) for name in ("photo.tdn", "nameless", "named.tdn")] == [KIND] * 3
    for number, start in enumerate(DAMAGED):
        (tmp_path / "other").write_bytes(start)
        assert kind(tmp_path / "other") != KIND, number


# --- pixels ---


@needs("convert", "identify")
def test_imagemagick_reads_and_writes_tdn_files(tdn, command_path, tmp_path):
    programs = {"MAGICK_CONFIGURE_PATH": str(FOLDER), "PATH": command_path}
    awkward = tdn.rename(tmp_path / "it's $(a) photo.tdn")
    assert "96x80" in output("identify", awkward, **programs)
    output("convert", awkward, tmp_path / "y.png", **programs)
    with Image.open(tmp_path / "y.png") as shown:
        np.testing.assert_array_equal(np.asarray(shown.convert("RGB")), np.asarray(Image.open(awkward)))
        assert shown.info["icc_profile"] == PROFILE

    exif = Image.Exif()
    exif[0x010E] = "coffee"
    Image.fromarray(photo("coffee")).save(tmp_path / "in.jpg", quality=95, icc_profile=PROFILE, exif=exif)
    output("convert", tmp_path / "in.jpg", tmp_path / "back.tdn", **programs)
    kept = read_stream((tmp_path / "back.tdn").read_bytes()).metadata
    assert (kept["icc"], b"coffee" in kept["exif"]) == (PROFILE, True)
    assert psnr(Image.open(tmp_path / "back.tdn"), photo("coffee")) > 24


@needs("convert", "identify")
def test_imagemagick_fails_where_tadan_does(tdn, command_path, tmp_path):
    tdn.write_bytes(tdn.read_bytes()[:-9])
    places = {**os.environ, "MAGICK_CONFIGURE_PATH": str(FOLDER), "PATH": command_path}
    done = subprocess.run(["convert", tdn, tmp_path / "y.png"], env=places, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "The file ends" in done.stderr
    assert not (tmp_path / "y.png").exists()


def test_the_thumbnailer_makes_a_png_of_the_size_asked_for(tdn, command_path, tmp_path):
    if os.name == "nt":
        pytest.skip("there are no thumbnailers of the freedesktop kind on Windows")
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(FOLDER / "tadan.thumbnailer")
    entry = parser["Thumbnailer Entry"]
    root = ElementTree.parse(FOLDER / "tadan.xml").getroot()
    kinds = [node.get("type") for node in root if node.tag.endswith("mime-type")]
    assert entry["MimeType"].rstrip(";").split(";") == kinds == [KIND]
    out = tmp_path / ".thumbnail.XXXXXX"
    out.touch()  # as file managers do, to have the name
    for size, shown in ((64, (64, 53)), (256, (96, 80))):
        values = {"%i": str(tdn), "%o": str(out), "%s": str(size)}
        output(*(values.get(word, word) for word in shlex.split(entry["Exec"])), PATH=command_path)
        with Image.open(out) as image:
            assert (image.format, image.size) == ("PNG", shown)
