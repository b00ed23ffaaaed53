"""From clips to events: detector, ByteTracker as samples set it, Linker and a rule, for tests and ``bench``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from streamserver.core.arrays import Detections, ImageBgr
from streamserver.core.events import RuleEvent
from streamserver.geometry.lines import PointXy
from streamserver.geometry.rules.rule import Rule, RuleFrame, RuleKind, RuleSpec
from streamserver.geometry.tracking.byte_tracker import ByteTracker, ByteTrackOptions
from streamserver.geometry.tracking.linker import Linker
from streamserver.models.detector import load_detector
from streamserver.vision.motion import MotionDetector
from tests import assets

Found = Iterable[tuple[int, Detections]]
"""Numbers of frames of a clip and what is in them."""

SIZES_WH = {
    "one-by-one-person-detection.mp4": (768, 432),
    "car-detection.mp4": (768, 432),
    "bottle-detection.mp4": (640, 360),
    "vtest.avi": (768, 576),
}


def across(*points_xy: PointXy, direction_xy: PointXy = (0.0, 0.0)) -> RuleSpec:
    """A rule that tells every crossing of a line, both ways, at once."""
    line = np.array(points_xy, dtype=np.float64)
    return RuleSpec(kind=RuleKind.CROSS, lines=(line,), direction_xy=direction_xy, both_ways=True, every=1)


def events_of(rule: Rule, found: Found, *, interval: int, size_wh: tuple[int, int], fps: float = 10) -> list[RuleEvent]:
    """What a rule tells of tracked and linked objects; every ``interval``-th frame of the clip was looked at."""
    frames = rule_frames(found, interval=interval, size_wh=size_wh, fps=fps)
    return [event for frame in frames for event in rule.update(frame)]


def rule_frames(found: Found, *, interval: int, size_wh: tuple[int, int], fps: float = 10) -> Iterator[RuleFrame]:
    """Tracked and linked objects, as rules see them."""
    options = ByteTrackOptions(track_thresh=0.5, high_thresh=0.6, track_buffer=round(50 / interval), agnostic=False)
    tracker, linker = ByteTracker(options, itertools.count(1).__next__), Linker()
    for step, (frame_id, detections) in enumerate(found):
        clock_s = frame_id / fps
        tracked = tracker.update(detections, size_wh, clock_s)
        identities = linker.update(clock_s, tracked.track_ids, tracked.boxes_xyxy, tracked.class_ids, size_wh)
        yield RuleFrame(
            step=step, clock_s=clock_s, timestamp_us=0, size_wh=size_wh, detections=tracked, identities=identities
        )


def ways(events: Iterable[RuleEvent]) -> tuple[int, int]:
    """How many events went in, and how many out."""
    directions = [event.direction for event in events]
    return directions.count("in"), directions.count("out")


def moving(pictures: Iterable[tuple[int, ImageBgr]]) -> Iterator[tuple[int, Detections]]:
    """What the ``motion`` detector finds in pictures."""
    detector = MotionDetector()
    for frame_id, image_bgr in pictures:
        boxes = detector.update(image_bgr)
        yield frame_id, Detections.from_arrays(boxes, np.ones(len(boxes)), np.zeros(len(boxes)))


def people(pictures: Iterable[tuple[int, ImageBgr]], *, min_score: float = 0.1) -> Iterator[tuple[int, Detections]]:
    """What yolox_nano finds of people in pictures."""
    detector = load_detector(assets.model("yolox_nano.onnx"), family="yolox", device="cpu")
    min_scores = np.full(detector.class_count, 2.0, dtype=np.float32)
    min_scores[0] = min_score
    for frame_id, image_bgr in pictures:
        yield frame_id, detector.look(image_bgr, min_scores=min_scores, iou_threshold=0.5).detections


def pictures(path: Path, *, interval: int) -> Iterator[tuple[int, ImageBgr]]:
    """Every ``interval``-th picture of a clip with its number."""
    capture = cv2.VideoCapture(str(path))
    try:
        for frame_id in itertools.count():
            if not capture.grab():
                return
            if frame_id % interval == 0:
                yield frame_id, np.asarray(capture.retrieve()[1], dtype=np.uint8)
    finally:
        capture.release()


def backwards(found: Found, *, interval: int) -> Iterator[tuple[int, Detections]]:
    """The same clip, of which every frame was looked at, from its end."""
    frames = list(found)[::-1]
    last = frames[0][0]
    yield from ((last - frame_id, detections) for frame_id, detections in frames[::interval])
