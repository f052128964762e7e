"""A second decoder of `.tdn` latents, written from docs/SPEC.md alone: integers only, no code of tadan, no shortcut.

It shares neither the library of the coder (constriction) nor the trick of exact floats nor the gathers with the
product. Every stage computes a dense masked window over the whole plane in int64, and rANS runs on Python integers.
Numbers in comments are sections of the specification. Bytes are read in reference_format.py, the networks are in
reference_networks.py.
"""

import zlib

import numpy as np

from reference_format import Invalid, Rans, check, parse
from reference_networks import Model, Plane

__all__ = ["Invalid", "Model", "Rans", "decode"]

# 8.3
PATTERNS = {
    "hyper": [[[0]]],
    "checkerboard": [[[0, 1], [1, 0]]],
    "2x2": [[[0, 2], [3, 1]]],
    "2x2-raster": [[[0, 1], [2, 3]]],
    "3x3": [[[0, 3, 6], [7, 1, 4], [5, 8, 2]]],
    "3x3-raster": [[[0, 1, 2], [3, 4, 5], [6, 7, 8]]],
    "4x4": [[[0, 2, 5, 4], [1, 7, 11, 8], [6, 12, 13, 10], [3, 14, 15, 9]]],
    "4x4-raster": [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]],
    "4x4-8": [[[0, 4, 2, 6], [7, 1, 5, 3], [2, 6, 0, 4], [5, 3, 7, 1]]],
    "4x4-opt-4": [[[0, 3, 1, 3], [3, 2, 3, 2], [1, 3, 1, 3], [3, 2, 3, 2]]],
    "4x4-opt-8": [[[0, 5, 2, 5], [7, 4, 6, 3], [2, 5, 1, 5], [7, 3, 6, 4]]],
    "4x4-opt-16": [[[0, 10, 2, 7], [9, 4, 13, 5], [1, 11, 3, 12], [14, 8, 15, 6]]],
    "2x2-rotated": [[[0, 2], [3, 1]], [[1, 3], [0, 2]], [[2, 0], [1, 3]], [[3, 1], [2, 0]]],
}
SYMBOL = 8191


# --- schedule, 8 ----------------------------------------------------------------------------------------------------


class Schedule:
    def __init__(self, field, cols):
        self.width = cols
        self.scan = field if field in ("raster", "wavefront") else None
        self.pattern = [[[0]]] if self.scan else PATTERNS[field] if isinstance(field, str) else field
        self.groups, self.rows, self.cols = len(self.pattern), len(self.pattern[0]), len(self.pattern[0][0])

    def stage(self, g, i, j):
        if self.scan:
            return i * self.width + j if self.scan == "raster" else 3 * i + j
        return self.pattern[g][i % self.rows][j % self.cols]

    def visible(self, g, i, j, R):
        """8.4: int (k, k, S)."""
        k = 2 * R + 1
        out = np.zeros((k, k, self.groups), np.int64)
        for a, b, other in np.ndindex(out.shape):
            dy, dx = a - R, b - R
            if self.scan:
                out[a, b, other] = dy < 0 or (dy == 0 and dx < 0)
            else:
                out[a, b, other] = self.stage(other, i + dy, j + dx) < self.stage(g, i, j)
        return out


def stages(schedule, rows, cols):
    """8.5: for each stage the (group, phase, row, col) in order."""
    found = {}
    for g, i, j in np.ndindex(schedule.groups, rows, cols):
        phase = (i % schedule.rows) * schedule.cols + j % schedule.cols
        found.setdefault(schedule.stage(g, i, j), []).append((g, phase, i, j))
    return [sorted(found[stage]) for stage in sorted(found)]


# --- tiles, 8.6 -----------------------------------------------------------------------------------------------------


def decode_tile(model, tile, quality, field):
    height, width = tile["size"]
    rows, cols = -(-height // 16), -(-width // 16)
    z_rows, z_cols = -(-rows // 4), -(-cols // 4)
    schedule, rans = Schedule(field, cols), Rans(model.tables, tile["words"])

    def pull(index):
        symbols = rans.stage(index)
        check(all(-SYMBOL <= symbol <= SYMBOL for symbol in symbols), "symbol out of range")
        return symbols

    symbols = pull(model.exact("quality.z_index")[quality - 1].tolist() * (z_rows * z_cols))
    z_hat = 64 * np.array(symbols, np.int64).reshape(z_rows, z_cols, -1) + model.exact("quality.z_mean")[quality - 1]
    plane = Plane(model, z_hat, rows, cols, quality)
    check(plane.fits(schedule.groups), "number of groups")
    for stage in stages(schedule, rows, cols):
        plane.decode_stage(schedule, stage, pull)
    rans.finish()
    crc = zlib.crc32(z_hat.astype("<i4").tobytes() + plane.y_hat.astype("<i4").tobytes())
    check(crc == tile["crc"], "content CRC")
    return z_hat, plane.y_hat


def decode(data, model):
    """File bytes and :class:`Model` -> (z_hat, y_hat) of every tile, int64 (row, col, channel)."""
    file = parse(data)
    check(file["model_id"], "a stored picture, section 13, has no latents")
    check(file["model_id"] == model.id, "another model")
    return [decode_tile(model, tile, file["quality"], file["schedule"]) for tile in file["tiles"]]
