"""Makes golden streams: ``python -m tadan_lab.golden.make [FOLDER]``. For developers; needs tadan[lab].

Streams that are released never change: a set that exists is left alone unless --force is given, and that is for
models that nobody has yet. What a stream decodes to is taken from the product;
tests/conformance/test_conformance.py checks all of it with the independent decoder.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tadan.bitstream import VERSION, Header, PixelMode, ScheduleField, Stream, Tile, read_stream, write_stream
from tadan.codec.codec import Codec, file_symbols
from tadan.codec.decoder import coder_of
from tadan.codec.stored import as_jpeg, as_png, as_webp, tile_of
from tadan.conformance.golden import (
    MANIFEST,
    PACKAGED,
    PIXELS_SUFFIX,
    STREAM_SUFFIX,
    DamagedStream,
    GoldenSet,
    GoldenStream,
    TileRecord,
    crc,
)
from tadan.conformance.run import schedule_text
from tadan.conformance.trace import trace_tile
from tadan.errors import Corrupt, InvalidInput, TadanError
from tadan.files import make_folder, write_atomically
from tadan.latents.coder import Y_STRIDE, LatentCoder, plane_shape
from tadan.models import Model, load_model, read_model
from tadan.models.reading import stated_id
from tadan.models.store import BUNDLED, DEFAULT_MODEL, SUFFIX
from tadan.pictures.reading import pack_alpha, read_picture
from tadan.schedule import get_schedule
from tadan_lab.golden.cases import STORED, Case, cases_for, metadata_of, picture_of
from tadan_lab.golden.damage import Damage, damaged_latents, damaged_stored, damaged_tiles


class Maker:
    """Collects the files of one set.

    Args:
        folder: of the set.
        model: whose latents the streams hold; None for stored pictures.
    """

    def __init__(self, folder: Path, model: Model | None) -> None:
        self._folder, self._model = folder, model
        self._codec = Codec(model, threads=1)
        self._files: dict[str, bytes] = {}
        self._streams: list[GoldenStream] = []
        self._damaged: list[DamagedStream] = []

    def add(self, name: str, shows: str, data: bytes, levels: int | None, escapes: int = 0) -> None:
        """Add a stream, with what it decodes to; ``levels`` as in GoldenStream."""
        content = read_stream(data)
        header = content.header
        if levels is not None:
            buffer = io.BytesIO()
            shown = self._codec.decode(data)
            shown.info.clear()
            shown.save(buffer, "PNG", optimize=True)
            self._files[name + PIXELS_SUFFIX] = buffer.getvalue()
        self._files[name + STREAM_SUFFIX] = data
        self._streams.append(
            GoldenStream(
                name,
                shows,
                crc(data),
                header.content,
                header.width,
                header.height,
                header.mode,
                header.quality,
                header.tile_size,
                schedule_text(header),
                {key: crc(value) for key, value in content.metadata.items()},
                levels,
                escapes,
                () if self._model is None else tuple(_records(self._model, content)),
            )
        )

    def add_damaged(self, damages: Iterable[Damage]) -> None:
        """Add files to refuse."""
        for damage in damages:
            self._files[damage.name + STREAM_SUFFIX] = damage.data
            self._damaged.append(DamagedStream(damage.name, damage.shows, crc(damage.data), damage.error))

    def write(self) -> GoldenSet:
        """Write all files, the manifest last; files of an older set under the same name are removed."""
        from tadan.machine import machine_facts

        made = {key: value for key, value in machine_facts().items() if key not in ("processor", "cores", "date")}
        model = None if self._model is None else self._model.id_hex
        golden = GoldenSet(self._folder, VERSION, model, made, tuple(self._streams), tuple(self._damaged))
        make_folder(self._folder)
        for suffix in (STREAM_SUFFIX, PIXELS_SUFFIX):
            for path in self._folder.glob(f"*{suffix}"):
                path.unlink()
        for name, data in self._files.items():
            write_atomically(self._folder / name, data)
        write_atomically(self._folder / MANIFEST, golden.manifest())
        return golden


def make_model_set(folder: Path, model: Model, cases: Sequence[Case] | None = None) -> GoldenSet:
    """Make the set of a model in ``folder``: all cases, latents that no picture gives, and damaged files.

    ``cases``: None for all that the model can follow.
    """
    maker, allowed = Maker(folder, model), model.config.schedule_groups
    for case in cases_for(model.config) if cases is None else cases:
        data, escapes = _encode(model, case)
        maker.add(case.name, case.shows, data, 1, escapes)
        if case.name == "size-17x33":
            refused = next(groups for groups in count(2) if groups not in allowed)
            maker.add_damaged(damaged_latents(data, refused))
    for schedule in ("4x4-opt-4", "2x2-rotated"):
        if get_schedule(schedule).groups not in allowed:
            continue
        data, escapes = _wild(model, schedule)
        maker.add(f"wild-{schedule}", "symbols up to their limit, all lengths of escapes", data, None, escapes)
    return maker.write()


def make_stored_set(folder: Path, cases: Sequence[Case] = STORED) -> GoldenSet:
    """Make the set of stored pictures in ``folder``."""
    maker = Maker(folder, None)
    for case in cases:
        data = _store(case)
        maker.add(case.name, case.shows, data, 1 if case.schedule == "jpeg" else 0)
        if case.name == "stored-png":
            maker.add_damaged(damaged_stored(data))
        if case.name == "stored-png-tiles":
            maker.add_damaged(damaged_tiles(data))
    return maker.write()


def _records(model: Model, content: Stream) -> Iterable[TileRecord]:
    header = content.header
    coder = coder_of(header, model)
    for tile, (_, _, width, height) in zip(content.tiles, header.tile_boxes(), strict=True):
        shape = plane_shape(width, height, Y_STRIDE)
        trace = trace_tile(coder, tile.payload, shape)
        if trace.z is None or trace.parameters is None or trace.latents != f"{tile.content_crc:08x}":
            raise Corrupt(f"the stream just made does not decode ({trace.error}); encoder and decoder disagree")
        yield TileRecord(width, height, trace.z, tuple(trace.parameters), tuple(trace.y), trace.latents)


def _escapes(model: Model, data: bytes) -> int:
    """Latents of a file that are coded with the escape."""
    half = model.tables.half_widths
    return sum(int((np.abs(symbols) > half[index]).sum()) for symbols, index in file_symbols(data, model))


def _encode(model: Model, case: Case) -> tuple[bytes, int]:
    """File of a case, and its number of escapes."""
    codec = Codec(model, threads=1)
    with warnings.catch_warnings(action="ignore"):  # of what a stored file would have saved
        data = codec.encode(
            picture_of(case), quality=case.quality, schedule=case.schedule, effort=0, tile=case.tile, fallback=False
        )
    if case.metadata:
        data = write_stream(replace(read_stream(data), metadata=metadata_of(case)))
    return data, _escapes(model, data)


def _wild(model: Model, name: str) -> tuple[bytes, int]:
    """Latents of all magnitudes: saturated networks, escapes of all lengths, symbols at their limit."""
    rng, shape = np.random.default_rng(7), (3, 4)
    y, z = (
        (rng.normal(size=(*size, channels)) * 10 ** rng.uniform(-1, 5, (*size, 1))).astype(np.float32)
        for size, channels in ((shape, model.config.latent), ((1, 1), model.config.z_channels))
    )
    quality = 40
    words, latents, _ = LatentCoder(model, quality, get_schedule(name)).encode(y, z)
    header = Header(Y_STRIDE * shape[1], Y_STRIDE * shape[0], PixelMode.RGB, quality, model.id, ScheduleField(name))
    data = write_stream(Stream(header, {}, (Tile(latents.checksum(), words),)))
    return data, _escapes(model, data)


def _store(case: Case) -> bytes:
    planes = read_picture(picture_of(case), case.size[0] * case.size[1])
    form = str(case.schedule)
    header = Header(*case.size, case.mode, case.quality, None, None, case.tile, form)
    tiles = []
    for x, y, width, height in header.tile_boxes():
        box = slice(y, y + height), slice(x, x + width)
        rgb = np.ascontiguousarray(planes.rgb[box])
        payload = _picture_file(form, np.ascontiguousarray(rgb[:, :, 0]) if case.mode.is_grey else rgb)
        alpha = None if planes.alpha is None else pack_alpha(planes.alpha[box])
        tiles.append(tile_of(form, payload, rgb, alpha))
    return write_stream(Stream(header, metadata_of(case), tuple(tiles)))


def _picture_file(form: str, pixels: NDArray[np.uint8]) -> bytes:
    if form == "jpeg":
        return as_jpeg(pixels, 80)
    data = as_webp(pixels) if form == "webp" else as_png(pixels)
    if data is None:
        raise InvalidInput("Pillow was built without WebP; install another build to make golden streams")
    return data


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 if something was made, 2 if not."""
    parser = argparse.ArgumentParser(prog="python -m tadan_lab.golden.make", description="Make golden streams.")
    parser.add_argument("folder", nargs="?", type=Path, default=PACKAGED, help="default: %(default)s")
    parser.add_argument("--model", help="name or file; default: photo")
    parser.add_argument("--force", action="store_true", help="replace sets that exist; only before their release")
    parser.add_argument(
        "--ship",
        type=Path,
        metavar="FILE",
        help="bundle this model file and drop the sets of models that no longer are; only before a release",
    )
    parser.add_argument("--as", dest="name", metavar="NAME", default=DEFAULT_MODEL, help="with --ship; %(default)s")
    given = parser.parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = load_model(given.model) if given.ship is None else _ship(given.ship, given.name, given.folder)
            made = _make(given.folder, model, given.force)
    except TadanError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for golden in made:
        size = sum(path.stat().st_size for path in golden.folder.iterdir())
        print(f"{golden.folder}: {len(golden.streams)} streams, {len(golden.damaged)} damaged, {size:,} bytes")
    return 0


def _ship(path: Path, name: str, folder: Path) -> Model:
    """Put a model file into the package under a name, and remove the golden sets of models that no longer are there."""
    if not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name):
        raise InvalidInput(f"a bundled model has a name of small letters, digits and hyphens, not {name!r}")
    model = read_model(path)
    model.check_encoder()
    _ = model.twin, model.tables  # what does not fit is refused before anything is replaced
    write_atomically(BUNDLED / f"{name}{SUFFIX}", path.read_bytes())
    kept = {"stored", *(stated_id(one) for one in BUNDLED.glob(f"*{SUFFIX}"))}
    for manifest in folder.glob(f"*/{MANIFEST}"):
        if manifest.parent.name.removeprefix(f"v{VERSION}-") not in kept:
            shutil.rmtree(manifest.parent)
    return model


def _make(folder: Path, model: Model, force: bool) -> list[GoldenSet]:
    stored, latents = folder / f"v{VERSION}-stored", folder / f"v{VERSION}-{model.id_hex}"
    made = []
    if force or not (stored / MANIFEST).exists():
        made.append(make_stored_set(stored))
    if force or not (latents / MANIFEST).exists():
        made.append(make_model_set(latents, model))
    if not made:
        raise InvalidInput(
            f"{folder} holds golden streams of this version and model already, and they never change; "
            "name another folder, or replace them with --force if they were never released"
        )
    return made


if __name__ == "__main__":
    sys.exit(main())
