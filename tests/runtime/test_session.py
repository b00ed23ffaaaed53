"""Opening and running real ONNX files: the smallest that can be written by hand, and real weights."""

import concurrent.futures
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state

from streamserver.core.counters import InferenceTimes
from streamserver.core.errors import DeviceError, ModelError
from streamserver.core.settings import PROJECT_DIR
from streamserver.runtime import session as session_module
from streamserver.runtime.binding import BoundRuns, can_be_bound
from streamserver.runtime.providers import CPU, CUDA, ProviderChoice
from streamserver.runtime.session import OnnxSession, TensorSpec, open_session
from tests import assets
from tests.runtime import onnx_bytes


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """A model with one node: y = x + x."""
    path = tmp_path / "doubling.onnx"
    path.write_bytes(onnx_bytes.model([onnx_bytes.node("Add", ["x", "x"], ["y"])], x=(None, 3), y=(None, 3)))
    return path


def test_a_session_says_what_it_takes_and_gives_and_where_it_runs(doubling: Path) -> None:
    session = open_session(doubling, device="cpu")
    assert session.inputs == (TensorSpec("x", (None, 3), "tensor(float)"),)
    assert session.outputs == (TensorSpec("y", (None, 3), "tensor(float)"),)
    assert (session.name, session.provider) == ("doubling.onnx", "CPUExecutionProvider")


def test_a_session_runs(doubling: Path) -> None:
    (doubled,) = open_session(doubling, threads=2).run({"x": np.array([[1, 2, 3]], dtype=np.float32)})
    assert doubled.tolist() == [[2, 4, 6]]


def test_each_run_is_counted_with_the_file_and_the_device(doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = InferenceTimes()
    monkeypatch.setattr(session_module, "inference_times", times)
    session = open_session(doubling, device="cpu")
    for _ in range(3):
        session.run({"x": np.zeros((1, 3), dtype=np.float32)})
    with pytest.raises(ModelError):
        session.run({})
    ((model, device, told),) = times.told()
    assert (model, device, sum(told[:-1])) == ("doubling.onnx", "cpu", 3), "a run that failed has no time"


@pytest.mark.parametrize(
    "inputs",
    [{}, {"x": np.zeros((1, 4), dtype=np.float32)}, {"x": np.zeros((1, 3))}, {"z": np.zeros((1, 3), dtype=np.float32)}],
)
def test_arrays_that_do_not_fit_are_refused_by_name(doubling: Path, inputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(ModelError, match=r"'doubling.onnx' failed on CPUExecutionProvider"):
        open_session(doubling, device="cpu").run(inputs)


def test_a_failing_gpu_is_no_fault_of_the_model() -> None:
    class Broken:
        def get_inputs(self) -> list[object]:
            return []

        get_outputs = get_inputs

        def run(self, *_: object) -> None:
            raise onnxruntime_pybind11_state.EPFail("out of memory\nstack")

    with pytest.raises(DeviceError, match=r"^'m.onnx' failed on CUDAExecutionProvider: out of memory$"):
        OnnxSession("m.onnx", CUDA, Broken()).run({})


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256))])
def test_a_file_that_is_no_model_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken.onnx' cannot be loaded: .+ verify"):
        open_session(path)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent.onnx' cannot be loaded"):
        open_session(tmp_path / "absent.onnx")


def test_loading_real_weights_writes_nothing_to_the_console() -> None:
    weights = assets.model("yolox_nano.onnx")
    code = (
        "import sys; from pathlib import Path; from streamserver.runtime.session import open_session; "
        "open_session(Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(weights)], cwd=PROJECT_DIR, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def bound(path: Path) -> tuple[Any, BoundRuns]:
    """A file opened for plain runs and, the same session, for bound ones."""
    session = onnxruntime.InferenceSession(str(path), providers=[CPU])
    return session, BoundRuns(session, device="cpu")


@pytest.mark.parametrize(
    "name",
    [
        "yolox_nano",
        "yunet_n_dynamic",
        "lprnet",
        "mobilefacenet_128d",
        "movenet_lightning_int8",
        "fsanet-1x1-iter-688590",
    ],
)
def test_bound_runs_give_what_plain_runs_give(name: str) -> None:
    """Also with shapes that change from run to run, where the file leaves them free."""
    session, runs = bound(assets.model(f"{name}.onnx"))
    assert can_be_bound(session)
    (spec,) = (session_module._spec(node) for node in session.get_inputs())
    rng = np.random.default_rng(0)
    kept = []
    for count, side in ((1, 64), (2, 96), (1, 64)):
        shape = [
            count if i == 0 and size is None else side if size is None else size for i, size in enumerate(spec.shape)
        ]
        array = (rng.random(shape) * 255).astype(np.uint8 if spec.dtype == "tensor(uint8)" else np.float32)
        kept.append((session.run(None, {spec.name: array}), runs.run({spec.name: array})))
    for plain, outputs in kept:
        assert len(plain) == len(outputs)
        for expected, got in zip(plain, outputs, strict=True):
            np.testing.assert_array_equal(got, expected)


def test_bound_runs_of_several_threads_do_not_mix(doubling: Path) -> None:
    _, runs = bound(doubling)

    def run(number: int) -> bool:
        array = np.full((1 + number % 3, 3), number, dtype=np.float32)
        return all(bool((runs.run({"x": array})[0] == 2 * number).all()) for _ in range(50))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(16)))


def test_shapes_without_end_do_not_fill_the_memory(doubling: Path) -> None:
    _, runs = bound(doubling)
    for count in range(1, 100):
        (doubled,) = runs.run({"x": np.ones((count, 3), dtype=np.float32)})
        assert doubled.shape == (count, 3)
    assert len(runs._mine.buffers) <= 16


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"x": np.zeros((1, 4), dtype=np.float32)},
        {"x": np.zeros((1, 3))},
        {"z": np.zeros((1, 3), dtype=np.float32)},
        {"x": np.zeros((1, 3), dtype=np.float32), "z": np.zeros(1, dtype=np.float32)},
    ],
    ids=["none", "shape", "type", "name", "more"],
)
def test_arrays_that_do_not_fit_are_refused_by_bound_runs_too(doubling: Path, inputs: dict[str, np.ndarray]) -> None:
    session, runs = bound(doubling)
    held = OnnxSession("doubling.onnx", CPU, session, bound=runs)
    with pytest.raises(ModelError, match=r"'doubling.onnx' failed on CPUExecutionProvider"):
        held.run(inputs)
    (doubled,) = held.run({"x": np.ones((1, 3), dtype=np.float32)})
    assert doubled.tolist() == [[2, 2, 2]]


@pytest.fixture
def full_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU without room: what is asked of CUDA fails, as ONNX Runtime fails then; the CPU is the real one."""
    real = onnxruntime.InferenceSession

    def open_inference(path: str, options: Any, *, providers: list[Any], **others: Any) -> Any:
        if providers != [CPU]:
            raise onnxruntime_pybind11_state.RuntimeException("CUDA failure 2: out of memory ; GPU=0\nmore")
        return real(path, options, providers=providers, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_inference)
    monkeypatch.setattr(session_module, "choose_providers", lambda device, **_: ProviderChoice(((CUDA, {}), CPU)))


def test_a_gpu_without_room_is_no_fault_of_the_model(full_gpu: None, doubling: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"'doubling.onnx' cannot be loaded on CUDA.* now: CUDA failure 2.*GPU=0$"):
        open_session(doubling, device="cuda")
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"broken.onnx' cannot be loaded"):
        open_session(tmp_path / "broken.onnx", device="cuda")


def test_without_room_on_the_gpu_auto_takes_the_cpu_and_says_so(
    full_gpu: None, doubling: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    session = open_session(doubling, device="auto")
    assert (session.provider, session.best_batch) == (CPU, 1)
    assert session.run({"x": np.ones((1, 3), dtype=np.float32)})[0].tolist() == [[2, 2, 2]]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert caplog.messages[1] == "'doubling.onnx' runs on CPUExecutionProvider (CUDAExecutionProvider failed)"


def test_the_nodes_of_a_model_are_counted_by_who_runs_them(doubling: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = onnxruntime.InferenceSession(str(doubling), options, providers=[CPU])
    assert session_module._count_nodes(session) == {(CPU, "Add"): 1}


def test_a_file_with_free_sides_is_not_for_tensorrt(doubling: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert session_module._engine_folder(doubling, session_module._options(1, quiet=False)) is None
    assert caplog.messages == ["'doubling.onnx' is not for TensorRT: 'x' has free sides; CUDA is asked for"]
