"""The integer networks once more, as plainly as possible: int64 throughout, whole planes, masks, Python shifts.

Nothing here is shared with tadan.exact but the numbers of its constants module: every position of the plane is
computed for every visibility pattern, from all latents, with those that are not visible multiplied by zero.
"""

import numpy as np

from tadan.exact import constants as c

SCALES = 64


def shift(total, bits, low, high):
    return np.clip((total + (np.int64(1) << bits >> 1)) >> bits, low, high)


class NaiveTwin:
    """Integer networks of ``model`` from the tensors of its file."""

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
        return self.conv3("conv3", x, -c.PRE_LIMIT, c.PRE_LIMIT) + self.tensors["quality.hidden"][quality - 1]

    def parameters(self, y_hat, z_hat, visible, quality):
        """Mean and scale index of all latents (h, w, latent) as if every position had the pattern ``visible``.

        Args:
            y_hat: (h, w, latent); latents that are not visible may hold anything.
            z_hat: (h/4, w/4, z_channels).
            visible: bool (schedule groups, k, k).
            quality: 1..100.
        """
        config, (height, width, _) = self.config, y_hat.shape
        groups, radius, side = config.groups, config.radius, 2 * config.radius + 1
        y = np.clip(y_hat.astype(np.int64), -c.Y_LIMIT, c.Y_LIMIT)
        magnitude = self.tensors["magnitude"][np.minimum(np.abs(y), c.MAGNITUDE_ENTRIES - 1)]
        both = zip(np.split(y, groups, axis=2), np.split(magnitude, groups, axis=2), strict=True)
        embedded = [
            self.layer(f"embed{g}", np.concatenate(pair, axis=2), -c.EMBED_LIMIT, c.EMBED_LIMIT)
            for g, pair in enumerate(both)
        ]
        padded = np.pad(np.stack(embedded, axis=2), ((radius, radius), (radius, radius), (0, 0), (0, 0)))
        windows = np.stack([padded[i : i + height, j : j + width] for i in range(side) for j in range(side)], axis=2)
        mask = np.repeat(visible, groups // len(visible), axis=0).reshape(groups, -1).T.astype(np.int64)
        state = self.layer("mask_in", mask.ravel(), 0, c.MASK_LIMIT)
        mixing = self.layer("mask_mix", state, -c.COEFFICIENT_LIMIT, c.COEFFICIENT_LIMIT)
        bases = self.tensors["bases.weight"]
        kernel = np.einsum("bn,bneh->neh", mixing.reshape(len(bases), -1), bases)
        kernel = shift(kernel, c.COEFFICIENT_FRACTION, -c.PRE_LIMIT, c.PRE_LIMIT).reshape(-1, config.hidden)
        masked = (windows * mask[:, :, None]).reshape(height, width, -1)
        context = shift(masked @ kernel, self.tensors["bases.shift"], -c.PRE_LIMIT, c.PRE_LIMIT)
        pre = self.hyper(z_hat, quality)[:height, :width] + context
        pre += self.layer("mask_bias", state, -c.PRE_LIMIT, c.PRE_LIMIT)
        hidden = self.layer("hidden", shift(pre, c.PRE_EXTRA, 0, c.ACTIVATION_LIMIT))
        low = np.repeat([-c.Y_LIMIT, 0], config.latent)
        high = np.repeat([c.Y_LIMIT, SCALES - 1], config.latent)
        out = self.layer("outlet", hidden, low, high, self.tensors["quality.outlet"][quality - 1])
        return out[:, :, : config.latent], out[:, :, config.latent :]


def channels_of(cell, schedule, latent):
    size = latent // schedule.groups
    return slice(cell.group * size, (cell.group + 1) * size)


def random_latents(rng, config, height, width):
    """y_hat and z_hat in Q6 like those of a picture, and a few beyond every limit."""

    def draw(shape, spread):
        values = np.round(rng.standard_cauchy(shape) * spread * 64)
        return np.clip(values, -(2**20), 2**20).astype(np.int32)

    z_shape = -(-height // 4), -(-width // 4), config.z_channels
    return draw((height, width, config.latent), 1.5), draw(z_shape, 1.0)
