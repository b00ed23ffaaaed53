"""What one run of several pictures costs against as many runs of one, and what bound inputs and outputs save."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.clips import cache_dir
from bench.measuring import in_turns, median, spread
from bench.table import Missing, Row, Say
from streamserver.core.errors import StreamServerError
from streamserver.core.settings import load
from streamserver.models.detector import Detector, load_detector
from streamserver.models.store import ModelStore
from streamserver.runtime.binding import BoundRuns
from streamserver.runtime.providers import cuda_device_count
from streamserver.runtime.session import open_session

TITLE = "Batches"
ABOUT = (
    "yolox_nano, 416x416, one thread, its file rewritten with a free or another fixed number of pictures a run. "
    "Figures are for one picture, CPU time of the process on the CPU, wall time on a GPU."
)

COUNT = 4
RUNS = 40
"""Pictures in one measurement."""

_MIN_SCORES = np.full(80, 0.3, dtype=np.float32)


def measure(rounds: int, say: Say) -> list[Row]:
    """The CPU's rows, then the GPU's where there is one."""
    free, fixed = (_rewritten(count) for count in (None, COUNT))
    rows = [_in_one_run(free, rounds, "cpu"), _fixed(fixed, rounds), _bound(rounds)]
    if cuda_device_count() == 0:
        say("no GPU here: its rows are left out")
        return rows
    try:
        rows += [_in_one_run(free, rounds, "cuda", count) for count in (COUNT, 8)]
    except StreamServerError as e:
        say(f"the GPU's rows are left out: {e}")
    return rows


def _in_one_run(path: Path, rounds: int, device: str, count: int = COUNT) -> Row:
    session = open_session(path, device=device)
    name = session.inputs[0].name
    blob = np.random.default_rng(0).random((count, 3, 416, 416), dtype=np.float32) * 255

    def singly() -> None:
        for i in range(count):
            session.run({name: blob[i : i + 1]})

    found = _timed(rounds, {"one": singly, "many": lambda: session.run({name: blob})}, count, _clock(device))
    return _row(f"{device}: {count} pictures in one run", f"{count} runs of one", found["many"], found["one"])


def _fixed(path: Path, rounds: int) -> Row:
    """A file of a fixed batch runs all of it for one picture too."""
    detector: Detector = load_detector(path, family="yolox", device="cpu")
    pictures = [np.random.default_rng(i).integers(0, 256, (360, 640, 3), dtype=np.uint8) for i in range(COUNT)]

    def singly() -> None:
        for picture in pictures:
            detector.look(picture, min_scores=_MIN_SCORES, iou_threshold=0.5)

    def together() -> None:
        detector.look_many(pictures, min_scores=_MIN_SCORES, iou_threshold=0.5)

    found = _timed(rounds, {"one": singly, "many": together}, COUNT, _clock("cpu"))
    title = f"cpu: file of fixed batch {COUNT}, as many frames wait (whole detector)"
    return _row(title, "one frame a run", found["many"], found["one"])


def _bound(rounds: int) -> Row:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(_weights()), options, providers=["CPUExecutionProvider"])
    bound = BoundRuns(session, device="cpu")
    inputs = {session.get_inputs()[0].name: np.random.default_rng(0).random((1, 3, 416, 416), dtype=np.float32) * 255}
    found = _timed(
        rounds, {"one": lambda: session.run(None, inputs), "many": lambda: bound.run(inputs)}, 1, _clock("cpu")
    )
    return _row("cpu: run with bound input and outputs", "plain run", found["many"], found["one"])


def _row(measure: str, yardstick: str, values: list[float], references: list[float]) -> Row:
    return Row(
        measure=measure,
        value=median(values),
        unit="ms",
        yardstick=yardstick,
        reference=median(references),
        remark=f"{spread(values)} against {spread(references)}",
    )


def _clock(device: str) -> Callable[[], float]:
    return time.process_time if device == "cpu" else time.perf_counter


def _timed(
    rounds: int, work: dict[str, Callable[[], Any]], pictures: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Milliseconds a picture of each kind of work, which does so many at a time."""

    def timed(one: Callable[[], Any]) -> float:
        times = max(1, RUNS // pictures)
        start = clock()
        for _ in range(times):
            one()
        return (clock() - start) * 1000 / (times * pictures)

    for one in work.values():
        one()
    return in_turns(rounds, {name: lambda one=one: timed(one) for name, one in work.items()})  # type: ignore[misc]


def _weights() -> Path:
    try:
        found = ModelStore(load()).resolve("yolox_nano", base_dir=Path()).path
        assert isinstance(found, Path)
        return found
    except StreamServerError as e:
        raise Missing(str(e)) from e


def _rewritten(count: int | None) -> Path:
    """The same network for ``count`` pictures a run; ``None`` for any number."""
    from tests.onnx_files import with_batch

    path = cache_dir() / f"yolox_nano_batch_{count or 'free'}.onnx"
    return path if path.is_file() else with_batch(_weights(), path, count)
