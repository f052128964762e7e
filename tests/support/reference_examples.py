"""The reference decoder beside the product."""

import numpy as np

import reference_decoder as reference


def check_agreement(codec, model, data):
    ours = codec.decode_latents(data)
    theirs = reference.decode(data, model)
    assert len(ours) == len(theirs)
    for one, (z_hat, y_hat) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.z_hat, z_hat)
        np.testing.assert_array_equal(one.y_hat, y_hat)
    return ours
