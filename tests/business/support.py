"""A sample project, a report receiver and a client process for the tests of the business side."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from streamserver.core.status import ClientStatus
from tests.servers.ports import free_port as free_port

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURE = base64.b64encode(b"\xff\xd8 a picture \xff\xd9").decode()

_CONFIG = "map_type = {1: 'everyone', 2: 'settled', 3: 'broken'}\n"

_COMMON = """
from streamserver.plugin_api import objects_of, Presence, WireFrame

def {name}_build_config(algorithm_name, stream_path, data, port, i):
    raise NotImplementedError

def {name}_trans_json(json_data, task_id, Type, up_list):
    scene = json_data["mFrame"]["mSpData"]
    crops = json_data.get("mCrops", [])
    events = []
    for found in objects_of(json_data):
        if found.track_id in up_list:
            left, top, right, bottom = found.box_xyxy
            box = dict(LeftTopX=left, LeftTopY=top, RightBtmX=right, RightBtmY=bottom)
            crop = crops[found.index] if crops else scene
            extend = {{"类别": found.class_id, "step": json_data["mFrame"]["mSequence"]}}
            events.append(dict(ImageBase64=crop, Type=Type, Box=box, Extend=extend))
    if 666 in up_list:
        raise RuntimeError("six six six")
    number = json_data["mFrame"]["mFrameId"]
    return dict(TaskID=task_id, FrameIndex=number, SceneImageBase64=scene, AnalyzeEvents=events)
"""

_LOGIC = {
    "everyone": """
def everyone_logic(json_data, up_list, rm_list):
    up_list.extend(found.track_id for found in objects_of(json_data))
    if 13 in up_list:
        raise ValueError("unlucky")
""",
    "settled": """
def settled_logic(json_data, up_list, rm_list, state):
    present = [found.track_id for found in objects_of(json_data)]
    up_list.extend(state.update(json_data["mFrame"]["mSequence"], present))
""",
    "broken": "this is no Python\n",
}

_NEW_STATE = """
from streamserver.plugin_api import Presence

def new_state(algorithm):
    return Presence(enter_frames=algorithm.get("Enter", 3), leave_frames=5)
"""


def make_project(folder: Path) -> Path:
    """A project with three small algorithms: one that reports all, one with presence, one that cannot be imported."""
    (folder / "samples").mkdir(parents=True)
    (folder / "samples" / "__init__.py").touch()
    (folder / "config_algorithm.py").write_text(_CONFIG)
    for name, logic in _LOGIC.items():
        sample = folder / "samples" / name
        sample.mkdir()
        (sample / f"{name}.py").write_text(_COMMON.format(name=name) + logic)
        (sample / "config_logic.py").write_text(_NEW_STATE)
    return folder


def message(
    frame_id: int, tracks: Sequence[int] = (), *, sequence: int | None = -1, loop: int = 0, picture: str = ""
) -> dict[str, Any]:
    """A posted frame with one object a track; ``sequence`` is the frame's number unless given, ``None`` for none."""
    frame: dict[str, Any] = {
        "mChannelId": 0, "mEndOfStream": False, "mFrameId": frame_id, "mWidth": 640, "mHeight": 360, "mTimestamp": 0,
        "mSpData": picture,
    }  # fmt: skip
    if sequence is not None:
        frame |= {"mSequence": frame_id if sequence == -1 else sequence, "mLoop": loop}
    posted: dict[str, Any] = {"mFps": 0.0, "mFrame": frame, "mGraphId": 0, "mSubId": 0}
    if tracks:
        posted["mDetectedObjectMetadatas"] = [
            {"mBox": {"mX": 10 * t, "mY": 20, "mWidth": 30, "mHeight": 40}, "mClassify": 0, "mScores": [0.5]}
            for t in tracks
        ]
        posted["mTrackedObjectMetadatas"] = [{"mTrackId": t} for t in tracks]
    return posted


def with_pictures(posted: dict[str, Any]) -> dict[str, Any]:
    """The same message as the engine posts it when its pictures were asked for."""
    crops = [PICTURE for _ in posted.get("mDetectedObjectMetadatas", [])]
    return {**posted, "mFrame": {**posted["mFrame"], "mSpData": PICTURE}, "mCrops": crops}


class Receiver(ThreadingHTTPServer):
    """A report address; ``status`` is what it answers, ``reply`` its body, ``act`` something to do instead."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _ReportHandler)
        self.status = 200
        self.reply = b'{"code":0,"msg":"ok"}'
        self.headers: list[tuple[str, str]] = []
        self.act: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.posts: list[tuple[dict[str, str], list[dict[str, Any]]]] = []
        self.refused = 0
        self.connections = 0
        self.port = int(self.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/upload"

    def ids(self) -> list[str]:
        return [headers["X-Alarm-Id"] for headers, _ in self.posts]

    def frames(self) -> list[int]:
        return [report[0]["FrameIndex"] for _, report in self.posts]


class _ReportHandler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.act is not None:
            self.close_connection = True
            self.server.refused += 1
            self.server.act(self)
            return
        if self.server.status < 300:
            self.server.posts.append((dict(self.headers), json.loads(body)))
        else:
            self.server.refused += 1
        self.send_response(self.server.status)
        for name, value in self.server.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.reply)))
        self.end_headers()
        self.wfile.write(self.server.reply)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    with Receiver(port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def wait_until(condition: Callable[[], Any], *, what: str, limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"waited {limit_s} s in vain until {what}"
        time.sleep(0.02)


def write_config(task_dir: Path, urls: list[str], names: list[tuple[int, str]], **changes: Any) -> dict[str, Any]:
    """Writes client.json with a free port."""
    task_dir.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "run": "abcd", "task_id": "t1", "src_id": "cam1", "host": "127.0.0.1", "port": free_port(), "replayable": True,
        "report_urls": urls,
        "algorithms": [
            {"index": i, "type": number, "name": name, "request": {"Type": number, "DetectInterval": 1}}
            for i, (number, name) in enumerate(names)
        ],
    }  # fmt: skip
    config.update(changes)
    (task_dir / "client.json").write_text(json.dumps(config))
    return config


_NEVER_LATE = "from streamserver.business import breaker; breaker.PATIENCE_S = 60.0;"
"""Where several addresses share the work, none gets more of it because a busy machine lets another one wait."""


class Client:
    """A real client process on a task's folder."""

    def __init__(self, project: Path, task_dir: Path, *options: str, **environment: str) -> None:
        self.task_dir = task_dir
        self.port = json.loads((task_dir / "client.json").read_text())["port"]
        main = "import sys; from pathlib import Path; from streamserver.business.process import main;"
        run = f"{main} {_NEVER_LATE} sys.exit(main(sys.argv[2:], project=Path(sys.argv[1])))"
        command = [sys.executable, "-c", run, str(project), "--config=client.json", *options]
        self.process = start(command, task_dir, **environment)
        self.session = requests.Session()
        self.session.trust_env = False

    def wait_ready(self) -> Client:
        def ready() -> bool:
            assert self.process.poll() is None, f"the client ended: {(self.task_dir / 'client.out').read_text()}"
            status = self.status()
            return status is not None and status.pid == self.process.pid and status.ready

        wait_until(ready, what="the client is ready")
        return self

    def post(self, posted: Any, index: int | str = 0) -> requests.Response:
        return self.session.post(f"http://127.0.0.1:{self.port}/flask_test/{index}", json=posted, timeout=60)

    def post_over_kept(self, posted: Any) -> int:
        """The status of a frame posted over the connection that is open; the port itself is closed by now."""
        return self.post(posted).status_code

    def raise_alarm(self, frame_id: int, tracks: list[int], index: int = 0, *, loop: int = 0) -> None:
        """Both steps of an engine whose frame has something to report."""
        posted = message(frame_id, tracks, loop=loop)
        assert self.post(posted, index).json()["pictures"] is True
        assert self.post(with_pictures(posted), index).json() == TAKEN

    def status(self) -> ClientStatus | None:
        return ClientStatus.read(self.task_dir / "run" / "client.json")

    def wait_status(self, what: str, condition: Callable[[ClientStatus], bool]) -> ClientStatus:
        wait_until(lambda: (s := self.status()) is not None and condition(s), what=what)
        status = self.status()
        assert status is not None
        return status

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(60)

    def close(self) -> None:
        self.session.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


TAKEN = {"message": "Request received and processed successfully", "response": 1}


def start(command: list[str], cwd: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Starts a program with its output in ``client.out`` and no settings but those given."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("STREAMSERVER_")}
    given = {"PYTHONPATH": str(REPOSITORY), "STREAMSERVER_CONFIG": str(cwd / "none.yaml"), **environment}
    with (cwd / "client.out").open("ab") as output:
        return subprocess.Popen(command, cwd=cwd, env=clean | given, stdout=output, stderr=output)
