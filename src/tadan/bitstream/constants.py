"""Numbers that the `.tdn` format fixes for ever (docs/SPEC.md gives the reason of each)."""

# High bit (7-bit links), name, CR LF (text mode), Ctrl-Z (DOS "type" stops), LF: the idea of PNG's signature.
MAGIC = b"\x89TDN\r\n\x1a\n"
VERSION = 1

MODES = ("L", "RGB", "LA", "RGBA")  # the index is the mode byte
ALPHA_MODES = ("LA", "RGBA")

# What tiles hold; the index is the content byte. All but latents are complete pictures in a common format.
LATENTS = "latents"
CONTENTS = (LATENTS, "png", "webp", "jpeg")
MODEL_ID_BYTES = 16
MIN_QUALITY, MAX_QUALITY = 1, 100
MAX_SIDE = 2**31 - 1  # pixels, for width, height and tile size
TILE_MULTIPLE = 64  # pixels; the latent grid of every model divides it

SCHEDULE_NAMED, SCHEDULE_INLINE = 0, 1
MAX_NAME_LENGTH = 32  # characters
MAX_PATTERN_SIDE = 16  # groups, rows, columns

CRC_BYTES = 4
MAX_HEADER_LENGTH = 64 * 1024  # bytes of header fields
# A reader that has this many first bytes of a file (or the whole file) can always call read_header.
HEADER_PREFIX_BYTES = len(MAGIC) + 1 + 3 + MAX_HEADER_LENGTH + CRC_BYTES

METADATA_TAGS = {"icc": b"I", "exif": b"E", "xmp": b"X"}  # in file order
TILE_TAG = b"T"
