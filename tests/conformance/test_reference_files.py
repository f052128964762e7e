"""docs/SPEC.md against the product: whole files of small models of four and eight channel groups, two decoders."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import reference_decoder as reference
from model_examples import exported, exported_bytes
from photo_examples import photo
from reference_examples import check_agreement
from tadan.bitstream import Header, Stream, Tile, read_header, read_stream, write_stream
from tadan.codec.codec import Codec
from tadan.errors import Corrupt, UnsupportedVersion
from tadan.latents.coder import LatentCoder
from tadan.latents.schedule_field import schedule_field
from tadan.models.model import save_model
from tadan.schedule import PatternSchedule, get_schedule

#: Low and high channels in patterns of their own; stages shared by groups, a period that is not square.
PAIR = PatternSchedule([[[0, 1, 3], [2, 0, 1]], [[1, 2, 4], [3, 4, 2]]])
FOUR = PatternSchedule([[[2, 0], [1, 1]], [[1, 1], [0, 2]], [[0, 3], [2, 0]], [[1, 1], [1, 1]]])
EIGHT = PatternSchedule([[[g % 3, (g + 1) % 4]] for g in range(8)])
EIGHT_GROUPS = {"group_sizes": (1, 1, 2, 2, 1, 3, 4, 2), "embed_sizes": (2, 1, 2, 3, 1, 2, 2, 1)}


def pair_of(folder, **sizes):
    """A codec with a small random model, and the model as the reference decoder reads it."""
    codec = Codec(exported(folder, **sizes), threads=1)
    return codec, reference.Model(exported_bytes(**sizes))


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return pair_of(tmp_path_factory.mktemp("four"))


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    return pair_of(tmp_path_factory.mktemp("eight"), **EIGHT_GROUPS)


@pytest.mark.parametrize("schedule", ["checkerboard", "4x4-opt-4", "2x2-rotated", "raster", PAIR, FOUR], ids=str)
@pytest.mark.parametrize("size", [(1, 1), (33, 17), (50, 75)], ids=str)
def test_files_of_four_groups(four, schedule, size):
    check_agreement(*four, four[0].encode(photo("coffee", *size), quality=60, schedule=schedule, effort=0))


@pytest.mark.parametrize("schedule", ["hyper", "4x4", "2x2-rotated", "wavefront", PAIR, EIGHT], ids=str)
def test_files_of_eight_groups(eight, schedule):
    check_agreement(*eight, eight[0].encode(photo("chelsea", 49, 65), quality=30, schedule=schedule, effort=0))


@pytest.mark.parametrize("schedule", ["4x4-opt-4", PAIR], ids=str)
def test_files_of_several_tiles(four, schedule):
    image = Image.fromarray(photo("astronaut", 70, 135)).convert("LA")
    data = four[0].encode(image, quality=80, schedule=schedule, effort=2, tile=64)
    assert read_header(data).tile_grid == (2, 3)
    check_agreement(*four, data)


@pytest.mark.parametrize("schedule", ["4x4", PAIR, FOUR], ids=str)
def test_wild_latents(four, schedule):
    """Escapes of all sizes, saturated networks, and symbols at their limit; no photograph gets there."""
    codec, model = four
    schedule, product, rng = get_schedule(schedule), codec.model, np.random.default_rng(7)
    y, z = (
        (rng.normal(size=(*shape, channels)) * 10 ** rng.uniform(-1, 5, (*shape, 1))).astype(np.float32)
        for shape, channels in (((4, 5), product.config.latent), ((1, 2), product.config.z_channels))
    )
    words, latents, _ = LatentCoder(product, 40, schedule).encode(y, z)
    header = Header(80, 64, "RGB", 40, product.id, schedule_field(schedule))
    [decoded] = check_agreement(codec, model, write_stream(Stream(header, {}, (Tile(latents.checksum(), words),))))
    assert np.abs(decoded.y_hat).max() > 524_287


def test_a_model_that_saturates_everywhere(four, tmp_path):
    """Smaller shifts than any export chooses: every bound of section 9.2 is reached."""
    product, rng = four[0].model, np.random.default_rng(11)
    tensors = {
        name: value - rng.integers(0, value + 1).astype(value.dtype) if name.endswith(".shift") else value
        for name, value in product.tensors.items()
    }
    path = tmp_path / "wild.safetensors"
    path.write_bytes(save_model(product.config, tensors, {"name": "wild"}))
    codec = Codec(path, threads=1)
    model = reference.Model(path.read_bytes())
    for schedule in ("2x2-rotated", "4x4", PAIR):
        check_agreement(
            codec,
            model,
            codec.encode(photo("chelsea", 64, 80), quality=60, schedule=schedule, effort=0, fallback=False),
        )


def test_both_refuse_wrong_words(four):
    codec, model = four
    stream = read_stream(codec.encode(photo("coffee", 48, 32), quality=60, schedule=PAIR, fallback=False))
    (tile,) = stream.tiles
    for wrong in (tile.payload[:-4], tile.payload + bytes(4), bytes(4) + tile.payload[4:]):
        data = write_stream(replace(stream, tiles=(replace(tile, payload=wrong),)))
        with pytest.raises(Corrupt):
            codec.decode_latents(data)
        with pytest.raises(reference.Invalid):
            reference.decode(data, model)


def test_both_refuse_groups_that_do_not_divide_the_models(four):
    """Named or inline; 3 and 8 groups are none of the divisors of 4."""
    codec, model = four
    stream = read_stream(codec.encode(photo("coffee", 48, 32), quality=60, schedule=PAIR, fallback=False))
    for groups in (3, 8):
        field = schedule_field(PatternSchedule(np.arange(groups)[:, None, None]))
        data = write_stream(replace(stream, header=replace(stream.header, schedule=field)))
        with pytest.raises(UnsupportedVersion, match=f"{groups} channel groups apart, its model 1, 2, 4"):
            codec.decode(data)
        with pytest.raises(reference.Invalid, match="groups"):
            reference.decode(data, model)


def test_a_named_schedule_that_the_model_cannot_follow_is_no_misuse(four, tmp_path):
    """A stream is refused as a stream, whether its schedule has a name or not."""
    six = Codec(exported(tmp_path, group_sizes=(1, 2, 3, 4, 3, 3), embed_sizes=(1,) * 6), threads=1)
    stream = read_stream(six.encode(photo("coffee", 48, 32), quality=60, schedule="2x2", fallback=False))
    header = replace(stream.header, schedule=schedule_field(get_schedule("2x2-rotated")))
    with pytest.raises(UnsupportedVersion, match="4 channel groups apart, its model 1, 2, 3, 6"):
        six.decode(write_stream(replace(stream, header=header)))


@pytest.mark.parametrize("change", [{"design": "another"}, {"embed_sizes": [1, 2, 3]}], ids=str)
def test_the_reference_decoder_refuses_models_of_other_designs(four, change):
    product = four[0].model

    class Changed:
        interface = product.config.interface

        @staticmethod
        def to_dict():
            return json.loads(json.dumps({**product.config.to_dict(), **change}))

    with pytest.raises(reference.Invalid):
        reference.Model(save_model(Changed, product.tensors, {}))
