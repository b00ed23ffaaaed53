"""What cannot be saved, and what our reader makes of it: each in a process of its own.

``python -m bench.floor decode CLIP`` and the like (see ``main``) print CPU milliseconds a frame, the start of the
process not counted. ``decode`` is the decoder by itself, ``infer`` the network by itself, ``reader`` and ``opencv``
read a clip and letterbox one frame of so many.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.measuring import spend

PASSES = 2
"""How often a clip is read."""

_WARM_UP = 20
_INPUT_PX = 416
_MALLOC_THRESHOLD = "268435456"

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": _MALLOC_THRESHOLD,
    "MALLOC_MMAP_THRESHOLD_": _MALLOC_THRESHOLD,
    "MALLOC_ARENA_MAX": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}
"""What the server gives its engines; yardsticks and peers get the same."""


def decode_ms(clip: Path) -> float:
    """CPU milliseconds that PyAV takes for a frame of a clip, one thread, nothing done with it."""
    return _asked("decode", str(clip))


def infer_ms(model: Path, clip: Path, runs: int) -> float:
    """CPU milliseconds of one run in ONNX Runtime on the CPU, one thread, spinning off, of a real picture."""
    return _asked("infer", str(model), str(clip), str(runs))


def reader_ms(clip: Path, interval: int) -> float:
    """CPU milliseconds a frame of our reader, one of ``interval`` frames letterboxed to 416 and the others given up."""
    return _asked("reader", str(clip), str(interval))


def opencv_ms(clip: Path, interval: int) -> float:
    """The same with OpenCV: all grabbed, one of ``interval`` retrieved and resized; one thread."""
    return _asked("opencv", str(clip), str(interval))


def _asked(*arguments: str) -> float:
    command = [sys.executable, "-m", "bench.floor", *arguments]
    cpu_ms: float = json.loads(spend(command, environment=ENVIRONMENT).output)
    return cpu_ms


def _timed(open_frames: Callable[[], Iterator[object]]) -> float:
    """CPU milliseconds a frame over all passes but for the first frames of each."""
    spent_s, count = 0.0, 0
    for _ in range(PASSES):
        frames = open_frames()
        for _ in itertools.islice(frames, _WARM_UP):
            pass
        start_s = time.process_time()
        for _ in frames:
            count += 1
        spent_s += time.process_time() - start_s
    return spent_s / count * 1000


def _decoded(clip: str) -> Iterator[object]:
    import av

    with av.open(clip) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.thread_type = "NONE"
        for _ in container.decode(stream):
            yield None


def _read(clip: str, interval: int) -> Iterator[object]:
    import threading

    import cv2

    from streamserver.core.source_monitor import SourceMonitor
    from streamserver.media.sources import AS_FAST_AS_IT_GOES, SourceSpec, open_source
    from streamserver.vision.letterbox import Letterbox

    cv2.setNumThreads(1)
    letterbox = Letterbox((_INPUT_PX, _INPUT_PX))
    spec = SourceSpec(url=clip, source_type="VIDEO", fps=AS_FAST_AS_IT_GOES)
    for frame in open_source(spec, stopping=threading.Event(), monitor=SourceMonitor()):
        if frame.frame_id % interval == 0:
            letterbox(frame.picture.pixels)
        frame.picture.give_up()
        yield None


def _grabbed(clip: str, interval: int) -> Iterator[object]:
    import cv2
    import numpy as np

    from streamserver.vision.letterbox import Letterbox

    cv2.setNumThreads(1)
    letterbox = Letterbox((_INPUT_PX, _INPUT_PX))
    capture = cv2.VideoCapture(clip, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    for number in itertools.count():
        if not capture.grab():
            return
        if number % interval == 0:
            letterbox(np.asarray(capture.retrieve()[1], dtype=np.uint8))
        yield None


def _infer(model: str, clip: str, runs: int) -> float:
    import av
    import cv2
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    with av.open(clip) as container:
        image = next(container.decode(video=0)).to_ndarray(format="bgr24")
    small = cv2.resize(image, (_INPUT_PX, _INPUT_PX))
    blob = np.ascontiguousarray(small.transpose(2, 0, 1)[None], dtype=np.float32)
    feed = {session.get_inputs()[0].name: blob}
    for _ in range(_WARM_UP):
        session.run(None, feed)
    start_s = time.process_time()
    for _ in range(runs):
        session.run(None, feed)
    return (time.process_time() - start_s) / runs * 1000


def main(what: str, path: str, *rest: str) -> None:
    """Prints the figure: ``decode CLIP``, ``infer MODEL CLIP RUNS``, ``reader`` or ``opencv CLIP INTERVAL``."""
    figures: dict[str, Callable[[], float]] = {
        "decode": lambda: _timed(lambda: _decoded(path)),
        "infer": lambda: _infer(path, rest[0], int(rest[1])),
        "reader": lambda: _timed(lambda: _read(path, int(rest[0]))),
        "opencv": lambda: _timed(lambda: _grabbed(path, int(rest[0]))),
    }
    print(json.dumps(figures[what]()))


if __name__ == "__main__":
    main(*sys.argv[1:])
