"""A small receiver of reports: prints each alarm and saves its pictures.

Also a program of its own: ``python -m streamserver.demo.receiver --port 9000 --output alarms``.
"""

from __future__ import annotations

import argparse
import base64
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

_MAX_BODY_BYTES = 64_000_000


class Receiver(ThreadingHTTPServer):
    """An HTTP server on loopback that takes reports as application-web does.

    Attributes:
        alarms: how many different alarms have come; a copy with a known id is not counted.
    """

    daemon_threads = True

    def __init__(self, output: Path, *, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        output.mkdir(parents=True, exist_ok=True)
        self.output = output
        self.alarms = 0
        self._ids: set[str] = set()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The address to name in ``ReportUrlList``."""
        return f"http://127.0.0.1:{self.server_address[1]}/alarms"

    def take(self, alarm_id: str, reports: list[Mapping[str, Any]]) -> None:
        """Prints and saves the reports of one request, unless its id came before."""
        with self._lock:
            if alarm_id and alarm_id in self._ids:
                print(f"again     {alarm_id} (a copy, already shown)", flush=True)
                return
            self._ids.add(alarm_id)
            self.alarms += 1
            for report in reports:
                print(self._describe(report, self.alarms), flush=True)

    def _describe(self, report: Mapping[str, Any], number: int) -> str:
        scene = self._save(report.get("SceneImageBase64", ""), f"{number:04d}_scene.jpg")
        lines = [
            f"alarm {number:<3d} {time.strftime('%H:%M:%S')}  task {report.get('TaskID')!r}  "
            f"source {report.get('SrcID')!r}  frame {report.get('FrameIndex')}\n           scene {scene}"
        ]
        for index, event in enumerate(report.get("AnalyzeEvents", [])):
            box = event.get("Box", {})
            crop = self._save(event.get("ImageBase64", ""), f"{number:04d}_{index}.jpg")
            place = [box.get(key) for key in ("LeftTopX", "LeftTopY", "RightBtmX", "RightBtmY")]
            lines.append(
                f"           type {event.get('Type')}  box {place}  {event.get('Extend') or ''}\n"
                f"           crop  {crop}"
            )
        return "\n".join(lines)

    def _save(self, picture_base64: str, name: str) -> str:
        if not picture_base64:
            return "(no picture)"
        path = self.output / name
        path.write_bytes(base64.b64decode(picture_base64))
        return str(path)


class _Handler(BaseHTTPRequestHandler):
    """Answers like application-web: HTTP 200 with a ``code``."""

    server: Receiver
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > _MAX_BODY_BYTES:
            self.send_error(413)
            return
        try:
            reports = json.loads(self.rfile.read(length))
            self.server.take(self.headers.get("X-Alarm-Id", ""), list(reports))
            answer = {"code": 0, "msg": "ok"}
        except (ValueError, TypeError, AttributeError) as e:
            answer = {"code": -1, "msg": f"{unquote(self.path)}: not a list of reports: {e}"}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: what matters is printed by ``take``."""


def main() -> None:
    """Runs the receiver until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m streamserver.demo.receiver", description=__doc__)
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--output", type=Path, default=Path("alarms"))
    options = parser.parse_args()
    with Receiver(options.output, port=options.port) as receiver:
        print(f"waiting for reports at {receiver.url}, pictures go to {options.output}/", flush=True)
        try:
            receiver.serve_forever()
        except KeyboardInterrupt:
            print(f"{receiver.alarms} alarms")


if __name__ == "__main__":
    main()
