from __future__ import annotations

import base64
import dataclasses
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError
from streamserver.core.objects import Recognition
from streamserver.core.picture import Picture
from streamserver.core.results import WireFrame, objects_of
from streamserver.elements import http_push
from streamserver.elements.http_push import HttpPush
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame
from streamserver.vision.codec import decode_jpeg
from tests.elements.pushing import PATIENCE_S, context, make_frame, pushing_elements
from tests.elements.receiver import ACCEPTED, Answer, Receiver
from tests.servers.ports import free_port


@pytest.fixture
def start() -> Iterator[Any]:
    with pushing_elements() as make:
        yield make


class Clock(threading.Event):
    """Goes on only while somebody waits; in the place of both clock and ``stopping``."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return self.is_set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(http_push, "time", made)
    return made


def test_every_frame_is_posted_in_the_wire_form_over_one_connection(start: Any) -> None:
    with Receiver() as receiver:
        pushing = start(context(port=receiver.port))
        pushing.push(*(make_frame(number) for number in range(20)), make_frame(20, boxes=0))
        pushing.element.close()
    assert receiver.connections == 1
    assert set(receiver.paths) == {"/flask_test/0"}
    assert receiver.headers[0]["Content-Type"] == "application/json"
    frame = WireFrame.from_wire(receiver.messages[3])
    assert (frame.channel_id, frame.frame_id, frame.sequence, frame.loop, frame.size_wh) == (4, 3, 3, 2, (200, 120))
    assert decode_jpeg(base64.b64decode(frame.picture_base64)).shape == (120, 200, 3)
    assert [found.box_xyxy for found in objects_of(receiver.messages[3])] == [(10, 40, 30, 60), (110, 40, 130, 60)]
    assert [found.track_id for found in objects_of(receiver.messages[3])] == [1, 2]
    assert "mDetectedObjectMetadatas" not in receiver.messages[20]
    assert b'": ' not in receiver.bodies[0]
    assert list(receiver.messages[0]) == sorted(receiver.messages[0])
    assert [frame.frame_id for frame in pushing.emitted] == list(range(21))


def test_on_demand_the_picture_follows_only_when_asked_for(start: Any) -> None:
    def answer(message: Any, number: int) -> Answer:
        wanted = message["mFrame"]["mFrameId"] == 1 and not message["mFrame"]["mSpData"]
        return 200, {"response": 1, **({"pictures": True} if wanted else {})}

    with Receiver(answer) as receiver:
        pushing = start(context(port=receiver.port, pictures="on_demand"))
        pushing.push(make_frame(0), make_frame(1), make_frame(2))
        pushing.element.close()
    ids = [message["mFrame"]["mFrameId"] for message in receiver.messages]
    assert ids == [0, 1, 1, 2]
    assert [bool(message["mFrame"]["mSpData"]) for message in receiver.messages] == [False, False, True, False]
    bare, full = receiver.messages[1:3]
    crops = [decode_jpeg(base64.b64decode(crop)) for crop in full.pop("mCrops")]
    assert [crop.shape for crop in crops] == [(60, 50, 3), (60, 60, 3)]
    assert crops[0][..., 2].max() < 30
    assert crops[1][30, 30, 2] > 220
    full["mFrame"]["mSpData"] = ""
    assert full == bare
    assert receiver.connections == 1


def test_pictures_are_not_even_converted_while_nobody_asks(start: Any) -> None:
    frame = make_frame()
    frame.picture = Picture((200, 120), lambda: pytest.fail("converted"))
    with Receiver() as receiver:
        start(context(port=receiver.port, pictures="on_demand")).push(frame)
    assert len(receiver.messages) == 1


def test_a_client_that_comes_later_gets_every_frame(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    pushing = start(context(port=port, retry_s=600))
    worker = threading.Thread(target=pushing.push, args=[make_frame(number) for number in range(3)])
    worker.start()
    end = time.monotonic() + PATIENCE_S
    while "refused" not in caplog.text:
        assert time.monotonic() < end, "it never said that nobody is there"
        time.sleep(0.02)
    with Receiver(port=port) as receiver:
        worker.join()
        pushing.element.close()
    assert [message["mFrame"]["mFrameId"] for message in receiver.messages] == [0, 1, 2]
    assert "takes frames again; 0 were dropped" in caplog.text


@pytest.mark.parametrize("status", [500, 503, 408, 429, 302])
def test_a_status_that_passes_is_tried_again(start: Any, status: int) -> None:
    def answer(message: Any, number: int) -> Answer:
        return ACCEPTED if number else (status, {"message": "not now"})

    with Receiver(answer) as receiver:
        pushing = start(context(port=receiver.port))
        pushing.push(make_frame())
    assert len(receiver.messages) == 2
    assert pushing.element.dropped == 0


def test_a_message_that_is_refused_is_dropped_at_once_and_the_reply_is_shown(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver(lambda message, number: (404, {"message": "no algorithm 9"})) as receiver:
        pushing = start(context(port=receiver.port))
        pushing.push(make_frame(0), make_frame(1), make_frame(2))
    assert len(receiver.messages) == 3
    assert pushing.element.dropped == 3
    assert len(pushing.emitted) == 3
    assert caplog.text.count("no algorithm 9") == 1
    assert f"http://0.0.0.0:{receiver.port}/flask_test/0: frame dropped, 1 so far: status 404" in caplog.text


def test_a_frame_that_cannot_be_delivered_in_time_is_dropped_and_counted(
    start: Any, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    pushing = start(context(clock, port=free_port(), retry_s=0.2))
    pushing.push(make_frame(0), make_frame(1))
    assert pushing.element.dropped == 2
    pushing.element.close()
    assert "trying again for 0.2 s" in caplog.text
    assert "2 frames were dropped in all" in caplog.text


def test_a_kept_connection_that_the_client_closed_costs_nothing(start: Any) -> None:
    with Receiver(keep_alive=False) as receiver:
        pushing = start(context(port=receiver.port, retry_s=0))
        pushing.push(*(make_frame(number) for number in range(5)))
    assert pushing.element.dropped == 0
    assert [message["mFrame"]["mFrameId"] for message in receiver.messages] == [0, 1, 2, 3, 4]


def test_stopping_ends_the_waiting_at_once(start: Any) -> None:
    stopping = threading.Event()
    pushing = start(context(stopping, port=free_port()))
    worker = threading.Thread(target=pushing.push, args=[make_frame()])
    worker.start()
    stopping.set()
    worker.join(PATIENCE_S)
    assert not worker.is_alive()


def test_a_waiting_element_says_that_it_is_alive(start: Any, clock: Clock) -> None:
    signs: list[int] = []
    base = context(clock, port=free_port(), retry_s=0.3)
    with_alive = ElementContext(
        **{name: getattr(base, name) for name in ElementContext.__slots__ if name != "alive"},
        alive=lambda: signs.append(1),
    )
    start(with_alive).push(make_frame())
    assert len(signs) >= 2


@pytest.mark.parametrize(
    ("configure", "words"),
    [
        ({"ip": None}, "ip: expected a text, got None"),
        ({"port": "10001"}, "port: expected a number from 1 to 65535, got '10001'"),
        ({"port": 70000}, "port: expected a number"),
        ({"port": True}, "port: expected a number"),
        ({"path": ""}, "path: expected a text"),
        ({"scheme": "ftp"}, "scheme: got 'ftp'; use one of http, https"),
        ({"pictures": "never"}, "pictures: got 'never'; use one of always, on_demand"),
        ({"retry_s": -1}, "retry_s: expected seconds"),
        ({"scheme": "https", "cacert": "absent.pem"}, "cacert, cert, key: cannot be used"),
    ],
)
def test_a_wrong_configuration_names_file_element_and_key(configure: dict[str, Any], words: str) -> None:
    with pytest.raises(GraphError, match=f"push.json: element 7 'http_push': {words}"):
        HttpPush(context(**configure))


def test_each_thread_has_a_connection_of_its_own_and_all_are_closed(start: Any) -> None:
    ready = threading.Barrier(3)
    with Receiver() as receiver:
        pushing = start(context(port=receiver.port))

        def work(channel_id: int) -> None:
            ready.wait(PATIENCE_S)
            for number in range(10):
                pushing.push(dataclasses.replace(make_frame(number), channel_id=channel_id))

        threads = [threading.Thread(target=work, args=[channel_id]) for channel_id in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pushing.element.close()
        assert receiver.connections == 3
    for channel_id in range(3):
        mine = [message["mFrame"] for message in receiver.messages if message["mFrame"]["mChannelId"] == channel_id]
        assert [frame["mFrameId"] for frame in mine] == list(range(10))


def with_parts(frame: Frame) -> Frame:
    """A part of the first object with a text, one of the whole frame with an object of its own and a part of that."""
    assert frame.picture is not None
    image = frame.picture.bgr
    plate = Frame(
        4, 1, frame.frame_id, timestamp_us=5, sub_id=0, picture=Picture((20, 20), lambda: image[40:60, 10:30])
    )
    plate.recognitions = [Recognition("浙A12345", (0.75,), (3,))]
    inner = Frame(4, 1, frame.frame_id, sub_id=0, picture=Picture((10, 5), lambda: image[:5, :10]))
    whole = Frame(4, 1, frame.frame_id, sub_id=-1, picture=frame.picture, sub_frames=[inner])
    whole.detections = Detections.from_arrays([[1, 2, 3, 4]], [0.5], [6])
    frame.sub_frames = [plate, whole]
    return frame


def test_parts_are_posted_within_their_frame_down_to_the_smallest(start: Any) -> None:
    with Receiver() as receiver:
        start(context(port=receiver.port)).push(with_parts(make_frame()))
    [message] = receiver.messages
    plate, whole = message["mSubObjectMetadatas"]
    assert (plate["mSubId"], whole["mSubId"], whole["mSubObjectMetadatas"][0]["mSubId"]) == (0, -1, 0)
    assert plate["mRecognizedObjectMetadatas"] == [{"mLabelName": "浙A12345", "mScores": [0.75], "mTopKLabels": [3]}]
    assert (plate["mFrame"]["mWidth"], plate["mFrame"]["mHeight"], plate["mFrame"]["mTimestamp"]) == (0, 0, 0)
    assert (whole["mFrame"]["mWidth"], whole["mFrame"]["mHeight"]) == (200, 120)
    assert "mSequence" not in plate["mFrame"]
    assert whole["mDetectedObjectMetadatas"][0]["mClassify"] == 6
    shapes = [
        decode_jpeg(base64.b64decode(one["mFrame"]["mSpData"])).shape[:2]
        for one in (plate, whole, whole["mSubObjectMetadatas"][0])
    ]
    assert shapes == [(20, 20), (120, 200), (5, 10)]
    assert "浙A12345".encode() in receiver.bodies[0]


def test_on_demand_the_pictures_of_parts_come_with_that_of_the_frame_and_crops_are_of_objects_only(start: Any) -> None:
    with Receiver(lambda message, number: (200, {"response": 1, "pictures": number == 0})) as receiver:
        pushing = start(context(port=receiver.port, pictures="on_demand"))
        pushing.push(with_parts(make_frame()), with_parts(make_frame(1, boxes=0)))
    bare, full, nothing_found = receiver.messages
    assert [bool(part["mFrame"]["mSpData"]) for part in bare["mSubObjectMetadatas"]] == [False, False]
    assert [bool(part["mFrame"]["mSpData"]) for part in full["mSubObjectMetadatas"]] == [True, True]
    assert len(full["mCrops"]) == len(full["mDetectedObjectMetadatas"]) == 2
    assert "mCrops" not in full["mSubObjectMetadatas"][0]
    assert "mDetectedObjectMetadatas" not in nothing_found
    assert len(nothing_found["mSubObjectMetadatas"]) == 2


def test_a_frame_with_parts_and_no_objects_has_no_crops(start: Any) -> None:
    with Receiver(lambda message, number: (200, {"response": 1, "pictures": number == 0})) as receiver:
        start(context(port=receiver.port, pictures="on_demand")).push(with_parts(make_frame(boxes=0)))
    assert receiver.messages[1]["mCrops"] == []


def test_what_was_drawn_is_posted_before_the_picture(start: Any) -> None:
    frame = make_frame()
    frame.drawing = Picture((200, 120), lambda: np.full((120, 200, 3), 200, np.uint8))
    with Receiver() as receiver:
        start(context(port=receiver.port)).push(frame)
    assert decode_jpeg(base64.b64decode(receiver.messages[0]["mFrame"]["mSpData"])).min() > 190
