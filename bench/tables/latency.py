"""How long it takes from a camera's frame to the report at the receiver."""

from __future__ import annotations

import base64
import bisect
import json
import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np

from bench.measuring import percentile, spread
from bench.running import Running, house, short
from bench.table import Row, Say
from bench.viewer import viewer
from tests.e2e.harness import Server, task, wait_for
from tests.servers.clips import Clip, frame_number, make_clip
from tests.servers.rtsp import RtspServer

TITLE = "Latency: frame captured to report received"
ABOUT = """\
A camera (GStreamer's RTSP server, TCP, 1080p25, H.264 without B frames) plays a clip in which every picture carries
its number, and notes when it sends each one: that is the moment of capture; what a real camera's sensor and encoder
take is not included. A task of the real server (area intrusion, `DetectInterval` 3) tells of everybody in the picture
again and again. The number is read back from the picture inside the report, and the report counts as received when
its receiver has read the last byte. Included: RTSP server, network on loopback, receiving, decoding, detector,
tracker, rules, JPEG of picture and crops, client, the outbox's commit to the disk, POST.

The yardstick is a bare PyAV viewer of the same camera at the same time, which does nothing but decode: what lies
above it is ours. A sample is one report; at least 40 in all rounds. The machine does nothing else."""

LIMITS_MS = {50: 150.0, 95: 300.0}
LEAST = 40
INTERVAL = 3
AGAIN = 25
"""Processed frames after which somebody is told of again."""

_SETTLE_S = 5.0
_WARM_UP_FRAMES = 30


class Receiver(ThreadingHTTPServer):
    """Takes reports, and notes when each had come."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.came: list[tuple[float, bytes]] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((time.time(), body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A running receiver."""
    with Receiver() as one:
        thread = threading.Thread(target=one.serve_forever, daemon=True)
        thread.start()
        try:
            yield one
        finally:
            one.shutdown()
            thread.join()


def measure(rounds: int, say: Say) -> list[Row]:
    """With yolox_nano, then with motion, in turns."""
    seconds = 10.0 if short() else 16.0
    least = math.ceil(LEAST / rounds)
    samples: dict[str, list[float]] = {"yolox_nano": [], "motion": []}
    bare: list[float] = []
    clip = make_clip(size_wh=(1920, 1080), seconds=10.0)
    with receiving() as receiver, house() as one:
        for number in range(rounds):
            for detector, found in samples.items():
                ours, viewers = _watched(one, receiver, _Watch(clip, detector, seconds, least))
                say(f"{number + 1}, {detector}: {len(ours)} reports, {spread(ours)} ms; bare {spread(viewers)} ms")
                found += ours
                bare += viewers
    return [row for detector, found in samples.items() for row in _rows(detector, found, bare)]


@dataclass(frozen=True, slots=True)
class _Watch:
    """What is watched, with which detector, for how long at least, and how many reports have to come at least."""

    clip: Clip
    detector: str
    seconds: float
    least: int


def _watched(one: Server, receiver: Receiver, watch: _Watch) -> tuple[list[float], list[float]]:
    """Milliseconds of each report, and of each picture of the bare viewer."""
    extend = {"Detector": "motion" if watch.detector == "motion" else "model", "Events": ["inside"]}
    with RtspServer(watch.clip, transports=("tcp",)) as camera:
        name = f"{watch.detector}-{camera.port}"
        body = task(name, camera.url, receiver.url, type_=6, interval=INTERVAL, extend=extend, AlarmInterval=AGAIN)
        body["Algorithm"][0]["DetectInfos"] = [{"TripWire": None, "HotArea": []}]
        with Running(one, body) as running:
            running.wait_frames(_WARM_UP_FRAMES)
            with viewer(camera.url, watch.seconds + _SETTLE_S) as bare:
                time.sleep(_SETTLE_S)
                receiver.came.clear()
                time.sleep(watch.seconds)
                wait_for(lambda: len(receiver.came) >= watch.least, f"{watch.least} reports", lambda: one.query(name))
                came = list(receiver.came)
                seen: list[tuple[int, float]] = json.loads(bare.communicate()[0])
                sent = camera.sent
    moments = [(_number_of(body), moment) for moment, body in came]
    first_s = came[0][0]
    return _delays_ms(moments, sent), _delays_ms([pair for pair in seen if pair[1] >= first_s], sent)


def _number_of(body: bytes) -> int:
    """The number in the picture of a report."""
    picture = base64.b64decode(json.loads(body)[0]["SceneImageBase64"])
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return frame_number(np.asarray(image, dtype=np.uint8))


def _delays_ms(seen: Iterable[tuple[int, float]], sent: Sequence[tuple[int, float]]) -> list[float]:
    """From sending to seeing, for each number and the moment it was seen at."""
    moments: dict[int, list[float]] = {}
    for number, moment in sent:
        moments.setdefault(number, []).append(moment)
    delays = []
    for number, moment in seen:
        earlier = moments[number]
        delays.append((moment - earlier[bisect.bisect(earlier, moment) - 1]) * 1000)
    return delays


def _rows(detector: str, found: Sequence[float], bare: Sequence[float]) -> list[Row]:
    return [
        Row(
            measure=f"{detector}, p{share}",
            value=percentile(found, share / 100),
            unit="ms",
            yardstick=f"bare viewer has the picture, p{share}",
            reference=percentile(bare, share / 100),
            limit=limit_ms,
            limit_of="value",
            remark=f"{len(found)} reports, {spread(found)} ms",
        )
        for share, limit_ms in LIMITS_MS.items()
    ]
