"""Sessions of ONNX Runtime on the graphs of a model: checked graphs in, typed errors out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.errors import Corrupt, InvalidInput, OutOfMemory
from tadan.models.graph_check import check_graph
from tadan.models.lite import Shows

_MEMORY_WORDS = ("alloc", "out of memory", "not enough memory")
CPU = "CPUExecutionProvider"


class Session:
    """A graph that is ready to run; safe to share between threads.

    Args:
        model: whose graph; or a lite decoder.
        name: ``g_a``, ``h_a``, ``g_s`` or ``g_s_gradient``.
        threads: of one run.
        optimisation: name of a ``GraphOptimizationLevel`` of ONNX Runtime.
        provider: of ONNX Runtime.

    Raises:
        Corrupt: the graph is none of ours, or ONNX Runtime cannot use it.
        OutOfMemory: there is not enough for it.
    """

    def __init__(
        self, model: Shows, name: str, threads: int, optimisation: str = "ORT_ENABLE_ALL", provider: str = CPU
    ) -> None:
        import onnxruntime

        self._name, graph = name, model.graph(name)
        check_graph(graph, name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what goes wrong is raised
        options.enable_mem_pattern = False  # patterns of every size of window would be kept
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, optimisation)
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=[provider])
        except Exception as error:
            raise self._typed(error) from error
        self._inputs = [one.name for one in self._session.get_inputs()]
        # Sessions take turns, and sizes of windows differ: a run keeps nothing for the next.
        self._run_options = onnxruntime.RunOptions()
        if provider == CPU:
            self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def run(self, *values: NDArray[Any]) -> list[NDArray[Any]]:
        """Outputs for the inputs, in the order of the graph.

        Raises:
            OutOfMemory: there is not enough for this size.
            Corrupt: the graph does not run on such inputs, which those of our models do.
        """
        try:
            return list(self._session.run(None, dict(zip(self._inputs, values, strict=True)), self._run_options))
        except Exception as error:
            raise self._typed(error) from error

    def check(self, value: NDArray[Any], shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        """Make sure that an output is what the graphs of our models give.

        Raises:
            Corrupt: it is not.
        """
        if value.shape != shape or value.dtype != dtype:
            raise Corrupt(
                f"the graph {self._name} of the model file gives {value.dtype} {value.shape}, not "
                f"{np.dtype(dtype)} {shape}; fetch or export the model again"
            )

    def _typed(self, error: Exception) -> Exception:
        """The error of ours for one of ONNX Runtime, whose own have no common class."""
        text = str(error)
        if isinstance(error, MemoryError) or any(word in text.lower() for word in _MEMORY_WORDS):
            return OutOfMemory(f"network {self._name}")
        if "ExecutionProvider" in text:
            return InvalidInput(f"ONNX Runtime cannot run {self._name} there: {text[:200]}")
        return Corrupt(f"the graph {self._name} of the model file does not run ({text[:200]}); fetch the model again")
