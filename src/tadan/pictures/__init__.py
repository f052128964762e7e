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
