"""Float network and integer twin: who sees whom, gathered against masked, and the export from one to the other."""

import math

import numpy as np
import pytest
import torch

from float_examples import CONFIG, NAMES, batch, exported, float_model, rounded_to_half
from photo_examples import photo, psnr
from tadan.codec.codec import Codec
from tadan.codec.latents import UNIT
from tadan.codec.transforms import Transforms
from tadan.entropy import N_SCALES, SCALE_MIN
from tadan.exact.plane import LatentPlane
from tadan.schedule import get_schedule
from tadan.train.export_first import LOG_STEP
from tadan.train.restore import restore

PLANE = 4, 8
CENTRE = CONFIG.radius
COARSE = {"entropy.z_log_scale.values": LOG_STEP, "entropy.z_mean.values": 1 / 16}  # stored in these steps
FOLDED = {
    f"entropy.{name}" for name in ("context.bases.bias", "context.mask_out.bias", "outlet.bias", "outlet_bias.values")
}


def latents(seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.round(torch.randn(1, PLANE[0] // 4, PLANE[1] // 4, CONFIG.z_channels, generator=generator) * 3)
    return torch.round(torch.randn(1, *PLANE, CONFIG.latent, generator=generator) * 3), z


def predict(y, z, name, quality=60.0):
    with torch.no_grad():
        return float_model().entropy.parameters_for(y, z, get_schedule(name), torch.tensor([quality]))


# --- the float network ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_float_network_notices_visible_latents_only(name):
    schedule, (y, z) = get_schedule(name), latents()
    visible = schedule.visibility(*PLANE, CONFIG.radius)
    size, before = CONFIG.latent // schedule.groups, predict(y, z, name)
    for channel, row, col in [(0, 0, 0), (3, 1, 2), (9, 1, 3), (15, 2, 4), (6, 3, 7), (12, 2, 5)]:
        changed = y.clone()
        changed[0, row, col, channel] += 20
        after = predict(changed, z, name)
        differs = ((after.mean != before.mean) | (after.log_scale != before.log_scale))[0]
        differs = differs.unflatten(-1, (schedule.groups, size)).any(-1).numpy()
        sees = np.zeros_like(differs)
        for i, j, g in np.ndindex(*sees.shape):
            if max(abs(row - i), abs(col - j)) <= CENTRE:
                sees[i, j, g] = visible[g, i, j, channel // size, row - i + CENTRE, col - j + CENTRE]
        assert not (differs & ~sees).any()
        assert differs.any() == sees.any()


@pytest.mark.parametrize("name", [*NAMES, "wavefront"])
def test_gathering_what_is_visible_equals_the_masked_window(name):
    """The float network as the twin computes it: visible neighbours of one cell, one mixed kernel, one product."""
    model, schedule, (y, z) = float_model().entropy, get_schedule(name), latents()
    quality, expected = torch.tensor([60.0]), predict(y, z, "raster" if name == "wavefront" else name)
    context = model.context
    with torch.no_grad():
        hyper, embedded = model.h_s(z), context.embedding(y)
        padded = torch.nn.functional.pad(embedded, (0, 0, 0, 0, CENTRE, CENTRE, CENTRE, CENTRE))[0]
        bases = context.bases.weight.reshape(CONFIG.hidden, CONFIG.bases, CONFIG.visibility_bits, CONFIG.embed)
        for cell in (cell for stage in schedule.plan(*PLANE, CONFIG.radius) for cell in stage):
            bits = cell.visible.repeat(CONFIG.groups // schedule.groups, axis=0).transpose(1, 2, 0)
            coefficients, bias = context.mixing(torch.from_numpy(bits.reshape(-1)).float())
            dy, dx, group = (torch.from_numpy(part) for part in np.nonzero(bits))
            seen = torch.from_numpy(np.flatnonzero(bits))
            kernel = torch.einsum("bn,hbne->neh", coefficients[:, seen], bases[:, :, seen])
            row, col = (torch.from_numpy(part)[:, None] for part in np.divmod(cell.positions, PLANE[1]))
            gathered = padded[row + dy, col + dx, group].flatten(1)
            total = gathered @ kernel.flatten(0, 1) + bias + context.bases.bias
            got = model.parameters_at(hyper[0, row[:, 0], col[:, 0]], total, quality)
            own = slice(cell.group * 16 // schedule.groups, (cell.group + 1) * 16 // schedule.groups)
            for one, whole in zip(got, expected, strict=True):
                torch.testing.assert_close(
                    one.reshape(-1, CONFIG.latent)[:, own], whole[0, row[:, 0], col[:, 0]][:, own], rtol=1e-4, atol=1e-4
                )


# --- export -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "mean_error", "index_error"), [(16, 0.1, 1), (8, 1.0, 6)])
@pytest.mark.parametrize("name", NAMES)
def test_the_twin_is_near_the_float_network(tmp_path, name, bits, mean_error, index_error):
    """Each stage is predicted from the same latents. 16 bits: half a unit of Q6 and the rounding of activations."""
    model, schedule, quality = exported(tmp_path, bits), get_schedule(name), 60
    with torch.no_grad():
        y, z = float_model().analyse(batch("chelsea"), torch.tensor([float(quality)]))
    y, z_hat = torch.round(y), torch.round(z * UNIT).int().numpy()
    expected = predict(y, torch.from_numpy(z_hat / UNIT).float(), name, float(quality))
    plane = LatentPlane(model.twin, z_hat, PLANE, schedule.groups, quality)
    mean = np.zeros((PLANE[0] * PLANE[1], CONFIG.latent))
    index = np.zeros_like(mean)
    size = CONFIG.latent // schedule.groups
    for stage in schedule.plan(*PLANE, CONFIG.radius):
        for cell in stage:
            where = np.ix_(cell.positions, np.arange(cell.group * size, (cell.group + 1) * size))
            one_mean, one_index = plane.predict(cell)
            mean[where], index[where] = one_mean[0] / UNIT, one_index[0]
        for cell in stage:
            rows = (y[0].numpy() * UNIT).astype(np.int32).reshape(-1, CONFIG.latent)[cell.positions]
            plane.reveal(cell, rows[None, :, cell.group * size : (cell.group + 1) * size])
    float_mean = expected.mean[0].numpy().reshape(mean.shape)
    steps = (expected.log_scale[0].numpy().reshape(mean.shape) - math.log(SCALE_MIN)) / LOG_STEP
    assert np.abs(float_mean).max() > 0.5  # else the test says nothing
    assert np.ptp(steps) > 5
    assert np.abs(mean - float_mean).max() < mean_error
    assert np.abs(index - np.clip(np.rint(steps), 0, N_SCALES - 1)).max() <= index_error


def test_graphs_compute_what_torch_computes(tmp_path):
    model, quality = exported(tmp_path), 60
    transforms, picture = Transforms(model, 1), photo("astronaut", 64, 128)
    y, z = transforms.analyse(picture, quality)
    y_hat = np.round(y * UNIT).astype(np.int32)
    shown = transforms.synthesise(y_hat, quality)
    for float_, tolerance, levels in ((rounded_to_half(float_model()), 1e-3, 1), (float_model(), 5e-3, 2)):
        with torch.no_grad():
            parts = float_.analyse(batch("astronaut"), torch.tensor([float(quality)]))
            back = float_.synthesise(torch.from_numpy(y_hat[None] / UNIT).float(), torch.tensor([float(quality)]))
        for got, expected in zip((y, z), parts, strict=True):
            scale = expected.abs().max().item()
            assert np.abs(got - expected[0].numpy()).max() <= tolerance * scale
        pixels = np.rint(np.clip(back[0].numpy() * 255, 0, 255))
        assert np.abs(pixels - shown).max() <= levels
    assert np.ptp(shown) > 20


def test_gains_of_a_model_file_are_those_of_the_network(tmp_path):
    model = exported(tmp_path)
    for quality in (1, 37, 100):
        with torch.no_grad():
            gain = torch.exp(float_model().log_gain(torch.tensor([float(quality)])))[0, 0, 0].numpy()
        np.testing.assert_allclose(model.gain(quality), gain, rtol=1e-5)


@pytest.mark.parametrize("bits", [8, 16])
def test_an_exported_model_codes_and_its_file_is_the_same_each_time(tmp_path, bits):
    model = exported(tmp_path, bits)
    assert model.id == exported(tmp_path, bits).id
    codec, picture = Codec(model, threads=1), photo("coffee")
    for name in NAMES:
        coded = codec.encode_with_estimate(picture, 60, name, verify=True)
        assert codec.decode(coded.data).size == (96, 80)
        assert 8 * len(coded.data) <= 1.01 * coded.estimated_bits + 8 * 64


def test_models_of_other_widths_do_not_decode_each_others_streams(tmp_path):
    narrow, wide = exported(tmp_path, 8), exported(tmp_path, 16)
    assert narrow.id != wide.id
    assert any(not proof.wide for name, proof in narrow.twin.proofs().items() if name != "mask_in")


def test_a_random_network_is_no_codec_but_its_twin_keeps_what_it_codes(tmp_path):
    codec, picture = Codec(exported(tmp_path), threads=1), photo("chelsea")
    first, second = (codec.decode(codec.encode(picture, 60, name)) for name in ("2x2", "raster"))
    assert psnr(first, second) > 20


# --- and back ---------------------------------------------------------------------------------------------------------


def test_a_model_file_gives_its_float_network_back(tmp_path):
    network, original = restore(exported(tmp_path)), float_model()
    for (name, value), trained in zip(network.state_dict().items(), original.state_dict().values(), strict=True):
        if name in FOLDED:
            continue  # sums of two biases are stored; the losses below see them
        half = 1e-3 if ".log_gain" in name else 1e-4  # their exponentials are stored in half precision
        tolerance = COARSE.get(name, 4e-3 * float(trained.abs().max()) + half)
        assert float((value - trained).abs().max()) <= tolerance, name
    picture, quality = batch("chelsea"), torch.tensor([70.0])
    with torch.no_grad():
        ours, theirs = (one(picture, quality, get_schedule("2x2"), hard=True) for one in (network, original))
    for mine, other in zip(ours[:3], theirs[:3], strict=True):
        assert float((mine / other - 1).abs().max()) < 0.01
