"""A second decoder of `.tdn` latents, written from docs/SPEC.md alone: integers only, no code of tadan, no shortcut.

It shares neither the library of the coder (constriction) nor the trick of exact floats nor the gathers with the
product. Every stage computes a dense masked window over the whole plane in int64, and rANS runs on Python integers.
Numbers in comments are sections of the specification.
"""

import hashlib
import json
import zlib
from itertools import accumulate

import numpy as np
from safetensors.numpy import load

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
LATENT, PRE, ACTIVATION, EMBEDDING, SYMBOL = 524287, 8388607, 8191, 8191, 8191


class Invalid(Exception):
    """The file or the model breaks a rule of the specification."""


def check(condition, what):
    if not condition:
        raise Invalid(what)


# --- container, 1 to 5 ----------------------------------------------------------------------------------------------


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)  # 0x1EDC6F41 reflected
    return crc ^ 0xFFFFFFFF


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        check(0 <= n <= len(self.data) - self.at, "truncated")
        self.at += n
        return self.data[self.at - n : self.at]

    def u8(self):
        return self.take(1)[0]

    def u32(self):
        return int.from_bytes(self.take(4), "little")

    def varint(self):
        value, shift = 0, 0
        while True:
            byte = self.u8()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                check(byte or shift == 7, "varint not in its shortest form")
                return value
            check(shift < 63, "varint too long")


def parse(data):
    """File bytes -> header fields and tiles (dict)."""
    reader = Reader(data)
    check(reader.take(8) == b"\x89TDN\r\n\x1a\n", "magic")
    check(reader.u8() == 1, "version")
    fields = Reader(reader.take(reader.varint()))
    end = reader.at
    check(reader.u32() == crc32c(data[:end]), "header CRC")
    width, height = fields.varint(), fields.varint()
    mode, quality, model_id, side = fields.u8(), fields.u8(), fields.take(8), fields.varint()
    check(mode <= 3 and 1 <= quality <= 100 and side % 64 == 0, "header field")
    if fields.u8() == 0:
        schedule = fields.take(fields.u8()).decode("ascii")
    else:
        groups, rows, cols = fields.u8(), fields.u8(), fields.u8()
        schedule = [[[fields.varint() for _ in range(cols)] for _ in range(rows)] for _ in range(groups)]
    check(fields.at == len(fields.data), "header length")
    sizes = [
        (min(side or height, height - y), min(side or width, width - x))
        for y in range(0, height, side or height)
        for x in range(0, width, side or width)
    ]
    tiles = []
    while reader.at < len(data):
        start = reader.at
        tag = reader.take(1)
        payload = Reader(reader.take(reader.varint()))
        end = reader.at
        check(reader.u32() == crc32c(data[start:end]), "section CRC")
        if tag == b"T":
            check(len(sizes) == 1 or payload.varint() == len(tiles), "number of the tile")
            latents_crc = payload.u32()
            alpha = payload.take(payload.varint()) if mode >= 2 else None
            tiles.append({"crc": latents_crc, "alpha": alpha, "words": payload.take(len(payload.data) - payload.at)})
    check(len(tiles) == len(sizes), "number of tiles")
    for tile, size in zip(tiles, sizes, strict=True):
        tile["size"] = size
    return {"mode": mode, "quality": quality, "model_id": model_id, "schedule": schedule, "tiles": tiles}


# --- model file, 12 -------------------------------------------------------------------------------------------------


class Model:
    def __init__(self, data):
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        check(header["format"] == "tadan-model" and header["format_version"] == "1", "not a model file")
        self.config = json.loads(header["config"])
        self.tensors = load(data)
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode("ascii"))
        for name in sorted(self.tensors):
            value = self.tensors[name]
            digest.update(f"\0{name}\0{value.dtype.newbyteorder('<').str}\0{value.shape}\0".encode())
            digest.update(value.astype(value.dtype.newbyteorder("<")).tobytes())
        self.id = digest.digest()[:8]
        check(self.id.hex() == header["id"], "content id")
        names = ("latent", "z_channels", "groups", "embed", "radius", "hidden", "bases")
        self.M, self.C, self.G, self.E, self.R, self.D, self.B = (self.config[name] for name in names)
        half_widths, freqs = self.tensors["tables.half_widths"].tolist(), self.tensors["tables.freqs"].tolist()
        ends = list(accumulate(2 * half + 2 for half in half_widths))
        self.tables = [freqs[end - 2 * half - 2 : end] for end, half in zip(ends, half_widths, strict=True)]
        check(len(self.tables) == 64 and len(freqs) == ends[-1], "tables")

    def exact(self, name):
        return self.tensors[f"exact.{name}"].astype(np.int64)


# --- integer networks, 9 --------------------------------------------------------------------------------------------


def rshift(t, n):
    half = (np.int64(1) << n) >> 1
    return (t + half) >> n  # >> of a negative int64 rounds down


def clip(t, lo, hi):
    return np.minimum(np.maximum(t, lo), hi)


def layer(model, name, x, lo, hi):
    total = x @ model.exact(f"{name}.weight") + model.exact(f"{name}.bias")
    return clip(rshift(total, model.exact(f"{name}.shift")), lo, hi)


def conv3x3(model, name, x, lo, hi):
    h, w, _ = x.shape
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    inputs = np.concatenate([padded[a : a + h, b : b + w] for a in range(3) for b in range(3)], axis=2)
    return layer(model, name, inputs, lo, hi)


def d2s(x):
    h, w, channels = x.shape
    m = channels // 4
    out = np.empty((2 * h, 2 * w, m), np.int64)
    for a in range(2):
        for b in range(2):
            out[a::2, b::2] = x[:, :, (2 * a + b) * m : (2 * a + b + 1) * m]
    return out


def hyper_synthesis(model, z_hat, quality):
    """9.3"""
    x = clip(z_hat, -16383, 16383)
    x = conv3x3(model, "conv1", x, 0, ACTIVATION)
    x = d2s(layer(model, "up1", x, 0, ACTIVATION))
    x = conv3x3(model, "conv2", x, 0, ACTIVATION)
    x = d2s(layer(model, "up2", x, 0, ACTIVATION))
    return conv3x3(model, "conv3", x, -PRE, PRE) + model.exact("quality.hidden")[quality - 1]


def mix(model, visible):
    """9.5: visible int (k, k, S) -> masked kernel (k, k, G, E, D), plus (D)."""
    k = 2 * model.R + 1
    bits = visible.repeat(model.G // visible.shape[2], axis=2).reshape(-1)
    state = layer(model, "mask_in", bits, 0, 65535)
    coefficients = layer(model, "mask_mix", state, -32767, 32767).reshape(model.B, -1)
    kernel = sum(c[:, None, None] * base for c, base in zip(coefficients, model.exact("bases.weight"), strict=True))
    kernel = clip(rshift(kernel, np.int64(12)), -PRE, PRE) * bits[:, None, None]
    return kernel.reshape(k, k, model.G, model.E, model.D), layer(model, "mask_bias", state, -PRE, PRE)


class Plane:
    """y_hat of one tile while it is decoded."""

    def __init__(self, model, z_hat, rows, cols, quality):
        self.model, self.rows, self.cols, self.quality = model, rows, cols, quality
        self.pre = hyper_synthesis(model, z_hat, quality)[:rows, :cols]
        self.y_hat = np.zeros((rows, cols, model.M), np.int64)
        margin = 2 * model.R
        self.embedding = np.zeros((rows + margin, cols + margin, model.G, model.E), np.int64)
        self.kernels = {}

    def parameters(self, visible):
        """9.6, of all positions and channels: mean and index, each (rows, cols, M)."""
        model = self.model
        key = visible.tobytes()
        if key not in self.kernels:
            self.kernels[key] = mix(model, visible)
        kernel, plus = self.kernels[key]
        total = np.zeros((self.rows, self.cols, model.D), np.int64)
        for a, b, g in np.ndindex(kernel.shape[:3]):
            if kernel[a, b, g].any():
                total += self.embedding[a : a + self.rows, b : b + self.cols, g] @ kernel[a, b, g]
        context = clip(rshift(total, model.exact("bases.shift")), -PRE, PRE)
        act = clip(rshift(self.pre + context + plus, np.int64(5)), 0, ACTIVATION)
        hidden = layer(model, "hidden", act, 0, ACTIVATION)
        out = hidden @ model.exact("outlet.weight") + model.exact("quality.outlet")[self.quality - 1]
        out = rshift(out, model.exact("outlet.shift"))
        return clip(out[:, :, : model.M], -LATENT, LATENT), clip(out[:, :, model.M :], 0, 63)

    def reveal(self, latents, values, groups):
        """9.4"""
        model = self.model
        for (i, j, channel), value in zip(latents, values, strict=True):
            self.y_hat[i, j, channel] = value
        size = model.M // model.G
        for i, j, g in {(i, j, channel // size) for i, j, channel in latents}:
            own = clip(self.y_hat[i, j, g * size : (g + 1) * size], -LATENT, LATENT)
            own = np.concatenate([own, model.exact("magnitude")[np.minimum(np.abs(own), 65535)]])
            self.embedding[i + model.R, j + model.R, g] = layer(model, f"embed{g}", own, -EMBEDDING, EMBEDDING)


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


# --- entropy coding, 10 ---------------------------------------------------------------------------------------------


class Rans:
    def __init__(self, tables, data):
        check(len(data) % 4 == 0 and len(data) >= 8, "number of words")
        self.words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        check(self.words[0], "first word is zero")
        self.state, self.next = (self.words[0] << 32) + self.words[1], 2
        self.tables = tables

    def entry(self, frequencies):
        """Decode one entry of an alphabet whose frequencies sum to 65536."""
        u, low = self.state % 2**24, 0
        for number, frequency in enumerate(frequencies):
            if u < low + 256 * frequency:
                self.advance(low, 256 * frequency)
                return number
            low += 256 * frequency
        raise Invalid("a table does not sum to 65536")

    def raw(self, k):
        f = 2 ** (23 - k)
        v = self.state % 2**24 // f
        self.advance(v * f, f)
        return v

    def advance(self, c, f):
        self.state = f * (self.state // 2**24) + self.state % 2**24 - c
        if self.state < 2**32:
            check(self.next < len(self.words), "words exhausted")
            self.state = (self.state << 32) + self.words[self.next]
            self.next += 1

    def stage(self, index):
        """10.3: scale indices -> symbols."""
        symbols, escaped = [0] * len(index), []
        for t, frequencies in enumerate(self.tables):
            half = len(frequencies) // 2 - 1
            for n in (n for n, i in enumerate(index) if i == t):
                slot = self.entry(frequencies)
                symbols[n] = slot - half
                if slot == 2 * half + 1:
                    escaped.append(n)
        escaped.sort()
        lengths = [self.entry([2 ** (15 - k) for k in range(12)] + [2] * 8) for _ in escaped]
        for n, k in zip(escaped, lengths, strict=True):
            v = self.raw(k)
            magnitude = len(self.tables[index[n]]) // 2 - 1 + 2**k + v // 2
            symbols[n] = -magnitude if v % 2 else magnitude
        return symbols

    def finish(self):
        check(self.state == 2**32 and self.next == len(self.words), "words left over")


# --- tiles, 8.6 -----------------------------------------------------------------------------------------------------


def in_range(symbols):
    check(all(-SYMBOL <= symbol <= SYMBOL for symbol in symbols), "symbol out of range")
    return symbols


def decode_tile(model, tile, quality, field):
    height, width = tile["size"]
    rows, cols = -(-height // 16), -(-width // 16)
    z_rows, z_cols = -(-rows // 4), -(-cols // 4)
    schedule = Schedule(field, cols)
    check(schedule.groups in (1, model.G), "number of groups")
    rans = Rans(model.tables, tile["words"])
    symbols = in_range(rans.stage(model.exact("quality.z_index")[quality - 1].tolist() * (z_rows * z_cols)))
    z_hat = 64 * np.array(symbols, np.int64).reshape(z_rows, z_cols, -1) + model.exact("quality.z_mean")[quality - 1]
    plane = Plane(model, z_hat, rows, cols, quality)
    size = model.M // schedule.groups
    for stage in stages(schedule, rows, cols):
        predicted = {}
        latents, means, index = [], [], []
        for g, phase, i, j in stage:
            if (g, phase) not in predicted:
                predicted[g, phase] = plane.parameters(schedule.visible(g, i, j, model.R))
            own = range(g * size, (g + 1) * size)
            latents += [(i, j, channel) for channel in own]
            means += predicted[g, phase][0][i, j, own].tolist()
            index += predicted[g, phase][1][i, j, own].tolist()
        symbols = in_range(rans.stage(index))
        values = [64 * symbol + mean for symbol, mean in zip(symbols, means, strict=True)]
        plane.reveal(latents, values, schedule.groups)
    rans.finish()
    crc = zlib.crc32(z_hat.astype("<i4").tobytes() + plane.y_hat.astype("<i4").tobytes())
    check(crc == tile["crc"], "latents CRC")
    return z_hat, plane.y_hat


def decode(data, model):
    """File bytes and :class:`Model` -> (z_hat, y_hat) of every tile, int64 (row, col, channel)."""
    file = parse(data)
    check(any(file["model_id"]), "a stored picture, section 13, has no latents")
    check(file["model_id"] == model.id, "another model")
    return [decode_tile(model, tile, file["quality"], file["schedule"]) for tile in file["tiles"]]
