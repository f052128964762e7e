"""Pictures unlike photographs: never much larger than PNG nor worse than JPEG; and the streams that store them."""

import io
import json
import struct
import warnings
import zlib
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, features
from typer.testing import CliRunner

import reference_decoder as reference
import tadan
from codec_examples import CODEC, with_header, with_tile
from photo_examples import CORNERS, photo, psnr
from tadan.bitstream import Header, Limits, ScheduleField, Stream, Tile, read_stream, write_stream
from tadan.cli.main import app
from tadan.codec import fallback, stored
from tadan.codec.codec import Codec
from tadan.codec.fallback import is_unusual
from tadan.codec.options import EncodeOptions
from tadan.errors import Corrupt, InvalidInput, LimitExceeded, TadanError, Truncated, UnsupportedVersion
from unusual_examples import unusual

CONTAINER = 64  # bytes that a .tdn file adds to what it stores
QUALITIES = (5, 30, 60, 90, 100)
FLAT = np.full((9, 12, 3), (10, 200, 60), np.uint8)
NEEDS_WEBP = pytest.mark.skipif(not features.check("webp"), reason="this Pillow has no WebP")


@cache
def png_bytes(name):
    return len(stored.as_png(unusual()[name]))


@cache
def jpegs(name):
    """(bytes, dB) of every JPEG file of a picture."""
    picture = unusual()[name]
    points = []
    for subsampling in (0, 2):
        for quality in range(1, 101):
            data = stored.as_jpeg(picture, quality, subsampling)
            points.append((len(data), psnr(Image.open(io.BytesIO(data)), picture)))
    return points


def stored_stream(form, payload, checksum, width, height, mode="RGB", alpha=None):
    """A stream with a stored tile that may break any rule."""
    header = Header(width, height, mode, 50, None, None, content=form)
    return write_stream(Stream(header, {}, (Tile(checksum, payload, alpha),)))


def saved(picture, form, **options):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, form, **options)
    return buffer.getvalue()


@cache
def example(form):
    """A small valid stream that stores a picture in a form, and the pixels that it decodes to."""
    picture = photo("coffee", 9, 12)
    payload = {"png": stored.as_png, "webp": stored.as_webp, "jpeg": lambda p: stored.as_jpeg(p, 60)}[form](picture)
    tile = stored.tile_of(form, payload, picture, None)
    pixels = np.asarray(Image.open(io.BytesIO(payload)).convert("RGB"))
    return stored_stream(form, payload, tile.content_crc, 12, 9), pixels


# --- the promises -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("name", unusual())
def test_never_much_larger_than_png_nor_worse_than_jpeg(name, quality):
    picture = unusual()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no promise may be broken here, not even with a warning
        coded = CODEC.encode_picture(picture, EncodeOptions(quality=quality))
    decoded = CODEC.decode(coded.data)
    assert len(coded.data) <= 1.2 * png_bytes(name) + CONTAINER
    reached = psnr(decoded, picture)
    for size, value in jpegs(name):
        assert size > len(coded.data) or value <= reached + 0.06
    assert (decoded.size, decoded.mode) == (picture.shape[1::-1], "L" if picture.ndim == 2 else "RGB")
    assert tadan.inspect(coded.data).content == CODEC.verify(coded.data).content == coded.content
    assert coded.estimated_bits <= 8 * len(coded.data)
    if coded.content in ("png", "webp"):
        np.testing.assert_array_equal(np.asarray(decoded), picture)


@pytest.mark.parametrize("name", ["screenshot", "flat", "checker", "stripes", "line art", "dither"])
def test_screens_and_drawings_are_kept_without_loss(name):
    for quality in (30, 100):
        assert CODEC.encode_picture(unusual()[name], EncodeOptions(quality=quality)).content in ("webp", "png")


@pytest.mark.parametrize("name", CORNERS)
def test_photographs_are_not_touched(name):
    picture = photo(name, 112, 128)
    neural = Codec(threads=1)
    for quality in QUALITIES:
        coded = CODEC.encode_picture(picture, EncodeOptions(quality=quality))
        assert coded.content == "latents"
        assert coded.data == neural.encode(picture, quality=quality, fallback=False)


def test_photographs_are_not_even_compared(monkeypatch):
    monkeypatch.setattr(fallback, "FormChoice", lambda *_: pytest.fail("a photograph was taken for something else"))
    for name in CORNERS:
        CODEC.encode(photo(name, 112, 128), quality=50)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_guard_looks_at_bits_and_at_the_lossless_size(ndim):
    picture = photo("astronaut", 96, 128) if ndim == 3 else photo("astronaut", 96, 128)[:, :, 1]
    assert not is_unusual(picture, 1000, 0.01)
    assert is_unusual(picture, 96 * 128 * 2 // 8, 0.01)  # 2 bits per pixel at such a low quality
    assert is_unusual(np.zeros_like(picture), 1000, 0.01)
    assert not is_unusual(np.zeros_like(picture), 1, 0.01)  # smaller than any other format anyway


# --- fallback off -----------------------------------------------------------------------------------------------------


def test_without_fallback_a_warning_says_what_it_costs():
    insisting = Codec(threads=1)
    with pytest.warns(UserWarning, match=r"unlike the photographs.*neural stream .* dB.*lossless.*fallback"):
        coded = insisting.encode_picture(unusual()["line art"], EncodeOptions(quality=60, fallback=False))
    assert coded.content == "latents"
    assert len(insisting.decode_latents(coded.data)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert insisting.encode(photo(), quality=60, fallback=False) == CODEC.encode(photo(), quality=60)


def test_a_promise_that_cannot_be_kept_is_a_warning(monkeypatch):
    neural = fallback.Candidate(None, bytes(50_000), 900.0)
    monkeypatch.setattr(fallback.FormChoice, "best", lambda self: neural)
    with pytest.warns(UserWarning, match=r"takes 50,000 bytes, a lossless PNG \d+"):
        CODEC.encode(unusual()["flat"], quality=50)
    monkeypatch.setattr(fallback, "_PNG_FACTOR", 1e9)
    with pytest.warns(UserWarning, match=r"JPEG of the same size has \d\d\.\d dB, this 18\.6"):
        CODEC.encode(unusual()["mixed"], quality=50)


# --- stored streams ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["png", pytest.param("webp", marks=NEEDS_WEBP), "jpeg"])
def test_no_model_is_needed_to_decode(form, monkeypatch):
    data, pixels = example(form)
    monkeypatch.setattr("tadan.codec.engine.find_model", lambda *_: pytest.fail("a model was looked for"))
    monkeypatch.setattr("tadan.codec.engine.load_model", lambda *_: pytest.fail("a model was loaded"))
    for codec in (Codec(threads=1), Codec("no-such-model")):
        np.testing.assert_array_equal(np.asarray(codec.decode(data)), pixels)
        assert codec.verify(data).content == form
        with pytest.raises(InvalidInput, match=f"stored as {form.upper()} and has no latents"):
            codec.decode_latents(data)


def test_alpha_grey_and_metadata_travel_as_ever():
    alpha = np.arange(160, dtype=np.uint8)[None].repeat(120, 0)
    for name, mode in (("line art", "LA"), ("screenshot", "RGBA")):
        image = Image.fromarray(np.dstack([unusual()[name], alpha]))
        image.info["icc_profile"] = b"profile"
        coded = CODEC.encode_picture(image, EncodeOptions(quality=40, verify=True, keep_hidden=True))
        decoded = CODEC.decode(coded.data)
        assert coded.content != "latents"
        assert (decoded.mode, decoded.info["icc_profile"]) == (mode, b"profile")
        np.testing.assert_array_equal(np.asarray(decoded), np.asarray(image))


def test_without_webp_there_is_png(monkeypatch):
    monkeypatch.setattr("tadan.codec.stored.features.check", lambda name: False)
    coded = CODEC.encode_picture(unusual()["screenshot"], EncodeOptions(quality=60))
    assert coded.content == "png"
    np.testing.assert_array_equal(np.asarray(CODEC.decode(coded.data)), unusual()["screenshot"])


def test_sides_that_webp_cannot_hold():
    coded = CODEC.encode_picture(np.zeros((1, 16_384), np.uint8), EncodeOptions(quality=10))
    assert coded.content in ("latents", "png")
    assert CODEC.decode(coded.data).size == (16_384, 1)


def test_jpeg_of_any_content_can_be_made():
    """libjpeg fails with optimised tables when the file outgrows Pillow's buffer."""
    noise = np.random.default_rng(1).integers(0, 256, (200, 400, 3), np.uint8)
    sizes = [len(stored.as_jpeg(noise, quality)) for quality in (1, 50, 94, 95, 100)]
    assert sizes == sorted(sizes)


def test_tiles_are_stored_one_by_one():
    picture = unusual()["mixed"]
    header = Header(160, 120, "RGB", 50, None, None, 64, "png")
    parts = [picture[y : y + h, x : x + w] for x, y, w, h in header.tile_boxes()]
    tiles = tuple(stored.tile_of("png", stored.as_png(part), part, None) for part in parts)
    data = write_stream(Stream(header, {}, tiles))
    np.testing.assert_array_equal(np.asarray(CODEC.decode(data)), picture)
    with pytest.raises(Corrupt, match="that the header announces"):
        CODEC.decode(write_stream(Stream(header, {}, (*tiles[1:], tiles[0]))))


def test_the_reference_decoder_knows_that_there_are_no_latents():
    model = SimpleNamespace(id=bytes(16))
    with pytest.raises(reference.Invalid, match="section 13"):
        reference.decode(example("png")[0], model)


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["png", pytest.param("webp", marks=NEEDS_WEBP), "jpeg"])
def test_damage_on_the_way(form):
    data, _ = example(form)
    for length in range(0, len(data), 3):
        with pytest.raises(Truncated):
            CODEC.decode(data[:length])
    for bit in range(0, 8 * len(data), 7):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TadanError):
            CODEC.decode(bytes(damaged))


@pytest.mark.parametrize("form", ["png", pytest.param("webp", marks=NEEDS_WEBP)])
def test_every_flipped_bit_of_the_payload_under_correct_checksums(form):
    data, pixels = example(form)
    tile = read_stream(data).tiles[0]
    for bit in range(8 * len(tile.payload)):
        damaged = bytearray(tile.payload)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            decoded = stored.read_tile(form, replace(tile, payload=bytes(damaged)), False, 12, 9)
        except Corrupt:
            continue
        np.testing.assert_array_equal(decoded, pixels)  # a bit that no pixel depends on


def test_a_jpeg_is_checked_byte_by_byte():
    data, _ = example("jpeg")
    payload = read_stream(data).tiles[0].payload
    for position in range(3, len(payload), 11):
        damaged = bytearray(payload)
        damaged[position] ^= 16
        with pytest.raises(Corrupt):
            CODEC.decode(with_tile(data, payload=bytes(damaged)))
        try:  # under a checksum that was forged too, any picture may come, but of the right size
            decoded = CODEC.decode(with_tile(data, payload=bytes(damaged), content_crc=zlib.crc32(damaged)))
        except TadanError:
            continue
        assert (decoded.size, decoded.mode) == ((12, 9), "RGB")


# --- hostile files ----------------------------------------------------------------------------------------------------


def bomb(width, height):
    """PNG of the size given whose pixels are missing."""
    parts = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b""), b"IEND"
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def animated(form):
    frames = [Image.fromarray(np.roll(FLAT, n, 0) // (n + 1)) for n in range(3)]
    buffer = io.BytesIO()
    frames[0].save(
        buffer, form, save_all=True, append_images=frames[1:], **({"lossless": True} if form == "WEBP" else {})
    )
    return buffer.getvalue()


PALETTE = io.BytesIO()
Image.fromarray(FLAT).convert("P").save(PALETTE, "PNG")
BAD_PAYLOADS = {
    "empty": ("png", b""),
    "not a picture": ("png", b"x" * 200),
    "another size": ("png", saved(FLAT[1:], "PNG")),
    "turned": ("png", saved(FLAT.transpose(1, 0, 2), "PNG")),
    "grey": ("png", saved(FLAT[:, :, 0], "PNG")),
    "with alpha": ("png", saved(np.dstack([FLAT, FLAT[:, :, 0]]), "PNG")),
    "palette": ("png", PALETTE.getvalue()),
    "bomb": ("png", bomb(60_000, 60_000)),
    "no pixels": ("png", bomb(12, 9)),
    "cut": ("png", saved(FLAT, "PNG")[:50]),
    "animated PNG": ("png", animated("PNG")),
    "JPEG as PNG": ("png", saved(FLAT, "JPEG")),
    "GIF as PNG": ("png", saved(FLAT, "GIF")),
    "PNG as WebP": ("webp", saved(FLAT, "PNG")),
    "PNG as JPEG": ("jpeg", saved(FLAT, "PNG")),
    "JPEG of another size": ("jpeg", saved(FLAT[1:], "JPEG")),
    "grey JPEG": ("jpeg", saved(FLAT[:, :, 0], "JPEG")),
    "cut JPEG": ("jpeg", saved(FLAT, "JPEG")[:-80]),
    "bare JPEG": ("jpeg", b"\xff\xd8\xff"),
}
if features.check("webp"):
    BAD_PAYLOADS |= {
        "lossy WebP": ("webp", saved(FLAT, "WEBP")),
        "animated WebP": ("webp", animated("WEBP")),
        "WebP of another size": ("webp", saved(FLAT[1:], "WEBP", lossless=True)),
        "cut WebP": ("webp", saved(FLAT, "WEBP", lossless=True)[:30]),
    }


@pytest.mark.parametrize("what", BAD_PAYLOADS)
def test_payloads_that_break_the_rules(what):
    form, payload = BAD_PAYLOADS[what]
    for checksum in (zlib.crc32(FLAT.tobytes()), zlib.crc32(payload)):
        data = stored_stream(form, payload, checksum, 12, 9)
        for call in (CODEC.decode, CODEC.verify):
            with pytest.raises(Corrupt, match=r"another copy|whole"):
                call(data)


def test_bombs_are_refused_before_anything_is_allocated():
    huge = stored_stream("png", bomb(60_000, 60_000), 0, 60_000, 60_000)
    with pytest.raises(LimitExceeded, match="max_pixels"):
        CODEC.decode(huge)
    data = bytearray(saved(FLAT, "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(LimitExceeded, match="MAX_IMAGE_PIXELS"):
        CODEC.decode(stored_stream("jpeg", bytes(data), zlib.crc32(data), 12, 9))
    with pytest.raises(LimitExceeded, match="max_pixels"):
        Codec(limits=Limits(max_pixels=107)).decode(example("png")[0])


@pytest.mark.parametrize("kind", [5, 255])
def test_content_of_the_future_is_named(kind):
    """Whatever follows the byte: a later version may have other fields there."""
    data = bytearray(example("png")[0])
    end = 10 + data[9]
    data[13] = kind  # behind width, height and mode
    for fields in (data[10:end], data[10:14], data[10:end] + b"more"):
        head = bytes(data[:9]) + bytes((len(fields),)) + bytes(fields)
        forged = head + zlib.crc32(head).to_bytes(4, "little") + bytes(data[end + 4 :])
        for call in (CODEC.decode, CODEC.verify, CODEC.salvage, tadan.inspect):
            with pytest.raises(UnsupportedVersion, match=rf"content of kind {kind}.*upgrade tadan"):
                call(forged)


def test_a_form_is_no_schedule():
    with pytest.raises(UnsupportedVersion):
        CODEC.decode(with_header(CODEC.encode(photo(), quality=50), schedule=ScheduleField("png")))
    with pytest.raises(TadanError):
        CODEC.encode(photo(), quality=50, schedule="png")


def test_wrong_alpha_of_a_stored_picture():
    payload = saved(FLAT, "PNG")
    data = stored_stream("png", payload, zlib.crc32(FLAT.tobytes()), 12, 9, "RGBA", saved(FLAT[1:, :, 0], "PNG"))
    with pytest.raises(Corrupt, match="alpha"):
        CODEC.decode(data)


def test_a_png_with_other_pixels_than_its_checksum():
    other = replace(read_stream(example("png")[0]).tiles[0], payload=saved(FLAT, "PNG"))
    with pytest.raises(Corrupt, match="does not match its checksum"):
        CODEC.decode(with_tile(example("png")[0], payload=other.payload))


# --- command line -----------------------------------------------------------------------------------------------------


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def test_the_command_line_says_what_is_stored(tmp_path):
    source, target = tmp_path / "screen.png", tmp_path / "screen.tdn"
    Image.fromarray(unusual()["screenshot"]).save(source)
    form = tadan.inspect(CODEC.encode(unusual()["screenshot"], quality=75)).content
    assert f"stored as {form.upper()}" in run("encode", source).stdout
    text = run("info", target).stdout
    assert f"as {form.upper()}, no model needed" in text
    assert "schedule" not in text
    assert json.loads(run("info", target, "--json").stdout)["content"] == form
    assert f"stored as {form.upper()}" in run("verify", target).stdout
    assert json.loads(run("verify", target, "--json").stdout)["content"] == form
    run("decode", target, tmp_path / "back.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "back.png")), unusual()["screenshot"])


def test_the_command_line_can_insist(tmp_path):
    source, target = tmp_path / "screen.png", tmp_path / "screen.tdn"
    Image.fromarray(unusual()["screenshot"]).save(source)
    result = run("encode", source, "--no-fallback")
    assert "warning: " in result.stderr
    assert "unlike the photographs" in result.stderr
    assert tadan.inspect(target.read_bytes()).content == "latents"
    assert "schedule" in run("info", target).stdout


def test_pictures_that_are_too_long_for_jpeg_are_coded_all_the_same():
    """libjpeg takes 65,500 pixels a side; asked for more, Pillow raises an error of its own."""
    noise = np.random.default_rng(1).integers(0, 256, (2, 65_520, 3), np.uint8)
    coded = CODEC.encode_picture(noise, EncodeOptions(quality=80, effort=0, tile=1024))
    assert coded.content == "png"
    np.testing.assert_array_equal(np.asarray(CODEC.decode(coded.data)), noise)
