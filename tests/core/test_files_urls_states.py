"""The small modules of core: files, addresses, states, exit codes, errors, logs, arrays, status."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from streamserver.core import exitcodes, logs
from streamserver.core.arrays import Detections
from streamserver.core.errors import BadRequestError, StreamServerError, TaskNotFoundError, TaskNotRunningError
from streamserver.core.files import new_key, read_json, write_atomically, write_json
from streamserver.core.states import ALIVE, ENDED, TaskState, may_follow, wire_status
from streamserver.core.status import ClientStatus, EngineStatus
from streamserver.core.urls import is_http_url, local_path, mask_credentials, source_type


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_is_replaced_whole_and_no_temporary_file_stays(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"one")
    write_atomically(path, b"two", sync=sync)
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a"]


def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError):
        write_atomically(path, b"x")
    assert os.listdir(tmp_path) == ["folder"]


def test_json_keeps_chinese_and_survives_lone_surrogates(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"名": "摄像头", "bad": "\ud800"})
    assert read_json(tmp_path / "a")["名"] == "摄像头"


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_what_is_not_json_reads_as_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    assert read_json(tmp_path / "a") is None


def test_keys_are_plain_and_never_the_same() -> None:
    keys = {new_key() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(key.isalnum() for key in keys)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/data/a.mp4", "VIDEO"),
        ("file:///data/a.mp4", "VIDEO"),
        ("/dev/video0", "CAMERA"),
        ("rtsp://h/a", "RTSP"),
        ("RTSPS://h/a", "RTSP"),
        ("rtmp://h/a", "RTMP"),
        ("gb28181://a:b@h:1?deviceid=1", "GB28181"),
        ("gb28181_playback://a:b@h:1?deviceid=1#begtime=1", "GB28181"),
        ("http://h/a.flv", "HTTP"),
        ("clip.mp4", ""),
        ("rtsp", ""),
        ("ftp://h/a", ""),
        ("", ""),
    ],
)
def test_the_source_type_follows_from_the_address(address: str, expected: str) -> None:
    assert source_type(address) == expected


def test_file_addresses_name_local_paths() -> None:
    assert local_path("/clips/a%20b.mp4") == "/clips/a%20b.mp4"
    assert local_path("FILE:///clips/a%20b.mp4") == "/clips/a b.mp4"
    assert local_path("file://host/clips/a.mp4?x#y") == local_path("file:/clips/a.mp4") == "/clips/a.mp4"
    assert local_path("file://[x/clips/a.mp4") == "/clips/a.mp4"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("rtsp://admin:pa55@10.0.0.1:554/s", "rtsp://***@10.0.0.1:554/s"),
        ("open rtsp://admin:p@ss:w0rd@cam/1 failed", "open rtsp://***@cam/1 failed"),
        ("gb28181_playback://3402:pw@1.2.3.4:5060?deviceid=1", "gb28181_playback://***@1.2.3.4:5060?deviceid=1"),
        ("http://h/a?token=abc&x=1", "http://h/a?token=***&x=1"),
        ("http://h/a@b", "http://h/a@b"),
        ("rtsp://user@h/a", "rtsp://***@h/a"),
        ("nothing here", "nothing here"),
    ],
)
def test_credentials_are_masked_wherever_they_stand(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://127.0.0.1:8089/api/upload", True),
        ("https://h", True),
        ("http://[::1]:80/", True),
        ("http://", False),
        ("ftp://h/", False),
        ("http://h:99999/", False),
        ("http://h:0/", False),
        ("http://büro.example/", True),
        ("http://büro..example/", False),
        (f"http://{'ä' * 80}/", False),
        ("http://[::1", False),
        ("127.0.0.1:80", False),
        ("", False),
    ],
)
def test_report_addresses_are_http_with_a_host(address: str, expected: bool) -> None:
    assert is_http_url(address) is expected


def test_logs_mask_credentials_even_in_tracebacks(tmp_path: Path) -> None:
    script = (
        "import logging, pathlib, sys\n"
        "from streamserver.core import logs\nfrom streamserver.core.settings import Settings\n"
        "logs.configure_file(Settings(), pathlib.Path(sys.argv[1]), 'engine', console=True)\n"
        "try:\n    raise ValueError('rtsp://u:secret@h/1')\n"
        "except ValueError:\n    logging.getLogger('x').exception('cannot open %s', 'rtsp://u:secret@h/1')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True)
    text = (tmp_path / "logs" / "engine.log").read_text()
    assert "secret" not in text + done.stderr
    assert text.count("rtsp://***@h/1") == done.stderr.count("rtsp://***@h/1") == 2
    assert " engine ERROR x: cannot open" in done.stderr
    assert logging.getLogger("x").level == logging.NOTSET
    assert callable(logs.configure)


def test_every_state_is_alive_ended_or_stopping_and_status_says_which() -> None:
    assert ALIVE | ENDED | {TaskState.STOPPING} == set(TaskState)
    assert {state for state in TaskState if wire_status(state) == 1} == ALIVE


@pytest.mark.parametrize(
    ("now", "following", "allowed"),
    [
        (TaskState.PENDING, TaskState.STARTING, True),
        (TaskState.STARTING, TaskState.RUNNING, True),
        (TaskState.RUNNING, TaskState.BACKOFF, True),
        (TaskState.BACKOFF, TaskState.STARTING, True),
        (TaskState.RUNNING, TaskState.FINISHED, True),
        (TaskState.FINISHED, TaskState.RUNNING, False),
        (TaskState.FINISHED, TaskState.PENDING, True),
        (TaskState.FAILED, TaskState.STOPPING, True),
        (TaskState.STOPPED, TaskState.RUNNING, False),
        (TaskState.PENDING, TaskState.RUNNING, False),
    ],
)
def test_states_follow_one_another_as_drawn(now: TaskState, following: TaskState, allowed: bool) -> None:
    assert may_follow(now, following) is allowed


def test_exit_codes_say_what_happened() -> None:
    assert exitcodes.describe(-9) == "killed by signal 9"
    assert "graph" in exitcodes.describe(exitcodes.BAD_GRAPH)
    assert exitcodes.describe(3) == "exit code 3"
    assert exitcodes.CRASHED not in exitcodes.PERMANENT


def _subclasses(kind: type[StreamServerError]) -> list[type[StreamServerError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in _subclasses(child))]


def test_every_error_has_its_own_number_and_none_is_success() -> None:
    own = [kind.code for kind in _subclasses(StreamServerError) if kind.__module__ == "streamserver.core.errors"]
    assert len(set(own)) == len(own)
    assert 0 not in own
    assert (TaskNotFoundError.code, TaskNotRunningError.code) == (-1, 1)


def test_an_error_names_path_value_and_cure() -> None:
    error = BadRequestError("got 0", path="$.Algorithm[0].Type", cure="use 1")
    assert str(error) == "$.Algorithm[0].Type: got 0; use 1"


def test_detections_keep_their_rows_together() -> None:
    found = Detections.from_arrays([[0, 0, 1, 1], [2, 2, 3, 3]], [0.5, 0.9], [1, 2], [0, 7])
    assert found.tracked
    chosen = found.select(np.array([False, True]))
    assert (chosen.class_ids.tolist(), chosen.track_ids.tolist(), len(chosen)) == ([2], [7], 1)
    assert found.select([1, 0]).class_ids.tolist() == [2, 1]
    assert found.select([]).boxes_xyxy.shape == (0, 4)
    assert not Detections.empty().tracked


def test_arrays_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        Detections.from_arrays([[0, 0, 1, 1]], [0.5, 0.6], [1])


def test_a_status_file_is_a_heartbeat_and_survives_unknown_keys(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    EngineStatus(run="k", frames=3).write(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "from_the_future": 1}))
    status = EngineStatus.read(path)
    assert status is not None
    assert (status.run, status.frames) == ("k", 3)
    assert 0 <= time.monotonic() - status.beat < 60
    assert ClientStatus.read(tmp_path / "none") is None
