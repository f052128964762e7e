"""The fuzz targets: ``bytes -> None``, raising :class:`Violation` (or what escaped) if the contract is broken.

An error of the documented kind is fine. Anything else is not: another exception, a decision that two entrances to the
same file disagree on, a picture that nobody encoded, or work out of proportion to what the file announces.
"""

from __future__ import annotations

import io
import json
import random
import struct
import tempfile
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

import grammar
from corpus import CODEC, FORMS, LIMITS, TABLES, known, seeds, stage_indices
from oracles import CONTAINER, GREY, MARGIN, Violation, attempt, check, confined, same, within
from tadan.bitstream import (
    HEADER_PREFIX_BYTES,
    Container,
    Header,
    Recovered,
    Stream,
    Tile,
    read_header,
    read_stream,
    recover,
    write_stream,
)
from tadan.codec.decoder import TileDecoder
from tadan.codec.info import inspect
from tadan.codec.salvage import Salvaged
from tadan.codec.stored import read_tile
from tadan.entropy import MAX_MAGNITUDE, StageDecoder, StageEncoder
from tadan.errors import (
    Corrupt,
    LimitExceeded,
    NotOurFile,
    TadanError,
    Truncated,
    UnreadableInput,
    UnsupportedVersion,
)
from tadan.latents.coder import LatentCoder
from tadan.latents.schedule_field import schedule_of
from tadan.models import ModelConfig, find_model
from tadan.models.model import identity
from tadan.models.reading import read_model
from tadan.pictures.reading import unpack_alpha


def container(data: bytes) -> None:
    """Header, metadata and sections; nothing is decoded."""
    with within(2 + len(data) * 1e-5):
        header = attempt(read_header, data, LIMITS, allowed=CONTAINER)
        prefix = attempt(read_header, data[:HEADER_PREFIX_BYTES], LIMITS, allowed=CONTAINER)
        check(prefix == header, "the header needs more than the longest prefix")
        facts = attempt(inspect, data, LIMITS, allowed=CONTAINER)
        check((facts is None) == (header is None), "inspect and read_header disagree")
        metadata = attempt(lambda: Container(data, LIMITS).metadata(), allowed=CONTAINER)
        stream = attempt(read_stream, data, LIMITS, allowed=CONTAINER)
    if stream is None:
        return
    check(stream.header == header and stream.metadata == metadata, "the readers disagree")
    check(write_stream(stream) == data, "a stream with two spellings was accepted")
    wanted = {number for number in range(header.tile_count) if number % 2}
    tiles = Container(data, LIMITS).tiles(wanted)
    check(tiles == {number: stream.tiles[number] for number in wanted}, "some tiles and all tiles disagree")
    check(sum(map(len, metadata.values())) <= LIMITS.max_metadata_bytes, "more metadata than allowed")
    check(header.width * header.height <= LIMITS.max_pixels and len(stream.tiles) <= LIMITS.max_tiles, "too large")


def recovery(data: bytes) -> None:
    """What the container still gives of a damaged file; a byte of the header that is put right, is right."""
    with within(3 + len(data) * 1e-4):
        found = attempt(recover, data, LIMITS, allowed=CONTAINER)
    stream = attempt(read_stream, data, LIMITS, allowed=CONTAINER)
    if stream is not None:
        expected = Recovered(stream.header, stream.metadata, dict(enumerate(stream.tiles)), None, None, ())
        check(found == expected, "a whole file is not recovered whole")
    elif found is not None:
        lost = found.header.tile_count - len(found.tiles)
        check(found.notes or lost, "a file that cannot be read is recovered whole, without a note")
    header = attempt(read_header, data, LIMITS, allowed=CONTAINER)
    if header is None:
        return
    check(found is not None and found.header == header and found.repaired is None, "a good header was not taken")
    rng = random.Random(zlib.crc32(data))
    end = 8 + 1 + 1 + data[9] + 4
    if data[9] < 0x80:  # the length of the header is one byte
        at = rng.randrange(end)
        damaged = data[:at] + bytes((data[at] ^ rng.randrange(1, 256),)) + data[at + 1 :]
        mended = recover(damaged, LIMITS)
        check((mended.header, mended.repaired) == (header, at), f"byte {at} of the header was not put right")
        check(mended.tiles == found.tiles and mended.metadata == found.metadata, "less is found after a repair")


def entropy(data: bytes) -> None:
    """Any words, decoded as any stages: Corrupt, or exactly what an encoder writes."""
    if not data:
        return
    indices, words = stage_indices(data[0]), data[1:]
    with within(2 + sum(map(len, indices)) * 1e-4):
        stages = attempt(_pull, indices, words, allowed=(Corrupt,))
    if stages is None:
        return
    encoder = StageEncoder(TABLES)
    for symbols, index in zip(stages, indices, strict=True):
        check(symbols.dtype == np.int32 and symbols.shape == index.shape, "a stage of another shape")
        check(symbols.size == 0 or int(np.abs(symbols).max()) <= MAX_MAGNITUDE, "a symbol out of range")
        encoder.push(symbols, index)
    check(encoder.finish() == words, "words with two spellings were accepted")


def _pull(indices: list[NDArray[np.uint8]], words: bytes) -> list[NDArray[np.int32]]:
    decoder = StageDecoder(TABLES, words)
    stages = [decoder.pull(index) for index in indices]
    decoder.finish()
    return stages


def decode(data: bytes) -> None:
    """The whole decode, a region of it and its verification: no picture that nobody encoded."""
    with within(15):
        picture = attempt(CODEC.decode, data)
    checked = attempt(CODEC.verify, data)
    check((picture is None) == (checked is None), "decode and verify disagree")
    header = attempt(read_header, data, LIMITS)
    if header is None:
        return
    rng = random.Random(zlib.crc32(data))
    x, y = rng.randrange(header.width), rng.randrange(header.height)
    box = x, y, x + rng.randint(1, header.width - x), y + rng.randint(1, header.height - y)
    part = attempt(lambda: CODEC.decode(data, region=(x, y, box[2] - x, box[3] - y)))
    if picture is None:
        if part is not None:  # the damage lies elsewhere
            _check_part(data, header, box, part)
        return
    check(picture.size == (header.width, header.height) and picture.mode == header.mode, "not what the header says")
    check(part is not None and same(part, picture.crop(box)), "a region is not the crop of the whole")
    stream = read_stream(data, LIMITS)
    check(checked.tiles == tuple(f"{tile.content_crc:08x}" for tile in stream.tiles), "verify reports other checksums")
    if header.has_latents:
        shown = CODEC.decode(data, region=None, stages=2**20)
        check(same(shown, picture), "the preview from all stages is not the picture")
        for latents, tile in zip(CODEC.decode_latents(data), stream.tiles, strict=True):
            _check_latents(tile, latents.y_hat)
    _check_picture(stream, picture)


def _check_latents(tile: Tile, y_hat: NDArray[np.int32]) -> None:
    expected = known().get(tile.content_crc)
    if expected is None:
        raise Violation("latents that nobody encoded were accepted")
    check(np.array_equal(y_hat, expected[0]), "the latents are not those of their checksum")


def _same_place(a: Header, b: Header) -> bool:
    """Whether equal latents must give equal pixels."""
    keys = "width", "height", "mode", "content", "model_id", "tile_size", *(("quality",) if a.has_latents else ())
    return all(getattr(a, key) == getattr(b, key) for key in keys)


def _check_picture(stream: Stream, picture: Image.Image) -> None:
    """Compare with the seed whose size, quality and checksums these are."""
    marks = [(tile.content_crc, tile.alpha) for tile in stream.tiles]
    for seed in seeds().values():
        if marks == [(tile.content_crc, tile.alpha) for tile in seed.stream.tiles]:
            if _same_place(stream.header, seed.stream.header):
                check(same(picture, seed.picture), "another picture without an error")
            elif stream.header.quality != seed.stream.header.quality and stream.header.has_latents:
                check(False, "the latents of one quality were accepted for another")


def _check_part(data: bytes, header: Header, box: tuple[int, int, int, int], part: Image.Image) -> None:
    check(part.size == (box[2] - box[0], box[3] - box[1]) and part.mode == header.mode, "a region of another size")
    origin = [seed for seed in seeds().values() if _same_place(header, seed.stream.header)]
    if len(origin) != 1:
        return
    tiles = Container(data, LIMITS).tiles(_touched(header, box))
    if all((tile.content_crc, tile.alpha) == _marks(origin[0].stream)[number] for number, tile in tiles.items()):
        check(same(part, origin[0].picture.crop(box)), "a region of another picture without an error")


def _marks(stream: Stream) -> list[tuple[int, bytes | None]]:
    return [(tile.content_crc, tile.alpha) for tile in stream.tiles]


def _touched(header: Header, box: tuple[int, int, int, int]) -> set[int]:
    """Tiles that lie under a box or, where g_s looks across borders, near it."""
    margin = MARGIN if header.has_latents else 0
    return {
        number
        for number, (x, y, w, h) in enumerate(header.tile_boxes())
        if x < box[2] + margin and x + w > box[0] - margin and y < box[3] + margin and y + h > box[1] - margin
    }


def salvage(data: bytes) -> None:
    """What is shown of a damaged file: the picture where a tile is called intact, grey where it is lost."""
    with within(20 + len(data) * 1e-4):
        result = attempt(CODEC.salvage, data)
    picture = attempt(CODEC.decode, data)
    if result is None:
        check(picture is None, "a good file is not salvaged")
        return
    found = recover(data, LIMITS)
    check(result.image.size == (found.header.width, found.header.height), "not of the size of the header")
    check(result.image.mode == found.header.mode, "not of the mode of the header")
    check(len(result.tiles) == found.header.tile_count, "states of too many or too few tiles")
    if picture is not None:
        check(same(result.image, picture) and result.image.info == picture.info, "not the picture of a good file")
    check(result.whole == (picture is not None), f"{'whole' if result.whole else 'damaged'}, but decode disagrees")
    json.dumps(result.to_dict())
    _check_states(found, result)


def _check_states(found: Recovered, result: Salvaged) -> None:
    header, shown = found.header, np.asarray(result.image)
    decoder = None if header.model_id is None else TileDecoder(header, find_model(header.model_id), np.matmul)
    for state in result.tiles:
        x, y, w, h = state.box
        colour = shown[y : y + h, x : x + w]
        colour = colour[:, :, :-1] if header.has_alpha else colour
        if state.state == "lost":
            check((colour == GREY).all(), "a lost tile is not grey")
        elif state.state == "intact":
            check(state.stages == state.of and state.reason is None, "an intact tile lacks stages")
            tile = found.tiles[state.number]
            if decoder is not None:
                _check_latents(tile, decoder.latents(tile, state.box).y_hat)
    origin = [seed for seed in seeds().values() if _same_place(header, seed.stream.header)]
    if len(origin) != 1:
        return
    marks, expected = _marks(origin[0].stream), np.asarray(origin[0].picture)
    good = [
        state.state == "intact"
        and (found.tiles[state.number].content_crc, found.tiles[state.number].alpha) == marks[state.number]
        for state in result.tiles
    ]
    trusted = np.ones(shown.shape[:2], bool)
    margin = MARGIN if header.has_latents else 0
    for state, is_good in zip(result.tiles, good, strict=True):
        if not is_good:
            x, y, w, h = state.box
            trusted[max(0, y - margin) : y + h + margin, max(0, x - margin) : x + w + margin] = False
    check(np.array_equal(shown[trusted], expected[trusted]), "pixels of intact tiles are wrong")


def preview(data: bytes) -> None:
    """The beginning of a file, and its first stages."""
    rng = random.Random(zlib.crc32(data))
    stages = rng.randrange(5)
    with within(20):
        shown = attempt(lambda: CODEC.decode(data, stages=stages))
    picture = attempt(CODEC.decode, data)
    if picture is None:
        return  # a preview does not compare the checksum of the latents, so it may exist
    check(shown is not None and (shown.size, shown.mode) == (picture.size, picture.mode), "no preview of a good file")
    header = read_header(data, LIMITS)
    for cut in sorted(rng.randrange(len(data)) for _ in range(2)):
        try:
            CODEC.decode(data[:cut])
        except Truncated:
            pass
        else:
            raise Violation("a truncated file was decoded")
        result = attempt(CODEC.salvage, data[:cut], allowed=(Truncated,))
        if result is None:
            check(attempt(read_header, data[:cut], LIMITS) is None, "a file with a whole header is not salvaged")
            continue
        check(not result.whole, "a truncated file is called whole")
        [*_, last] = result.tiles
        if header.tile_count == 1 and last.state == "partial":
            _check_arrived(data, cut, last.stages)


def _check_arrived(data: bytes, cut: int, stages: int) -> None:
    """Latents of the stages that a good file of one tile, cut off, is said to hold are those of the whole file."""
    header, found = read_header(data, LIMITS), recover(data[:cut], LIMITS)
    check(found.cut is not None, "a partial tile without its beginning")
    [whole], model = CODEC.decode_latents(data), find_model(header.model_id)
    shape, schedule = whole.y_hat.shape[:2], schedule_of(header.schedule, model)
    words = found.cut[1].payload if found.cut is not None else b""
    begun, count = LatentCoder(model, header.quality, schedule).decode_prefix(words, (shape[0], shape[1]))
    check(count == stages, "another number of stages arrived")
    for step in model.twin.steps(schedule, (shape[0], shape[1])):
        if step.stage < count:
            ours, theirs = (step.take(one.y_hat.reshape(-1, one.y_hat.shape[2])) for one in (begun, whole))
            check(np.array_equal(ours, theirs), "latents of a stage that arrived are wrong")


def plugin(data: bytes) -> None:
    """Pillow: OSError and SyntaxError are its errors; ``open`` alone reads the header."""
    allowed = (OSError, SyntaxError, Image.DecompressionBombError)
    image = attempt(_opened, data, allowed=allowed)
    header = attempt(read_header, data, LIMITS)
    if image is None:
        check(header is None or header.width * header.height > LIMITS.max_pixels, "a good header was not opened")
        return
    attempt(_opened(data).verify, allowed=allowed)
    ImageFile.LOAD_TRUNCATED_IMAGES = zlib.crc32(data) % 4 == 0
    try:
        with within(20):
            loaded = attempt(image.load, allowed=allowed) is not None
        if ImageFile.LOAD_TRUNCATED_IMAGES:
            return
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    picture = attempt(CODEC.decode, data)
    check(loaded == (picture is not None), "Pillow and decode disagree")
    if picture is not None:
        check(same(image, picture), "Pillow shows another picture")
        check(image.info == picture.info, "Pillow shows other metadata")


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=["TADAN"])


def stored(data: bytes) -> None:
    """A picture file inside a tile, and an alpha plane; first three bytes: form and colours, width, height."""
    if len(data) < 3:
        return
    form, grey, payload = FORMS[data[0] % 3], data[0] // 3 % 2 == 1, data[3:]
    width, height = data[1] + 1, (data[2] + 1) << (20 if data[0] >= 128 else 0)
    with within(5 + len(payload) * 1e-4):
        alpha = attempt(unpack_alpha, payload, width, height, allowed=(Corrupt,))
        crc = zlib.crc32(payload) if form == "jpeg" else _sample_crc(payload, form)
        pixels = attempt(read_tile, form, Tile(crc, payload), grey, width, height, allowed=(Corrupt, LimitExceeded))
    for array, shape in ((alpha, (height, width)), (pixels, (height, width, 3))):
        check(array is None or (array.dtype == np.uint8 and array.shape == shape), "another shape")
    if pixels is not None:
        wrong = Tile(crc ^ 1, payload)
        wrong_pixels = attempt(read_tile, form, wrong, grey, width, height, allowed=(Corrupt,))
        check(wrong_pixels is None, "a wrong checksum was accepted")
        if form != "webp" and grey:
            check((pixels[:, :, 0] == pixels[:, :, 2]).all(), "a grey picture with colours")


def _sample_crc(payload: bytes, form: str) -> int:
    """Checksum of the samples that Pillow reads, 0 if it cannot."""
    try:
        with Image.open(io.BytesIO(payload), formats=[form.upper()]) as image:
            return zlib.crc32(image.convert("RGB").tobytes()) if image.width * image.height <= LIMITS.max_pixels else 0
    except Exception:  # Pillow raises many kinds; the target asks only what tadan makes of them
        return 0


def model(data: bytes) -> None:
    """A model file, as it is and with its ids put right."""
    forged = _with_right_id(data)
    for one in (data, forged or data):
        with tempfile.NamedTemporaryFile(suffix=".safetensors", dir="/dev/shm") as file:
            file.write(one)
            file.flush()
            with within(5):
                read = attempt(
                    read_model, Path(file.name), allowed=(UnreadableInput, NotOurFile, UnsupportedVersion, Corrupt)
                )
                if read is not None:
                    for part in ("tables", "twin"):
                        attempt(getattr, read, part, allowed=(Corrupt,))
                    attempt(read.describe, allowed=(Corrupt,))


def valid(data: bytes) -> None:
    """A valid hostile file of :mod:`grammar`: work and memory in proportion to what its header announces."""
    file = grammar.file_of(data)
    header = read_header(file, grammar.LIMITS)
    seconds, size = grammar.allowed_seconds(header), grammar.allowed_bytes(header)
    for call in (grammar.READER.decode, grammar.READER.verify, grammar.READER.salvage):
        tracemalloc.start()
        try:
            with within(seconds):
                attempt(call, file)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        check(peak <= size, f"{peak / 2**20:.1f} MiB of memory where {size / 2**20:.1f} are enough")


def _with_right_id(data: bytes) -> bytes | None:
    """The file with the ids that a forger would write; None if it has no tensors to hash."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        (length,) = struct.unpack("<Q", data[:8])
        table = json.loads(data[8 : 8 + length])
        config = ModelConfig.from_dict(json.loads(table["__metadata__"]["config"]))
        table["__metadata__"].pop("encoder", None)
        table["__metadata__"] |= identity(config, load(data))
        head = json.dumps(table).encode()
    except (SafetensorError, TadanError, ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error):
        return None
    return struct.pack("<Q", len(head)) + head + data[8 + length :]


@dataclass(frozen=True)
class Target:
    """A target and the kind of its inputs (see corpus.py and mutators.py).

    ``count``: inputs that the tests draw.
    """

    call: Callable[[bytes], None]
    kind: str
    count: int

    def run(self, data: bytes) -> None:
        """Try one input."""
        with confined():
            self.call(data)


TARGETS = {
    "container": Target(container, "file", 6000),
    "recovery": Target(recovery, "file", 1500),
    "entropy": Target(entropy, "entropy", 6000),
    "decode": Target(decode, "file", 500),
    "salvage": Target(salvage, "file", 300),
    "preview": Target(preview, "file", 250),
    "plugin": Target(plugin, "file", 500),
    "stored": Target(stored, "stored", 6000),
    "model": Target(model, "model", 2000),
    "valid": Target(valid, "seed", 8),
}
