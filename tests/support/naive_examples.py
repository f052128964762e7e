"""The integer networks once more, as plainly as possible: int64, whole planes, one latent group at a time from all
latents, with those that may not be seen multiplied by zero.

Nothing here is shared with tadan.exact but the numbers of its constants module.
"""

import numpy as np

from tadan.exact import constants as c

SCALES = 64


def shift(total, bits, low, high):
    return np.clip((total + (np.int64(1) << bits >> 1)) >> bits, low, high)


class NaiveTwin:
    """Integer networks of ``model`` (anything with ``config`` and ``tensors``)."""

    def __init__(self, model):
        self.config = model.config
        self.tensors = {
            name[6:]: value.astype(np.int64) for name, value in model.tensors.items() if name.startswith("exact.")
        }

    def layer(self, name, x, low=0, high=c.ACTIVATION_LIMIT, bias=None):
        bias = self.tensors[f"{name}.bias"] if bias is None else bias
        return shift(x @ self.tensors[f"{name}.weight"] + bias, self.tensors[f"{name}.shift"], low, high)

    def conv3(self, name, x, *limits):
        height, width, _ = x.shape
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        rows = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
        return self.layer(name, np.concatenate(rows, axis=2), *limits)

    @staticmethod
    def spread(x):
        """Each position to 2x2: channels are ordered (row, column, channel)."""
        height, width, channels = x.shape
        out = np.empty((2 * height, 2 * width, channels // 4), np.int64)
        for part in range(4):
            out[part // 2 :: 2, part % 2 :: 2] = x[:, :, part * channels // 4 : (part + 1) * channels // 4]
        return out

    def hyper(self, z_hat, quality):
        x = np.clip(z_hat.astype(np.int64), -c.Z_LIMIT, c.Z_LIMIT)
        x = self.spread(self.layer("up1", self.conv3("conv1", x)))
        x = self.spread(self.layer("up2", self.conv3("conv2", x)))
        return self.layer("hyper", x, -c.PRE_LIMIT, c.PRE_LIMIT) + self.tensors["quality.hidden"][quality - 1]

    def channels(self, sizes):
        ends = np.cumsum(sizes)
        return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]

    def everything(self, y_hat, z_hat, schedule, quality):
        """Mean and scale index of all latents, (h, w, latent): each from the latents that the schedule shows it."""
        config, (height, width, _) = self.config, y_hat.shape
        own = config.groups // schedule.groups
        stages = np.repeat(schedule.stage_map(height, width), own, axis=0)
        mean, index = np.zeros_like(y_hat, np.int64), np.zeros_like(y_hat, np.int64)
        for schedule_group in range(schedule.groups):
            hidden = self.hidden(y_hat, z_hat, schedule, schedule_group, quality)
            for group in range(schedule_group * own, (schedule_group + 1) * own):
                order = np.arange(config.groups)[:, None, None]
                seen = (stages < stages[group]) | ((stages == stages[group]) & (order < group))
                term = self.late(y_hat, seen, group)
                act = shift(hidden + term, c.PRE_EXTRA, 0, c.ACTIVATION_LIMIT)
                low, high = np.repeat([-c.Y_LIMIT, 0], config.latent), np.repeat([c.Y_LIMIT, SCALES - 1], config.latent)
                out = self.layer("outlet", act, low, high, self.tensors["quality.outlet"][quality - 1])
                channels = self.channels(config.group_sizes)[group]
                mean[..., channels] = out[..., : config.latent][..., channels]
                index[..., channels] = out[..., config.latent :][..., channels]
        return mean, index

    def late(self, y_hat, seen, group):
        """seen: bool (groups, h, w)."""
        mask = np.repeat(seen, self.config.group_sizes, axis=0).transpose(1, 2, 0)
        values, magnitudes = self.read(y_hat)
        weight = self.tensors["late_in.weight"]
        total = (values * mask) @ weight[0] + (magnitudes * mask) @ weight[1] + self.tensors["late_in.bias"][group]
        late = shift(total, self.tensors["late_in.shift"], 0, c.ACTIVATION_LIMIT)
        out = late @ self.tensors["late_out.weight"][group]
        return shift(out, self.tensors["late_out.shift"][group], -c.PRE_LIMIT, c.PRE_LIMIT)

    def read(self, y_hat):
        y = np.clip(y_hat.astype(np.int64), -c.Y_LIMIT, c.Y_LIMIT)
        return y, self.tensors["magnitude"][np.minimum(np.abs(y), c.MAGNITUDE_ENTRIES - 1)]

    def hidden(self, y_hat, z_hat, schedule, schedule_group, quality):
        config, (height, width, _) = self.config, y_hat.shape
        radius, side = config.radius, 2 * config.radius + 1
        values, magnitudes = self.read(y_hat)
        embedded = np.concatenate(
            [
                self.layer(
                    f"embed{group}",
                    np.concatenate([values[..., own], magnitudes[..., own]], axis=2),
                    -c.EMBED_LIMIT,
                    c.EMBED_LIMIT,
                )
                for group, own in enumerate(self.channels(config.group_sizes))
            ],
            axis=2,
        )
        padded = np.pad(embedded, ((radius, radius), (radius, radius), (0, 0)))
        windows = np.stack([padded[i : i + height, j : j + width] for i in range(side) for j in range(side)], axis=2)
        bases, total = self.tensors["bases.weight"], np.zeros((height, width, config.hidden), np.int64)
        pre = self.hyper(z_hat, quality)[:height, :width]
        for row, col in np.ndindex(height, width):
            visible = schedule.visible(schedule_group, row, col, radius)
            mask = np.repeat(visible, config.groups // schedule.groups, axis=0).reshape(config.groups, -1).T
            state = self.layer("mask_in", mask.ravel().astype(np.int64), 0, c.MASK_LIMIT)
            mixing = self.layer("mask_mix", state, -c.COEFFICIENT_LIMIT, c.COEFFICIENT_LIMIT)
            mixing = np.repeat(mixing.reshape(len(bases), side * side, -1), config.embed_sizes, axis=2)
            kernel = (mixing[..., None] * bases).sum(0)
            kernel = shift(kernel, c.COEFFICIENT_FRACTION, -c.PRE_LIMIT, c.PRE_LIMIT)
            shown = windows[row, col] * np.repeat(mask, config.embed_sizes, axis=1)
            context = shift(
                np.einsum("vf,vfd->d", shown, kernel), self.tensors["bases.shift"], -c.PRE_LIMIT, c.PRE_LIMIT
            )
            total[row, col] = pre[row, col] + context + self.layer("mask_bias", state, -c.PRE_LIMIT, c.PRE_LIMIT)
        return self.layer("hidden", shift(total, c.PRE_EXTRA, 0, c.ACTIVATION_LIMIT), -c.PRE_LIMIT, c.PRE_LIMIT)


def random_latents(rng, config, height, width):
    """y_hat and z_hat in Q6 like those of a picture, and a few beyond every limit."""

    def draw(shape, spread):
        values = np.round(rng.standard_cauchy(shape) * spread * 64)
        return np.clip(values, -(2**20), 2**20).astype(np.int32)

    z_shape = -(-height // 4), -(-width // 4), config.z_channels
    return draw((height, width, config.latent), 1.5), draw(z_shape, 1.0)
