"""Weights that several ONNX graphs have in common, stored once.

The bytes of two protobuf messages, one after the other, are one message: embedded messages merge, and repeated fields
continue (https://protobuf.dev/programming-guides/encoding/#last-one-wins). So a model without some of its initializers
and a model of nothing but these are joined by concatenation, and the runtime needs no package for it.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import TensorProto

WEIGHT_TYPES = frozenset({TensorProto.FLOAT16, TensorProto.INT8})  # others are a few numbers each


def share_weights(graphs: Mapping[str, bytes]) -> tuple[dict[str, bytes], bytes]:
    """Cut the weights that are the same in all ``graphs``, under the same name, out of them.

    Args:
        graphs: ONNX models by name.

    Returns:
        the models without these weights, and the weights: ``rest[name] + weights`` is the model again, up to the order
        of its initializers.
    """
    models = {name: onnx.load_from_string(data) for name, data in graphs.items()}
    stored = [{one.name: one.SerializeToString() for one in model.graph.initializer} for model in models.values()]
    fragment = onnx.ModelProto()
    for one in next(iter(models.values())).graph.initializer:
        if one.data_type in WEIGHT_TYPES and all(each.get(one.name) == stored[0][one.name] for each in stored):
            fragment.graph.initializer.append(one)
    common = {one.name for one in fragment.graph.initializer}
    for model in models.values():
        own = [one for one in model.graph.initializer if one.name not in common]
        del model.graph.initializer[:]
        model.graph.initializer.extend(own)
    return {name: bytes(model.SerializeToString()) for name, model in models.items()}, fragment.SerializeToString()
