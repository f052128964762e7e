"""Steps of latent planes as the core takes them, a call each.

numpy needs microseconds for the address of an array, and a step has a dozen: those that stay are asked for once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.core import StepOf
from tadan.exact.native import CoreTwin
from tadan.exact.network import EntropyTwin
from tadan.exact.steps import Step
from tadan.team import Strength

_SCRATCH = (np.int32, np.int32, np.uint8, np.int32)  # means, symbols, indices, order


class CoreSteps:
    """What the steps of one plane, or of several of one size, have in common.

    Args:
        core: integer networks, kept as an attribute.
        twin: whose networks these are.
        quality: 1..100.
        planes: embedded values, late sums and y_hat, each with the planes as its first axis; written to by the core.
    """

    def __init__(self, core: CoreTwin, twin: EntropyTwin, quality: int, planes: Sequence[NDArray[Any]]) -> None:
        self.core, self._sizes, self._planes = core, twin.sizes, planes
        self._biases = [twin.outlet_bias(quality, group) for group in range(twin.sizes.groups)]
        self._of_biases = [tuple(one.ctypes.data for one in pair) for pair in self._biases]
        self._of_planes = [(one.ctypes.data, one.strides[0]) for one in planes]
        self._reserve(0)

    def enter(self, hidden: NDArray[np.int32], rows: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        """Turn to a stage: its hidden layer (planes * n, hidden), positions (n,) and where they are embedded (n,)."""
        self._hidden, self._rows, self._starts = hidden, rows, starts  # the core is given addresses only
        self._of_stage = (hidden.ctypes.data, rows.ctypes.data, starts.ctypes.data)
        values = len(rows) * max(self._sizes.group_sizes)
        if values > len(self._scratch[0]):
            self._reserve(values)

    def open(self, step: Step, read: bool, most: int) -> Iterator[tuple[StepOf, Strength]]:
        """Of each plane what the core needs for a step of the stage; to be done at once.

        Args:
            step: of the stage.
            read: whether a later group reads the late sums of these positions.
            most: largest magnitude of a symbol.
        """
        n, group = len(self._rows), step.group
        hidden, rows, starts = self._of_stage
        for b in range(len(self._planes[0])):
            own = (hidden + b * n * self._hidden.strides[0], rows, starts, *self._of_biases[group])
            planes = (first + b * each for first, each in self._of_planes)
            counts = (n, self._sizes.latent, step.channels.start, group, read, most)
            yield StepOf(self.core.address, *own, *planes, *self._of_scratch, *counts), self.core.strength()

    def predict(self, step: Step) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Mean (Q6) and scale index of a step of the stage, both (planes, n * size of the group)."""
        n = len(self._rows)
        shape = (len(self._planes[0]), n * self._sizes.group_sizes[step.group])
        mean, index = np.empty(shape, np.int32), np.empty(shape, np.uint8)
        hidden, bias = self._hidden.reshape(shape[0], n, -1), self._biases[step.group]
        for b, late in enumerate(self._planes[1]):
            self.core.predict(step.group, hidden[b], late, self._rows, bias, mean[b], index[b])
        return mean, index

    def _reserve(self, values: int) -> None:
        """Make scratch for so many values of a step."""
        self._scratch: list[NDArray[Any]] = [np.empty(values, kind) for kind in _SCRATCH]
        self._of_scratch = tuple(one.ctypes.data for one in self._scratch)
