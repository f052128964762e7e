"""What are these bytes, if not a Tadan file? Only for error messages: a good guess saves the user a search."""

from tadan.bitstream.fields import MAGIC
from tadan.errors import Corrupt, NotOurFile, Truncated

_ENCODE = "to compress it, run `tadan encode` on it"
_FETCH = "a download or checkout went wrong: fetch the file again"
# (offset, signature, what it is, what to do)
_KNOWN: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89PNG", "a PNG picture", _ENCODE),
    (0, b"\xff\xd8\xff", "a JPEG picture", _ENCODE),
    (8, b"WEBP", "a WebP picture", _ENCODE),
    (4, b"ftypavif", "an AVIF picture", _ENCODE),
    (4, b"ftypavis", "an AVIF sequence", _ENCODE),
    (4, b"ftyphei", "a HEIC picture", _ENCODE),
    (4, b"ftypmif1", "a HEIF or AVIF picture", _ENCODE),
    (0, b"\xff\x0a", "a JPEG XL picture", _ENCODE),
    (4, b"JXL \r\n\x87\n", "a JPEG XL picture", _ENCODE),
    (4, b"jP  \r\n\x87\n", "a JPEG 2000 picture", _ENCODE),
    (0, b"GIF8", "a GIF picture", _ENCODE),
    (0, b"BM", "a BMP picture", _ENCODE),
    (0, b"II*\x00", "a TIFF picture", _ENCODE),
    (0, b"MM\x00*", "a TIFF picture", _ENCODE),
    (0, b"qoif", "a QOI picture", _ENCODE),
    (0, b"P5", "a PGM picture", _ENCODE),
    (0, b"P6", "a PPM picture", _ENCODE),
    (0, b"PK\x03\x04", "a ZIP archive", "unpack it first"),
    (0, b"\x1f\x8b", "a gzip file", "unpack it first"),
    (0, b"%PDF", "a PDF document", "give a .tdn file"),
    (0, b"version https://git-lfs", "a Git LFS pointer", "run `git lfs pull`"),
    (0, b"<!DOCTYPE", "a web page", _FETCH),
    (0, b"<!doctype", "a web page", _FETCH),
    (0, b"<html", "a web page", _FETCH),
    (0, b"{", "JSON text", _FETCH),
)
_RESEND = "copy or download the file again in binary mode"
# (offset, bytes, how): what becomes of the magic number on the way. The first match counts.
_DAMAGED: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89TDN\r\r\n", "line ends were converted from LF to CR LF (text-mode transfer)"),
    (0, b"\x89TDN\r\n\x1a\r", "line ends were converted from LF to CR LF (text-mode transfer)"),
    (0, b"\x89TDN\n", "line ends were converted from CR LF to LF (text-mode transfer or git autocrlf)"),
    (0, b"\x89TDN\r\x1a", "line ends were converted to CR (text-mode transfer)"),
    (0, b"\x89TDN\r\r", "line ends were converted to CR (text-mode transfer)"),
    (0, b"\x89TDN", "the bytes after the name were changed"),
    (0, b"\tTDN", "the highest bit of each byte was cleared (7-bit transfer)"),
    (0, b"\xef\xbf\xbdTDN", "the file was read as UTF-8 text and written back"),
    (0, b"\xc2\x89TDN", "the file was converted from Latin-1 to UTF-8 text"),
    (4, b"T\0D\0N\0", "the file was written as UTF-16 text (as `>` does in Windows PowerShell)"),
)


def is_tdn(prefix: bytes) -> bool:
    """Say whether ``prefix`` (the first 8 bytes of a file or more) begins with the magic number."""
    return bytes(prefix[: len(MAGIC)]) == MAGIC


def check_magic(data: bytes) -> None:
    """Raise NotOurFile, Truncated or Corrupt (a magic number damaged in a known way) unless ``data`` is a .tdn file."""
    start = data[: len(MAGIC)]
    if start == MAGIC:
        return
    if not data:
        raise Truncated("The file is empty (0 bytes); copy or download it again.")
    if MAGIC.startswith(start):
        raise Truncated(f"The file ends after {len(data)} bytes, inside the magic number; copy or download it again.")
    for offset, damaged, how in _DAMAGED:
        if data.startswith(damaged, offset):
            raise Corrupt(f"A Tadan file whose first bytes were damaged: {how}; {_RESEND}.")
    for offset, signature, kind, advice in _KNOWN:
        if data.startswith(signature, offset):
            raise NotOurFile(f"Not a Tadan file (.tdn) but {kind}; {advice}.")
    raise NotOurFile(
        f"Not a Tadan file: it begins with {start.hex(' ')}, a .tdn file with {MAGIC.hex(' ')}; give a file written "
        "by `tadan encode`."
    )
