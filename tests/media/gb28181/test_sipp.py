"""Our user agent against SIPp, which plays the platform and checks what it is sent."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streamserver.core.errors import SourceError
from streamserver.core.gb28181_address import Gb28181Address
from streamserver.media.gb28181.dialog import Dialog
from streamserver.media.gb28181.endpoint import Timing
from streamserver.media.gb28181.sdp import Offer
from streamserver.media.gb28181.user_agent import BYE_REASON, UserAgent
from tests.media.gb28181.agents import Impatient, noticed_ringing
from tests.media.gb28181.sipp import Sipp, needs_sipp

pytestmark = needs_sipp

SERVER, CHANNEL, US, PASSWORD = "34020000002000000001", "34020000001320000001", "34020000004000000001", "a:b@c#d"
BEGIN, END = datetime.fromtimestamp(1698133927, UTC), datetime.fromtimestamp(1698135715, UTC)
TIMING = Timing(answer_s=60.0, ringing_s=120.0, probe_s=60.0, goodbye_s=30.0)


@pytest.fixture
def agents() -> Iterator[Callable[..., UserAgent]]:
    """Makes user agents, and closes them."""
    made: list[UserAgent] = []

    def make(
        port: int, *, password: str = PASSWORD, playback: bool = False, inviting: Timing = TIMING, **options: object
    ) -> UserAgent:
        address = Gb28181Address(
            server_id=SERVER,
            password=password,
            host="127.0.0.1",
            port=port,
            device_id=CHANNEL,
            local_id=US,
            device_type=3,
            begin=BEGIN if playback else None,
            end=END if playback else None,
            playback=playback,
        )
        arguments = {"transport": "udp", "stopping": threading.Event(), "timing": TIMING, **options}
        made.append(Impatient(address, inviting=inviting, **arguments))
        return made[-1]

    yield make
    for agent in made:
        agent.close()


def offer(*, playback: bool = False, transport: str = "udp") -> Offer:
    return Offer(
        media_ip="127.0.0.1",
        media_port=40002,
        transport=transport,
        ssrc="1200000001" if playback else "0200000001",
        begin=BEGIN if playback else None,
        end=END if playback else None,
        device_type=3,
    )


def until_ended(dialog: Dialog) -> str:
    deadline = time.monotonic() + 60
    while dialog.ended is None:
        assert time.monotonic() < deadline, "the dialog did not end"
        time.sleep(0.01)
    return dialog.ended


def test_a_live_stream_is_registered_for_asked_for_and_hung_up(
    agents: Callable[..., UserAgent], tmp_path: Path
) -> None:
    with Sipp("live", tmp_path) as platform:
        agent = agents(platform.port)
        agent.register()
        agent.register()  # nothing more to do
        dialog = agent.invite(offer())
        assert dialog.ended is None
        answer = dialog.answer
        assert (answer.media_ip, answer.media_port, answer.ssrc) == ("127.0.0.1", 40000, "0200000001")
        assert answer.payloads == {96: "PS/90000"}
        dialog.bye()
        dialog.bye()
        agent.close()
        agent.close()
        platform.finish()
    assert agent.local_ip == "127.0.0.1"


@pytest.mark.parametrize("transport", ["tcp", "auto"])
def test_all_goes_over_one_tcp_connection_where_udp_is_not_answered(
    agents: Callable[..., UserAgent], tmp_path: Path, transport: str
) -> None:
    with Sipp("live_tcp", tmp_path, transport="tcp") as platform:
        agent = agents(platform.port, transport=transport)
        dialog = agent.invite(offer(transport="tcp-passive"))
        dialog.bye()
        agent.close()
        platform.finish()


def test_a_recording_is_asked_for_with_its_span_by_who_knows_the_password(
    agents: Callable[..., UserAgent], tmp_path: Path
) -> None:
    with Sipp("playback", tmp_path) as platform:
        agent = agents(platform.port, playback=True)
        dialog = agent.invite(offer(playback=True))
        dialog.bye()
        agent.close()
        platform.finish()


def test_a_wrong_password_has_its_own_reason_which_does_not_show_it(
    agents: Callable[..., UserAgent], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with Sipp("playback", tmp_path, calls=1) as platform:
        agent = agents(platform.port, password="not-the-password")
        with pytest.raises(SourceError) as caught:
            agent.register()
        platform.finish()
    assert caught.value.message == f"the platform refuses to register '{US}' (403 Forbidden)"
    assert "not-the-password" not in caplog.text + str(caught.value)


@pytest.mark.parametrize(
    ("scenario", "patience_s", "reason"),
    [
        ("forbidden", 60.0, "the platform forbids the stream (403 Forbidden)"),
        ("busy", 60.0, "the device is busy (486 Busy Here)"),
        ("silent", 2.0, "the platform did not answer within 2 s when it was asked for the stream"),
        ("ringing", 5.0, "the platform only said '180 Ringing' for 5 s when it was asked for the stream"),
    ],
    ids=["forbidden", "busy", "silent", "ringing"],
)
def test_a_stream_that_is_not_to_be_had_says_why(
    agents: Callable[..., UserAgent], tmp_path: Path, scenario: str, patience_s: float, reason: str
) -> None:
    with Sipp(scenario, tmp_path) as platform:
        inviting = dataclasses.replace(TIMING, answer_s=patience_s, ringing_s=patience_s + 0.4)
        agent = agents(platform.port, inviting=inviting)
        with pytest.raises(SourceError) as caught:
            agent.invite(offer())
        assert caught.value.message == reason
        agent.close()
        platform.finish()


def test_a_stream_that_is_stopped_while_it_rings_is_cancelled(
    agents: Callable[..., UserAgent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping, rings = threading.Event(), noticed_ringing(monkeypatch)
    with Sipp("ringing", tmp_path) as platform:
        agent = agents(platform.port, stopping=stopping)
        agent.register()
        watching = threading.Thread(target=lambda: rings.wait(60) and stopping.set())
        watching.start()
        with pytest.raises(SourceError, match="is being stopped"):
            agent.invite(offer())
        watching.join()
        agent.close()
        platform.finish()


@pytest.mark.parametrize(
    ("scenario", "seen", "times"),
    [("invite_digest", "ACK sip:", 2), ("twice", "ACK sip:", 2), ("questions", "SIP/2.0 405", 1)],
)
def test_a_stream_stands_when_the_platform_asks_or_tells_us_something_again(
    agents: Callable[..., UserAgent], tmp_path: Path, scenario: str, seen: str, times: int
) -> None:
    with Sipp(scenario, tmp_path) as platform:
        agent = agents(platform.port)
        dialog = agent.invite(offer())
        platform.wait_for(seen, times)
        assert dialog.ended is None
        dialog.bye()
        agent.close()
        platform.finish()


def test_a_device_that_hangs_up_ends_the_stream(agents: Callable[..., UserAgent], tmp_path: Path) -> None:
    with Sipp("hung_up", tmp_path) as platform:
        agent = agents(platform.port)
        dialog = agent.invite(offer())
        assert until_ended(dialog) == BYE_REASON
        dialog.bye()  # there is nobody to say it to
        agent.close()
        platform.finish()


def test_a_recording_that_was_sent_to_its_end_ends_without_a_reason(
    agents: Callable[..., UserAgent], tmp_path: Path
) -> None:
    with Sipp("sent_all", tmp_path) as platform:
        agent = agents(platform.port, playback=True)
        dialog = agent.invite(offer(playback=True))
        assert until_ended(dialog) == ""
        dialog.bye()
        agent.close()
        platform.finish()
