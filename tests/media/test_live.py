from __future__ import annotations

import itertools
import logging
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from streamserver.core.picture import Picture
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.states import SourceState
from streamserver.media import av_connection, frozen, live
from streamserver.media.connection import Decoded
from streamserver.media.sources import SourceFrame, SourceSpec, open_source
from streamserver.vision.codec import encode_jpeg
from tests.media.clips import picture, write_clip
from tests.media.streams import MJPEG, Camera, multipart, stopping_at_the_end
from tests.servers.clips import make_clip
from tests.servers.rtsp import RtspServer

States = list[tuple[SourceState, str]]


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "backoff_s", lambda away_s: 0.01)
    monkeypatch.setattr(live, "backoff_after_refusal_s", lambda: 0.01)


@pytest.fixture
def stream_bytes(tmp_path: Path) -> bytes:
    return write_clip(tmp_path / "a.ts", frames=12).read_bytes()


def read_some(url: str, count: int, states: States) -> list[SourceFrame]:
    with stopping_at_the_end() as stopping:
        frames = open_source(
            SourceSpec(url=url, source_type="HTTP"),
            stopping=stopping,
            monitor=SourceMonitor(lambda state, reason: states.append((state, reason))),
        )
        return list(itertools.islice(frames, count))


@pytest.mark.usefixtures("quick_backoff")
def test_a_stream_that_breaks_off_is_connected_again_and_goes_on(
    stream_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    states: States = []
    with Camera(stream_bytes) as camera:
        frames = read_some(camera.url, 30, states)
    assert [frame.frame_id for frame in frames] == [*range(12), *range(12), *range(6)]
    assert [frame.loop for frame in frames] == [0] * 30
    assert [frame.discontinuity for frame in frames] == [True] + [False] * 29
    assert states == [
        (SourceState.CONNECTING, ""),
        (SourceState.STREAMING, ""),
        (SourceState.RECONNECTING, "the stream broke off"),
        (SourceState.STREAMING, ""),
        (SourceState.RECONNECTING, "the stream broke off"),
        (SourceState.STREAMING, ""),
    ]
    assert "127.0.0.1" in caplog.text
    assert "secret" not in caplog.text
    assert "hidden" not in caplog.text


@pytest.mark.usefixtures("quick_backoff")
def test_after_a_long_gap_the_stream_starts_over(stream_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "CONTINUITY_S", -1.0)
    with Camera(stream_bytes) as camera:
        frames = read_some(camera.url, 24, [])
    assert [frame.loop for frame in frames] == [0] * 12 + [1] * 12
    assert [frame.frame_id for frame in frames if frame.discontinuity] == [0, 0]


@pytest.mark.usefixtures("quick_backoff")
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "there is no such stream (404)"),
        (401, "the user name or the password was refused (401)"),
        (200, "what came is no video, or it ended at once"),
        (503, "the server has failed (5xx)"),
        (410, "the server refused the request (4xx)"),
    ],
)
def test_a_stream_that_is_refused_says_why_and_is_tried_again(status: int, reason: str) -> None:
    states: States = []
    stopping = threading.Event()

    def note(state: SourceState, why: str) -> None:
        states.append((state, why))
        if len(states) == 4:
            stopping.set()

    with Camera(b"nothing to see " * 20) as camera:
        camera.status = status
        spec = SourceSpec(url=camera.url, source_type="HTTP")
        assert list(open_source(spec, stopping=stopping, monitor=SourceMonitor(note))) == []
    assert states == [(SourceState.CONNECTING, "")] + [(SourceState.RECONNECTING, reason)] * 3


def test_a_refused_login_waits_longer_than_another_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[str] = []
    monkeypatch.setattr(live, "backoff_s", lambda away_s: waits.append("short") or 0.0)
    monkeypatch.setattr(live, "backoff_after_refusal_s", lambda: waits.append("long") or 0.0)
    stopping = threading.Event()

    def note(state: SourceState, why: str) -> None:
        if state is SourceState.RECONNECTING:
            camera.status = 404
            if len(waits) == 3:
                stopping.set()

    with Camera(b"") as camera:
        camera.status = 401
        spec = SourceSpec(url=camera.url, source_type="HTTP")
        assert list(open_source(spec, stopping=stopping, monitor=SourceMonitor(note))) == []
    assert waits[:3] == ["long", "short", "short"]


@pytest.mark.usefixtures("quick_backoff")
def test_one_absence_is_one_line_for_each_reason(stream_bytes: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    stopping = threading.Event()
    tries: list[str] = []

    def note(state: SourceState, why: str) -> None:
        if state == SourceState.RECONNECTING:
            tries.append(why)
            camera.status = (404, 403, 404, 200)[len(tries) % 4]
            if len(tries) == 8:
                stopping.set()

    with Camera(stream_bytes) as camera:
        camera.status = 404
        spec = SourceSpec(url=camera.url, source_type="HTTP")
        frames = list(open_source(spec, stopping=stopping, monitor=SourceMonitor(note)))
    told = [record.getMessage() for record in caplog.records if "connecting again" in record.getMessage()]
    assert (len(tries), bool(frames)) == (8, True)
    assert [re.split("[:;] ", line)[-2] for line in told] == [*tries[:2], *tries[3:6], *tries[7:]], told


@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp"])
def test_a_camera_that_is_off_is_waited_for_without_an_error(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stopping = threading.Event()
    reasons: list[str] = []

    def note(state: SourceState, why: str) -> None:
        if state == SourceState.RECONNECTING:
            reasons.append(why)
            stopping.set()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"{scheme}://user:secret@127.0.0.1:{taken.getsockname()[1]}/live/cam"
        spec = SourceSpec(url=url, source_type=scheme.upper())
        assert list(open_source(spec, stopping=stopping, monitor=SourceMonitor(note))) == []
    assert reasons == ["the connection was refused"]
    assert "secret" not in caplog.text


@pytest.mark.usefixtures("quick_backoff")
def test_an_mjpeg_camera_is_read() -> None:
    body = multipart([encode_jpeg(picture(number)) for number in range(8)])
    with Camera(body, content_type=MJPEG) as camera:
        frames = read_some(camera.url, 10, [])
    assert {frame.picture.size_wh for frame in frames} == {(64, 48)}
    assert frames[0].picture.bgr[4, 4].argmax() == 2


@pytest.mark.usefixtures("quick_backoff")
def test_another_picture_size_starts_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    small = write_clip(tmp_path / "a.ts", frames=12).read_bytes()
    large = write_clip(tmp_path / "b.ts", frames=12, size_wh=(96, 64)).read_bytes()
    with Camera(small + large) as camera:
        frames = read_some(camera.url, 30, [])
    sizes = [frame.picture.size_wh for frame in frames]
    assert sizes == [(64, 48)] * 12 + [(96, 64)] * 12 + [(64, 48)] * 6
    assert [row for row, frame in enumerate(frames) if frame.discontinuity] == [0, 12, 24]
    assert "the picture changed its size from (64, 48) to (96, 64)" in caplog.text
    assert re.findall("streaming h264 ([0-9x]+)", caplog.text) == ["64x48", "96x64", "64x48"]


def reasons_of_failures(url: str, source_type: str, count: int = 1) -> list[str]:
    """Why the first connections of a stream that gives no picture fail."""
    stopping = threading.Event()
    reasons: list[str] = []

    def note(state: SourceState, why: str) -> None:
        reasons.extend([why] * (state == SourceState.RECONNECTING))
        if len(reasons) == count:
            stopping.set()

    spec = SourceSpec(url=url, source_type=source_type)
    assert list(open_source(spec, stopping=stopping, monitor=SourceMonitor(note))) == []
    return reasons


@pytest.mark.usefixtures("quick_backoff")
def test_data_without_a_picture_says_so_instead_of_hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av_connection, "_BLIND_S", 0.0)
    clip = write_clip(tmp_path / "a.ts", frames=200).read_bytes()
    without_key_frame = clip[len(clip) // 188 // 2 * 188 :]
    with Camera(without_key_frame) as camera:
        reasons = reasons_of_failures(camera.url, "HTTP")
    assert reasons == ["data comes, but for 0 s no picture could be decoded from it"]


@pytest.mark.usefixtures("quick_backoff")
@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp"])
def test_a_host_that_never_answers_is_told_from_one_that_sends_no_video(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(av_connection, "_OPEN_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/live/cam"
        assert reasons_of_failures(url, scheme.upper()) == ["no answer in time"]


class Flapping:
    """A connector, and the clock: at each connection pictures come for ``up_s``."""

    def __init__(self, up_s: float) -> None:
        self.in_bursts = self.over = False
        self.stream = "flapping"
        self.now = 1000.0
        self._up_s = up_s

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)

    def connect(self) -> Flapping:
        return self

    def pictures(self) -> Iterator[Decoded]:
        for _ in range(2):
            yield Decoded(Picture((64, 48), lambda: picture(0)), None, lambda: picture(0)[::8, ::8, 2])
            self.now += self._up_s / 2

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("up_s", "down_s", "least_s", "most_s"), [(3.0, 3.0, 0.0, 4.0), (0.1, 10.0, 190.0, 210.0), (11.0, 3.0, 0.0, 0.0)]
)
def test_a_stream_that_comes_and_goes_is_followed_closely_and_one_that_hardly_comes_is_not(
    up_s: float, down_s: float, least_s: float, most_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera, stopping, away_s = Flapping(up_s), threading.Event(), []

    def backoff(away: float) -> float:
        away_s.append(away)
        camera.now += down_s
        if len(away_s) == 21:
            stopping.set()
        return 0.0

    monkeypatch.setattr(live, "time", camera)
    monkeypatch.setattr(live, "backoff_s", backoff)
    monkeypatch.setattr(live, "connector_for", lambda *_, **__: camera)
    spec = SourceSpec(url="rtsp://cam/1", source_type="RTSP")
    for _ in open_source(spec, stopping=stopping, monitor=SourceMonitor()):
        pass
    assert least_s <= away_s[-1] <= most_s


class StillCamera:
    """A connector whose every connection shows one picture again and again, and notes how long each is borne."""

    def __init__(self, *, over_after: int = 0) -> None:
        self.in_bursts = False
        self.over = False
        self.stream = "still"
        self.borne_s: list[float] = []
        self._over_after = over_after

    def connect(self) -> StillCamera:
        return self

    def pictures(self) -> Iterator[Decoded]:
        began = time.monotonic()
        try:
            for number in itertools.count(1):
                yield Decoded(Picture((64, 48), lambda: picture(0)), None, lambda: picture(0)[::8, ::8, 2])
                if number == self._over_after:
                    self.over = True
                    return
                time.sleep(0.005)
        finally:
            self.borne_s.append(time.monotonic() - began)

    def close(self) -> None:
        pass


@pytest.fixture
def quick_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "CHECK_INTERVAL_S", 0.01)


@pytest.mark.usefixtures("quick_backoff", "quick_look")
def test_a_frozen_stream_is_connected_anew_once_and_then_more_and_more_rarely_and_its_frames_flow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    camera = StillCamera()
    monkeypatch.setattr(live, "connector_for", lambda *_, **__: camera)
    stopping = threading.Event()
    states: States = []
    monitor = SourceMonitor(lambda state, reason: states.append((state, re.sub(r"\d+", "n", reason))))
    spec = SourceSpec(url="rtsp://cam/1", source_type="RTSP", frozen_after_s=0.1)
    frames = open_source(spec, stopping=stopping, monitor=monitor)
    while len(camera.borne_s) < 4:
        next(frames)
    stopping.set()
    assert list(frames) == []
    for borne_s, least_s in zip(camera.borne_s, (0.1, 0.1, 0.2, 0.4), strict=False):
        assert borne_s >= least_s
    report = monitor.report()
    assert (report.state, report.stalls) == (SourceState.STALLED, 1)
    assert report.reconnects >= 3
    same = "the same picture for n s"
    said = [state for state, _ in itertools.groupby(states)]
    assert said[:5] == [
        (SourceState.CONNECTING, ""),
        (SourceState.STREAMING, ""),
        (SourceState.STALLED, same),
        (SourceState.RECONNECTING, same),
        (SourceState.STALLED, same),
    ]


@pytest.mark.usefixtures("quick_backoff", "quick_look")
@pytest.mark.parametrize(
    ("address", "frozen_after_s"), [("rtsp://cam/1", 0.0), ("gb28181_playback://cam?deviceid=1", 0.1)]
)
def test_who_does_not_want_it_and_recordings_are_not_watched_for_still_pictures(
    address: str, frozen_after_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "connector_for", lambda *_, **__: StillCamera(over_after=40))
    states: States = []
    spec = SourceSpec(url=address, source_type="RTSP", frozen_after_s=frozen_after_s)
    monitor = SourceMonitor(lambda state, reason: states.append((state, reason)))
    frames = list(open_source(spec, stopping=threading.Event(), monitor=monitor))
    assert len(frames) == 40
    assert [state for state, _ in states] == [SourceState.CONNECTING, SourceState.STREAMING, SourceState.ENDED]


@pytest.mark.usefixtures("quick_backoff")
def test_a_real_camera_that_freezes_and_comes_to_life_again_is_followed() -> None:
    states: States = []
    monitor = SourceMonitor(lambda state, reason: states.append((state, reason)))
    with RtspServer(make_clip(gop=5)) as server, stopping_at_the_end() as stopping:
        spec = SourceSpec(url=server.url, source_type="RTSP", frozen_after_s=4.0)
        frames = open_source(spec, stopping=stopping, monitor=monitor)
        next(frames)
        server.mode("still")
        while monitor.report().reconnects < 1:
            next(frames)
        assert monitor.report().state is SourceState.STALLED
        server.mode("play")
        while monitor.report().state is not SourceState.STREAMING:
            next(frames)
    assert [state for state, _ in itertools.groupby(state for state, _ in states)] == [
        SourceState.CONNECTING,
        SourceState.STREAMING,
        SourceState.STALLED,
        SourceState.RECONNECTING,
        SourceState.STALLED,
        SourceState.STREAMING,
    ]
    assert monitor.report().stalls == 1


@pytest.mark.usefixtures("quick_backoff")
def test_each_connection_waits_for_its_turn(stream_bytes: bytes, tmp_path: Path) -> None:
    turns = tmp_path / "turns"
    began = time.monotonic()
    with Camera(stream_bytes) as camera, stopping_at_the_end() as stopping:
        spec = SourceSpec(url=camera.url, source_type="HTTP", turnstile=turns, connects_per_s=50.0)
        frames = open_source(spec, stopping=stopping, monitor=SourceMonitor())
        assert len(list(itertools.islice(frames, 30))) == 30
        assert camera.connections == 3
    assert struct.unpack("<8sd", turns.read_bytes())[1] >= began + 3 / 50.0


@pytest.mark.usefixtures("quick_backoff")
def test_timestamps_that_jump_forth_and_back_or_stand_still_do_not_matter(tmp_path: Path) -> None:
    near = write_clip(tmp_path / "near.ts", frames=12)
    with av.open(near) as source, av.open(tmp_path / "far.ts", "w", options={"output_ts_offset": "36000"}) as far:
        copied = far.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copied
                far.mux(packet)
    jumping = near.read_bytes() + (tmp_path / "far.ts").read_bytes() + near.read_bytes()
    with Camera(jumping) as camera:
        frames = read_some(camera.url, 36, [])
        assert camera.connections == 1
    assert [frame.frame_id for frame in frames] == list(range(36))
    assert [row for row, frame in enumerate(frames) if frame.discontinuity] == [0]

    still = bytearray(write_clip(tmp_path / "still.flv", frames=12).read_bytes())
    at = 13  # the file's header and the size of no tag before the first
    while at < len(still):
        size = int.from_bytes(still[at + 1 : at + 4])
        still[at + 4 : at + 8] = bytes(4)  # a tag's time
        at += 11 + size + 4
    with Camera(bytes(still), content_type="video/x-flv") as camera:
        assert [frame.frame_id for frame in read_some(camera.url, 12, [])] == list(range(12))
