"""What the engine does with pixels nobody asked for: nothing. Counted in whole runs of a task's graph."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamserver.core.arrays import Detections, ImageBgr
from streamserver.core.picture import Picture, Pixels
from streamserver.core.settings import Settings
from streamserver.geometry.boxes import iou_matrix
from streamserver.media.av_reader import VideoReader, to_picture
from streamserver.models.detector import load_detector
from streamserver.worker.prepare import build_runner
from tests import assets
from tests.media.clips import write_clip
from tests.worker.tasks import DECODE, push, write_task

FRAMES = 10
YOLOX = ("yolox", {"model_path": "yolox_nano.onnx", "threshold_conf": 0.3, "threshold_nms": 0.5})
TRACK: tuple[str, Any] = ("bytetrack", {})
ALWAYS = [{"time_start": "00 00 00", "time_end": "23 59 59"}]
ACROSS = [[{"left": 0, "top": 20}, {"left": 64, "top": 20}]]
FILTER = (
    "filter",
    {"rules": [{"channel_id": 0, "filters": [{"type": 1, "areas": ACROSS, "classes": [0], "times": ALWAYS}]}]},
)


class Client(BaseHTTPRequestHandler):
    """Takes what is pushed, and wants to see pictures if the server says so."""

    protocol_version = "HTTP/1.1"
    wants = b"false"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = b'{"pictures": %s}' % self.wants
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Client) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often planes and BGR were asked for, and JPEGs made."""
    counts: Counter[str] = Counter()
    bgr, planes, encode = Picture.bgr, Picture.planes, cv2.imencode
    assert isinstance(bgr, property) and isinstance(planes, property)

    def count(name: str, what: Any, *arguments: Any) -> Any:
        counts[name] += 1
        return what(*arguments)

    monkeypatch.setattr(Picture, "bgr", property(lambda self: count("bgr", bgr.fget, self)))
    monkeypatch.setattr(Picture, "planes", property(lambda self: count("planes", planes.fget, self)))
    monkeypatch.setattr(cv2, "imencode", lambda *arguments: count("jpeg", encode, *arguments))
    return counts


def run(folder: Path, clip: Path, elements: list[tuple[str, Any]], **channel: Any) -> int:
    """Runs a task to its end; returns how many frames it processed."""
    settings = Settings(file_dirs="/", models=str(assets.model("yolox_nano.onnx").parent))
    runner, _ = build_runner(write_task(folder, clip, elements, **channel), settings=settings, base_dir=folder)
    assert not runner.run()
    return runner.snapshot().frames


def test_frames_without_an_event_and_a_viewer_make_no_bgr_and_no_jpeg(
    tmp_path: Path, port: int, done: Counter[str]
) -> None:
    clip = write_clip(tmp_path / "nobody.mp4", frames=FRAMES)
    elements = [DECODE, YOLOX, TRACK, FILTER, push(port, pictures="on_demand")]
    assert run(tmp_path, clip, elements) == FRAMES
    assert done == {"planes": FRAMES}


def test_frames_that_nobody_wants_to_see_make_no_bgr_and_no_jpeg(tmp_path: Path, port: int, done: Counter[str]) -> None:
    clip = write_clip(tmp_path / "nobody.mp4", frames=FRAMES)
    assert run(tmp_path, clip, [DECODE, YOLOX, push(port, pictures="on_demand")]) == FRAMES
    assert done == {"planes": FRAMES}


def test_a_frame_that_is_shown_is_converted(tmp_path: Path, port: int, done: Counter[str]) -> None:
    clip = write_clip(tmp_path / "shown.mp4", frames=FRAMES)
    assert run(tmp_path, clip, [DECODE, YOLOX, push(port, pictures="always")]) == FRAMES
    assert done["jpeg"] == FRAMES
    assert done["bgr"] >= FRAMES


def test_frames_that_sampling_leaves_out_are_neither_converted_nor_looked_at(
    tmp_path: Path, port: int, done: Counter[str]
) -> None:
    clip = write_clip(tmp_path / "nobody.mp4", frames=FRAMES)
    elements = [DECODE, YOLOX, TRACK, FILTER, push(port, pictures="on_demand")]
    assert run(tmp_path, clip, elements, sample_interval=5) == FRAMES // 5
    assert done == {"planes": FRAMES // 5}


@pytest.mark.parametrize(
    ("clip", "size_wh"),
    [("vtest.avi", (768, 576)), ("one-by-one-person-detection.mp4", (768, 432))],
    ids=["vtest", "one"],
)
def test_boxes_found_by_planes_are_those_found_by_bgr(clip: str, size_wh: tuple[int, int]) -> None:
    """As close as those of two ways to convert the whole frame (swscale, cv2) are, most of them within half a pixel."""
    detector = load_detector(assets.model("yolox_nano.onnx"), family="yolox", device="cpu")

    def look(pixels: Pixels | ImageBgr) -> Detections:
        scores = np.full(80, 0.3, np.float32)
        return detector.look(pixels, min_scores=scores, iou_threshold=0.5).detections

    overlaps: list[float] = []
    gaps_score: list[float] = []
    with VideoReader(str(assets.clip(clip))) as reader:
        for frame in itertools.islice(reader.frames(), 0, 400, 40):
            picture = to_picture(frame)
            assert picture.planes is not None
            assert picture.planes.size_wh == size_wh
            expected, found = look(picture.bgr), look(picture.planes)
            sure = expected.select(np.flatnonzero(expected.scores > 0.4))
            for box_xyxy, score in zip(sure.boxes_xyxy, sure.scores.tolist(), strict=True):
                overlap = iou_matrix(box_xyxy[None], found.boxes_xyxy)[0]
                overlaps.append(float(overlap.max(initial=0)))
                gaps_score.append(abs(score - float(found.scores[overlap.argmax()])))
    assert len(overlaps) >= 5
    assert np.median(overlaps) > 0.98
    assert np.quantile(overlaps, 0.1) > 0.95
    assert min(overlaps) > 0.9
    assert np.quantile(gaps_score, 0.9) <= 0.02
