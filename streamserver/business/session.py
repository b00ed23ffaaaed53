"""One algorithm at work: from a posted frame to the alarms in the outbox."""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from streamserver.business.config import AlgorithmSpec
from streamserver.business.remembering import KeptState, MemoryKeeper
from streamserver.business.sequence import FrameCounter, Place
from streamserver.core import failpoints
from streamserver.core.errors import SampleError, StoreError
from streamserver.core.events import PICTURES_KEY
from streamserver.core.results import WireFrame, objects_of
from streamserver.core.wire_json import report_to_json
from streamserver.outbox.box import NewEvent
from streamserver.outbox.records import LIVE_KEY, Memory
from streamserver.plugins import Algorithm

_log = logging.getLogger(__name__)

_REMEMBERED_FRAMES = 64
"""How many of the last frames are known when they come again; the engine has one on its way at a time."""

_FrameKey = tuple[int, int, int, int | None, int]


@dataclass(slots=True)
class _Seen:
    """A frame whose logic has run; ``names`` are those whose report waits for the picture until it is ``reported``."""

    place: Place
    event_key: str
    message: dict[str, Any]
    names: list[Any]
    reported: bool = False


class Keeper(MemoryKeeper, Protocol):
    """Where alarms go: an ``Outbox``, or what stands for one."""

    def add(self, events: Sequence[NewEvent], memory: Memory | None = None) -> int:
        """Keeps alarms and a memory on the disk; returns how many alarms were new. Raises ``StoreError``."""


class AlgorithmSession:
    """Feeds one algorithm with the frames of its task, one at a time. Thread-safe.

    Args:
        algorithm: the loaded sample.
        spec: which algorithm of the task it is.
        task_id: ``TaskID`` of the reports.
        src_id: ``SrcID`` of the reports.
        replayable: events get keys by their place, so that a file played again raises none twice.
        outbox: where alarms go.
        on_alarm: called after an alarm was kept.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        spec: AlgorithmSpec,
        *,
        task_id: str,
        src_id: str,
        replayable: bool,
        outbox: Keeper,
        on_alarm: Callable[[], None] = lambda: None,
    ) -> None:
        self.received = 0
        self.failures = 0
        self.last_failure = ""
        self._algorithm = algorithm
        self._spec = spec
        self._task_id = task_id
        self._src_id = src_id
        self._replayable = replayable
        self._outbox = outbox
        self._on_alarm = on_alarm
        self._lock = threading.Lock()
        self._counter = FrameCounter(_interval_of(spec))
        self._seen: OrderedDict[_FrameKey, _Seen] = OrderedDict()
        self._kept = KeptState(algorithm, spec.index, spec.request, outbox, replayable=replayable)
        self._last = (-1, -1)
        with suppress(StoreError):  # tried again with the first frame
            self._load_memory()

    @property
    def last_error(self) -> str:
        """What the sample last did wrong, in words; empty if nothing."""
        if not self.failures:
            return ""
        return f"{self._spec.name}: {self.failures} frames failed, the last with: {self.last_failure}"

    @property
    def totals(self) -> Any:
        """What the algorithm remembers across restarts; ``None`` for one that remembers nothing. Waits for nobody."""
        return self._kept.memory

    def handle(self, message: dict[str, Any]) -> bool | None:
        """Takes one posted frame; True if its picture is wanted, so that it must be posted again with it.

        False if our engine brought pictures in vain, ``None`` if all is well. A frame that is posted again is answered
        again and not counted again. An error of the sample is logged and counted, and the frame is done.

        Raises:
            ValueError: the message has not the form of CONTRACT 4; it names the JSON path.
            StoreError: an alarm could not be kept; the same message may be posted again.
        """
        frame = WireFrame.from_wire(message)
        objects_of(message)
        key = (frame.channel_id, frame.loop, frame.frame_id, frame.sequence, frame.timestamp_us)
        with self._lock:
            self._load_memory()
            seen = self._recall(key)
            if seen is None:
                seen = self._seen[key] = self._take(message, frame)
            if not seen.names:
                self._keep([], frame)
                return False if PICTURES_KEY in message and not seen.reported else None
            if not frame.picture_base64 and "mCrops" not in message:
                return True
            self._report(_joined(seen, message), frame, seen)
            return None

    def renew(self, spec: AlgorithmSpec) -> None:
        """Goes on with another entry of the task; what the state remembers beyond a restart is carried over.

        An entry that is the same as before changes nothing. A frame whose picture is awaited is still reported.

        Raises:
            SampleError: the algorithm cannot work with it; then it goes on as before.
        """
        with self._lock:
            if spec.request == self._spec.request:
                return
            self._kept.renew(spec.request, again=False)
            self._spec = spec

    def _recall(self, key: _FrameKey) -> _Seen | None:
        """What is known of a frame that was here before; makes room where it was not.

        Without a sequence number only the very last frame can be told from one of the next loop.
        """
        seen = self._seen.get(key)
        if seen is not None and (key[3] is not None or key == next(reversed(self._seen))):
            return seen
        self._seen.pop(key, None)
        if len(self._seen) >= _REMEMBERED_FRAMES:
            self._seen.popitem(last=False)
        return None

    def _take(self, message: dict[str, Any], frame: WireFrame) -> _Seen:
        self.received += 1
        place = self._counter.place(frame)
        _fill_place(message, place)
        names: list[Any] = []
        try:
            # an engine that was killed and comes to the same frame has the same sequence, for it has counted as far
            back = self._replayable and frame.sequence is not None and (place.loop, frame.frame_id) <= self._last
            if place.started_over or back:
                self._kept.renew(self._spec.request, again=back or place.loop <= self._last[0])
            self._last = (place.loop, frame.frame_id)
            if not self._kept.has_seen(frame):
                self._algorithm.logic(message, names, [], self._kept.state)
        except SampleError as e:
            self._note_failure(e)
            names = []
        if names:
            failpoints.hit("raise.logic_done")
        return _Seen(place, self._event_key(place, frame), _without_pictures(message) if names else {}, names)

    def _event_key(self, place: Place, frame: WireFrame) -> str:
        """Knows the event of a frame that is posted again.

        One of a file is raised again when the file is; one of a camera when nobody could tell whether it was kept.
        """
        if self._replayable:
            return f"{self._spec.index}:{place.loop}:{frame.frame_id}:0"
        return f"{LIVE_KEY}{uuid4().hex}"

    def _report(self, message: dict[str, Any], frame: WireFrame, seen: _Seen) -> None:
        try:
            report = self._algorithm.trans_json(message, self._task_id, self._spec.type, seen.names)
            body = self._body_of(report, frame)
        except SampleError as e:
            self._note_failure(e)
            body = b""
        if body:
            failpoints.hit("raise.built")
        self._keep([NewEvent(algorithm=self._spec.index, body=body, key=seen.event_key)] if body else [], frame)
        if body:
            self._on_alarm()
        seen.names, seen.message, seen.reported = [], {}, True

    def _load_memory(self) -> None:
        try:
            self._kept.load()
        except SampleError as e:
            self._note_failure(e)

    def _keep(self, events: Sequence[NewEvent], frame: WireFrame) -> None:
        """Commits alarms together with what the frame made the algorithm remember."""
        try:
            memory = self._kept.changed(frame)
        except SampleError as e:
            self._note_failure(e)
            memory = None
        if events or memory is not None:
            self._outbox.add(events, memory)
            self._kept.kept(memory)

    def _body_of(self, report: dict[str, Any], frame: WireFrame) -> bytes:
        """The JSON of CONTRACT 6.3, or nothing when there is no event in it."""
        if not report["AnalyzeEvents"]:
            return b""
        scene = report["SceneImageBase64"] or frame.picture_base64
        events = [{**event, "ImageBase64": event["ImageBase64"] or scene} for event in report["AnalyzeEvents"]]
        complete = {
            **report,
            "TaskID": self._task_id,
            "SrcID": self._src_id,
            "SceneImageBase64": scene,
            "AnalyzeEvents": events,
        }
        bare = {**complete, "SceneImageBase64": "", "AnalyzeEvents": [{**one, "ImageBase64": ""} for one in events]}
        try:
            json.dumps(bare, allow_nan=False)  # stricter than what writes the pictures fast
            return report_to_json([complete])
        except (TypeError, ValueError, RecursionError) as e:
            raise SampleError(f"sample '{self._spec.name}': {self._spec.name}_trans_json: {e}") from e

    def _note_failure(self, error: SampleError) -> None:
        self.failures += 1
        self.last_failure = str(error)
        _log.error("a frame was left out: %s", error)


def _interval_of(spec: AlgorithmSpec) -> int:
    interval = spec.request.get("DetectInterval")
    return interval if isinstance(interval, int) else 1


def _fill_place(message: dict[str, Any], place: Place) -> None:
    """Adds what only our engine sends, so that samples always find it."""
    if message["mFrame"].get("mSequence") is None:
        message["mFrame"].update(mSequence=place.sequence, mLoop=place.loop)


def _without_pictures(message: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a frame until its picture comes: the keys that the second message may lack."""
    return {key: value for key, value in message.items() if key not in ("mFrame", "mSubObjectMetadatas", "mCrops")}


def _joined(seen: _Seen, message: dict[str, Any]) -> dict[str, Any]:
    """The message with the picture, and with what the sample's logic may have noted in the one without."""
    _fill_place(message, seen.place)
    return {**seen.message, **message}
