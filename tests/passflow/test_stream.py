"""Streams from a real RTSP server."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

from passflow.counter import CustomerCounter
from passflow.stream import _StreamReader
from streamserver.core.errors import SourceError
from streamserver.core.picture import Picture
from streamserver.media.sources import SourceFrame, SourceSpec
from tests import assets
from tests.servers.clips import make_clip
from tests.servers.process import wait_until
from tests.servers.rtsp import RtspServer


@pytest.fixture(autouse=True)
def weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSERVER_MODELS", str(assets.model("yolox_nano.onnx").parent))


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if isinstance(thread, _StreamReader)]


def test_a_stream_is_counted_and_one_that_comes_back_goes_on() -> None:
    with RtspServer(make_clip(), user="us er", password="p@ss") as server:
        frames = CustomerCounter(detect_interval=30, stream_timeout_s=60).run(server.url)
        replies = list(itertools.islice(frames, 5))
        server.restart()
        replies += itertools.islice(frames, 10)
        while replies[-1]["code"] == 504 and replies[-1]["data"] is None:  # what is missing may be just here
            replies.append(next(frames))
        assert {reply["code"] for reply in replies} <= {200, 504}
        numbers = [reply["data"]["frame_num"] for reply in replies if reply["data"]]
        assert numbers == list(range(1, len(numbers) + 1))
        assert replies[-1]["code"] == 200
        frames.close()
        wait_until(lambda: not readers(), lambda: repr(readers()))


def test_a_stream_that_stays_away_ends_with_504(monkeypatch: pytest.MonkeyPatch) -> None:
    newest, limits_s = _StreamReader.newest, {60.0}

    def patient(self: _StreamReader, patience_s: float) -> SourceFrame | None:
        return newest(self, max(patience_s, *limits_s, 0.0))

    monkeypatch.setattr(_StreamReader, "newest", patient)  # while there is a server, however late it gives a picture
    with RtspServer(make_clip()) as server:
        frames = CustomerCounter(detect_interval=30, stream_timeout_s=2).run(server.url)
        assert next(frames)["code"] == 200
        server.stop()
        limits_s.clear()
        *_, last = frames
    assert last == {"code": 504, "msg": "frame data error", "status": 200, "data": None}
    wait_until(lambda: not readers(), lambda: repr(readers()))


def frame(number: int, *, discontinuity: bool = False) -> SourceFrame:
    picture = Picture((8, 8), lambda: np.zeros((8, 8, 3), np.uint8))
    return SourceFrame(number, 0, 0, float(number), discontinuity, picture)


def test_who_is_slow_gets_the_newest_frame_and_learns_of_a_break_before_it() -> None:
    reader = _StreamReader(SourceSpec(url="rtsp://h/1", source_type="RTSP"))
    old, newer, newest = frame(1), frame(2, discontinuity=True), frame(3)
    for one in (old, newer, newest):
        reader._put(one)
    got = reader.newest(0.0)
    assert got is not None
    assert (got.frame_id, got.discontinuity, got.picture) == (3, True, newest.picture)
    assert old.picture.given_up and newer.picture.given_up
    with pytest.raises(SourceError, match="no picture for 0 s"):
        reader.newest(0.0)
