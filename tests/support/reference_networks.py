"""Model file and integer networks, sections 9 and 12 of docs/SPEC.md: part of tests/support/reference_decoder.py."""

import hashlib
import json
from itertools import accumulate

import numpy as np
from safetensors.numpy import load

from reference_format import check
from reference_packing import unpack

# 12: tensors that decoders do not read
OTHERS = ("graph.g_a", "graph.h_a", "graph.g_s_gradient", "quality.log_g_a", "quality.log_gain", "search.curvature")
LATENT, PRE, ACTIVATION, EMBEDDING = 524287, 8388607, 8191, 8191


# --- model file, 12 -------------------------------------------------------------------------------------------------


class Model:
    def __init__(self, data):
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        check(header["format"] == "tadan-model" and header["format_version"] == "1", "not a model file")
        self.config = json.loads(header["config"])
        self.interface = json.loads(header["interface"])
        self.tensors = load(data)
        others = {name for name in self.tensors if name in OTHERS or name.startswith("format.")}
        self.id = self.content_id(self.tensors.keys() - others)
        check(self.id.hex() == header["id"], "content id")
        check(header.get("encoder") == (self.content_id(others).hex() if others else None), "id of the encoder")
        check(self.config["design"] == "renderer", "unknown design")
        check(self.interface["context"] == "mixed-kernels" and self.interface["stride"] == 16, "unknown interface")
        self.sizes, self.embeds = self.config["group_sizes"], self.config["embed_sizes"]  # n and e of 9.1
        check(len(self.sizes) == len(self.embeds), "one embedding for each group")
        self.M, self.G, self.T = sum(self.sizes), len(self.sizes), self.config["late"]
        self.C, self.R, self.D, self.B = (self.config[name] for name in ("z_channels", "radius", "hidden", "bases"))
        half_widths, freqs = self.tensors["tables.half_widths"].tolist(), self.tensors["tables.freqs"].tolist()
        ends = list(accumulate(2 * half + 2 for half in half_widths))
        self.tables = [freqs[end - 2 * half - 2 : end] for end, half in zip(ends, half_widths, strict=True)]
        check(len(self.tables) == 64 and len(freqs) == ends[-1], "tables")

        self.unpacked = unpack(self.tensors, self.config)

    def content_id(self, names):
        parts = [json.dumps(facts, sort_keys=True).encode("ascii") for facts in (self.config, self.interface)]
        for name in sorted(names):
            value = self.tensors[name].astype(self.tensors[name].dtype.newbyteorder("<"))
            shape = ",".join(map(str, value.shape))
            parts += [name.encode(), value.dtype.str.encode(), shape.encode(), value.tobytes()]
        return hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in parts)).digest()[:16]

    def exact(self, name):
        return self.unpacked[name].astype(np.int64)


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
    """9.3 up to the input of the layer hyper."""
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


class Plane:
    """y_hat of one tile while it is decoded."""

    def __init__(self, model, z_hat, rows, cols, quality):
        self.model, self.rows, self.cols, self.quality = model, rows, cols, quality
        # 9.3
        pre = layer(model, "hyper", before_the_last_layer(model, z_hat), -PRE, PRE)
        self.pre = (pre + model.exact("quality.hidden")[quality - 1])[:rows, :cols]
        self.y_hat = np.zeros((rows, cols, model.M), np.int64)
        margin = 2 * model.R
        self.emb = np.zeros((rows + margin, cols + margin, sum(model.embeds)), np.int64)
        self.tell = np.zeros((rows, cols, model.G, model.T), np.int64)
        self.windows = {}

    def fits(self, groups):
        """8.3"""
        return self.model.G % groups == 0

    def channels(self, t):
        start = sum(self.model.sizes[:t])
        return range(start, start + self.model.sizes[t])

    def decode_stage(self, schedule, stage, pull):
        """8.5: ``stage`` as of reference_decoder.stages; ``pull``: scale indices -> symbols of one step."""
        own = self.model.G // schedule.groups
        hidden = {}
        for g, phase, i, j in stage:
            if (g, phase) not in hidden:
                hidden[g, phase] = self.hidden(schedule.visible(g, i, j, self.model.R))
        for t in range(self.model.G):
            places = [(phase, i, j) for g, phase, i, j in stage if g == t // own]
            if not places:
                continue
            means, index = [], []
            for phase, i, j in places:
                seen = [self.seen(schedule, own, t, u, i, j) for u in range(self.model.G)]
                mean, scale = self.parameters(hidden[t // own, phase][i, j], t, i, j, seen)
                means += mean.tolist()
                index += scale.tolist()
            values = [64 * symbol + mean for symbol, mean in zip(pull(index), means, strict=True)]
            for (_, i, j), y_hat in zip(places, np.reshape(values, (len(places), -1)), strict=True):
                self.reveal(t, i, j, y_hat)

    @staticmethod
    def seen(schedule, own, t, u, i, j):
        """8.5: whether model group u is decoded before model group t at (i, j)."""
        stage_t, stage_u = (schedule.stage(group // own, i, j) for group in (t, u))
        return stage_u < stage_t or (stage_u == stage_t and u < t)

    def reveal(self, t, i, j, y_hat):
        """9.4"""
        model, channels = self.model, self.channels(t)
        self.y_hat[i, j, channels] = y_hat
        own = clip(y_hat, -LATENT, LATENT)
        log = model.exact("magnitude")[np.minimum(np.abs(own), 65535)]
        start = sum(model.embeds[:t])
        place = slice(start, start + model.embeds[t])
        emb = layer(model, f"embed{t}", np.concatenate([own, log]), -EMBEDDING, EMBEDDING)
        self.emb[i + model.R, j + model.R, place] = emb
        weight = model.exact("late_in.weight")[:, channels]
        self.tell[i, j, t] = own @ weight[0] + log @ weight[1]

    def window(self, visible):
        """9.5: visible int (k, k, S) -> masked kernel (k * k, F, D), plus (D)."""
        model = self.model
        bits, coefficients, plus = mask_state(model, visible)
        # One bit and coefficient for each (w, t), one kernel entry for each (w, p): repeat those of t.
        shown = bits.reshape(-1, model.G).repeat(model.embeds, axis=1)
        coef = coefficients.reshape(model.B, -1, model.G).repeat(model.embeds, axis=2)
        kernel = (coef[..., None] * model.exact("bases.weight")).sum(axis=0)
        return clip(rshift(kernel, np.int64(12)), -PRE, PRE) * shown[..., None], plus

    def hidden(self, visible):
        """9.5: h (rows, cols, D) of all positions, as if all had these visible neighbours."""
        model, k = self.model, 2 * self.model.R + 1
        key = visible.tobytes()
        if key not in self.windows:
            self.windows[key] = self.window(visible)
        kernel, plus = self.windows[key]
        total = np.zeros((self.rows, self.cols, model.D), np.int64)
        for a, b in np.ndindex(k, k):
            total += self.emb[a : a + self.rows, b : b + self.cols] @ kernel[a * k + b]
        context = clip(rshift(total, model.exact("bases.shift")), -PRE, PRE)
        act = clip(rshift(self.pre + context + plus, np.int64(5)), 0, ACTIVATION)
        return layer(model, "hidden", act, -PRE, PRE)

    def parameters(self, h, t, i, j, seen):
        """9.6: mean and scale index of the channels of model group t at (i, j)."""
        model, channels = self.model, np.array(self.channels(t))
        sums = model.exact("late_in.bias")[t] + self.tell[i, j, seen].sum(axis=0)
        late = clip(rshift(sums, model.exact("late_in.shift")), 0, ACTIVATION)
        add = late @ model.exact("late_out.weight")[t]
        add = clip(rshift(add, model.exact("late_out.shift")[t]), -PRE, PRE)
        a = clip(rshift(h + add, np.int64(5)), 0, ACTIVATION)
        out = a @ model.exact("outlet.weight") + model.exact("quality.outlet")[self.quality - 1]
        out = rshift(out, model.exact("outlet.shift"))
        return clip(out[channels], -LATENT, LATENT), clip(out[model.M + channels], 0, 63)
