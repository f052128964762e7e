"""Integer networks of the design ``renderer``, section 9b of docs/SPEC.md: a part of tests/reference_decoder.py."""

import numpy as np

from reference_networks import (
    ACTIVATION,
    EMBEDDING,
    LATENT,
    PRE,
    before_the_last_layer,
    clip,
    layer,
    mask_state,
    rshift,
)


class GroupPlane:
    """y_hat of one tile while it is decoded."""

    def __init__(self, model, z_hat, rows, cols, quality):
        self.model, self.rows, self.cols, self.quality = model, rows, cols, quality
        # 9b.2
        pre = layer(model, "hyper", before_the_last_layer(model, z_hat), -PRE, PRE)
        self.pre = (pre + model.exact("quality.hidden")[quality - 1])[:rows, :cols]
        self.y_hat = np.zeros((rows, cols, model.M), np.int64)
        margin = 2 * model.R
        self.emb = np.zeros((rows + margin, cols + margin, sum(model.embeds)), np.int64)
        self.tell = np.zeros((rows, cols, model.G, model.T), np.int64)
        self.windows = {}

    def fits(self, groups):
        """9b.1"""
        return self.model.G % groups == 0

    def channels(self, t):
        start = sum(self.model.sizes[:t])
        return range(start, start + self.model.sizes[t])

    def decode_stage(self, schedule, stage, pull):
        """9b.1: ``stage`` as of reference_decoder.stages; ``pull``: scale indices -> symbols of one step."""
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
        """9b.1: whether model group u is decoded before model group t at (i, j)."""
        stage_t, stage_u = (schedule.stage(group // own, i, j) for group in (t, u))
        return stage_u < stage_t or (stage_u == stage_t and u < t)

    def reveal(self, t, i, j, y_hat):
        """9b.3"""
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
        """9b.4: visible int (k, k, S) -> masked kernel (k * k, F, D), plus (D)."""
        model = self.model
        bits, coefficients, plus = mask_state(model, visible)
        # One bit and coefficient for each (w, t), one kernel entry for each (w, p): repeat those of t.
        shown = bits.reshape(-1, model.G).repeat(model.embeds, axis=1)
        coef = coefficients.reshape(model.B, -1, model.G).repeat(model.embeds, axis=2)
        kernel = (coef[..., None] * model.exact("bases.weight")).sum(axis=0)
        return clip(rshift(kernel, np.int64(12)), -PRE, PRE) * shown[..., None], plus

    def hidden(self, visible):
        """9b.4: h (rows, cols, D) of all positions, as if all had these visible neighbours."""
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
        """9b.5: mean and scale index of the channels of model group t at (i, j)."""
        model, channels = self.model, np.array(self.channels(t))
        sums = model.exact("late_in.bias")[t] + self.tell[i, j, seen].sum(axis=0)
        late = clip(rshift(sums, model.exact("late_in.shift")), 0, ACTIVATION)
        add = late @ model.exact("late_out.weight")[t]
        add = clip(rshift(add, model.exact("late_out.shift")[t]), -PRE, PRE)
        a = clip(rshift(h + add, np.int64(5)), 0, ACTIVATION)
        out = a @ model.exact("outlet.weight") + model.exact("quality.outlet")[self.quality - 1]
        out = rshift(out, model.exact("outlet.shift"))
        return clip(out[channels], -LATENT, LATENT), clip(out[model.M + channels], 0, 63)
