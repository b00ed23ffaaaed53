"""The demo, the old start ways, a sophon-stream binary and a new algorithm, each as a user would meet it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streamserver.demo import __main__ as demo
from tests.chaos.world import alarm_task, clip
from tests.e2e.harness import PATIENCE_S, PROJECT, ledger, server, task, wait_for

pytestmark = pytest.mark.e2e
MIDDLE = (320, 0, 320, 360)


def test_the_demo_prints_alarms_with_pictures_and_exits_0(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streamserver.demo", "--demo", "--output", str(tmp_path / "out")]
    said = tmp_path / "said"

    def pictures() -> list[str]:
        return re.findall(r"(?:scene|crop) +(\S+\.jpg)\n", said.read_text())

    with said.open("wb") as out:
        process = subprocess.Popen(command, cwd=PROJECT, stdout=out, stderr=out)
    try:
        wait_for(lambda: len(pictures()) >= 2 or process.poll() is not None, "an alarm with pictures", said.read_text)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0, said.read_text()
    finally:
        process.kill()
        process.wait()
    assert len(pictures()) >= 2, said.read_text()
    assert all(Path(picture).stat().st_size > 500 for picture in pictures())
    assert "motion" in said.read_text()


@pytest.mark.parametrize(("alarms", "code"), [(2, 0), (0, 1)])
def test_the_demo_ends_after_its_seconds(monkeypatch: pytest.MonkeyPatch, alarms: int, code: int) -> None:
    monkeypatch.setattr(demo, "_post", lambda url, body: {"Code": 0, "Result": {"State": "RUNNING"}})
    options = SimpleNamespace(seconds=0.3, direction="both", video=None)
    receiver: Any = SimpleNamespace(alarms=alarms, url="http://127.0.0.1:9/alarms")
    server: Any = SimpleNamespace(poll=lambda: None)
    began = time.monotonic()
    assert demo._show(options, receiver, "clip.mp4", MIDDLE, 9, server) == code  # type: ignore[arg-type]
    assert time.monotonic() - began >= options.seconds


def test_the_demo_says_what_is_wrong_with_its_video() -> None:
    command = [sys.executable, "-m", "streamserver.demo", "--demo", "--video", "/no/such.mp4"]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert result.returncode == 2
    assert "'/no/such.mp4' is no file" in result.stderr


def test_a_new_algorithm_runs_at_once(tmp_path: Path, walkers: Path) -> None:
    project = copy_project(tmp_path / "project")
    subprocess.run(
        ["bash", "samples/add_algorithm.sh", "shop_door", "77"], cwd=project, check=True, capture_output=True
    )
    with ledger() as receiver, server(tmp_path / "state", project=project) as one:
        body = task("t", str(walkers), receiver.url, type_=77, extend={"Detector": "motion", "Fps": -1})
        assert one.create(body) == {"Code": 0, "Msg": "success"}
        one.wait_finished("t")
        assert receiver.reports("t")[0]["AnalyzeEvents"][0]["Type"] == 77


def copy_project(target: Path) -> Path:
    """The project without what git does not keep, for a test that changes it."""
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True
    )
    for name in names.stdout.splitlines():
        source = PROJECT / name
        if source.is_file() and not name.startswith("tests/"):
            compiled = source.parent.glob(f"__pycache__/{source.stem}.*.pyc") if source.suffix == ".py" else ()
            for file in (source, *compiled):  # or each of its processes would compile all that it imports
                copy = target / file.relative_to(PROJECT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, copy)
    return target


STAND_IN = '''#!{python}
"""Speaks CONTRACT 4 like sophon-stream's main: reads the demo file, posts each detection with its picture."""
import base64, json, sys, time, urllib.request
from pathlib import Path

demo = json.loads(Path(sys.argv[1].split("=", 1)[1]).read_text())
assert Path.cwd() == Path(sys.argv[1].split("=", 1)[1]).resolve().parent
graph = json.loads(Path(demo["engine_config_path"]).read_text())[0]
configs = [json.loads(Path(element["element_config"]).read_text()) for element in graph["elements"]]
push = next(config["configure"] for config in configs if config["name"] == "http_push")
model = next(config["configure"] for config in configs if config["name"].startswith("yolo"))
assert model["model_path"].startswith("/"), model
url = "http://%s:%d%s" % (push["ip"].replace("0.0.0.0", "127.0.0.1"), push["port"], push["path"])


def post(body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {{"Content-Type": "application/json"}})
    for _ in range(1200):
        try:
            return json.loads(urllib.request.urlopen(request, timeout=60).read())
        except OSError:
            time.sleep(0.05)
    raise SystemExit("nobody listens at " + url)


post({{"error": "SUCCESS"}})
picture = Path({picture!r}).read_bytes()
for frame in range(0, 30, 3):
    post({{
        "mDetectedObjectMetadatas": [
            {{"mBox": {{"mHeight": 60, "mWidth": 40, "mX": 100 + frame, "mY": 80}}, "mClassify": 0, "mScores": [0.9]}}],
        "mTrackedObjectMetadatas": [{{"mTrackId": 5}}],
        "mFps": 0.0, "mGraphId": 0, "mSubId": 0,
        "mFrame": {{"mChannelId": 0, "mEndOfStream": False, "mFrameId": frame, "mHeight": 360, "mWidth": 640,
                   "mTimestamp": 1700000000000000 + frame, "mSpData": base64.b64encode(picture).decode()}}}})
time.sleep(0.5 if demo["channels"][0]["loop_num"] == 1 else 60)
'''


def test_a_sophon_stream_binary_is_driven_with_the_same_files(tmp_path: Path, walkers: Path) -> None:
    import cv2
    import numpy as np

    picture = tmp_path / "picture.jpg"
    picture.write_bytes(cv2.imencode(".jpg", np.full((360, 640, 3), 90, np.uint8))[1].tobytes())
    binary = tmp_path / "stream" / "samples" / "build" / "main"
    binary.parent.mkdir(parents=True)
    binary.write_text(STAND_IN.format(python=sys.executable, picture=str(picture)))
    binary.chmod(0o755)
    config = tmp_path / "stream" / "samples" / "area_intrusion" / "config"
    shutil.copytree(PROJECT / "samples" / "area_intrusion" / "config", config)
    detector = config / "yolox_group.json"
    detector.write_text(detector.read_text().replace("yolox_nano.onnx", "../area_intrusion/models/yolox_s_int8.bmodel"))
    environment = {"STREAMSERVER_STREAM_PATH": str(tmp_path / "stream"), "STREAMSERVER_NURSERIES": "false"}
    with ledger() as receiver, server(tmp_path / "state", environment=environment) as one:
        assert one.create(task("t", str(walkers), receiver.url, type_=6, interval=3))["Code"] == 0
        one.wait_finished("t")
        (report,) = receiver.reports("t")
        assert report["AnalyzeEvents"][0]["Box"]["LeftTopY"] == 80
        assert len(report["AnalyzeEvents"][0]["ImageBase64"]) > 100


def test_server_py_alone_is_enough(tmp_path: Path) -> None:
    from tests.e2e.harness import Server

    one = Server(tmp_path / "state")
    one.state_dir.mkdir()
    environment = {**os.environ, "STREAMSERVER_STATE_DIR": str(one.state_dir)}
    command = [sys.executable, "server.py", "--port", str(one.port), "--is_single_process", "0"]
    with ledger() as receiver, (tmp_path / "out").open("wb") as out:
        one.process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=out, stderr=out)
        try:
            wait_for(one._answers, "the API answers", lambda: (tmp_path / "out").read_text())
            assert one.create(alarm_task("t", clip(tmp_path), [receiver.url], loops=1))["Code"] == 0
            one.wait_finished("t")
            assert len(receiver.reports("t")) == 3
        finally:
            assert one.stop() == 0
        one.wait_gone()
