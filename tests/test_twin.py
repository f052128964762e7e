"""The integer twin of the bundled model: the gathered path against whole masked planes, who sees whom, backends."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from photo_examples import photo
from tadan.codec.codec import Codec
from tadan.codec.latents import decode_latents, encode_latents, plane_shape
from tadan.codec.transforms import Transforms
from tadan.errors import Corrupt, InvalidInput
from tadan.exact.network import EntropyTwin
from tadan.exact.plane import LatentPlane
from tadan.models import load_model
from tadan.schedule import PatternSchedule, get_schedule
from twin_examples import NaiveTwin, channels_of, random_latents

MODEL = load_model()
CONFIG = MODEL.config
INLINE = PatternSchedule([[0, 1, 0], [2, 1, 3]])
BY_NAME = {
    name: get_schedule(name)
    for name in ("hyper", "checkerboard", "2x2", "3x3", "4x4", "4x4-8", "2x2-rotated", "raster", "wavefront")
} | {"inline": INLINE}


def revealed(y_hat, z_hat, schedule, quality=50):
    """A plane that was told all latents, those of later stages included."""
    plane = LatentPlane(MODEL.twin, z_hat[None], y_hat.shape[:2], schedule.groups, quality)
    for stage in schedule.plan(*y_hat.shape[:2], CONFIG.radius):
        for cell in stage:
            rows = y_hat.reshape(-1, CONFIG.latent)[cell.positions, channels_of(cell, schedule, CONFIG.latent)]
            plane.reveal(cell, rows[None])
    return plane


# --- fast path == naive path ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (6, 4)], ids=str)
@pytest.mark.parametrize("name", BY_NAME)
def test_gathered_path_equals_whole_masked_planes_bit_for_bit(name, shape):
    schedule, quality = BY_NAME[name], 1 + 13 * len(name) % 100
    y_hat, z_hat = random_latents(np.random.default_rng(len(name)), CONFIG, *shape)
    naive, known = NaiveTwin(MODEL), {}
    plane = LatentPlane(MODEL.twin, z_hat[None], shape, schedule.groups, quality)
    for stage in schedule.plan(*shape, CONFIG.radius):
        predicted = [plane.predict(cell) for cell in stage]
        for cell, (mean, index) in zip(stage, predicted, strict=True):
            key = cell.visible.tobytes()
            if key not in known:
                known[key] = naive.parameters(y_hat, z_hat, cell.visible, quality)
            own = channels_of(cell, schedule, CONFIG.latent)
            for got, whole in zip((mean, index), known[key], strict=True):
                expected = whole.reshape(-1, CONFIG.latent)[cell.positions, own]
                np.testing.assert_array_equal(got[0], expected, err_msg=f"group {cell.group}")
            assert mean.dtype == np.int32
            assert index.dtype == np.uint8
            plane.reveal(cell, y_hat.reshape(-1, CONFIG.latent)[None, cell.positions, own])
    np.testing.assert_array_equal(plane.y_hat.reshape(y_hat.shape), y_hat)


def test_hyper_synthesis_equals_the_naive_one_at_every_extreme():
    rng = np.random.default_rng(0)
    for z_hat in (
        rng.integers(-9000, 9000, (2, 3, CONFIG.z_channels)),
        np.full((1, 1, CONFIG.z_channels), 2**17),
        np.full((1, 1, CONFIG.z_channels), -(2**17)),
    ):
        got = MODEL.twin.hyper(z_hat[None].astype(np.int32), 100)
        np.testing.assert_array_equal(got[0], NaiveTwin(MODEL).hyper(z_hat, 100))


# --- who sees whom ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_NAME)
def test_only_and_all_visible_latents_are_noticed(name):
    """Change one latent of a plane that holds all of them: exactly who may see it may change."""
    schedule, shape = BY_NAME[name], (5, 6)
    y_hat, z_hat = random_latents(np.random.default_rng(3), CONFIG, *shape)
    y_hat //= 8
    visible = schedule.visibility(*shape, CONFIG.radius)
    cells = [cell for stage in schedule.plan(*shape, CONFIG.radius) for cell in stage]
    before = [revealed(y_hat, z_hat, schedule).predict(cell) for cell in cells]
    size, own = CONFIG.latent // schedule.groups, CONFIG.latent // CONFIG.groups
    for group, row, col in [(schedule.groups - 1, 0, 0), (0, 2, 2), (0, 2, 3), (schedule.groups - 1, 3, 2), (0, 4, 5)]:
        weight = np.abs(MODEL.tensors[f"exact.embed{group * size // own}.weight"].astype(int)).sum(axis=1)
        changed = y_hat.copy()
        changed[row, col, group * size + weight.argmax()] += 40 * 16  # the channel that the context reads best
        plane = revealed(changed, z_hat, schedule)
        noticed = 0
        for cell, (mean, index) in zip(cells, before, strict=True):
            new_mean, new_index = plane.predict(cell)
            differs = ((new_mean != mean) | (new_index != index))[0].any(axis=1)
            for position, different in zip(cell.positions, differs, strict=True):
                dy, dx = row - position // shape[1] + CONFIG.radius, col - position % shape[1] + CONFIG.radius
                inside = 0 <= dy < visible.shape[-1] and 0 <= dx < visible.shape[-1]
                sees = inside and visible[cell.group, *divmod(position, shape[1]), group, dy, dx]
                assert sees or not different, f"{cell.group} {position} notices {group} {row} {col}"
                noticed += different
        everyone = sum(
            visible[g, i, j, group, row - i + CONFIG.radius, col - j + CONFIG.radius]
            for g, i, j in np.ndindex(schedule.groups, *shape)
            if max(abs(row - i), abs(col - j)) <= CONFIG.radius
        )
        assert (noticed > 0) == (everyone > 0)


def test_garbage_where_nothing_is_visible_changes_nothing():
    rng = np.random.default_rng(5)
    for name in ("2x2", "2x2-rotated", "raster"):
        schedule, shape = BY_NAME[name], (4, 5)
        y_hat, z_hat = random_latents(rng, CONFIG, *shape)
        stages = schedule.stage_map(*shape).repeat(CONFIG.latent // schedule.groups, axis=0).transpose(1, 2, 0)
        for number, stage in enumerate(schedule.plan(*shape, CONFIG.radius)):
            later = stages >= np.unique(stages)[number]
            garbage = np.where(later, random_latents(rng, CONFIG, *shape)[0], y_hat)
            planes = revealed(y_hat, z_hat, schedule), revealed(garbage, z_hat, schedule)
            for cell in stage:
                for one, other in zip(*(plane.predict(cell) for plane in planes), strict=True):
                    np.testing.assert_array_equal(one, other)


# --- backends, threads, batches ---------------------------------------------------------------------------------------


def torch_matmul(a, b):
    return torch.from_numpy(a).matmul(torch.from_numpy(b)).numpy()


def einsum_matmul(a, b):
    """Without BLAS, in another order of summation."""
    return np.einsum("nk,km->nm", a[:, ::-1], b[::-1])


@pytest.fixture(scope="module")
def coded():
    """Payloads and latents of three photographs under some schedules."""
    transforms, out = Transforms(MODEL, 1), {}
    for name in ("checkerboard", "2x2", "4x4", "2x2-rotated", "inline", "wavefront"):
        for picture in ("astronaut", "coffee", "chelsea"):
            y, z = transforms.analyse(photo(picture), 60)
            payload, latents, _ = encode_latents(MODEL, y, z, 60, BY_NAME[name])
            out.setdefault(name, []).append((payload, latents))
    return out


@pytest.mark.parametrize("matmul", [np.matmul, torch_matmul, einsum_matmul])
@pytest.mark.parametrize("threads", [1, 2])
def test_decoding_is_the_same_for_every_backend_thread_count_and_batch(coded, matmul, threads):
    shape = plane_shape(96, 80, 16)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads, user_api="blas"):
            # On a busy machine each product of several threads waits for the slowest; few stages say as much.
            for name in coded if threads == 1 and matmul is not einsum_matmul else ("checkerboard",):
                pictures = coded[name]
                payloads = [payload for payload, _ in pictures]
                together = decode_latents(MODEL, payloads, shape, 60, BY_NAME[name], matmul)
                alone = [decode_latents(MODEL, [p], shape, 60, BY_NAME[name], matmul)[0] for p in payloads[:1]]
                for got, (_, expected) in zip(together + alone, [*pictures, pictures[0]], strict=True):
                    np.testing.assert_array_equal(got.y_hat, expected.y_hat)
                    np.testing.assert_array_equal(got.z_hat, expected.z_hat)
                    assert got.checksum() == expected.checksum()
    finally:
        torch.set_num_threads(before)


def test_a_large_picture_encodes_to_the_same_bytes_on_every_backend():
    """Large enough that BLAS and torch do share the work between threads."""
    picture = photo("astronaut", 256, 320)
    codecs = [Codec(MODEL, threads=threads, matmul=m) for threads in (1, 2) for m in (np.matmul, torch_matmul)]
    checksums = {codec.verify(codecs[0].encode(picture, 80, "2x2")).tiles for codec in codecs}
    assert len(checksums) == 1


def test_one_damaged_payload_of_a_batch_is_reported(coded):
    payloads = [payload for payload, _ in coded["2x2"]]
    with pytest.raises(Corrupt):
        decode_latents(MODEL, [payloads[0], payloads[1][:-4], payloads[2]], (5, 6), 60, BY_NAME["2x2"])


def test_wavefront_has_the_symbols_and_probabilities_of_raster():
    codec, picture = Codec(MODEL, threads=1), photo("coffee")
    raster, wavefront = (codec.encode_with_estimate(picture, 60, name) for name in ("raster", "wavefront"))
    first, second = (codec.decode_latents(one.data)[0] for one in (raster, wavefront))
    np.testing.assert_array_equal(first.y_hat, second.y_hat)
    assert first.checksum() == second.checksum()
    assert raster.estimated_bits == pytest.approx(wavefront.estimated_bits, rel=1e-9)
    assert abs(len(raster.data) - len(wavefront.data)) <= 12  # 3 for the name, the rest for whole words


# --- a twin that cannot be built --------------------------------------------------------------------------------------


def test_every_layer_is_proven():
    proofs = MODEL.twin.proofs()
    assert set(proofs) >= {"conv1", "up1", "conv2", "up2", "conv3", "embed0", "mask_mix", "hidden", "outlet"}
    assert all(proof.bound < (2**53 if proof.wide else 2**24) for proof in proofs.values())


def exact_arrays(**changed):
    arrays = {name[6:]: value for name, value in MODEL.tensors.items() if name.startswith("exact.")} | changed
    return {name: value for name, value in arrays.items() if value is not None}


NAMES = sorted(exact_arrays())


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_tensor_is_named(name):
    with pytest.raises(Corrupt, match=rf"exact\.{name}"):
        EntropyTwin(exact_arrays(**{name: None}), MODEL.twin.sizes)


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_of_another_shape_is_refused(name):
    right = exact_arrays()[name]
    for wrong in (right[:0], right[..., :-1], right[None], right.ravel()[0], np.concatenate([right, right])):
        with pytest.raises(Corrupt, match="fetch"):
            EntropyTwin(exact_arrays(**{name: wrong}), MODEL.twin.sizes)


def test_schedules_that_the_model_cannot_follow_are_refused():
    for groups in (2, 3, 8):
        pattern = PatternSchedule(np.arange(groups)[:, None, None])
        with pytest.raises(InvalidInput, match="groups"):
            Codec(MODEL).encode(photo(), 50, pattern)


def test_kernels_are_cached_up_to_a_bound(monkeypatch):
    rng, first = np.random.default_rng(0), np.zeros((1, 5, 5), bool)
    twin = EntropyTwin(exact_arrays(), MODEL.twin.sizes)
    kernel = twin.kernel(first)
    assert twin.kernel(first.copy()) is kernel
    monkeypatch.setattr("tadan.exact.network.MAX_KERNEL_BYTES", 10**7)
    for _ in range(30):
        latest = twin.kernel(rng.random((1, 5, 5)) < 0.3)
        assert sum(kept.nbytes for kept in twin._kernels.values()) <= 10**7 + latest.nbytes
    assert len(twin._kernels) > 1
    assert twin.kernel(first) is not kernel
