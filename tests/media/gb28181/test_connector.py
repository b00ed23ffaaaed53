"""GB28181 from end to end: the simulator sends a real clip, the loop of ``live`` keeps the stream alive."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing

import numpy as np
import pytest

from streamserver.core.errors import SourceMissingError
from streamserver.core.source_monitor import SourceMonitor, SourceReport
from streamserver.core.states import SourceState
from streamserver.media import live
from streamserver.media.gb28181 import connection, connector
from streamserver.media.gb28181 import receiver as receiver_module
from streamserver.media.gb28181.rtp import Reorderer
from streamserver.media.sources import SourceFrame, SourceSpec, open_source
from tests.media.gb28181.agents import PATIENT, Impatient
from tests.media.gb28181.conftest import Recorded
from tests.media.gb28181.device import PASSWORD, Device, Faults
from tests.media.gb28181.ps_muxer import CLOCK_HZ

States = list[tuple[SourceState, str]]
BYE = "the device ended the stream (BYE)"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses, where waiting is not what is tested; and limits that nobody crosses because the machine is busy."""
    monkeypatch.setattr(live, "backoff_s", lambda away_s: 0.01)
    monkeypatch.setattr(live, "backoff_after_refusal_s", lambda: 0.01)
    monkeypatch.setattr(connection, "_REST_S", {False: 60.0, True: 60.0})
    monkeypatch.setattr(connection, "_QUIET_S", 1.0)
    monkeypatch.setattr(receiver_module, "_LARGEST_BACKLOG_BYTES", 1 << 30)
    set_timing(monkeypatch)


def set_timing(monkeypatch: pytest.MonkeyPatch, *, answer_to_invite_s: float = 60.0, **changes: float) -> None:
    """How long the platform is waited for."""
    timing = dataclasses.replace(PATIENT, **changes)  # type: ignore[arg-type]
    inviting = dataclasses.replace(timing, answer_s=answer_to_invite_s)
    monkeypatch.setattr(connector, "UserAgent", functools.partial(Impatient, timing=timing, inviting=inviting))


@pytest.fixture
def however_slow_packets_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "Reorderer", functools.partial(Reorderer, patience_s=60.0))


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 60
    while left := [thread.name for thread in threading.enumerate() if thread not in before]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


class Watching:
    """One stream, read as the engine does."""

    def __init__(self, address: str, *, transport: str = "auto", decoder: str = "av") -> None:
        self.states: States = []
        self.stopping = threading.Event()
        self._patience = threading.Timer(120.0, self.stopping.set)  # a test that hangs fails instead
        self._patience.daemon = True
        self._monitor = SourceMonitor(lambda state, reason: self.states.append((state, reason)))
        spec = SourceSpec(url=address, source_type="GB28181", transport=transport, decoder=decoder, frozen_after_s=0)
        self.frames: Iterator[SourceFrame] = open_source(spec, stopping=self.stopping, monitor=self._monitor)

    @property
    def reasons(self) -> list[str]:
        return [reason for state, reason in self.states if state is SourceState.RECONNECTING]

    def report(self) -> SourceReport:
        return self._monitor.report()

    def __enter__(self) -> Watching:
        self._patience.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._patience.cancel()
        self._patience.join()
        self.stopping.set()
        assert list(self.frames) == []


def reasons_of_failures(address: str, times: int = 1, *, transport: str = "auto") -> list[str]:
    """Why the first connections of a stream that gives no picture fail."""
    reasons: list[str] = []
    stopping = threading.Event()

    def note(state: SourceState, reason: str) -> None:
        reasons.extend([reason] * (state is SourceState.RECONNECTING))
        if len(reasons) >= times:
            stopping.set()

    spec = SourceSpec(url=address, source_type="GB28181", transport=transport)
    assert list(open_source(spec, stopping=stopping, monitor=SourceMonitor(note))) == []
    return reasons


def numbers(frames: Iterator[SourceFrame], recorded: Recorded) -> list[int]:
    """Which pictures of the clip these are, each compared with all its pixels; -1 for one that is none of them."""
    found: list[int] = []
    expected = 0
    for frame in frames:
        image = frame.picture.bgr
        if not np.array_equal(image, recorded.images_bgr[expected]):
            same = (n for n, other in enumerate(recorded.images_bgr) if np.array_equal(image, other))
            expected = next(same, -1)
        found.append(expected)
        expected = (expected + 1) % len(recorded.images_bgr)
    return found


def seconds_of(recorded: Recorded) -> int:
    return -(-recorded.clip.length // CLOCK_HZ)


@pytest.fixture(params=["h264", "hevc"])
def recorded(request: pytest.FixtureRequest) -> Recorded:
    found: Recorded = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_recording_is_played_to_its_last_picture_and_ends(recorded: Recorded, transport: str) -> None:
    address_of = functools.partial(Device.address, playback_s=seconds_of(recorded))
    with Device(recorded.clip) as device, Watching(address_of(device), transport=transport) as watching:
        assert numbers(watching.frames, recorded) == list(range(len(recorded.images_bgr)))
    assert [state for state, _ in watching.states] == [
        SourceState.CONNECTING,
        SourceState.STREAMING,
        SourceState.ENDED,
    ]
    assert device.seen == ["REGISTER", "REGISTER", "INVITE", "ACK", "BYE", "REGISTER", "REGISTER"]
    assert watching.report().broken == 0


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_is_watched_picture_by_picture(recorded: Recorded, transport: str) -> None:
    count = len(recorded.images_bgr)
    with Device(recorded.clip) as device, Watching(device.address(), transport=transport) as watching:
        watched = numbers(itertools.islice(watching.frames, count + 20), recorded)
        assert watched == [*range(count), *range(20)]
        assert watching.report().stream == f"{recorded.clip.codec} " + (
            "768x432 12.5 fps" if recorded.clip.codec == "h264" else "384x216 25 fps"
        )


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_opencv_shows_the_same_pictures(recorded: Recorded, transport: str) -> None:
    address_of = functools.partial(Device.address, playback_s=seconds_of(recorded))
    with (
        Device(recorded.clip) as device,
        Watching(address_of(device), transport=transport, decoder="opencv") as watching,
    ):
        assert numbers(watching.frames, recorded) == list(range(len(recorded.images_bgr)))
    assert watching.states[-1] == (SourceState.ENDED, "")


@pytest.mark.parametrize("decoder", ["av", "opencv"])
def test_the_clock_of_a_recording_is_its_own_time(recorded: Recorded, decoder: str) -> None:
    address = functools.partial(Device.address, playback_s=seconds_of(recorded))
    with Device(recorded.clip) as device, Watching(address(device), transport="tcp", decoder=decoder) as watching:
        clocks = [frame.clock_s for frame in watching.frames]
    assert clocks[0] == 0
    assert clocks == sorted(clocks)
    assert abs(clocks[-1] - recorded.clip.length / CLOCK_HZ) <= (0.09 if decoder == "av" else 0.5)


def test_the_clock_of_a_camera_is_the_machines(h264: Recorded) -> None:
    began = time.monotonic()
    with Device(h264.clip) as device, Watching(device.address(), transport="tcp") as watching:
        clocks = [frame.clock_s for frame in itertools.islice(watching.frames, 10)]
    times = [began, *clocks, time.monotonic()]
    assert times == sorted(times)


@pytest.mark.usefixtures("however_slow_packets_come")
def test_packets_that_overtake_each_other_do_no_harm(recorded: Recorded) -> None:
    faults = Faults(swap=0.05)
    with Device(recorded.clip, faults=faults) as device, Watching(device.address(), transport="udp") as watching:
        count = len(recorded.images_bgr)
        assert numbers(itertools.islice(watching.frames, count), recorded) == list(range(count))
        assert watching.report().broken == 0


def test_the_stream_goes_on_when_packets_are_lost(recorded: Recorded) -> None:
    faults = Faults(lose=0.01)
    with Device(recorded.clip, faults=faults) as device, Watching(device.address(), transport="udp") as watching:
        assert sum(1 for _ in itertools.islice(watching.frames, 400)) == 400
        assert watching.report().broken > 0
        assert watching.reasons == []


@pytest.mark.parametrize(
    "faults",
    [Faults(no_map=True), Faults(other_ssrc=True), Faults(interleaved=True), Faults(swap=0.02, other_ssrc=True)],
    ids=["no map", "another SSRC", "interleaved", "swapped, another SSRC"],
)
@pytest.mark.usefixtures("however_slow_packets_come")
def test_what_devices_do_in_their_own_ways_is_put_up_with(recorded: Recorded, faults: Faults) -> None:
    transport = "udp" if faults.swap else "tcp"
    with Device(recorded.clip, faults=faults) as device, Watching(device.address(), transport=transport) as watching:
        assert numbers(itertools.islice(watching.frames, 100), recorded) == list(range(100))


def test_a_device_that_refuses_tcp_is_asked_for_udp(h264: Recorded) -> None:
    with Device(h264.clip, faults=Faults(refuse_tcp=True)) as device, Watching(device.address()) as watching:
        assert numbers(itertools.islice(watching.frames, 50), h264) == list(range(50))
    assert len(watching.reasons) == 1
    assert "488" in watching.reasons[0]
    assert {call.tcp for call in device.calls} == {False}


def test_a_device_that_waits_for_our_connection_is_connected_to(
    h264: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connector._WAYS, "tcp", ("tcp-active",))
    with Device(h264.clip) as device, Watching(device.address(), transport="tcp") as watching:
        assert numbers(itertools.islice(watching.frames, 50), h264) == list(range(50))
    assert [call.offer["setup"] for call in device.calls] == ["active"]


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        (Faults(refuse=403), "the platform forbids the stream (403 No); allow this server's id to watch the channel"),
        (Faults(refuse=486), "the device is busy (486 No); it may allow only so many viewers at once"),
        (Faults(silent=True), "the platform did not answer within 1 s when it was asked for the stream"),
        (
            Faults(no_media=True),
            "the platform has accepted the stream, and for 1 s no media has come; "
            "open the media port of this server to the device, see docs/sources.md",
        ),
    ],
    ids=["403", "486", "silent", "no media"],
)
def test_a_stream_that_is_not_to_be_had_says_why_with_the_cure_and_is_asked_for_again(
    h264: Recorded, faults: Faults, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "FIRST_MEDIA_S", 1.0)
    if faults.silent:
        set_timing(monkeypatch, answer_to_invite_s=1.0)
    with Device(h264.clip, faults=faults) as device:
        assert reasons_of_failures(device.address(), 2) == [reason] * 2
    assert device.seen.count("INVITE") >= 2


def test_a_refusal_by_the_camera_does_not_cost_the_registration(h264: Recorded) -> None:
    with Device(h264.clip, faults=Faults(refuse=486)) as device:
        reasons = reasons_of_failures(device.address(), 4)
    assert [reason.split(" (")[0] for reason in reasons] == ["the device is busy"] * 4
    assert device.seen == ["REGISTER", "REGISTER", *["INVITE", "ACK"] * 4, "REGISTER", "REGISTER"]


def test_a_wrong_password_is_told_from_all_else_and_never_shown(
    h264: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Device(h264.clip) as device:
        reasons = reasons_of_failures(device.address().replace(PASSWORD, "wr0ng/p@ss"))
    assert "403" in reasons[0]
    assert "wr0ng" not in caplog.text + reasons[0]
    assert device.calls == []


def test_a_device_that_hangs_up_is_called_again(recorded: Recorded) -> None:
    with Device(recorded.clip, faults=Faults(bye_after=50)) as device, Watching(device.address()) as watching:
        assert numbers(itertools.islice(watching.frames, 90), recorded) == [*range(50), *range(40)]
    assert watching.states == [
        (SourceState.CONNECTING, ""),
        (SourceState.STREAMING, ""),
        (SourceState.RECONNECTING, BYE),
        (SourceState.STREAMING, ""),
    ]
    assert device.seen[:5] == ["REGISTER", "REGISTER", "INVITE", "ACK", "INVITE"]


def test_a_recording_that_breaks_off_goes_on_where_it_was(h264: Recorded) -> None:
    address_of = functools.partial(Device.address, playback_s=seconds_of(h264))
    with Device(h264.clip, faults=Faults(bye_after=200)) as device, Watching(address_of(device)) as watching:
        played = numbers(watching.frames, h264)
    assert watching.reasons == [BYE]
    assert watching.states[-1] == (SourceState.ENDED, "")
    assert played[:200] == list(range(200))
    again = played[200]
    assert h264.clip.units[again].is_key
    assert 200 - again <= 12.5 + 2 * 60  # a second, and the distance of two key frames
    assert played[200:] == list(range(again, len(h264.images_bgr)))


def test_a_recording_that_is_hung_up_on_at_its_end_has_ended(h264: Recorded) -> None:
    address_of = functools.partial(Device.address, playback_s=seconds_of(h264))
    with Device(h264.clip, faults=Faults(no_notice=True)) as device, Watching(address_of(device)) as watching:
        assert numbers(watching.frames, h264) == list(range(len(h264.images_bgr)))
    assert watching.states[-1] == (SourceState.ENDED, "")


def test_a_recording_that_is_shorter_than_what_was_asked_for_ends_all_the_same(h264: Recorded) -> None:
    address_of = functools.partial(Device.address, playback_s=seconds_of(h264) + 60)
    with Device(h264.clip, faults=Faults(no_notice=True)) as device, Watching(address_of(device)) as watching:
        played = numbers(watching.frames, h264)
    assert played[: len(h264.images_bgr)] == list(range(len(h264.images_bgr)))
    assert set(watching.reasons) == {BYE}
    assert watching.states[-1] == (SourceState.ENDED, "")


def test_a_platform_that_dies_and_comes_back_is_found_again(h264: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    set_timing(monkeypatch, first_resend_s=0.2, answer_s=5.0, goodbye_s=0.3)
    monkeypatch.setattr(live, "backoff_s", lambda away_s: 0.2)
    with Device(h264.clip) as device, Watching(device.address()) as watching:
        assert numbers(itertools.islice(watching.frames, 50), h264) == list(range(50))
        device.stop()
        states = len(watching.states)
        back: list[Device] = []

        def come_back() -> None:
            back.append(Device(h264.clip, port=device.port))

        timer = threading.Timer(1.0, come_back)
        timer.start()
        try:
            for frame in watching.frames:
                if frame.frame_id == 20 and len(watching.states) > states:
                    break
        finally:
            timer.join()
            watching.stopping.set()
            list(watching.frames)
            back[0].stop()
    assert watching.report().reconnects == 1


def test_silence_is_noticed(h264: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "_STALLED_GRACE_S", -9.0)
    with Device(h264.clip, speed=4.0) as device, Watching(device.address(), transport="udp") as watching:
        numbers(itertools.islice(watching.frames, 30), h264)
        device.calls[0].stopped.set()
        for _ in watching.frames:
            if watching.reasons:
                break
    assert watching.reasons == ["no media has come for 1 s"]


def test_a_wrong_address_is_not_tried_again() -> None:
    monitor = SourceMonitor()
    spec = SourceSpec(url="gb28181://1:secret@127.0.0.1:5060?deviceid=2", source_type="GB28181")
    with pytest.raises(SourceMissingError, match="platform id") as raised:
        list(open_source(spec, stopping=threading.Event(), monitor=monitor))
    assert "secret" not in str(raised.value)


def test_several_streams_of_one_camera_do_not_disturb_each_other(h264: Recorded) -> None:
    with Device(h264.clip) as device, closing(_two(device)) as pairs:
        for number, (first, second) in enumerate(itertools.islice(pairs, 30)):
            assert np.array_equal(first.picture.bgr, h264.images_bgr[number])
            assert np.array_equal(second.picture.bgr, h264.images_bgr[number])


def _two(device: Device) -> Generator[tuple[SourceFrame, SourceFrame], None, None]:
    with Watching(device.address(), transport="udp") as one, Watching(device.address(), transport="tcp") as other:
        yield from zip(one.frames, other.frames, strict=False)


def test_whoever_waits_stops_when_it_is_asked_to(h264: Recorded) -> None:
    with Device(h264.clip, faults=Faults(no_media=True)) as device:
        stopping = threading.Event()
        spec = SourceSpec(url=device.address(), source_type="GB28181")
        timer = threading.Timer(0.5, stopping.set)
        timer.start()
        assert list(open_source(spec, stopping=stopping, monitor=SourceMonitor())) == []
        timer.join()
    assert "INVITE" in device.seen
