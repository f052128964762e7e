"""What worker processes do. Tasks and answers are plain data, as they travel between processes."""

from __future__ import annotations

import io
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tadan.bitstream import Limits, read_header
from tadan.bitstream.fields import JPEG_FILE, MAGIC, MAX_SIDE
from tadan.codec.options import FULL, LITE
from tadan.errors import InvalidInput, ModelMissing, TadanError
from tadan.pictures.reading import opened

if TYPE_CHECKING:
    from PIL.Image import Image

    from tadan.bitstream import Header
    from tadan.codec.codec import Codec

#: Media types of formats by their names in requests.
MEDIA_TYPES = {"tdn": "image/x-tadan", **{form: f"image/{form}" for form in ("avif", "webp", "jpeg", "png")}}
DEFAULT_QUALITY = {"avif": 70, "webp": 85, "jpeg": 88}  # of renditions, which should show no loss of their own
_BODY = "the body"  # name of the picture in errors
_ALPHA_MODES = frozenset({"RGBA", "LA"})


@dataclass(frozen=True)
class Wish:
    """How a picture is to be handed out.

    Attributes:
        form: a key of :data:`MEDIA_TYPES`.
        quality: of AVIF, WebP or JPEG.
        region: x, y, width, height in pixels of the picture.
        size: width and height at most; None: whatever keeps the shape. Pictures are never enlarged.
        exact: whether ``size`` is the size itself, whatever the shape.
        reduce: factor by which a .tdn file is decoded smaller; None: as far as ``size`` allows.
        stages: a preview from the first ones.
        target_size: bytes that the answer should have at most; the best quality for them is found.
        lite: whether the lite decoder shows a .tdn file, if its model has one.
    """

    form: str
    quality: int | None = None
    region: tuple[int, int, int, int] | None = None
    size: tuple[int | None, int | None] | None = None
    exact: bool = False
    reduce: int | None = None
    stages: int | None = None
    target_size: int | None = None
    lite: bool = False


@dataclass(frozen=True)
class Task:
    """One thing to do.

    Attributes:
        kind: encode, show (a .tdn file), convert (any picture), info or verify.
        data: body.
        wish: of show and convert.
        options: of encode: fields of EncodeOptions, and target_size, target_score or lossless_jpeg.
    """

    kind: str
    data: bytes
    wish: Wish | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What came of it.

    Attributes:
        data: body.
        facts: for headers, metrics and JSON.
        seconds: of work.
    """

    data: bytes
    facts: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Refused:
    """A typed error: its class and message."""

    kind: str
    message: str


def header_of(data: bytes) -> Header:
    """Header of a ``.tdn`` file of any size; typed errors of :func:`tadan.bitstream.read_header`."""
    return read_header(data, Limits(max_pixels=MAX_SIDE**2, max_tile_pixels=MAX_SIDE**2))


def pixels_of(data: bytes) -> int:
    """Pixels that a body states, for the gate; 0 if it states none. Nothing is decoded."""
    try:
        if data.startswith(MAGIC):
            header = header_of(data)
            return header.width * header.height
        image = opened(data, _BODY)
    except TadanError:
        return 0
    return image.width * image.height


def pixels_in_work(task: Task) -> int:
    """Pixels that a task has to look at, for the gate: of a region no more than the region."""
    if task.kind == "info":
        return 0
    whole, region = pixels_of(task.data), None if task.wish is None else task.wish.region
    return whole if region is None else min(whole, region[2] * region[3])


_codec: Codec | None = None
_lite: Codec | None = None


def start(model: str | None, max_pixels: int, memory: int) -> None:
    """Make the codecs of this process, and load the model before the first request does."""
    from tadan.codec.codec import bounded_codec

    global _codec, _lite
    _codec, _lite = (bounded_codec(model, 1, max_pixels, memory, *decoder) for decoder in ((), (LITE,)))
    _ = _codec.model.twin


def run(task: Task) -> Answer | Refused:
    """Do a task in this process."""
    begun = time.perf_counter()
    if _codec is None:
        raise RuntimeError("the process was not started")
    try:
        data, facts = _KINDS[task.kind](_codec, task)
    except TadanError as error:
        return Refused(type(error).__name__, str(error))
    except MemoryError:
        return Refused("OutOfMemory", "not enough memory for this picture; send a smaller one")
    return Answer(data, facts, time.perf_counter() - begun)


def _encode(codec: Codec, task: Task) -> tuple[bytes, dict[str, Any]]:
    from tadan.codec.info import inspect
    from tadan.codec.options import EncodeOptions
    from tadan.codec.target import Target, encode_to

    options = dict(task.options)
    size, score = options.pop("target_size", None), options.pop("target_score", None)
    if options.pop("lossless_jpeg", False):
        data = codec.keep_jpeg(task.data).data
        facts = inspect(data, codec.limits)
        return data, {"content": facts.content, "width": facts.width, "height": facts.height}
    chosen = EncodeOptions(**options)
    image = opened(task.data, _BODY)
    if size is None and score is None:
        data = codec.encode_picture(image, chosen).data
    else:
        data = encode_to(codec, image, Target.score(score) if size is None else Target.size(size), chosen).data
    facts = inspect(data, codec.limits)
    return data, {"content": facts.content, "width": facts.width, "height": facts.height}


def _show(codec: Codec, task: Task) -> tuple[bytes, dict[str, Any]]:
    wish, header = _wish(task), header_of(task.data)
    if wish in (Wish("jpeg"), Wish("jpeg", lite=True)) and header.content == JPEG_FILE:
        return codec.original(task.data), {"width": header.width, "height": header.height}
    reduce = _reduction(header, wish) if wish.reduce is None else wish.reduce
    shown: dict[str, Any] = {"region": wish.region, "stages": wish.stages, "reduce": reduce}
    image, decoder = None, FULL
    if wish.lite and _lite is not None:
        with suppress(ModelMissing):  # of this file's model there is no lite decoder
            image, decoder = _lite.decode(task.data, **shown), LITE
    if image is None:
        image = codec.decode(task.data, **shown)
    data, facts = _handed_out(image, wish)
    return data, {**facts, "decoder": decoder}


def _reduction(header: Header, wish: Wish) -> int:
    """How much smaller a file may be decoded; the borders of a region stay where they are."""
    from tadan.codec.options import FACTORS
    from tadan.codec.reduced import factor_for, outward

    whole = 0, 0, header.width, header.height
    x, y, w, h = wish.region or whole
    w, h = min(w, header.width - x), min(h, header.height - y)
    if wish.size is None or min(w, h) <= 0:
        return 1
    most = factor_for(w, h, wish.size, cover=wish.exact)
    return max(one for one in FACTORS if one <= most and outward((x, y, w, h), one, header) == (x, y, w, h))


def _convert(codec: Codec, task: Task) -> tuple[bytes, dict[str, Any]]:
    from tadan.codec.tiling import check_region
    from tadan.pictures.reading import read_picture, to_image

    wish, image = _wish(task), to_image(read_picture(opened(task.data, _BODY), codec.limits.max_pixels))
    if wish.region is not None:
        x, y, w, h = check_region(wish.region, image.width, image.height)
        image = image.crop((x, y, x + w, y + h))
    return _handed_out(image, wish)


def _info(codec: Codec, task: Task) -> tuple[bytes, dict[str, Any]]:
    from tadan.codec.info import inspect

    return b"", inspect(task.data, codec.limits).to_dict()


def _verify(codec: Codec, task: Task) -> tuple[bytes, dict[str, Any]]:
    found = codec.verify(task.data)
    facts = {"intact": True, "tiles": list(found.tiles), "sections": found.sections, "file_bytes": found.file_bytes}
    return b"", {**facts, "content": found.content}


def _wish(task: Task) -> Wish:
    if task.wish is None:
        raise RuntimeError(f"a task {task.kind} without a wish")
    return task.wish


_KINDS = {"encode": _encode, "show": _show, "convert": _convert, "info": _info, "verify": _verify}


def _handed_out(image: Image, wish: Wish) -> tuple[bytes, dict[str, Any]]:
    """A picture, already cut, as it was wished for: scaled, in another format."""
    from tadan.pictures.writing import resized, scaled_down

    width, height = wish.size or (None, None)
    if wish.exact and width is not None and height is not None:
        image = resized(image, (width, height))
    else:
        image = scaled_down(image, width, height)
    if wish.form == "jpeg" and image.mode in _ALPHA_MODES:
        image = _on_white(image)
    facts = {"width": image.width, "height": image.height}
    if wish.target_size is not None:
        return _fitted(image, wish, wish.target_size), facts
    return _saved(image, wish.form, wish.quality), facts


def _on_white(image: Image) -> Image:
    from PIL import Image as Pillow

    under = Pillow.new("RGBA", image.size, (255, 255, 255, 255))
    flat = Pillow.alpha_composite(under, image.convert("RGBA")).convert("L" if image.mode == "LA" else "RGB")
    flat.info = image.info
    return flat


def _saved(image: Image, form: str, quality: int | None) -> bytes:
    from tadan.pictures.writing import Saving, save_picture

    if form == "tdn":
        raise InvalidInput("a picture becomes .tdn by POST /encode")
    file = io.BytesIO()
    save_picture(image, Saving.of(f".{form}", quality or DEFAULT_QUALITY.get(form)), file)
    return file.getvalue()


def _fitted(image: Image, wish: Wish, most: int) -> bytes:
    """The best quality whose file has at most ``most`` bytes, by bisection."""
    from tadan.errors import TargetMissed

    if wish.form not in DEFAULT_QUALITY:
        raise InvalidInput(f"{wish.form} has no quality to fit a size with; ask for avif, webp or jpeg")
    low, high, best = 1, 100, None
    while low <= high:
        middle = (low + high) // 2
        data = _saved(image, wish.form, middle)
        if len(data) <= most:
            best, low = data, middle + 1
        else:
            high = middle - 1
    if best is None:
        raise TargetMissed(f"no {wish.form} of this picture has at most {most:,} bytes; allow more")
    return best
