"""An engine whose GPU is lost in mid-run: a failure that a restart may mend, told by its reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from streamserver.core import exitcodes
from streamserver.core.status import ENGINE_FILE, EngineStatus
from tests import onnx_files
from tests.elements.receiver import Receiver
from tests.media.clips import write_clip
from tests.worker.tasks import DECODE, PROJECT, environment, push, write_task

LOSE_IT = """
import sys
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail
from streamserver.runtime import session

real, runs = session.OnnxSession.run, []

class Lost:
    def run(self, *_):
        raise EPFail("CUDA failure 719: unspecified launch failure ; GPU=0\\nstack")

def run(self, inputs):
    runs.append(1)
    if len(runs) > 5:
        self.provider, self._session = "CUDAExecutionProvider", Lost()
    return real(self, inputs)

session.OnnxSession.run = run
from streamserver.worker.__main__ import main
sys.exit(main(["--demo_config_path=demo.json", "--task_dir=.", "--run=key"]))
"""


def test_a_gpu_lost_in_mid_run_ends_the_engine_so_that_it_is_started_again(tmp_path: Path) -> None:
    weights = onnx_files.yolov5(tmp_path / "net.onnx", side=64, classes=3)
    network = ("yolov5_group", {"model_path": str(weights), "threshold_conf": 0.5, "threshold_nms": 0.5})
    with Receiver() as receiver:
        write_task(tmp_path, write_clip(tmp_path / "a.mp4", frames=30), [DECODE, network, push(receiver.port)])
        done = subprocess.run(
            [sys.executable, "-c", LOSE_IT],
            cwd=tmp_path,
            env=environment(PYTHONPATH=str(PROJECT)),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    status = EngineStatus.read(tmp_path / ENGINE_FILE)
    assert done.returncode == exitcodes.CRASHED, done.stderr
    assert exitcodes.CRASHED not in exitcodes.PERMANENT
    assert status is not None
    assert (
        status.error
        == "'net.onnx' failed on CUDAExecutionProvider: CUDA failure 719: unspecified launch failure ; GPU=0"
    )
    assert 1 <= len(receiver.messages) <= 5
