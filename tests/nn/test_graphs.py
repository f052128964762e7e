"""Models: configurations, ONNX graphs against torch, the gradient against autograd, and the way back."""

import copy
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.numpy import load

from model_examples import CONFIG, batch, exported, exported_bytes, float_model, random_model, rounded_as_stored
from tadan.cli.train import parse_settings
from tadan.errors import Corrupt, InvalidInput
from tadan.models import ModelConfig, load_model, read_model, save_model
from tadan.models.model import content_id
from tadan.models.search_rule import AXES
from tadan.models.weights import from_eight_bits
from tadan.nn import transforms
from tadan.nn.layers import gains_of
from tadan.nn.onnx_graph import share_weights, to_eight_bits
from tadan.schedule import get_schedule
from tadan.train.restore import restore
from tadan.train.start import begin

QUALITY = torch.tensor([40.0])
SHAPES = [(1, 1, 1), (1, 3, 5), (2, 4, 3)]  # pictures, rows and columns of y


def run(data, **inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, inputs)


def gains(part):
    rows = [torch.exp(by(QUALITY)).detach().numpy().ravel() for by in gains_of(part)]
    return np.concatenate(rows)[None, :, None, None]


def random_pixels(pictures, rows, cols):
    return np.random.default_rng(rows).integers(0, 256, (pictures, 16 * rows, 16 * cols, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    out = rounded_as_stored(random_model())
    with torch.no_grad():
        for by in (*gains_of(out.g_a), *gains_of(out.g_s)):
            by.values.normal_(0, 0.3)
    return out


# --- configurations ---------------------------------------------------------------------------------------------------


def test_a_configuration_survives_a_file_and_names_its_design():
    for config in (CONFIG, ModelConfig(), load_model("photo").config):
        assert config.to_dict()["design"] == "renderer"
        assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "word"),
    [({"design": "newest"}, "newest.*upgrade"), ({"design": None}, "None.*upgrade"),
     ({"design": ["renderer"]}, "design"), ({"group_sizes": [4, 0]}, "group_sizes"),
     ({"group_sizes": []}, "group_sizes"), ({"group_sizes": [1] * 17, "embed_sizes": [1] * 17}, "group_sizes"),
     ({"embed_sizes": [3, 2, 4]}, "unequal length"), ({"embed_sizes": 5}, "embed_sizes"),
     ({"hyper_widths": [8, 8]}, "hyper_widths"), ({"kernel": 4}, "kernel"), ({"grid": 2.5}, "grid"),
     ({"group_sizes": [2, "2", 4, 8]}, "group_sizes"), ({"lambda_max": float("nan")}, "lambda_max"),
     ({"width": 3}, "width")],
)  # fmt: skip
def test_impossible_sizes_are_named(change, word):
    with pytest.raises(Corrupt, match=word):
        ModelConfig.from_dict({**CONFIG.to_dict(), **change})


def test_a_fresh_model_takes_tuples_of_any_length(tmp_path):
    sizes = parse_settings(["group_sizes=4,12", "embed_sizes=2,3", "grid_blocks=1"], ModelConfig())
    config = begin(tmp_path, None, {}, sizes).config
    assert config == ModelConfig(group_sizes=(4, 12), embed_sizes=(2, 3), grid_blocks=1)
    assert begin(tmp_path, None, {}, {}).config == ModelConfig()
    with pytest.raises(InvalidInput, match="unequal length"):
        begin(tmp_path, None, {}, {"group_sizes": (4, 12)})
    with pytest.raises(InvalidInput, match="other sizes: embed_sizes, grid_blocks, group_sizes"):
        begin(tmp_path, "photo", {}, sizes)


@pytest.mark.parametrize("sizes", [{}, {"grid_blocks": 3, "kernel": 5}, {"body_blocks": 2}])
def test_the_reach_of_a_latent_is_that_of_its_configuration(sizes):
    """A position changed in the middle of a plane changes pixels up to its reach, and none beyond."""
    model, side = random_model(**sizes), 13
    reach = model.config.reach
    y_hat = torch.zeros(1, side, side, model.config.latent)
    changed = y_hat.clone()
    changed[0, side // 2, side // 2] = 5.0
    with torch.no_grad():
        differs = (model.g_s(y_hat, QUALITY) != model.g_s(changed, QUALITY))[0].any(-1).numpy()
    rows = np.flatnonzero(differs.any(1)) // 16 - side // 2
    assert (rows.min(), rows.max()) == (-reach, reach)


@pytest.mark.parametrize("sizes", [{}, {"analysis_blocks": 3, "kernel": 5}], ids=str)
def test_the_reach_of_a_pixel_is_that_of_its_configuration(sizes):
    """Pixels under a position in the middle change latents up to the reach of g_a, and none beyond."""
    model, side = random_model(**sizes), 17
    reach = -(-model.config.analysis_reach // 16)
    picture = torch.rand(1, 16 * side, 16 * side, 3, generator=torch.Generator().manual_seed(4)).double()
    changed = picture.clone()
    middle = slice(16 * (side // 2), 16 * (side // 2 + 1))
    changed[0, middle, middle] = 1 - picture[0, middle, middle]
    g_a = copy.deepcopy(model.g_a).double()
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(transforms, "precise", lambda layer, x: layer(x))  # float32 swallows what many blocks leave
        differs = (g_a(picture, QUALITY) != g_a(changed, QUALITY))[0].any(-1).numpy()
    rows = np.flatnonzero(differs.any(1)) - side // 2
    assert (rows.min(), rows.max()) == (-reach, reach)


# --- graphs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_analysis_graph_computes_what_torch_computes(model, shape):
    pixels = random_pixels(*shape)
    [y] = run(model.g_a.graph(), picture=pixels, gains=gains(model.g_a))
    expected = model.g_a(torch.from_numpy(pixels).float() / 255, QUALITY).detach().numpy()
    np.testing.assert_allclose(y.transpose(0, 2, 3, 1), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_synthesis_graph_shows_what_torch_shows_clipped_and_rounded(model, shape):
    y_hat = 40 * torch.randn(*shape, model.config.latent, generator=torch.Generator().manual_seed(2))
    [shown] = run(model.g_s.graph(), y_hat=y_hat.permute(0, 3, 1, 2).contiguous().numpy(), gains=gains(model.g_s))
    exact = 255 * model.g_s(y_hat, QUALITY).detach().double().numpy()
    assert exact.min() < -5
    assert exact.max() > 260
    assert np.abs(shown - exact.clip(0, 255)).max() < 0.5 + 1e-3


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_gradient_graph_is_the_derivative_of_the_squared_error(model, shape):
    pixels = random_pixels(*shape)
    y_hat = 40 * torch.randn(*shape, model.config.latent, generator=torch.Generator().manual_seed(3))
    y_hat.requires_grad_()
    shown = (255 * model.g_s(y_hat, QUALITY)).clamp(0, 255)
    assert ((shown == 0) | (shown == 255)).any()
    weights = np.random.default_rng(4).uniform(0.1, 3, (*pixels.shape[:1], 4 * shape[1], 4 * shape[2], 3)).astype("f4")
    by_pixel = torch.from_numpy(weights).repeat_interleave(4, 1).repeat_interleave(4, 2)
    errors = by_pixel * ((shown - torch.from_numpy(pixels).float()) @ torch.from_numpy(AXES).float().T).square()
    errors.sum().backward()
    gradient, error = run(
        model.g_s.gradient_graph(),
        y_hat=y_hat.detach().permute(0, 3, 1, 2).contiguous().numpy(),
        gains=gains(model.g_s),
        picture=pixels,
        weights=weights,
    )
    expected = y_hat.grad.permute(0, 3, 1, 2).numpy()
    wrong = np.abs(gradient - expected) > 1e-5 * np.abs(expected).max()
    assert wrong.mean() < 0.1  # those of a sample that rounding moves across a kink of ReLU or of the clip
    assert np.linalg.norm(gradient - expected) < 1e-3 * np.linalg.norm(expected)
    by_row = errors.sum((2, 3)).unflatten(1, (-1, 4)).sum(2)
    np.testing.assert_allclose(error, by_row.detach().numpy(), rtol=1e-4)


@pytest.mark.parametrize("shape", [(5, 64), (3, 20), (2, 32, 1, 1), (4, 1)], ids=str)
def test_eight_bits_keep_weights_to_half_a_step_of_their_group(shape):
    weight = np.random.default_rng(6).standard_normal(shape, np.float32)
    weight[0], weight[1, :1] = 0, 1e-3
    integers, scales = to_eight_bits(weight)
    assert (integers.dtype, integers.shape, scales.dtype) == (np.int8, weight.shape, np.float16)
    back = from_eight_bits(integers, scales)
    steps = scales.astype(np.float64).repeat(weight.size // len(scales)).reshape(shape)
    assert (np.abs(back - weight) <= 0.57 * steps).all()  # the scale is rounded, so the largest may be clipped
    assert (back[weight == 0] == 0).all()
    again = to_eight_bits(back)
    np.testing.assert_array_equal(from_eight_bits(*again), back)


def test_a_graph_stores_its_weights_once_in_half_precision_or_less():
    graph = onnx.load_from_string(float_model().g_s.gradient_graph()).graph
    stored = sum(len(one.raw_data) for one in graph.initializer)
    trained = sum(value.numel() for value in float_model().g_s.parameters())
    flipped = sum(block.spatial.weight.numel() for block in float_model().g_s.blocks)
    assert stored < 2 * (trained + flipped) + 2000


def test_graphs_that_share_their_weights_are_those_written_in_one_piece(model):
    """Every node and every stored tensor, and what they compute, to the last bit."""
    whole = {"g_s": model.g_s.graph(), "g_s_gradient": model.g_s.gradient_graph()}
    rest, weights = share_weights(whole)
    compared = {"picture": random_pixels(1, 2, 3), "weights": np.full((1, 8, 12, 3), 0.5, np.float32)}
    y_hat = 40 * np.random.default_rng(1).standard_normal((1, model.config.latent, 2, 3), np.float32)
    for name, data in whole.items():
        joined, one = (onnx.load_from_string(each) for each in (rest[name] + weights, data))
        for graph in (joined.graph, one.graph):
            graph.initializer.sort(key=lambda tensor: tensor.name)
        assert joined == one
        inputs = {"y_hat": y_hat, "gains": gains(model.g_s)} | (compared if "gradient" in name else {})
        for mine, other in zip(run(rest[name] + weights, **inputs), run(data, **inputs), strict=True):
            np.testing.assert_array_equal(mine, other)
        kept = {one.name.rpartition("_")[0] for one in onnx.load_from_string(rest[name]).graph.initializer}
        assert not {parameter for parameter, _ in model.g_s.named_parameters()} & kept


def test_a_file_holds_the_weights_of_g_s_once():
    tensors, g_s = load(exported_bytes()), float_model().g_s
    elsewhere = {id(by.values) for by in gains_of(g_s)}
    sizes = {name: value.numel() for name, value in g_s.named_parameters() if id(value) not in elsewhere}
    coarse = sum(
        n for name, n in sizes.items() if name.endswith(("expand.weight", "project.weight", "modulate.weight"))
    )
    stored = 2 * sum(sizes.values()) - coarse
    assert coarse > sum(sizes.values()) / 8
    assert stored <= tensors["weights.g_s"].nbytes < stored + coarse / 6 + 4000
    whole = len(g_s.graph()) + len(g_s.gradient_graph())
    parts = sum(tensors[name].nbytes for name in ("graph.g_s", "graph.g_s_gradient", "weights.g_s"))
    assert abs(whole - parts - tensors["weights.g_s"].nbytes) < 16  # lengths of the messages


# --- and back ---------------------------------------------------------------------------------------------------------


def test_a_model_file_gives_its_float_network_back(tmp_path):
    network, half = restore(exported(tmp_path)), rounded_as_stored(float_model())
    for part in ("g_a", "g_s", "entropy.h_a"):
        ours, theirs = network.get_submodule(part), half.get_submodule(part)
        for (name, value), stored in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            if "log_gain" in name:
                assert torch.allclose(value, stored, atol=2e-3), name
            else:
                assert torch.equal(value, stored), name
    picture, quality = batch("chelsea"), torch.tensor([70.0])
    with torch.no_grad():
        losses = [one(picture, quality, get_schedule("2x2")) for one in (network, float_model())]
    measured = (one[:3] for one in losses)
    for mine, other, tolerance in zip(*measured, (0.01, 0.05, 0.01), strict=True):  # scales of z are stored in steps
        assert float((mine / other - 1).abs().max()) < tolerance


@pytest.mark.parametrize("name", ["gain", "inverse_gain", "g_a", "g_s"])
def test_a_file_whose_gains_have_another_length_is_refused(tmp_path, name):
    tensors = load(exported_bytes())
    tensors[f"quality.log_{name}"] = tensors[f"quality.log_{name}"][:, 1:].copy()
    path = tmp_path / "short.safetensors"
    path.write_bytes(save_model(CONFIG, tensors, {}))
    with pytest.raises(Corrupt, match="lacks parts"):
        read_model(path)


@pytest.mark.parametrize("name", ["weights.g_s", "graph.g_s", "graph.g_s_gradient", "graph.h_a"])
def test_a_file_without_a_part_of_a_graph_is_refused(tmp_path, name):
    tensors = load(exported_bytes())
    del tensors[name]
    path = tmp_path / "short.safetensors"
    path.write_bytes(save_model(CONFIG, tensors, {}))
    with pytest.raises(Corrupt, match="lacks parts"):
        read_model(path)


def test_the_content_id_covers_the_shared_weights():
    tensors = load(exported_bytes())
    changed = tensors["weights.g_s"].copy()
    changed[-1] ^= 1
    assert content_id(CONFIG, tensors) != content_id(CONFIG, {**tensors, "weights.g_s": changed})


def test_the_graph_of_another_network_is_refused(tmp_path):
    tensors = load(exported_bytes())
    other = random_model(grid_hidden=16).g_s
    weights = share_weights({"g_s": other.graph(), "g_s_gradient": other.gradient_graph()})[1]
    tensors["weights.g_s"] = np.frombuffer(weights, np.uint8)
    path = tmp_path / "other.safetensors"
    path.write_bytes(save_model(CONFIG, tensors, {}))
    with pytest.raises(Corrupt, match="of another size"):
        restore(read_model(path))
