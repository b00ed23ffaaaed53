"""The engine as a real process, with real clips, files and sockets."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamserver.core import exitcodes
from streamserver.core.status import ENGINE_FILE, EngineStatus
from streamserver.vision.codec import encode_jpeg
from tests.assets import model
from tests.elements.receiver import Receiver
from tests.media.clips import picture, write_clip
from tests.worker.tasks import DECODE, push, run_worker, worker, write_task

PATIENCE_S = 90.0
TASK = ("--demo_config_path=demo.json", "--task_dir=.", "--run=key")
YOLOX = {
    "threshold_conf": 0.5,
    "threshold_nms": 0.5,
    "bgr2rgb": True,
    "mean": [0, 0, 0],
    "std": [1, 1, 1],
}


def status_of(folder: Path) -> EngineStatus:
    return EngineStatus.read(folder / ENGINE_FILE) or EngineStatus()


def wait_for(what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def log_of(folder: Path) -> str:
    return (folder / "logs" / "engine.log").read_text()


def test_a_clip_is_decoded_pushed_and_finished(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", frames=10)
    with Receiver() as receiver:
        write_task(tmp_path, clip, [DECODE, push(receiver.port)], sample_interval=3, loop_num=2)
        result = run_worker(tmp_path, *TASK)
    assert (result.returncode, result.stderr) == (exitcodes.FINISHED, "")
    frames = [message["mFrame"] for message in receiver.messages]
    assert [(f["mLoop"], f["mFrameId"], f["mSequence"]) for f in frames] == [
        (loop, frame_id, 4 * loop + number) for loop in range(2) for number, frame_id in enumerate([0, 3, 6, 9])
    ]
    assert receiver.connections == 1
    status = status_of(tmp_path)
    assert (status.run, status.ready, status.source, status.frames, status.loop) == ("key", True, "ended", 8, 1)
    assert status.error == ""
    assert "all channels have ended" in log_of(tmp_path)


def test_pictures_of_a_folder_are_pushed_and_paths_count_from_the_named_folder(tmp_path: Path) -> None:
    task, elsewhere = tmp_path / "build", tmp_path / "elsewhere"
    for folder in (task, elsewhere, tmp_path / "pictures"):
        folder.mkdir()
    for number, size_wh in enumerate([(64, 48), (80, 60), (64, 48)]):
        (tmp_path / "pictures" / f"{number}.jpg").write_bytes(encode_jpeg(picture(number, size_wh)))
    with Receiver() as receiver:
        write_task(task, "../pictures", [DECODE, push(receiver.port)], source_type="IMG_DIR", loop_num=2)
        result = run_worker(elsewhere, f"--demo_config_path={task}/demo.json", f"--base_dir={task}")
    assert result.returncode == exitcodes.FINISHED
    frames = [message["mFrame"] for message in receiver.messages]
    assert [(f["mFrameId"], f["mLoop"], f["mSequence"], f["mTimestamp"]) for f in frames] == [
        (number, number // 3, number, 0) for number in range(6)
    ]
    assert [f["mWidth"] for f in frames] == [64, 80, 64] * 2


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_picture_folder_with_nothing_in_it_ends_the_worker_for_good(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    write_task(tmp_path, name, [DECODE, push(1)], source_type="IMG_DIR", loop_num=-1)
    assert run_worker(tmp_path, *TASK).returncode == exitcodes.SOURCE_MISSING
    assert f"picture folder '{tmp_path}/{name}' " in status_of(tmp_path).error


def test_without_a_task_folder_it_logs_to_stderr_and_leaves_no_file(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.avi", codec="mjpeg", pixel_format="yuvj420p")
    with Receiver() as receiver:
        demo = write_task(tmp_path, clip, [DECODE, push(receiver.port)])
        before = set(tmp_path.rglob("*"))
        result = run_worker(tmp_path, "--demo_config_path", demo.name)
    assert result.returncode == exitcodes.FINISHED
    assert "all channels have ended" in result.stderr
    assert len(receiver.messages) == 10
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_is_not_taken_for_the_end_of_the_file(
    tmp_path: Path, number: signal.Signals
) -> None:
    clip = write_clip(tmp_path / "a.mp4", frames=10)
    with Receiver() as receiver:
        write_task(tmp_path, clip, [DECODE, push(receiver.port)], loop_num=0, fps=25)
        with worker(tmp_path, *TASK) as process:
            wait_for(lambda: len(receiver.messages) > 2, process)
            process.send_signal(number)
            _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -number
    assert stderr == ""
    assert f"{number.name}: stopping" in log_of(tmp_path)
    assert status_of(tmp_path).source == "streaming"


def test_a_signal_ends_it_also_while_the_client_is_away(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        write_task(tmp_path, clip, [DECODE, push(taken.getsockname()[1])])
        with worker(tmp_path, *TASK) as process:
            wait_for(lambda: (tmp_path / "logs/engine.log").exists() and "trying again" in log_of(tmp_path), process)
            process.terminate()
            process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -signal.SIGTERM


def test_it_beats_while_it_runs_and_goes_on_counting_after_a_crash(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", frames=10)
    with Receiver() as receiver:
        write_task(tmp_path, clip, [DECODE, push(receiver.port)], loop_num=10_000, fps=25)
        (tmp_path / "run").mkdir()
        EngineStatus(run="key", frames=1000, loop=41).write(tmp_path / ENGINE_FILE)
        with worker(tmp_path, *TASK) as process:
            wait_for(lambda: status_of(tmp_path).frames > 1005, process)
            first = status_of(tmp_path).beat
            wait_for(lambda: status_of(tmp_path).beat > first, process)
            process.kill()
            process.communicate(timeout=PATIENCE_S)
    assert receiver.messages[0]["mFrame"]["mLoop"] == 40
    assert receiver.messages[0]["mFrame"]["mFrameId"] == 0


def test_a_crash_leaves_tracebacks_of_all_threads_on_stderr(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    with Receiver() as receiver:
        write_task(tmp_path, clip, [DECODE, push(receiver.port)], loop_num=0, fps=25)
        with worker(tmp_path, *TASK) as process:
            wait_for(lambda: receiver.messages, process)
            process.send_signal(signal.SIGABRT)
            _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -signal.SIGABRT
    assert "http_push.py" in stderr or "queues.py" in stderr
    assert stderr.count("Thread 0x") >= 3


def _absent_file(folder: Path) -> None:
    write_task(folder, "/absent/secret.mp4", [DECODE, push(1)])


def _absent_demo(folder: Path) -> None:
    pass


def _broken_json(folder: Path) -> None:
    _absent_file(folder)
    (folder / "engine.json").write_text("[{")


def _unknown_element(folder: Path) -> None:
    write_task(folder, "/a.mp4", [DECODE, ("telepathy", {}), push(1)])


def _wrong_key(folder: Path) -> None:
    write_task(folder, "/a.mp4", [DECODE, push(0)])


def _absent_model(folder: Path) -> None:
    elements = [DECODE, ("yolox_group", {**YOLOX, "model_path": "absent.onnx"}), push(1)]
    write_task(folder, write_clip(folder / "a.mp4"), elements)


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (_absent_file, exitcodes.SOURCE_MISSING, "video file '/absent/secret.mp4' does not exist"),
        (_absent_demo, exitcodes.BAD_GRAPH, "demo.json"),
        (_broken_json, exitcodes.BAD_GRAPH, "engine.json"),
        (_unknown_element, exitcodes.BAD_GRAPH, "telepathy"),
        (_wrong_key, exitcodes.BAD_GRAPH, "port: expected a number from 1 to 65535"),
        (_absent_model, exitcodes.MODEL_MISSING, "absent.onnx"),
    ],
)
def test_what_a_restart_cannot_mend_has_its_exit_code_and_says_why(
    tmp_path: Path, make: Callable[[Path], None], code: int, words: str
) -> None:
    make(tmp_path)
    result = run_worker(tmp_path, *TASK)
    assert result.returncode == code, log_of(tmp_path)
    assert words in status_of(tmp_path).error
    assert words in log_of(tmp_path)
    assert result.stderr == ""


@pytest.mark.parametrize("arguments", [["--nonsense"], ["demo.json"], ["--demo_config_path"], ["--demo=x"]])
def test_a_wrong_command_line_is_told_from_other_failures(tmp_path: Path, arguments: list[str]) -> None:
    result = run_worker(tmp_path, *arguments)
    assert result.returncode == exitcodes.USAGE
    assert "usage: python -m streamserver.worker" in result.stderr


def test_a_wrong_setting_is_told_from_other_failures(tmp_path: Path) -> None:
    result = run_worker(tmp_path, STREAMSERVER_DEVICE="abacus")
    assert result.returncode == exitcodes.USAGE
    assert "STREAMSERVER_DEVICE" in result.stderr


def test_help_names_the_options() -> None:
    result = run_worker(Path("/"), "--help")
    assert result.returncode == 0
    assert "--demo_config_path" in result.stdout


@pytest.mark.parametrize("detector", ["auto", "motion"])
def test_without_weights_motion_takes_the_detectors_place_and_says_so(tmp_path: Path, detector: str) -> None:
    clip = write_clip(tmp_path / "a.mp4", frames=30, size_wh=(320, 240))
    elements = [DECODE, ("yolox_group", {**YOLOX, "model_path": "../data/absent.onnx"})]
    with Receiver() as receiver:
        write_task(tmp_path, clip, [*elements, push(receiver.port, pictures="on_demand")], detector=detector)
        result = run_worker(tmp_path, *TASK)
    assert result.returncode == exitcodes.FINISHED, log_of(tmp_path)
    assert status_of(tmp_path).detector == "motion"
    assert len(receiver.messages) == 30
    assert any("mDetectedObjectMetadatas" in message for message in receiver.messages)
    assert ("WARNING" in log_of(tmp_path)) == (detector == "auto")
    assert ("absent.onnx" in log_of(tmp_path)) == (detector == "auto")


def test_with_weights_auto_runs_the_model(tmp_path: Path) -> None:
    weights = model("yolox_nano.onnx")
    clip = write_clip(tmp_path / "a.mp4", frames=4)
    elements = [DECODE, ("yolox_group", {**YOLOX, "model_path": str(weights)})]
    with Receiver() as receiver:
        write_task(tmp_path, clip, [*elements, push(receiver.port)], detector="auto")
        result = run_worker(tmp_path, *TASK, STREAMSERVER_DEVICE="cpu")
    assert result.returncode == exitcodes.FINISHED, log_of(tmp_path)
    assert status_of(tmp_path).detector.startswith("yolox_nano.onnx on CPU")
    assert len(receiver.messages) == 4


def test_two_algorithms_on_one_source_decode_it_once(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", frames=12)
    with Receiver() as receiver:
        demo = write_task(tmp_path, clip, [DECODE, push(receiver.port)])
        content = json.loads(demo.read_text())
        content["channels"].append({**content["channels"][0], "channel_id": 1, "graph_id": 1, "sample_interval": 4})
        demo.write_text(json.dumps(content))
        graphs = json.loads((tmp_path / "engine.json").read_text())
        (tmp_path / "engine.json").write_text(json.dumps([graphs[0], {**graphs[0], "graph_id": 1}]))
        result = run_worker(tmp_path, *TASK)
    assert result.returncode == exitcodes.FINISHED
    ids = {0: list[int](), 1: list[int]()}
    for message in receiver.messages:
        ids[message["mGraphId"]].append(message["mFrame"]["mFrameId"])
    assert ids == {0: list(range(12)), 1: [0, 4, 8]}
    assert status_of(tmp_path).frames == 12
