"""One run: from the frames of a video to what is told of each, with its picture if asked."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from passflow.counting import FlowCounter, People, Tally
from passflow.drawing import draw, to_base64_jpeg
from passflow.mosaic import LEAST_SCORE, LOOKAHEAD_FRAMES, Sightings, hide
from passflow.options import Options
from passflow.replies import Code, Refusal, success
from passflow.request import Request
from passflow.stream import read_frames
from streamserver.core.arrays import Detections, ImageBgr
from streamserver.core.errors import DeviceError, ModelError, SourceError, StreamServerError
from streamserver.core.picture import Picture
from streamserver.core.settings import Settings, load
from streamserver.media.sources import SourceFrame
from streamserver.models.detector import load_detector
from streamserver.models.store import ModelStore

logger = logging.getLogger(__name__)

_PERSON = "person"
_IOU_THRESHOLD = 0.5
_USUAL_FAMILY = "yolox"

Find = Callable[[ImageBgr], Detections]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What is told of one frame.

    Attributes:
        frame_num: its number in this run, from 1.
        clock_s: the video's own time.
        tally: the numbers after it.
        picture: its pixels.
        people: who was seen in it, or in the last one that was looked at.
        image_bgr: the drawn picture; ``None`` where none was asked for.
    """

    frame_num: int
    clock_s: float
    tally: Tally
    picture: Picture
    people: People = field(default_factory=People)
    image_bgr: ImageBgr | None = None

    def to_reply(self) -> dict[str, Any]:
        """What ``CustomerCounter.run`` yields of it."""
        return success(
            current=self.tally.current,
            total=self.tally.came,
            frame_num=self.frame_num,
            res_frame=None if self.image_bgr is None else to_base64_jpeg(self.image_bgr),
        )


def follow(request: Request, options: Options) -> Generator[Seen | None, None, None]:
    """Counts a video, frame by frame; ``None`` where frames are missing.

    With ``options.mosaic``, pictures come some frames later, together with their numbers.

    Raises:
        Refusal: it cannot be begun (502, 503, 509) or cannot go on (502, 504, 509).
    """
    try:
        settings = load()
        with closing(read_frames(request, settings, patience_s=options.stream_timeout_s)) as frames:
            yield from _Run(request, options, settings).follow(_begun(frames))
    except DeviceError as e:
        raise Refusal(Code.DEVICE, str(e)) from e
    except SourceError as e:
        raise Refusal(Code.FRAME, str(e)) from e
    except StreamServerError as e:
        raise Refusal(Code.UNKNOWN, str(e)) from e


def _begun(frames: Iterator[SourceFrame | None]) -> Iterator[SourceFrame | None]:
    """The same frames, the first of them read already; raises ``Refusal`` (503) if it cannot be."""
    try:
        first = next(frames)
    except StopIteration as e:
        raise Refusal(Code.VIDEO, "it gives no picture") from e
    except SourceError as e:
        raise Refusal(Code.VIDEO, str(e)) from e
    return itertools.chain((first,), frames)


class _Run:
    """What one run remembers from frame to frame."""

    def __init__(self, request: Request, options: Options, settings: Settings) -> None:
        self._request = request
        self._options = options
        self._settings = settings
        self._counter = FlowCounter(request.polygons)
        self._sightings = Sightings()
        self._waiting: deque[Seen | None] = deque()
        self._frame_num = 0
        self._since_look = 0

    def follow(self, frames: Iterator[SourceFrame | None]) -> Iterator[Seen | None]:
        """What is told of each frame; where something fails, what waits is told first."""
        find = self._load()
        try:
            for frame in frames:
                yield from self._take(frame, find)
        except StreamServerError:
            yield from self._ready(everything=True)
            raise
        yield from self._ready(everything=True)

    def _take(self, frame: SourceFrame | None, find: Find) -> Iterator[Seen | None]:
        if frame is None:
            self._waiting.append(None)
        else:
            if frame.discontinuity:
                yield from self._start_over()
                self._warn_of_areas_outside(frame.picture.size_wh)
            self._waiting.append(self._see(frame, find))
        yield from self._ready()

    def _load(self) -> Find:
        """The detector, which gives people from ``LEAST_SCORE`` on where a mosaic is asked for."""
        found = ModelStore(self._settings).resolve(self._options.model)
        entry = found.entry
        if entry is not None and _PERSON not in found.labels:
            raise ModelError(f"model '{entry.name}' finds no people", cure="'yolox_nano' does")
        try:
            detector = load_detector(
                found.path,
                family=entry.family if entry else _USUAL_FAMILY,
                device=self._request.device,
                threads=self._settings.inference_threads,
                normalisation=entry.preprocess if entry else None,
                classes=(found.labels.index(_PERSON) if entry else 0,),
                options=entry.options if entry else None,
            )
        except ModelError as e:
            if self._request.device == "cpu":
                raise
            raise DeviceError(e.message, cure=e.cure) from e
        least = min(LEAST_SCORE, self._options.threshold) if self._options.hides else self._options.threshold
        scores = np.array([least], dtype=np.float32)
        return lambda image: detector.look(image, min_scores=scores, iou_threshold=_IOU_THRESHOLD).detections

    def _see(self, frame: SourceFrame, find: Find) -> Seen:
        self._frame_num += 1
        if self._since_look == 0:
            found = find(frame.picture.bgr)
            sure = found.select(found.scores >= self._options.threshold)
            self._counter.look(sure, clock_s=frame.clock_s, size_wh=frame.picture.size_wh)
            if self._options.hides:
                self._sightings.add(self._frame_num, found.boxes_xyxy)
        self._since_look = (self._since_look + 1) % self._options.detect_interval
        return Seen(self._frame_num, frame.clock_s, self._counter.tally, frame.picture, self._counter.people)

    def _start_over(self) -> Iterator[Seen | None]:
        """What comes next does not continue what was; what waits is told first."""
        yield from self._ready(everything=True)
        self._counter.restart()
        self._sightings = Sightings()
        self._since_look = 0

    def _warn_of_areas_outside(self, size_wh: tuple[int, int]) -> None:
        for number, polygon in enumerate(self._request.polygons):
            if (polygon.max(axis=0) <= 0).any() or (polygon.min(axis=0) >= size_wh).any():
                logger.warning("region[%d] lies outside the picture of %dx%d", number, *size_wh)

    def _ready(self, *, everything: bool = False) -> Iterator[Seen | None]:
        """What need not wait any longer for what later frames show, drawn."""
        interval = self._options.detect_interval
        delay = max(LOOKAHEAD_FRAMES, interval - 1) if self._options.hides else 0
        while self._waiting:
            seen = self._waiting[0]
            if seen is not None and seen.frame_num + delay > self._frame_num and not everything:
                return
            self._waiting.popleft()
            yield self._drawn(seen) if seen is not None and self._options.vis else seen

    def _drawn(self, seen: Seen) -> Seen:
        image = seen.picture.bgr
        if self._options.hides:
            image = hide(image, self._sightings.around(seen.frame_num, interval=self._options.detect_interval))
        else:
            image = image.copy()
        draw(image, self._request.polygons, seen.people, seen.tally)
        return Seen(seen.frame_num, seen.clock_s, seen.tally, seen.picture, seen.people, image)
