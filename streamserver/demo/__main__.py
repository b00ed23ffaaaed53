"""``start_server.sh --demo``: the main job in one command.

Starts the server on a free port with a state folder of its own, a receiver that prints each alarm, and one tripwire
task: on a clip drawn here, found by the motion detector, or on ``--video`` with the best detector there is.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from streamserver.core.errors import SourceError
from streamserver.core.settings import PROJECT_DIR, load
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.states import SourceState
from streamserver.core.urls import mask_credentials, source_type
from streamserver.media.pyav import INSTALL, why_no_av

_TASK_ID = "demo"
_START_TIMEOUT_S = 60.0
_MOTION_HINT = """\
          whatever moves counts as a person; with the weights of a detector, found by STREAMSERVER_MODELS or by
          'python -m streamserver.models fetch --all', only persons do"""


def main() -> int:
    """Runs the demo; returns 0 when alarms came (or the user ended it), 1 otherwise."""
    options = _parse_options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the server must not outlive its demo
    output = Path(options.output or PROJECT_DIR / "demo-output" / time.strftime("%Y%m%d-%H%M%S")).resolve()
    logging.getLogger("streamserver").addHandler(logging.NullHandler())  # what it would say is printed here in full
    from streamserver.demo.receiver import Receiver

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise SystemExit(f"error: {output}: {e.strerror}; choose another folder with --output") from e
    with Receiver(output / "alarms") as receiver:
        threading.Thread(target=receiver.serve_forever, name="receiver", daemon=True).start()
        address, line = _source(options, output)
        port = _free_port()
        server = _start_server(port, output, address)
        try:
            return _show(options, receiver, address, line, port, server)
        except KeyboardInterrupt:
            return 0
        finally:
            _stop(server)
            receiver.shutdown()
            print(f"\n{receiver.alarms} alarms; pictures, logs and the task's files are in {output}", flush=True)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./start_server.sh --demo", description=__doc__)
    parser.add_argument("--demo", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help="end after so many seconds; without it, on Ctrl-C")
    parser.add_argument("--video", help="a file or a stream (rtsp://…) instead of the drawn clip; - asks for it")
    parser.add_argument("--line", type=_line, help="the tripwire as X1,Y1,X2,Y2; default: upright through the middle")
    parser.add_argument("--direction", choices=("left", "right", "both"), default="both")
    parser.add_argument("--output", help="folder for pictures, logs and state; default: demo-output/<time>")
    options = parser.parse_args()
    if options.video == "-":  # others on this machine can read command lines, and the password in them
        options.video = input("address of the stream: ").strip()
    if options.video and source_type(options.video) in ("", "VIDEO"):
        path = Path(options.video.removeprefix("file://")).resolve()
        if not path.is_file():
            parser.error(f"--video: '{options.video}' is no file; give a path, or an address such as rtsp://…")
        if ":" in str(path):
            parser.error(f"--video: '{path}' has a colon, which separates directories; copy it to a path without")
        options.video = str(path)
    return options


def _line(text: str) -> tuple[int, int, int, int]:
    try:
        x1, y1, x2, y2 = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no line; write four pixel numbers, e.g. 320,0,320,360") from None
    return x1, y1, x2, y2


def _source(options: argparse.Namespace, output: Path) -> tuple[str, tuple[int, int, int, int]]:
    """The address of the stream and the tripwire's end points."""
    if options.video:
        address = str(options.video)
        width, height = _picture_size(address)
    else:
        if problem := why_no_av():
            raise SystemExit(f"error: the demo's own clip cannot be made, {problem}; {INSTALL}, or name a --video")
        from streamserver.demo.clip import SIZE_WH, draw_clip

        draw_clip(output / "clip.mp4")
        address, (width, height) = str(output / "clip.mp4"), SIZE_WH
    return address, options.line or (width // 2, 0, width // 2, height)


def _picture_size(address: str) -> tuple[int, int]:
    """Width and height of the first picture; leaves with the reason when there is none."""
    from streamserver.media.sources import SourceSpec, open_source

    stopping = threading.Event()
    reasons: list[str] = []

    def note(state: SourceState, reason: str) -> None:
        if state == SourceState.RECONNECTING:
            reasons.append(reason)
            stopping.set()

    spec = SourceSpec(url=address, source_type=source_type(address), decoder=load().decoder)
    try:
        for frame in open_source(spec, stopping=stopping, monitor=SourceMonitor(note)):
            return frame.picture.size_wh
    except SourceError as e:
        raise SystemExit(f"error: {e}") from e
    raise SystemExit(f"error: {spec.masked_url}: {' '.join(reasons)}")


def _start_server(port: int, output: Path, address: str) -> subprocess.Popen[bytes]:
    """The server; it may read the one file that the demo shows, wherever that is."""
    environment = {
        **os.environ,
        "STREAMSERVER_HOST": "127.0.0.1",
        "STREAMSERVER_PORT": str(port),
        "STREAMSERVER_STATE_DIR": str(output / "state"),
        **({"STREAMSERVER_FILE_DIRS": address} if source_type(address) == "VIDEO" else {}),
    }
    with (output / "server.out").open("wb") as log:
        tether = [sys.executable, "-m", "streamserver.launchers.tether", str(os.getpid())]
        return subprocess.Popen(
            [*tether, sys.executable, "start.py"],
            cwd=PROJECT_DIR,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _show(
    options: argparse.Namespace, receiver: Any, address: str, line: tuple[int, int, int, int], port: int, server: Any
) -> int:
    api = f"http://127.0.0.1:{port}"
    _wait_for_api(api, server)
    print(f"server    {api}  (API page: {api}/docs)\nreceiver  {receiver.url}\nstream    {mask_credentials(address)}")
    answer = _post(f"{api}/task/create", _task(options, receiver.url, address, line))
    if answer["Code"] != 0:
        print(f"error: the task was refused: {answer['Msg']}", file=sys.stderr)
        return 1
    print(f"tripwire  {line}, direction: {options.direction}\n", flush=True)
    end = time.monotonic() + options.seconds if options.seconds else None
    status = _watch(api, end, motion_hint=_MOTION_HINT if options.video else "")
    if receiver.alarms == 0:
        if status.get("Frames"):
            print(f"nobody was seen to cross the line {line}; --line X1,Y1,X2,Y2 draws another", file=sys.stderr)
        print(f"no alarm came; the task's last status: {json.dumps(status, ensure_ascii=False)}", file=sys.stderr)
    _post(f"{api}/task/delete", {"TaskID": _TASK_ID})
    return 0 if receiver.alarms else 1


def _watch(api: str, end: float | None, *, motion_hint: str) -> dict[str, Any]:
    """Prints the task's status whenever it changes, until ``end`` or until the task has ended."""
    shown = ""
    status: dict[str, Any] = {}
    while end is None or time.monotonic() < end:
        status = _post(f"{api}/task/query", {"TaskID": _TASK_ID}).get("Result") or {}
        line = "  ".join(str(status.get(key)) for key in ("State", "Source", "Detector", "Reason") if status.get(key))
        if line != shown:
            print(f"status    {line}", flush=True)
            if motion_hint and status.get("Detector") == "motion":
                print(motion_hint, flush=True)
                motion_hint = ""
            shown = line
        if status.get("State") in ("FINISHED", "FAILED"):
            time.sleep(2.0)
            break
        time.sleep(0.5)
    return status


def _task(
    options: argparse.Namespace, report_url: str, address: str, line: tuple[int, int, int, int]
) -> dict[str, Any]:
    x1, y1, x2, y2 = line
    middle = {"X": (x1 + x2) // 2, "Y": (y1 + y2) // 2}
    shift = {"left": -50, "right": 50, "both": 0}[options.direction]
    wire = {
        "LineStart": {"X": x1, "Y": y1},
        "LineEnd": {"X": x2, "Y": y2},
        "DirectStart": middle,
        "DirectEnd": {"X": middle["X"] + shift, "Y": middle["Y"]},
    }
    extend: dict[str, Any] = {"Loop": 0} if not options.video else {}
    if not options.video:
        extend["Detector"] = "motion"
    return {
        "TaskID": _TASK_ID,
        "InputSrc": {"SrcID": "demo-camera", "StreamSrc": {"Address": address}},
        "Algorithm": [
            {
                "Type": 1,
                "TrackInterval": 2,
                "DetectInterval": 1 if not options.video else 2,
                "AlarmInterval": 1,
                "threshold": 50,
                "DetectInfos": [{"TripWire": wire, "HotArea": []}],
                "Extend": extend,
            }
        ],
        "Reporting": {"ReportUrlList": [report_url]},
    }


def _wait_for_api(api: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(
                f"error: the server ended with code {server.returncode}; see server.out beside the pictures"
            )
        try:
            _post(f"{api}/task/list", {})
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise SystemExit(
        f"error: the server did not answer within {_START_TIMEOUT_S:.0f} s; see server.out beside the pictures"
    )


def _post(url: str, body: Any) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310 - an address of the operator  # nosec B310
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - an address of the operator  # nosec B310
        answer: dict[str, Any] = json.loads(response.read())
    return answer


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
