"""Hostile graphs in a model file: none reaches ONNX Runtime, none reads a file, and the error is typed."""

import copy
import random

import numpy as np
import pytest

from codec_examples import CODEC
from photo_examples import photo
from tadan.codec.codec import Codec
from tadan.errors import Corrupt
from tadan.models import load_model, read_model, save_model
from tadan.models.graph_check import PORTS, check_graph
from tadan.models.model import identity

onnx = pytest.importorskip("onnx", reason="hostile graphs are made with the package onnx")
helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto

MODEL = load_model()
DATA = CODEC.encode(photo(), quality=30, effort=0)
G_S = onnx.load_from_string(MODEL.graph("g_s"))
SOURCE, GAINS = (one.name for one in G_S.graph.input)
PICTURE = G_S.graph.output[0].name


def whole(nodes, constants=()):
    """A graph with the ports of g_s."""
    inputs, outputs = list(G_S.graph.input), list(G_S.graph.output)
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializer=list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def before(nodes, constants=()):
    """g_s behind nodes that make `changed` of its latents."""
    model = copy.deepcopy(G_S)
    for node in model.graph.node:
        node.input[:] = ["changed" if name == SOURCE else name for name in node.input]
    own = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *own])
    model.graph.initializer.extend(constants)
    return model


def constant(name, value, dtype=np.int64):
    return numpy_helper.from_array(np.array(value, dtype), name)


def external(location):
    tensor = TensorProto(name="leak", data_type=TensorProto.UINT8, dims=[64], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "64")):
        tensor.external_data.add(key=key, value=value)
    return whole([helper.make_node("Identity", ["leak"], [PICTURE])], [tensor])


def loop():
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["s"], ["t"])],
        "b",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("t", TensorProto.FLOAT, None),
        ],
    )
    node = helper.make_node("Loop", ["most", "true", SOURCE], ["changed"], body=body)
    return before([node], [constant("most", 2**62), constant("true", True, np.bool_)])


def large():
    fill = helper.make_node("ConstantOfShape", ["shape"], ["zeros"], value=helper.make_tensor("v", 1, [1], [0.0]))
    return before([fill], [constant("shape", [2**20, 2**12])])


def padded():
    model = copy.deepcopy(G_S)
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    del conv.attribute[:]
    conv.attribute.extend([helper.make_attribute("pads", [10**6] * 4), helper.make_attribute("group", 384)])
    return model


def with_function():
    model = copy.deepcopy(G_S)
    model.functions.add(name="f", domain="d")
    return model


def other_ports():
    model = copy.deepcopy(G_S)
    del model.graph.input[1]
    return model


def metadata_of(name):
    model = copy.deepcopy(G_S)
    model.graph.node[0].domain = name
    return model


HOSTILE = {
    "external data here": (lambda: external("secret.txt"), "field 1[34]"),
    "external data at an absolute path": (lambda: external("/etc/passwd"), "field 1[34]"),
    "endless loop": (loop, "operator 'Loop'"),
    "enormous tensor": (large, "operator 'ConstantOfShape'"),
    "enormous padding": (padded, "pads of"),
    "operator of a library": (lambda: metadata_of("com.evil"), "com.evil"),
    "local function": (with_function, "field 25"),
    "missing input": (other_ports, "it goes from"),
    "type that no model has": (lambda: before([], [constant("d", 1.0, np.float64)]), "weight of type 11"),
    "too many nodes": (lambda: before([helper.make_node("Relu", [SOURCE], [f"r{i}"]) for i in range(9000)]), "nodes"),
}


def model_with(folder, graph):
    """A model file whose g_s is ``graph``, and the stream that names it."""
    tensors = {**MODEL.tensors, "graph.g_s": np.frombuffer(graph, np.uint8), "weights.g_s": np.zeros(0, np.uint8)}
    path = folder / "hostile.safetensors"
    path.write_bytes(save_model(MODEL.config, tensors, {"name": "hostile"}))
    return read_model(path)


def decoded(folder, graph):
    from codec_examples import with_header

    model = model_with(folder, graph)
    assert identity(model.config, model.tensors)["id"] == model.id_hex
    return Codec(model, threads=1).decode(with_header(DATA, model_id=model.id))


@pytest.mark.parametrize("graph", PORTS)
def test_graphs_of_the_bundled_model_pass(graph):
    check_graph(MODEL.graph(graph), graph)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_graph_is_refused_before_there_is_a_session(name, tmp_path, monkeypatch):
    (tmp_path / "secret.txt").write_bytes(b"secret" * 20)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: pytest.fail("a session was made"))
    make, reason = HOSTILE[name]
    with pytest.raises(Corrupt, match=reason):
        decoded(tmp_path, make().SerializeToString())


@pytest.mark.parametrize("garbage", [b"", b"not onnx at all", b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x7f"])
def test_garbage_is_refused(garbage, tmp_path):
    with pytest.raises(Corrupt, match="graph g_s"):
        decoded(tmp_path, garbage)


@pytest.fixture
def in_onnx_runtime(monkeypatch):
    monkeypatch.setattr("tadan.codec.transforms.runs_in_core", lambda model: False)


@pytest.mark.parametrize("core", [True, False])
def test_what_one_machine_refuses_others_do_not_show(core, tmp_path, monkeypatch):
    """A graph that ONNX Runtime would never see where the core shows pictures."""
    if not core:
        monkeypatch.setattr("tadan.codec.transforms.runs_in_core", lambda model: False)
    with pytest.raises(Corrupt, match=r"com\.evil"):
        decoded(tmp_path, metadata_of("com.evil").SerializeToString())


@pytest.mark.usefixtures("in_onnx_runtime")
def test_a_graph_that_gives_another_size_is_found_out(tmp_path):
    lie = whole([helper.make_node("Identity", ["k"], [PICTURE])], [constant("k", np.zeros((1, 7, 7, 3)), np.uint8)])
    with pytest.raises(Corrupt, match="gives uint8"):
        decoded(tmp_path, lie.SerializeToString())


@pytest.mark.usefixtures("in_onnx_runtime")
def test_a_graph_that_cannot_run_is_a_typed_error(tmp_path):
    sizes = whole([helper.make_node("Gemm", [SOURCE, SOURCE], ["m"]), helper.make_node("Cast", ["m"], [PICTURE], to=2)])
    with pytest.raises(Corrupt, match="does not run"):
        decoded(tmp_path, sizes.SerializeToString())


def test_damaged_graphs_pass_or_are_corrupt():
    """Cut anywhere, and with bytes changed: no other error, no endless walk."""
    data, chance = MODEL.graph("h_a"), random.Random(1)
    for cut in range(0, 300):
        with pytest.raises(Corrupt):
            check_graph(data[:cut], "h_a")
    for _ in range(300):
        changed = bytearray(data)
        for at in (chance.randrange(600), len(data) - 1 - chance.randrange(200)):
            changed[at] = chance.randrange(256)
        try:
            check_graph(bytes(changed), "h_a")
        except Corrupt:
            continue
