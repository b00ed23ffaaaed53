"""People of a real clip after idle time: what the gate leaves out is nothing that anybody is told of."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

from bench.idle_clips import ONE_BY_ONE, with_idle_time
from streamserver.core.arrays import Detections, ImageBgr
from streamserver.core.source_monitor import SourceMonitor
from streamserver.geometry.rules.crossing import CrossingRule
from streamserver.media.gate import GateSpec
from streamserver.media.sources import SourceSpec, open_source
from tests import assets
from tests.geometry.counting import SIZES_WH, across, events_of, people, ways

INTERVAL, IDLE_S = 3, 8
LINE = ((580.0, 0.0), (580.0, 431.0))


def analysed(path: Path, gate: GateSpec | None, ids: list[int]) -> Iterator[tuple[int, ImageBgr]]:
    """Every third frame and those at rest, as the engine takes them; their numbers go into ``ids``."""
    spec = SourceSpec(url=str(path), source_type="VIDEO", fps=-1, gate=gate)
    for frame in open_source(spec, stopping=threading.Event(), monitor=SourceMonitor()):
        if frame.at_rest or frame.frame_id % INTERVAL == 0:
            ids.append(frame.frame_id)
            yield frame.frame_id, frame.picture.bgr


class Looked:
    """What the model finds in pictures; it looks at the same picture only once, for it is dear."""

    def __init__(self) -> None:
        self._found: dict[bytes, Detections] = {}
        self._next: list[tuple[int, ImageBgr]] = []
        self._look = people(iter(self._next.pop, None))

    def people(self, pictures: Iterator[tuple[int, ImageBgr]]) -> Iterator[tuple[int, Detections]]:
        for frame_id, image in pictures:
            key = hashlib.blake2b(image.tobytes()).digest()
            if key not in self._found:
                self._next.append((frame_id, image))
                _, self._found[key] = next(self._look)
            yield frame_id, self._found[key]


def test_who_comes_after_idle_time_crosses_the_line_behind_the_gate_as_without_it(tmp_path: Path) -> None:
    assets.clip(ONE_BY_ONE.source)
    path = with_idle_time(ONE_BY_ONE, idle_s=IDLE_S, parts=1, folder=tmp_path)
    told, counts, looked = [], [], Looked()
    for gate in (None, GateSpec(hold_s=3, areas=(LINE,))):
        ids: list[int] = []
        found = looked.people(analysed(path, gate, ids))
        events = events_of(
            CrossingRule(across(*LINE, direction_xy=(100, 0))),
            found,
            interval=INTERVAL,
            size_wh=SIZES_WH[ONE_BY_ONE.source],
        )
        told.append(ways(events))
        counts.append(len(ids))
    assert told == [(1, 0), (1, 0)]
    assert counts[1] < counts[0] - 10
