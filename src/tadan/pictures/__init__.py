"""Pictures: files and arrays to 8-bit planes with alpha, colour and metadata, and back."""

import struct

#: What Pillow raises about damaged files, and where a format cannot hold a picture or its EXIF (RuntimeError: AVIF).
PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    RuntimeError,
    struct.error,
)
# What is taken from a folder. HEIC and JPEG XL included, although Pillow alone opens neither: an error is better than
# a picture that is silently left out.
PICTURES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".j2k", ".jp2", ".jpeg", ".jpg", ".jxl"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"}
)
