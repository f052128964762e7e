"""Model file and integer networks, sections 9 and 12 of docs/SPEC.md: a part of tests/reference_decoder.py."""

import hashlib
import json
from itertools import accumulate

import numpy as np
from safetensors.numpy import load

from reference_format import check

LATENT, PRE, ACTIVATION, EMBEDDING = 524287, 8388607, 8191, 8191


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
        self.design = self.config.get("design", "first")
        if self.design == "first":
            names = ("latent", "groups", "embed")
            self.M, self.G, self.E = (self.config[name] for name in names)
            check(self.M % self.G == 0, "channels of the groups")
        else:
            check(self.design == "renderer", "unknown design")
            self.sizes, self.embeds = self.config["group_sizes"], self.config["embed_sizes"]  # n and e of 9b
            check(len(self.sizes) == len(self.embeds), "one embedding for each group")
            self.M, self.G, self.T = sum(self.sizes), len(self.sizes), self.config["late"]
        self.C, self.R, self.D, self.B = (self.config[name] for name in ("z_channels", "radius", "hidden", "bases"))
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


def before_the_last_layer(model, z_hat):
    """9.3 up to the input of conv3; the design renderer has the same layers there."""
    x = clip(z_hat, -16383, 16383)
    x = conv3x3(model, "conv1", x, 0, ACTIVATION)
    x = d2s(layer(model, "up1", x, 0, ACTIVATION))
    x = conv3x3(model, "conv2", x, 0, ACTIVATION)
    return d2s(layer(model, "up2", x, 0, ACTIVATION))


def mask_state(model, visible):
    """9.5: visible int (k, k, S) -> bits (k * k * G), coefficients (B, k * k * G), plus (D)."""
    bits = visible.repeat(model.G // visible.shape[2], axis=2).reshape(-1)
    state = layer(model, "mask_in", bits, 0, 65535)
    coefficients = layer(model, "mask_mix", state, -32767, 32767).reshape(model.B, -1)
    return bits, coefficients, layer(model, "mask_bias", state, -PRE, PRE)


def mix(model, visible):
    """9.5: visible int (k, k, S) -> masked kernel (k, k, G, E, D), plus (D)."""
    k = 2 * model.R + 1
    bits, coefficients, plus = mask_state(model, visible)
    kernel = sum(c[:, None, None] * base for c, base in zip(coefficients, model.exact("bases.weight"), strict=True))
    kernel = clip(rshift(kernel, np.int64(12)), -PRE, PRE) * bits[:, None, None]
    return kernel.reshape(k, k, model.G, model.E, model.D), plus


class Plane:
    """y_hat of one tile of a model of the first design, while it is decoded."""

    def __init__(self, model, z_hat, rows, cols, quality):
        self.model, self.rows, self.cols, self.quality = model, rows, cols, quality
        pre = conv3x3(model, "conv3", before_the_last_layer(model, z_hat), -PRE, PRE)
        self.pre = (pre + model.exact("quality.hidden")[quality - 1])[:rows, :cols]
        self.y_hat = np.zeros((rows, cols, model.M), np.int64)
        margin = 2 * model.R
        self.embedding = np.zeros((rows + margin, cols + margin, model.G, model.E), np.int64)
        self.kernels = {}

    def fits(self, groups):
        """8.3"""
        return groups in (1, self.model.G)

    def decode_stage(self, schedule, stage, pull):
        """``stage`` as of reference_decoder.stages; ``pull``: scale indices -> symbols, the next of the words."""
        size = self.model.M // schedule.groups
        predicted, latents, means, index = {}, [], [], []
        for g, phase, i, j in stage:
            if (g, phase) not in predicted:
                predicted[g, phase] = self.parameters(schedule.visible(g, i, j, self.model.R))
            own = range(g * size, (g + 1) * size)
            latents += [(i, j, channel) for channel in own]
            means += predicted[g, phase][0][i, j, own].tolist()
            index += predicted[g, phase][1][i, j, own].tolist()
        self.reveal(latents, [64 * symbol + mean for symbol, mean in zip(pull(index), means, strict=True)])

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

    def reveal(self, latents, values):
        """9.4"""
        model = self.model
        for (i, j, channel), value in zip(latents, values, strict=True):
            self.y_hat[i, j, channel] = value
        size = model.M // model.G
        for i, j, g in {(i, j, channel // size) for i, j, channel in latents}:
            own = clip(self.y_hat[i, j, g * size : (g + 1) * size], -LATENT, LATENT)
            own = np.concatenate([own, model.exact("magnitude")[np.minimum(np.abs(own), 65535)]])
            self.embedding[i + model.R, j + model.R, g] = layer(model, f"embed{g}", own, -EMBEDDING, EMBEDDING)
