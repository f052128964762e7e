"""A JPEG file inside the container, byte for byte, about a fifth smaller: docs/SPEC.md, section 13, content 4.

Lepton (Horn et al., "The Design, Implementation, and Deployment of a System to Transparently Compress Hundreds of
Petabytes of Image Files", NSDI 2017) codes the coefficients of a JPEG anew and gives back the identical file. No model
takes part. What such a file shows is what its JPEG shows, upright, with the metadata that stands in there.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable

from tadan.bitstream import Header, Limits, Stream, Tile, write_stream
from tadan.bitstream.fields import JPEG_FILE, MAX_QUALITY
from tadan.errors import Corrupt, InvalidInput, LimitExceeded, TadanError
from tadan.optional import require
from tadan.pictures.reading import Planes, opened, read_picture

MAGIC = b"\xff\xd8\xff"
_PURPOSE = "A JPEG kept byte for byte"
_OTHER_COPY = "the file was damaged, or not made by tadan; get another copy"
_LEPTON = struct.Struct("<2sBBI12sII")  # magic, version, kind, threads, build, bytes of the JPEG, bytes of its header
_MOST_HEADER = 2**26  # bytes of a JPEG before its last scan: metadata, tables, frame
MOST_SCANS = 100  # each costs a pass over the picture; progressive files have about ten
_MOST_EXPANSION = 64  # bytes of a JPEG for each pixel and some; photographs take less than two
_SIZES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # markers of frames
_BARE = {0x01, *range(0xD0, 0xDA)}  # markers without a length


def keep(jpeg: bytes, limits: Limits) -> tuple[bytes, int]:
    """A JPEG file as a ``.tdn`` file.

    Returns:
        the file, and the bytes in it that stand for the JPEG.

    Raises:
        InvalidInput: it is no JPEG, or one that Lepton does not know (arithmetic coding, four colours).
        UnreadableInput: it is damaged.
        LimitExceeded: it has more pixels than ``limits`` allow.
        MissingPackage: the extra ``archive`` is not installed.
    """
    lepton = require("lepton_jpeg_python", "archive", _PURPOSE)
    if not jpeg.startswith(MAGIC):
        raise InvalidInput("only JPEG files are kept byte for byte, and this is none; use --lossless for its pixels")
    planes = _shown(jpeg, limits.max_pixels)
    words = _ran(lepton.compress_bytes, jpeg, InvalidInput, "this JPEG cannot be kept byte for byte; use --lossless")
    header = Header(planes.rgb.shape[1], planes.rgb.shape[0], planes.mode, MAX_QUALITY, None, None, 0, JPEG_FILE)
    tile = Tile(zlib.crc32(jpeg), words)
    if _unpacked(header, tile) != jpeg:  # never lose what somebody may delete next
        raise InvalidInput("this JPEG does not come back byte for byte; use --lossless for its pixels")
    return write_stream(Stream(header, {}, (tile,))), len(words)


def original(header: Header, tile: Tile) -> bytes:
    """The JPEG file that was kept.

    Raises:
        InvalidInput: the content is another one: there is no such file.
        Corrupt: it cannot be unpacked, or does not match its checksum.
        MissingPackage: the extra ``archive`` is not installed.
    """
    if header.content != JPEG_FILE:
        raise InvalidInput("this file was not made with --lossless-jpeg and holds no JPEG to give back; decode it")
    jpeg = _unpacked(header, tile)
    if zlib.crc32(jpeg) != tile.content_crc:
        raise Corrupt(f"the JPEG kept in it does not match its checksum: {_OTHER_COPY}")
    return jpeg


def picture(header: Header, tile: Tile) -> Planes:
    """What the JPEG shows, upright; errors as of :func:`original`, and Corrupt if it is no picture as announced."""
    jpeg, size = original(header, tile), (header.width, header.height)
    try:
        planes = _shown(jpeg, header.width * header.height)
    except (LimitExceeded, MemoryError):
        raise
    except TadanError as error:
        raise Corrupt(f"the JPEG kept in it cannot be shown ({error}): {_OTHER_COPY}") from error
    if (planes.rgb.shape[1], planes.rgb.shape[0]) != size or planes.mode != header.mode:
        raise Corrupt(f"the JPEG kept in it is not the picture that the header announces: {_OTHER_COPY}")
    return planes


def _shown(jpeg: bytes, max_pixels: int) -> Planes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that further frames are not shown; they are kept
        return read_picture(opened(jpeg, "the JPEG"), max_pixels)


def _unpacked(header: Header, tile: Tile) -> bytes:
    lepton = require("lepton_jpeg_python", "archive", _PURPOSE)
    _check_announced(header, tile.payload)
    return _ran(lepton.decompress_bytes, tile.payload, Corrupt, f"the JPEG kept in it is damaged: {_OTHER_COPY}")


def _ran(call: Callable[[bytes], bytes], data: bytes, error: type[TadanError], message: str) -> bytes:
    try:
        return bytes(call(data))
    except MemoryError:
        raise
    except Exception as failed:
        raise error(f"{message} ({str(failed).splitlines()[0]})") from failed
    except BaseException as failed:
        if type(failed).__name__ != "PanicException":  # a failed check in Rust, which is no Exception
            raise
        raise error(message) from failed


def _check_announced(header: Header, words: bytes) -> None:
    """Compare size and scans in the packed header of the JPEG with ours before Lepton allocates or works for it."""
    wrong = Corrupt(f"the JPEG kept in it is not the picture that the header announces: {_OTHER_COPY}")
    if len(words) < _LEPTON.size:
        raise wrong
    _, _, _, _, _, size, packed = _LEPTON.unpack_from(words)
    unzip = zlib.decompressobj()
    try:
        start = unzip.decompress(words[_LEPTON.size : _LEPTON.size + packed], _MOST_HEADER)
    except zlib.error as error:
        raise wrong from error
    sides = sorted((header.width, header.height))
    frames = _frame_sizes(start[7:])  # behind "HDR" and its length
    if (
        unzip.unconsumed_tail
        or [sorted(one) for one in frames] != [sides]
        or start.count(b"\xff\xda") > MOST_SCANS
        or size > _MOST_EXPANSION * header.width * header.height + 2 * _MOST_HEADER
    ):
        raise wrong


def _frame_sizes(segments: bytes) -> list[tuple[int, int]]:
    """Width and height of every frame that the segments of a JPEG announce; scans between them are skipped."""
    found, at = [], 0
    while (at := segments.find(b"\xff", at)) >= 0 and at + 4 <= len(segments):
        marker = segments[at + 1]
        if marker in (0x00, 0xFF) or marker in _BARE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _SIZES and at + 9 <= len(segments):
            height, width = struct.unpack_from(">HH", segments, at + 5)
            found.append((width, height))
        at += 2 + int.from_bytes(segments[at + 2 : at + 4], "big")
    return found
