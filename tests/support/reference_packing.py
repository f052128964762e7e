"""Packed tensors of a model file, section 12.1 of docs/SPEC.md: part of tests/support/reference_decoder.py."""

import numpy as np

from reference_format import check


def integers(data, shape):
    """Bit by bit: value n is the sum of its bits, the highest of them counted negative."""
    check(data.dtype == np.uint8 and data.ndim == 1 and len(data) > 0, "a packed tensor holds bytes")
    count, w, body = int(np.prod(shape)), int(data[0]), data[1:].astype(np.int64)
    check(2 <= w <= 16 and len(body) == (count * w + 7) // 8, "size of a packed tensor")
    stream = [body[b // 8] >> b % 8 & 1 for b in range(count * w, 8 * len(body))]
    check(not any(stream), "bits behind the last value")
    bit = np.arange(count * w)
    bits = (body[bit // 8] >> bit % 8 & 1).reshape(count, w)
    worth = [2**i for i in range(w - 1)] + [-(2 ** (w - 1))]
    return (bits @ np.array(worth)).reshape(shape)


def row(knots, quality):
    """Python integers of any size; // rounds down."""
    at, last = (quality - 1) * (len(knots) - 1), len(knots) - 1
    low, part = at // 99, at % 99
    pairs = zip(knots[low].tolist(), knots[min(low + 1, last)].tolist(), strict=True)
    return [(below * (99 - part) + above * part + 49) // 99 for below, above in pairs]


def magnitude(gaps):
    check(gaps.dtype == np.uint8 and gaps.ndim == 1 and len(gaps) <= 8191, "table of magnitudes")
    table, at = np.zeros(65536, np.int64), 0
    for gap in gaps.tolist():
        at += gap
        check(at <= 65535, "table of magnitudes")
        table[at:] += 1
    return table


def weight_shapes(config):
    """9.7"""
    A1, A2, A3 = config["hyper_widths"]
    C, D, T, N, B = (config[name] for name in ("z_channels", "hidden", "late", "mask_hidden", "bases"))
    sizes, embeds, k = config["group_sizes"], config["embed_sizes"], 2 * config["radius"] + 1
    G, M, F = len(sizes), sum(sizes), sum(embeds)
    shapes = {
        "conv1": (9 * C, A1),
        "up1": (A1, 4 * A2),
        "conv2": (9 * A2, A2),
        "up2": (A2, 4 * A3),
        "hyper": (A3, D),
        "mask_in": (k * k * G, N),
        "mask_mix": (N, B * k * k * G),
        "mask_bias": (N, D),
        "hidden": (D, D),
        "outlet": (D, 2 * M),
        "late_in": (2, M, T),
        "late_out": (G, T, D),
        "bases": (B, k * k, F, D),
    }
    return shapes | {f"embed{t}": (2 * n, e) for t, (n, e) in enumerate(zip(sizes, embeds, strict=True))}


def unpack(tensors, config):
    """exact.* of a model file -> the tensors of 9.7, without that prefix."""
    out = {name[6:]: value for name, value in tensors.items() if name.startswith("exact.")}
    for name, shape in weight_shapes(config).items():
        out[f"{name}.weight"] = integers(out[f"{name}.weight"], shape)
    widths = {"hidden": config["hidden"], "outlet": 2 * sum(config["group_sizes"]), "z_mean": config["z_channels"]}
    for name, width in ((f"quality.{one}", width) for one, width in widths.items()):
        check(out[name].dtype == np.int32 and out[name].shape == (config["knots"], width), "knots")
        out[name] = np.array([row(out[name], quality) for quality in range(1, 101)])
    out["magnitude"] = magnitude(out["magnitude"])
    return out
