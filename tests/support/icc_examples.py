"""Small ICC profiles made by hand, for colours that Pillow has no profile of (ICC.1:2001-04)."""

import struct


def _fixed(*values):
    return b"".join(struct.pack(">i", round(65536 * value)) for value in values)


def _profile(kind, space, pcs, tags):
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        body += bytes(-len(body) % 4)
        table += name + struct.pack(">II", start + len(data), len(body))
        data += body
    date = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    header = struct.pack(">I4sI", start + len(data), b"\0" * 4, 0x02400000) + kind + space + pcs + date + b"acsp"
    header += bytes(128 - 12 - len(header) - 16) + _fixed(0.9642, 1, 0.8249)
    return header.ljust(128, b"\0") + table + data


def _xyz(*values):
    return b"XYZ \0\0\0\0" + _fixed(*values)


def _gamma(value):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * value))


def adobe_rgb():
    """RGB with Adobe's primaries (adapted to D50) and gamma 2.2."""
    curve = _gamma(2.19921875)
    tags = {b"wtpt": _xyz(0.9505, 1, 1.0891), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    tags |= {b"rXYZ": _xyz(0.60974, 0.31111, 0.01947), b"gXYZ": _xyz(0.20528, 0.62567, 0.06087)}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags | {b"bXYZ": _xyz(0.14919, 0.06322, 0.74457)})


def grey(gamma=1.0):
    """Grey with a plain gamma."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _xyz(0.9642, 1, 0.8249), b"kTRC": _gamma(gamma)})


def ink():
    """CMYK of which only black counts, halved: full black ink is L* = 50."""
    identity = bytes(range(256))
    lightness = [128 if index & 1 else 255 for index in range(16)]  # black varies fastest
    clut = b"".join(bytes((level, 128, 128)) for level in lightness)
    matrix = _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + 4 * identity + clut + 3 * identity
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz(0.9642, 1, 0.8249), b"A2B0": lut})
