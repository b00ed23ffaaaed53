"""Runs a file on a device a few times, for whoever wants to know whether a GPU really works and what it gains."""

from __future__ import annotations

import statistics
import time

import numpy as np

from streamserver.core.model_address import ModelPlace
from streamserver.models.network import DTYPES
from streamserver.runtime.session import TensorSpec, open_session

_RUNS = 20
_FREE_SIDE = 640


def try_on(path: ModelPlace, device: str) -> str:
    """Where a file really runs when ``device`` is asked for, and how long a run takes, in words.

    Raises:
        ModelError: it cannot be opened there, or does not take arrays of numbers.
        DeviceError: the GPU fails, or has no room now.
    """
    session = open_session(path, device=device)
    random = np.random.default_rng(0)
    inputs = {spec.name: (random.random(_shape(spec)) * 255).astype(DTYPES.get(spec.dtype)) for spec in session.inputs}
    session.run(inputs)
    times_ms = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        session.run(inputs)
        times_ms.append((time.perf_counter() - start) * 1000)
    shapes = ", ".join("x".join(map(str, array.shape)) for array in inputs.values())
    return f"{device}: on {session.provider}, {statistics.median(times_ms):.1f} ms a run of {shapes}"


def _shape(spec: TensorSpec) -> list[int]:
    return [(1 if place == 0 else _FREE_SIDE) if side is None else side for place, side in enumerate(spec.shape)]
