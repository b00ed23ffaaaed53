"""Opening and running real ONNX files: the smallest that can be written by hand, and real weights."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state

from streamserver.core.errors import DeviceError, ModelError
from streamserver.core.settings import PROJECT_DIR
from streamserver.runtime.providers import CUDA
from streamserver.runtime.session import Session, TensorSpec, open_session
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
        Session("m.onnx", CUDA, Broken()).run({})


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
