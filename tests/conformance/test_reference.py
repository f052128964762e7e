"""docs/SPEC.md against the product: a decoder written from the text alone gives the same latents, bit for bit."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures

import reference_decoder as reference
import tadan
from reference_examples import check_agreement
from tadan.bitstream import Header, ScheduleField, Stream, Tile, write_stream
from tadan.latents.coder import LatentCoder
from tadan.models import load_model
from tadan.models.store import BUNDLED, bundled_models
from tadan.schedule import PatternSchedule, get_schedule, schedule_names

SPEC = (Path(__file__).parents[2] / "docs" / "SPEC.md").read_text(encoding="utf-8")
# Stages shared by positions, a period that is not square, more rows than the small planes have.
INLINE = PatternSchedule([[0, 2, 4], [3, 1, 2], [4, 0, 5], [1, 5, 3], [2, 3, 0]])
INLINE_GROUPED = [[[g, 3 - g, g ^ 1], [(g + 2) % 4, g, 3 - g]] for g in range(4)]
SCHEDULES = ["hyper", "checkerboard", "2x2", "4x4", "2x2-rotated", INLINE, "raster"]


@pytest.fixture(scope="module")
def codec():
    return tadan.Codec(threads=1)


@pytest.fixture(scope="module")
def model():
    return reference.Model((BUNDLED / f"{bundled_models()[0]}.safetensors").read_bytes())


@pytest.fixture(scope="module")
def photographs():
    """48x32 and 33x17: 3 x 2 latents (2 x 3 when upright); 112x83: 7 x 6, several patches of every schedule."""
    return {
        "48x32": pictures.astronaut()[40:72, 190:238],
        "33x17": pictures.coffee()[120:137, 300:333],
        "17x33": pictures.rocket()[60:93, 310:327],
        "112x83": pictures.chelsea()[80:163, 120:232],
    }


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize(("name", "quality"), [("48x32", 5), ("33x17", 60), ("17x33", 98)])
def test_small_photographs(codec, model, photographs, name, quality, schedule):
    check_agreement(codec, model, codec.encode(photographs[name], quality=quality, schedule=schedule))


@pytest.mark.parametrize("schedule", ["4x4", "2x2-rotated", INLINE, "wavefront"], ids=str)
def test_several_patches(codec, model, photographs, schedule):
    check_agreement(codec, model, codec.encode(photographs["112x83"], quality=60, schedule=schedule))


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_other_modes(codec, model, photographs, mode):
    check_agreement(
        codec, model, codec.encode(Image.fromarray(photographs["33x17"]).convert(mode), quality=60, schedule="2x2")
    )


@pytest.mark.parametrize("schedule", ["4x4", PatternSchedule(INLINE_GROUPED)], ids=str)
def test_wild_latents_of_two_tiles(codec, model, schedule):
    """Escapes of all sizes, saturated networks, and symbols at their limit; no photograph gets there."""
    schedule, product = get_schedule(schedule), load_model()
    rng = np.random.default_rng(7)
    tiles = []
    for cols in (4, 2):  # 64 + 22 pixels wide, 50 high
        y, z = (
            (rng.normal(size=(*shape, channels)) * 10 ** rng.uniform(-1, 5, (*shape, 1))).astype(np.float32)
            for shape, channels in (((4, cols), product.config.latent), ((1, 1), product.config.z_channels))
        )
        words, latents, _ = LatentCoder(product, 40, schedule).encode(y, z)
        tiles.append(Tile(latents.checksum(), words))
    named = schedule.name is not None
    pattern = None if named else tuple(tuple(map(tuple, group)) for group in schedule.pattern.tolist())
    field = ScheduleField(name=schedule.name, pattern=pattern)
    header = Header(86, 50, "RGB", 40, product.id, field, tile_size=64)
    decoded = check_agreement(codec, model, write_stream(Stream(header, {}, tuple(tiles))))
    assert max(np.abs(one.y_hat).max() for one in decoded) > 524_287


def test_schedules_of_section_8():
    """The tables of the text hold what the product and the reference decoder do, for every name."""
    section = SPEC[SPEC.index("### 8.3") : SPEC.index("### 8.4")]
    written = {
        name: [[[int(n) for n in row.split(",")] for row in re.findall(r"\[([\d, ]+)\]", group)]
               for group in re.findall(r"`(\[\[.*?\]\])`", groups)]
        for name, groups in re.findall(r"^\| `([a-z0-9-]+)` \| (`\[\[.*) \|$", section, re.M)
    }  # fmt: skip
    assert written == reference.PATTERNS
    assert {*written, "raster", "wavefront"} == set(schedule_names())
    for name, pattern in written.items():
        assert get_schedule(name) == PatternSchedule(pattern)


def test_example_of_section_10():
    tables = [[100, 65000, 400, 36], [5000, 15000, 25000, 15000, 5000, 536]]
    section = SPEC[SPEC.index("**Example**") : SPEC.index("## 11")]
    stages = [
        [[int(n) for n in part.split()] for part in line.split("|")]
        for line in re.findall(r"^(?:symbols|index): (.*)$", section, re.M)
    ]
    data, nothing = (bytes.fromhex(dump) for dump in re.findall(r"`((?:[0-9a-f]{2} ?){8,})`", section))
    rans = reference.Rans(tables, data)
    assert [rans.stage(index) for index in stages[1]] == stages[0]
    rans.finish()
    reference.Rans(tables, nothing).finish()


def factors(model, name, quality):
    """12.2"""
    knots = model.tensors[f"quality.log_{name}"].astype(float)
    at = np.arange(len(knots)) * 99 / (len(knots) - 1)
    return np.exp([np.interp(quality - 1, at, column) for column in knots.T]).astype(np.float32)


@pytest.mark.parametrize("mode", ["RGB", "LA"])
def test_pixels_of_section_11(codec, model, photographs, mode):
    """On one machine and one thread the same graph gives the same pixels; between machines they differ by one level."""
    import onnxruntime

    shown = Image.fromarray(photographs["33x17"]).convert(mode)
    if mode == "LA":
        shown.putalpha(Image.fromarray(photographs["33x17"][:, :, 2]))
    data = codec.encode(shown, quality=60, schedule="2x2")
    ((_, y_hat),) = reference.decode(data, model)
    scale = factors(model, "inverse_gain", 60) / np.float32(64)
    y = (y_hat.astype(np.float32) * scale).transpose(2, 0, 1)
    graph = model.tensors["graph.g_s"].tobytes() + model.tensors["weights.g_s"].tobytes()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    source, gains = (one.name for one in session.get_inputs())
    blocks = factors(model, "g_s", 60)[None, :, None, None]
    rgb = session.run(None, {source: np.ascontiguousarray(y)[None], gains: blocks})[0][0, :17, :33].astype(np.int64)
    pixels = np.asarray(codec.decode(data)).astype(np.int64)
    if mode == "LA":
        np.testing.assert_array_equal(pixels[:, :, 1], photographs["33x17"][:, :, 2])
        rgb = (rgb @ np.array([19595, 38470, 7471]) + 32768) // 65536
        pixels = pixels[:, :, 0]
    assert np.abs(pixels - rgb).max() <= 1
