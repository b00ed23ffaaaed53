"""client.py by hand, with the options of the old server and the samples that are here."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
import requests

from streamserver.core import exitcodes
from tests.business.support import (
    REPOSITORY,
    TAKEN,
    free_port,
    message,
    receiver,
    start,
    wait_until,
    write_config,
)


def run(tmp_path: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(REPOSITORY / "client.py"), *options]
    return start(command, tmp_path, PYTHONPATH="", STREAMSERVER_STATE_DIR=str(tmp_path / "state"))


def test_an_old_command_line_works_with_a_binary_s_messages(tmp_path: Path) -> None:
    port = free_port()
    with receiver() as address:
        options = ["--task_id=任务1", "--type=1", "--host=127.0.0.1", f"--port={port}", f"--url=['{address.url}']"]
        process = run(tmp_path, *options, "--src_id=cam1", "--id=0")
        url = f"http://127.0.0.1:{port}/flask_test/"
        try:
            wait_until(lambda: post(url, {"error": "SUCCESS"}) == {"message": "error", "response": -1}, what="it is up")
            assert post(url, message(0, sequence=None, picture=picture())) == TAKEN
            assert post(url, message(1, [7, 8], sequence=None, picture=picture())) == TAKEN
            wait_until(lambda: address.posts, what="the alarm has come")
        finally:
            process.terminate()
        assert process.wait(120) == exitcodes.FINISHED
        [(headers, [report])] = address.posts
    assert (unquote(headers["X-Task-Id"]), report["TaskID"], report["SrcID"]) == ("任务1", "任务1", "cam1")
    assert report["FrameIndex"] == 1 and report["SceneImageBase64"] == picture()
    assert [event["Type"] for event in report["AnalyzeEvents"]] == [1, 1]
    crops = [decode(event["ImageBase64"]) for event in report["AnalyzeEvents"]]
    assert all(crop is not None and 0 < crop.shape[0] < 360 for crop in crops)
    assert len(list((tmp_path / "state" / "clients").glob(f"{port}-*.sqlite"))) == 1
    assert "listening" in (tmp_path / "client.out").read_text()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--type=12345"], "--type: 12345 is no algorithm; use one of 1 (tripwire)"),
        (["--type=1", "--url=__import__('os').getcwd()"], "is no http or https address"),
        (["--type=1", "--url=[open('pwned', 'w')]"], "is no list"),
        (["--config=missing.json"], "missing.json: cannot be read"),
        (["--what"], "unrecognized arguments: --what"),
    ],
)
def test_a_wrong_command_line_is_exit_code_64_and_a_sentence(tmp_path: Path, options: list[str], problem: str) -> None:
    assert run(tmp_path, *options).wait(120) == exitcodes.USAGE
    said = (tmp_path / "client.out").read_text()
    assert problem in said and "Traceback" not in said
    assert not (tmp_path / "pwned").exists()


def test_a_wrong_setting_is_exit_code_64_and_a_sentence(tmp_path: Path) -> None:
    write_config(tmp_path, [], [(1, "tripwire")])
    command = [sys.executable, str(REPOSITORY / "client.py"), "--config=client.json"]
    assert start(command, tmp_path, STREAMSERVER_LOG_LEVEL="LOUD").wait(120) == exitcodes.USAGE
    assert "STREAMSERVER_LOG_LEVEL: got 'LOUD'" in (tmp_path / "client.out").read_text()


def test_importing_client_and_every_sample_loads_no_picture_or_model_library() -> None:
    program = """if True:
        import json, sys
        import client
        from streamserver import plugins
        for name in plugins.known_types().values():
            plugins.load(name)
        print(json.dumps(sorted(sys.modules)))
    """
    output = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True, capture_output=True).stdout
    assert {"cv2", "onnxruntime", "av", "sqlalchemy", "requests"} & set(json.loads(output)) == set()


def picture() -> str:
    image = np.full((360, 640, 3), 128, np.uint8)
    return base64.b64encode(cv2.imencode(".jpg", image)[1].tobytes()).decode()


def decode(picture_base64: str) -> Any:
    return cv2.imdecode(np.frombuffer(base64.b64decode(picture_base64), np.uint8), cv2.IMREAD_COLOR)


def post(url: str, body: object) -> object:
    try:
        with requests.Session() as session:
            session.trust_env = False
            return session.post(url, json=body, timeout=60).json()
    except requests.ConnectionError:
        return None
