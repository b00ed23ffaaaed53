"""Runs on a device with its memory used again: inputs are copied once into buffers that stay there.

On the CPU it gains nothing (docs/performance.md), but works the same, so tests run it there.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import onnxruntime

_MOST_BUFFERS = 16
"""Shapes that a thread keeps buffers for: batches from 1 to 8. A network whose shapes go on changing starts over."""

_Key = tuple[str, tuple[int, ...], str]
"""Name, shape and type of an input."""


class _OfThread(threading.local):
    """What one thread runs with: two runs at a time must not write into the same buffer."""

    def __init__(self, session: Any) -> None:
        self.binding = session.io_binding()
        self.buffers: dict[_Key, Any] = {}


class BoundRuns:
    """Runs of one session by any number of threads.

    Args:
        session: ONNX Runtime's.
        device: where the inputs' buffers lie, in ONNX Runtime's words: ``cuda`` or ``cpu``.
        number: of the GPU.
    """

    def __init__(self, session: Any, *, device: str, number: int = 0) -> None:
        self._session = session
        self._device = device
        self._number = number
        self._inputs = {node.name for node in session.get_inputs()}
        self._outputs = [node.name for node in session.get_outputs()]
        self._mine = _OfThread(session)

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """As ``InferenceSession.run``: one array for each output, in order; the caller's to keep.

        Raises:
            RuntimeError, ValueError: the arrays do not fit, or the device failed.
        """
        if inputs.keys() != self._inputs:
            raise ValueError(f"expected inputs called {sorted(self._inputs)}, got {sorted(inputs)}")
        binding = self._mine.binding
        binding.clear_binding_inputs()
        for name, array in inputs.items():
            buffer = self._buffer(name, array)
            buffer.update_inplace(array)
            binding.bind_ortvalue_input(name, buffer)
        for name in self._outputs:  # each time anew: kept, an output would go on having the shape of the first run
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        outputs: list[npt.NDArray[Any]] = binding.copy_outputs_to_cpu()
        return outputs

    def _buffer(self, name: str, array: npt.NDArray[Any]) -> Any:
        buffers, key = self._mine.buffers, (name, array.shape, array.dtype.str)
        if key not in buffers:
            if len(buffers) >= _MOST_BUFFERS:
                buffers.clear()
            buffers[key] = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
                list(array.shape), array.dtype, self._device, self._number
            )
        return buffers[key]


def can_be_bound(session: Any) -> bool:
    """True where all that goes in and comes out is arrays of numbers."""
    kinds = [node.type for node in (*session.get_inputs(), *session.get_outputs())]
    return all(kind.startswith("tensor(") and kind != "tensor(string)" for kind in kinds)
