"""The core in C: the same integers as numpy, at the bounds of the proof too, by every kernel, and on hostile bytes."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_examples import GAUSSIAN, TINY, mixture
from tadan import core
from tadan.entropy import coder
from tadan.errors import Corrupt
from tadan.exact.constants import ACTIVATION_LIMIT, EMBED_LIMIT, Y_LIMIT
from tadan.exact.linear import ExactLayer, ExactProduct
from tadan.exact.native import INT16_MAX, chunk_of, core_layer, cut
from tadan.models import load_model
from tadan.schedule import get_schedule
from tadan.team import team

ROOT = Path(__file__).parents[2]
MISSING = core.library() is None and "TADAN_TESTS_NO_SKIP" not in os.environ
pytestmark = pytest.mark.skipif(MISSING, reason="the core was not built, or only its plain C would run")

sizes = st.tuples(st.integers(1, 14), st.integers(1, 70), st.integers(1, 40))  # rows, inputs, outputs


@pytest.fixture(params=["best", "scalar"])
def kernel(request):
    core.library().tadan_force_scalar(int(request.param == "scalar"))
    yield request.param
    core.library().tadan_force_scalar(0)


def by_numpy(x, weight):
    return x.astype(np.int64) @ weight.astype(np.int64)


@pytest.mark.parametrize("limit", [1, ACTIVATION_LIMIT, INT16_MAX, 2**15, Y_LIMIT, 2**19])
@given(sizes, st.integers(0, 2**32 - 1), st.sampled_from([1, 7, 2047, INT16_MAX]), st.booleans())
def test_products_are_those_of_integers(limit, shape, seed, most, extreme):
    rows, inputs, outputs = shape
    rng = np.random.default_rng(seed)
    if extreme:  # everything at its bound: what the proof is about
        weight = rng.choice([-most, most], (inputs, outputs))
        x = rng.choice([-limit, limit], (rows, inputs))
    else:
        weight, x = rng.integers(-most, most + 1, (inputs, outputs)), rng.integers(-limit, limit + 1, (rows, inputs))
    product = core_layer(weight, limit)
    assert product is not None
    for scalar in (0, 1):
        core.library().tadan_force_scalar(scalar)
        for dtype in (np.float32, np.float64):
            np.testing.assert_array_equal(product.product(x.astype(dtype)), by_numpy(x, weight))
    core.library().tadan_force_scalar(0)


def test_parts_and_chunks_fit_their_widths():
    for limit in (1, 2**13 - 1, INT16_MAX, INT16_MAX + 1, Y_LIMIT, 2**24):
        split = cut(limit)
        parts = [(value >> split, value & ((1 << split) - 1)) if split else (value, 0) for value in (-limit, limit)]
        assert all(-INT16_MAX <= part <= INT16_MAX for pair in parts for part in pair)
        weight = np.full((600, 3), INT16_MAX)
        chunk = chunk_of(weight, limit)
        largest = max(abs(part) for pair in parts for part in pair)
        assert chunk == 0 or 2 * chunk * INT16_MAX * largest < 2**31
    assert chunk_of(np.full((2, 2), INT16_MAX + 1), 5) == 0


@given(sizes, st.integers(0, 2**32 - 1), st.integers(0, 31), st.integers(0, 40))
def test_layers_are_those_of_numpy(shape, seed, shift, bias_bits):
    rows, inputs, outputs = shape
    rng = np.random.default_rng(seed)
    weight = rng.integers(-2047, 2048, (inputs, outputs))
    bias = rng.integers(-(2**bias_bits), 2**bias_bits + 1, outputs)
    shifts = np.minimum(rng.integers(0, shift + 1, outputs), 40)
    low, high = rng.integers(-(2**20), 0, outputs), rng.integers(0, 2**20, outputs)
    layer = ExactLayer(weight, bias, shifts, ACTIVATION_LIMIT, low, high)
    assert layer.core is not None
    x = rng.integers(0, ACTIVATION_LIMIT + 1, (rows, inputs)).astype(np.float32)
    other = bias // 3  # that of another quality, say; the layer's own bounds it
    expected, of_other = (layer(x, lambda a, b: a @ b, one) for one in (None, other))  # not np.matmul: not in the core
    for scalar in (0, 1):
        core.library().tadan_force_scalar(scalar)
        np.testing.assert_array_equal(layer(x), expected)
        np.testing.assert_array_equal(layer(x, np.matmul, other), of_other)
        np.testing.assert_array_equal(layer(x[:, ::-1][:, ::-1]), expected)
    core.library().tadan_force_scalar(0)


@pytest.mark.parametrize("name", ["2x2", "4x4-opt-4", "raster", "hyper", "2x2-rotated"])
def test_planes_are_those_of_numpy(name, kernel):
    """Every mean and index of a plane, by the core and without it, for a batch of two."""
    from tadan.latents.coder import LatentCoder

    model, schedule = load_model(), get_schedule(name)
    rng = np.random.default_rng(3)
    z_hat = rng.integers(-900, 900, (2, 2, 3, model.config.z_channels)).astype(np.int32)
    coders = LatentCoder(model, 60, schedule), LatentCoder(model, 60, schedule, lambda a, b: a @ b)
    planes = [one.plane(z_hat, (7, 9)) for one in coders]
    assert [one.in_core for one in planes] == [True, False]
    for ours, theirs in zip(*(one.walk(schedule) for one in planes), strict=True):
        np.testing.assert_array_equal(ours.mean, theirs.mean)
        np.testing.assert_array_equal(ours.index, theirs.index)
        spread = rng.choice([1, 40, 2**14])  # values beyond what the networks read, too
        symbols = rng.integers(-spread, spread + 1, ours.mean.shape).astype(np.int32)
        ours.settle(symbols)
        theirs.settle(symbols)
    np.testing.assert_array_equal(planes[0].y_hat, planes[1].y_hat)


@pytest.mark.parametrize("name", ["2x2", "raster", "2x2-rotated"])
@pytest.mark.parametrize("threads", [1, 3])
def test_whole_steps_are_those_of_numpy(name, threads, kernel):
    """Trials, payloads and latents, with latents beyond the range of symbols; by one thread and by several."""
    from tadan.latents.coder import LatentCoder

    model, schedule, shape = load_model(), get_schedule(name), (11, 13)
    rng = np.random.default_rng(8)
    y = (rng.standard_normal((*shape, model.config.latent)) * rng.choice([0.2, 3, 400, 1e5], (*shape, 1))).astype("f4")
    y[0, 0, :9] = (0.5, -0.5, 1.5, 2.5, np.inf, -np.inf, 1e30, -8192, 8191.5)
    z = rng.standard_normal((3, 4, model.config.z_channels)).astype("f4") * 5
    ours, theirs = LatentCoder(model, 60, schedule), LatentCoder(model, 60, schedule, lambda a, b: a @ b)
    with team(threads):
        trial, expected = (one.price(y, one.round_z(z)[1]) for one in (ours, theirs))
        for part in ("y_hat", "mean", "index"):
            np.testing.assert_array_equal(getattr(trial, part), getattr(expected, part))
        assert trial.bits == pytest.approx(expected.bits, rel=1e-12)
        payload = ours.write(trial, z)
        assert payload.words == theirs.write(expected, z).words
        for latents in ours.decode([payload.words] * 2, shape):
            np.testing.assert_array_equal(latents.y_hat, expected.y_hat)
            assert latents.checksum() == payload.latents.checksum()


@given(st.integers(0, 2**32 - 1), st.integers(2, 120))
@settings(max_examples=40)
def test_noise_in_place_of_latents_ends_alike(seed, words):
    from tadan.latents.coder import LatentCoder

    data = np.random.default_rng(seed).bytes(4 * words)
    results = []
    for rest in ((), (lambda a, b: a @ b,)):
        try:
            [latents] = LatentCoder(load_model(), 60, get_schedule("2x2"), *rest).decode([data], (3, 2))
            results.append(latents.checksum())
        except Corrupt as error:
            results.append(str(error))
    assert results[0] == results[1]


@pytest.mark.parametrize("tables", [GAUSSIAN, TINY])
def test_stages_are_those_of_the_other_coder(tables, monkeypatch):
    rng = np.random.default_rng(5)
    stages = [mixture(rng, n, 3.0) for n in (900, 0, 1, 350)]
    if tables is TINY:
        stages = [(np.clip(symbols, -300, 300), (index % 2).astype(np.uint8)) for symbols, index in stages]
    encoder = coder.StageEncoder(tables)
    for pair in stages:
        encoder.push(*pair)
    data = encoder.finish()
    monkeypatch.setattr(coder, "library", lambda: None)
    without = coder.StageDecoder(tables, data)
    monkeypatch.undo()
    within = coder.StageDecoder(tables, data)
    for symbols, index in stages:
        np.testing.assert_array_equal(within.pull(index), symbols)
        np.testing.assert_array_equal(without.pull(index), symbols)
        assert within._coder.pos() == without._coder.pos()
    within.finish()


@given(st.binary(min_size=8, max_size=80), st.integers(0, 2**32 - 1))
def test_noise_ends_alike_in_both(data, seed):
    """Symbols of bytes that nobody wrote, until they end or are refused: at the same stage and with the same error."""
    data = data[: len(data) // 4 * 4]
    if data[:4] == bytes(4):
        return
    index = np.random.default_rng(seed).integers(0, GAUSSIAN.n_scales, 23).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coder, "library", lambda: None)
        without = coder.StageDecoder(GAUSSIAN, data)
    within = coder.StageDecoder(GAUSSIAN, data)
    for _ in range(40):
        results = []
        for decoder in (within, without):
            try:
                results.append(decoder.pull(index).tolist())
            except Corrupt as error:
                results.append(str(error))
        assert results[0] == results[1]
        if isinstance(results[0], str):
            return


def test_the_environment_chooses():
    script = "from tadan.core import kernel; print(kernel())"
    for value, expected in (("off", "numpy"), ("scalar", "scalar"), ("", core.kernel())):
        line, given = [sys.executable, "-c", script], {"TADAN_CORE": value, "PYTHONPATH": ":".join(sys.path)}
        result = subprocess.run(line, capture_output=True, text=True, check=True, env=given)
        assert result.stdout.strip() == expected


@pytest.mark.parametrize("sees", [True, False])
def test_kernels_that_the_core_cannot_compute_are_numpys(sees, monkeypatch):
    """Mixed weights above 16 bits, which no model of ours has but another may; and kernels that come and go."""
    from tadan.exact import native
    from tadan.latents.coder import LatentCoder

    model, schedule = load_model(), get_schedule("2x2")
    chunk = native.chunk_of
    if sees:  # every product of a window is refused, those of layers are not
        monkeypatch.setattr(native, "chunk_of", lambda w, limit: 0 if limit == EMBED_LIMIT else chunk(w, limit))
    monkeypatch.setattr(model.twin.kernel, "_kept", {})
    z_hat = np.random.default_rng(3).integers(-900, 900, (1, 2, 2, model.config.z_channels)).astype(np.int32)
    coders = LatentCoder(model, 60, schedule), LatentCoder(model, 60, schedule, lambda a, b: a @ b)
    planes = [one.plane(z_hat, (6, 7)) for one in coders]
    for ours, theirs in zip(*(one.walk(schedule) for one in planes), strict=True):
        np.testing.assert_array_equal(ours.mean, theirs.mean)
        np.testing.assert_array_equal(ours.index, theirs.index)
        symbols = np.arange(ours.mean.size, dtype=np.int32).reshape(1, -1) % 17 - 8
        ours.settle(symbols)
        theirs.settle(symbols)
        if not sees:
            model.twin.kernel._kept.clear()


def test_a_bias_that_leaves_32_bits_is_left_to_numpy(monkeypatch):
    twin = load_model().twin
    monkeypatch.delitem(twin.__dict__, "core", raising=False)
    assert twin.core is not None
    monkeypatch.delitem(twin.__dict__, "core")
    monkeypatch.setattr(twin, "_hidden_bias", twin._hidden_bias + 2.0**30)
    assert twin.core is None
    monkeypatch.delitem(twin.__dict__, "core")


def test_without_a_core_products_are_those_of_numpy(monkeypatch):
    monkeypatch.setattr("tadan.exact.native.library", lambda: None)
    assert ExactProduct(np.ones((4, 3), np.int64), 5).core is None


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc to build the core with sanitizers")
@pytest.mark.parametrize("kernel", ["best", "scalar"])
def test_golden_streams_under_sanitizers(kernel, tmp_path):
    """No access out of bounds, no overflow, no undefined shift: on good streams, on damaged ones, on noise."""
    sources, library = sorted((ROOT / "native").glob("tadan_*.c")), tmp_path / "core.so"
    flags = ["-std=c99", "-O1", "-g", "-shared", "-fPIC", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run(["gcc", *flags, "-o", library, *sources, "-lpthread"], check=True, timeout=120)
    asan = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout
    script = """
        import sys
        import numpy as np
        import tadan
        from tadan import core
        from tadan.cli.main import run
        from tadan.entropy import ScaleTables, StageDecoder
        from tadan.errors import Corrupt

        if sys.argv.pop() == "scalar":
            core.library().tadan_force_scalar(1)
        rng, tables = np.random.default_rng(1), ScaleTables.gaussian()
        for _ in range(300):
            data = rng.bytes(4 * int(rng.integers(2, 30)))
            try:
                decoder = StageDecoder(tables, data)
                for _ in range(9):
                    decoder.pull(rng.integers(0, 64, int(rng.integers(0, 40))).astype(np.uint8))
            except Corrupt:
                continue
        picture = rng.integers(0, 256, (75, 178, 3)).astype(np.uint8)
        tadan.Codec(threads=2).encode(picture, effort=2, tile=64, quality=30, fallback=False, verify=True)
        sys.argv = ["tadan", "selftest", "--threads", "2", "-Q"]
        run()
    """
    environment = {**os.environ, "TADAN_CORE": str(library), "LD_PRELOAD": asan.strip(), "OMP_NUM_THREADS": "1"}
    environment |= {"ASAN_OPTIONS": "detect_leaks=0", "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, "-c", textwrap.dedent(script), kernel]
    result = subprocess.run(line, capture_output=True, text=True, timeout=400, env=environment, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


TEAM = """
    #include "tadan_core.h"
    #include <stdio.h>
    static long long sums[16], seen[100000];
    static void work(const void *job, int64_t first, int64_t last, int slot) {
        for (int64_t i = first; i < last; i++) { sums[slot] += ((const int *)job)[0]; seen[i]++; }
    }
    int main(void) {
        for (int threads = 1; threads <= 5; threads += 2) {
            tadan_team *team = tadan_team_start(threads);
            for (int round = 1; round <= 400; round++) {
                const int64_t rows = (int64_t)round * 37 % 3000 + 1;
                for (int i = 0; i < 16; i++) sums[i] = 0;
                for (int64_t i = 0; i < rows; i++) seen[i] = 0;
                tadan_team_run(team, work, &round, rows);
                long long total = 0;
                for (int i = 0; i < 16; i++) total += sums[i];
                for (int64_t i = 0; i < rows; i++) if (seen[i] != 1) return 2;
                if (total != rows * round) return 3;
            }
            tadan_team_end(team);
        }
        return 0;
    }
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc to build the team with a sanitizer")
def test_a_team_does_every_row_once_and_without_a_race(tmp_path):
    program = tmp_path / "team"
    (tmp_path / "main.c").write_text(textwrap.dedent(TEAM))
    sources = [tmp_path / "main.c", ROOT / "native" / "tadan_team.c"]
    flags = ["-std=c99", "-O1", "-g", "-fsanitize=thread", "-I", ROOT / "native"]
    subprocess.run(["gcc", *flags, "-o", program, *sources, "-lpthread"], check=True, timeout=120)
    result = subprocess.run([program], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
