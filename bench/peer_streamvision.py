"""What streamvision's InferencePipeline costs: CLIP MODEL THRESHOLD MANNER; prints one line of JSON.

Run by the Python of its environment, nothing of ours in it. Measured from its 50th frame to its 430th, every one
decoded and inferred by a YOLOX network. Its queue of decoded frames is full at both moments, for decoding is faster
than inference, so as many are decoded as are inferred between them.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import supervision as sv  # type: ignore[import-not-found]  # only there, not where mypy runs
from streamvision.camera.video_source import CV2VideoFrameProducer  # type: ignore[import-not-found]
from streamvision.stream.pipeline import InferencePipeline  # type: ignore[import-not-found]

FIRST, LAST = 50, 430
PAD, STRIDES, NMS_IOU = 114, (8, 16, 32), 0.5
BUFFER = 4


class OneThread(CV2VideoFrameProducer):  # type: ignore[misc]
    """Its own reader, with one thread in the decoder, which it offers no setting for."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.stream: cv2.VideoCapture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])


class YoloX:
    """The model handler: boxes (n, 6) as left, top, right, bottom, score, class for each picture."""

    def __init__(self, path: str, threshold: float) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._side = int(self._session.get_inputs()[0].shape[2])
        self._threshold = threshold
        self._canvas = np.full((self._side, self._side, 3), PAD, dtype=np.uint8)
        cells = [self._cells(stride) for stride in STRIDES]
        self._corners = np.concatenate([corners for corners, _ in cells])
        self._strides = np.concatenate([strides for _, strides in cells])

    def _cells(self, stride: int) -> tuple[Any, Any]:
        count = self._side // stride
        rows, columns = np.mgrid[:count, :count]
        corners = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)
        return corners, np.full((count * count, 1), stride, dtype=np.float32)

    def __call__(self, frames: list[Any]) -> list[Any]:
        """What is in each of the frames."""
        return [self._look(frame.image) for frame in frames]

    def _look(self, image: Any) -> Any:
        height, width = image.shape[:2]
        scale = min(self._side / width, self._side / height)
        inner_w, inner_h = int(width * scale), int(height * scale)
        cv2.resize(image, (inner_w, inner_h), dst=self._canvas[:inner_h, :inner_w], interpolation=cv2.INTER_LINEAR)
        blob = cv2.dnn.blobFromImage(self._canvas)
        rows = self._session.run(None, {self._input: blob})[0][0]
        likely = np.flatnonzero(rows[:, 4] >= self._threshold)  # a class's score is at most its cell's
        rows = rows[likely]
        classes = rows[:, 5:].argmax(axis=1)
        scores = rows[:, 4] * rows[np.arange(len(rows)), 5 + classes]
        kept = scores >= self._threshold
        rows, scores, classes, likely = rows[kept], scores[kept], classes[kept], likely[kept]
        centres = (rows[:, :2] + self._corners[likely]) * self._strides[likely]
        sizes = np.exp(rows[:, 2:4]) * self._strides[likely]
        corner_and_size = np.hstack([centres - sizes / 2, sizes]) / scale
        chosen = np.asarray(
            cv2.dnn.NMSBoxes(corner_and_size.tolist(), scores.tolist(), self._threshold, NMS_IOU), dtype=int
        )
        left_top, size = corner_and_size[chosen, :2], corner_and_size[chosen, 2:]
        return np.hstack([left_top, left_top + size, scores[chosen, None], classes[chosen, None]])


class Line:
    """Follows what was found with supervision's tracker and counts who crosses a line, as our tripwire does."""

    def __init__(self) -> None:
        warnings.simplefilter("ignore", FutureWarning)  # its tracker is to move to another package
        self._tracker = sv.ByteTrack(track_activation_threshold=0.5, minimum_matching_threshold=0.7)
        self._zone = sv.LineZone(start=sv.Point(0, 500), end=sv.Point(1920, 500))

    def __call__(self, prediction: Any) -> None:
        """One frame's boxes."""
        found = sv.Detections(
            xyxy=prediction[:, :4], confidence=prediction[:, 4], class_id=prediction[:, 5].astype(int)
        )
        self._zone.trigger(self._tracker.update_with_detections(found))


class Meter:
    """The sink: counts, and looks at the clocks at the first and the last frame."""

    def __init__(self, watch: Callable[[Any], None]) -> None:
        self._watch = watch
        self.frames = self.boxes = 0
        self.marks: list[tuple[float, float]] = []

    def __call__(self, prediction: Any, frame: Any) -> None:
        """One frame is through."""
        self.frames += 1
        self.boxes += len(prediction)
        self._watch(prediction)
        if self.frames in (FIRST, LAST):
            self.marks.append((time.process_time(), time.monotonic()))


def main(clip: str, model: str, threshold: str, manner: str) -> None:
    """Prints the figures; ``manner`` is detect, track or plain."""
    meter = Meter(Line() if manner == "track" else lambda _: None)
    tuned = {"decoding_buffer_size": BUFFER, "predictions_queue_size": BUFFER}
    if manner != "plain":
        cv2.setNumThreads(1)
    pipeline = InferencePipeline.init_with_custom_logic(
        video_reference=clip if manner == "plain" else lambda: OneThread(clip),
        on_video_frame=YoloX(model, float(threshold)),
        on_prediction=meter,
        **({} if manner == "plain" else tuned),
    )
    pipeline.start(use_main_thread=False)
    while len(meter.marks) < 2:
        time.sleep(0.1)
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    memory = {name: int(rest.split()[0]) / 1024 for name, _, rest in (line.partition(":") for line in lines[1:])}
    pipeline.join()
    (cpu_s, wall_s), (cpu_end_s, wall_end_s) = meter.marks
    figures = {
        "cpu_ms": (cpu_end_s - cpu_s) / (LAST - FIRST) * 1000,
        "wall_ms": (wall_end_s - wall_s) / (LAST - FIRST) * 1000,
        "boxes": meter.boxes / meter.frames,
        "pss_mb": memory["Pss"],
        "rss_mb": memory["Rss"],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:5])
