"""Our user agent against a platform that misbehaves, message by message; SIPp drives the usual cases (test_sipp)."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from streamserver.core.errors import SourceError
from streamserver.core.gb28181_address import Gb28181Address
from streamserver.media.gb28181.endpoint import Timing
from streamserver.media.gb28181.message import Request, Response, tag_of
from streamserver.media.gb28181.registration import Registration
from streamserver.media.gb28181.sdp import Offer
from streamserver.media.gb28181.user_agent import BYE_REASON, UserAgent
from tests.media.gb28181.agents import PATIENT, Impatient, noticed_ringing
from tests.media.gb28181.sip_platform import SDP, Platform, answer, friendly

SERVER, CHANNEL, US, PASSWORD = "34020000002000000001", "34020000001320000001", "34020000004000000001", "p@ss:w#rd"
QUICK = Timing(first_resend_s=0.05, answer_s=0.4, ringing_s=0.6, probe_s=0.3, goodbye_s=0.3, keepalive_s=0.1)
LIVELY = Timing(first_resend_s=0.05, answer_s=30.0, keepalive_s=0.1)
OFFER = Offer(media_ip="127.0.0.1", media_port=40002, transport="udp", ssrc="0200000001")
MakeAgent = Callable[..., UserAgent]


def address(port: int, **changes: object) -> Gb28181Address:
    fields: dict[str, object] = {"server_id": SERVER, "password": PASSWORD, "host": "127.0.0.1", "port": port}
    fields |= {"device_id": CHANNEL, "local_id": US, **changes}
    return Gb28181Address(**fields)  # type: ignore[arg-type]


@pytest.fixture
def platform() -> Iterator[Platform]:
    with Platform() as platform:
        yield platform


@pytest.fixture
def agent(platform: Platform) -> Iterator[MakeAgent]:
    """Makes user agents of the platform, and closes them."""
    made: list[UserAgent] = []

    def make(
        *, timing: Timing = PATIENT, inviting: Timing | None = None, stopping: threading.Event | None = None
    ) -> UserAgent:
        made.append(
            Impatient(
                address(platform.port),
                transport="udp",
                stopping=stopping or threading.Event(),
                timing=timing,
                inviting=inviting or timing,
            )
        )
        return made[-1]

    yield make
    for one in made:
        one.close()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name in ("gb28181-sip", "gb28181-keeper")])


def until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def from_platform(method: str, invite: Request, *, tag: str = "platform", body: bytes = b"", cseq: int = 1) -> bytes:
    """A request of the platform's in the call of ``invite``."""
    headers = (
        ("Via", f"SIP/2.0/UDP 127.0.0.1:5060;rport;branch=z9hG4bK-{method}-{cseq}"),
        ("f", f"<sip:{CHANNEL}@3402000000>;tag={tag}"),
        ("t", invite.value("From")),
        ("i", invite.call_id),
        ("CSeq", f"{cseq} {method}"),
    )
    return Request(method=method, uri=f"sip:{US}@127.0.0.1", headers=headers, body=body).to_bytes()


def await_less(agent: UserAgent, answer_s: float) -> None:
    """From now on it waits only so long for the answers that keep its registration alive."""
    line = agent._line
    if line is not None:
        line.timing = dataclasses.replace(line.timing, answer_s=answer_s)


def answers_to(platform: Platform, method: str) -> list[int]:
    return [seen.status for seen in platform.seen if isinstance(seen, Response) and seen.cseq[1] == method]


def test_what_was_lost_on_the_way_is_sent_again(platform: Platform, agent: MakeAgent) -> None:
    losing = {"REGISTER": 2, "INVITE": 2}

    def lossy(request: Request) -> list[Response]:
        losing[request.method] = losing.get(request.method, 0) - 1
        return [] if losing[request.method] >= 0 else friendly(request)

    platform.brain = lossy
    dialog = agent(timing=dataclasses.replace(PATIENT, first_resend_s=0.1)).invite(OFFER)
    assert dialog.ended is None
    assert len({request.to_bytes() for request in platform.requests("INVITE")}) == 1
    assert len(platform.requests("INVITE")) >= 3


def test_a_platform_that_is_silent_or_not_there_is_given_up(platform: Platform) -> None:
    platform.brain = lambda request: []
    stopping = threading.Event()
    silent = UserAgent(address(platform.port), transport="udp", stopping=stopping, timing=QUICK)
    with pytest.raises(SourceError, match="the platform did not answer within 0 s over UDP"):
        silent.register()
    auto = UserAgent(address(platform.port), transport="auto", stopping=stopping, timing=QUICK)
    with pytest.raises(SourceError, match="did not answer within 0 s over UDP, and refuses the connection over TCP"):
        auto.register()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        nobody.connect(("127.0.0.1", 9))  # so the port is its own, and nobody else's datagrams arrive there
        absent = UserAgent(address(nobody.getsockname()[1]), transport="udp", stopping=stopping)
        with pytest.raises(SourceError, match="the platform refuses the connection over UDP"):
            absent.register()
    unknown = UserAgent(address(5060, host="platform.invalid"), transport="udp", stopping=stopping)
    with pytest.raises(SourceError, match=r"the platform's host name 'platform\.invalid' is not known"):
        unknown.register()


def test_waiting_ends_when_the_stream_is_stopped(platform: Platform, agent: MakeAgent) -> None:
    platform.brain = lambda request: []
    stopping = threading.Event()
    threading.Timer(0.2, stopping.set).start()
    with pytest.raises(SourceError, match="is being stopped"):
        agent(stopping=stopping, timing=Timing(answer_s=600)).register()


def test_a_flood_of_provisional_answers_does_not_hold_up_who_stops(platform: Platform, agent: MakeAgent) -> None:
    stopping = threading.Event()

    def flood(request: Request) -> list[Response]:
        if request.method == "INVITE":
            threading.Timer(0.2, stopping.set).start()
            threading.Thread(target=ring, args=(answer(request, 180, "Ringing").to_bytes(),)).start()
            return []
        return friendly(request)

    def ring(data: bytes) -> None:
        while not platform.requests("CANCEL"):
            platform.send(data)
            time.sleep(0.002)

    platform.brain = flood
    one = agent(stopping=stopping, timing=Timing(first_resend_s=900, answer_s=300, ringing_s=300, goodbye_s=0.2))
    began = time.monotonic()
    with pytest.raises(SourceError, match="is being stopped"):
        one.invite(OFFER)
    assert time.monotonic() - began < 60


def test_a_registration_is_renewed_in_time_and_lives_on_keep_alives(platform: Platform, agent: MakeAgent) -> None:
    def brief(request: Request) -> list[Response]:
        return [answer(request, 200, "OK", ("Expires", "1"))] if request.method == "REGISTER" else friendly(request)

    platform.brain = brief
    dialog = agent(timing=LIVELY).invite(OFFER)
    platform.wait_for_request("REGISTER", 3)
    beat = platform.wait_for_request("MESSAGE", 3)
    first, second = platform.requests("REGISTER")[:2]
    assert first.call_id == second.call_id
    assert first.cseq[0] < second.cseq[0]
    assert b"<CmdType>Keepalive</CmdType>" in beat.body
    assert f"<DeviceID>{US}</DeviceID>".encode() in beat.body
    assert dialog.ended is None


def test_a_longer_registration_is_asked_for_where_the_platform_wants_one(platform: Platform, agent: MakeAgent) -> None:
    def patient(request: Request) -> list[Response]:
        if request.method == "REGISTER" and request.value("Expires") == "3600":
            return [answer(request, 423, "Interval Too Brief", ("Min-Expires", "7200"))]
        return friendly(request)

    platform.brain = patient
    agent().register()
    assert platform.requests("REGISTER")[-1].value("Expires") == "7200"


def test_a_platform_that_leaves_keep_alives_unanswered_has_lost_us(platform: Platform, agent: MakeAgent) -> None:
    one = agent(timing=Timing(answer_s=20.0, keepalive_s=0.1, keepalive_misses=2))
    dialog = one.invite(OFFER)
    await_less(one, 0.5)
    platform.brain = lambda request: []
    until(lambda: dialog.ended is not None)
    assert dialog.ended == "the platform does not answer keep-alives any more (2 in a row)"
    platform.brain = friendly
    assert one.invite(OFFER).ended is None  # registers anew


def test_a_platform_that_answers_no_keep_alives_but_registers_us_again_is_there(
    platform: Platform, agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh = Registration._refresh

    def refresh_with_patience(self: Registration) -> bool:
        await_less(one, 30.0)
        try:
            return refresh(self)
        finally:
            await_less(one, 0.3)

    monkeypatch.setattr(Registration, "_refresh", refresh_with_patience)
    platform.brain = lambda request: [] if request.method == "MESSAGE" else friendly(request)
    one = agent(timing=Timing(answer_s=30.0, keepalive_s=0.1, keepalive_misses=2))
    one.register()
    await_less(one, 0.3)
    dialog = one.invite(OFFER)
    platform.wait_for_request("REGISTER", 3)
    platform.wait_for(lambda message: isinstance(message, Request) and message.method == "MESSAGE", 10)
    assert dialog.ended is None


def test_a_platform_that_is_not_well_when_we_register_again_is_asked_later(
    platform: Platform, agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamserver.media.gb28181.registration._RETRY_S", 0.1)
    monkeypatch.setattr("streamserver.media.gb28181.registration._SHARE_UNTIL_REFRESH", 0.01)

    def ailing(request: Request) -> list[Response]:
        if request.method == "REGISTER" and len(platform.requests("REGISTER")) in (1, 2):
            return [answer(request, 503, "Service Unavailable")]
        return [answer(request, 200, "OK", ("Expires", "100"))] if request.method == "REGISTER" else friendly(request)

    platform.brain = ailing
    dialog = agent().invite(OFFER)
    platform.wait_for_request("REGISTER", 4)
    assert dialog.ended is None


def test_a_platform_that_has_forgotten_us_is_registered_at_anew(platform: Platform, agent: MakeAgent) -> None:
    def forgetful(request: Request) -> list[Response]:
        known = len(platform.requests("REGISTER")) >= 2
        if request.method == "MESSAGE" and not known:
            return [answer(request, 403, "Forbidden")]
        return friendly(request)

    platform.brain = forgetful
    dialog = agent(timing=LIVELY).invite(OFFER)
    platform.wait_for_request("REGISTER", 2)
    platform.wait_for_request("MESSAGE", 3)
    assert dialog.ended is None


def test_a_platform_that_throws_us_out_ends_the_stream(platform: Platform, agent: MakeAgent) -> None:
    one = agent(timing=LIVELY)
    dialog = one.invite(OFFER)
    platform.brain = lambda request: [answer(request, 403, "Forbidden")]
    until(lambda: dialog.ended is not None)
    assert dialog.ended == f"the platform refuses to register '{US}' (403 Forbidden)"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ('Digest realm="r", nonce="n"', f"the platform refuses the password of '{US}' (401 Unauthorized)"),
        ('Basic realm="r"', "the platform asks for our name in a way that we do not know (401 Unauthorized)"),
    ],
)
def test_who_is_asked_for_the_password_for_ever_gives_up(
    platform: Platform, agent: MakeAgent, header: str, reason: str
) -> None:
    platform.brain = lambda request: [answer(request, 401, "Unauthorized", ("WWW-Authenticate", header))]
    with pytest.raises(SourceError) as caught:
        agent().register()
    assert caught.value.message == reason
    assert PASSWORD not in str(caught.value)
    assert len(platform.requests("REGISTER")) == (2 if "Digest" in header else 1)


def test_a_stale_nonce_is_answered_once_more(platform: Platform, agent: MakeAgent) -> None:
    def aging(request: Request) -> list[Response]:
        tries = len(platform.requests("REGISTER"))
        stale = ", stale=true" if tries else ""
        challenge = ("WWW-Authenticate", f'Digest realm="r", nonce="n{tries}"{stale}')
        return friendly(request) if tries >= 2 else [answer(request, 401, "Unauthorized", challenge)]

    platform.brain = aging
    agent().register()
    assert [f'nonce="n{i}"' in platform.requests("REGISTER")[i + 1].value("Authorization") for i in (0, 1)] == [
        True
    ] * 2


def test_an_answer_that_comes_after_we_gave_up_is_acknowledged_and_hung_up(
    platform: Platform, agent: MakeAgent
) -> None:
    platform.brain = lambda request: [] if request.method == "INVITE" else friendly(request)
    one = agent(inviting=Timing(first_resend_s=0.05, answer_s=0.5))
    with pytest.raises(SourceError, match="did not answer"):
        one.invite(OFFER)
    invite = platform.requests("INVITE")[-1]
    platform.send(answer(invite, 200, "OK", body=SDP).to_bytes())
    assert platform.wait_for_request("ACK").cseq == (invite.cseq[0], "ACK")
    bye = platform.wait_for_request("BYE")
    assert tag_of(bye.value("To")) == "platform"
    assert bye.call_id == invite.call_id


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "names no video"),
        (SDP.replace(b"40000", b"0"), "refuses the video"),
        (SDP.replace(b"c=IN IP4 127.0.0.1\r\n", b""), "where the video comes from"),
    ],
)
def test_an_answer_without_video_is_hung_up(platform: Platform, agent: MakeAgent, body: bytes, reason: str) -> None:
    platform.brain = lambda request: [] if request.method == "ACK" else [answer(request, 200, "OK", body=body)]
    with pytest.raises(SourceError, match=reason):
        agent().invite(OFFER)
    platform.wait_for_request("ACK")
    platform.wait_for_request("BYE")


def test_a_call_that_is_taken_while_we_cancel_it_is_hung_up(
    platform: Platform, agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping, rings = threading.Event(), noticed_ringing(monkeypatch)

    def slow(request: Request) -> list[Response | Request]:
        if request.method == "CANCEL":
            return [*friendly(platform.requests("INVITE")[-1]), answer(request, 200, "OK")]
        if request.method == "INVITE":
            threading.Thread(target=lambda: rings.wait(60) and stopping.set()).start()
            return [answer(request, 180, "Ringing")]
        return [*friendly(request)]

    platform.brain = slow
    with pytest.raises(SourceError, match="is being stopped"):
        agent(stopping=stopping, timing=PATIENT).invite(OFFER)
    platform.wait_for_request("ACK")
    assert platform.wait_for_request("BYE").call_id == platform.requests("INVITE")[-1].call_id


def test_a_proxy_that_asks_who_we_are_is_told(platform: Platform, agent: MakeAgent) -> None:
    def proxy(request: Request) -> list[Response]:
        if request.method in ("ACK", "REGISTER") or request.value("Proxy-Authorization"):
            return friendly(request)
        challenge = ("Proxy-Authenticate", 'Digest realm="r", nonce="n"')
        return [answer(request, 407, "Proxy Authentication Required", challenge)]

    platform.brain = proxy
    dialog = agent().invite(OFFER)
    dialog.bye()
    assert [request.method for request in platform.requests("ACK") + platform.requests("BYE")] == ["ACK"] * 2 + [
        "BYE"
    ] * 2


def test_an_address_that_a_router_shows_in_our_place_is_announced(platform: Platform) -> None:
    stopping = threading.Event()
    agent = UserAgent(address(platform.port, local_ip="192.0.2.55"), transport="udp", stopping=stopping)
    agent.register()
    agent.close()
    assert agent.local_ip == "192.0.2.55"
    assert platform.requests("REGISTER")[0].value("Contact").startswith(f"<sip:{US}@192.0.2.55:")
    assert platform.requests("REGISTER")[-1].value("Expires") == "0"


def test_the_end_of_a_recording_may_be_told_outside_its_call(platform: Platform, agent: MakeAgent) -> None:
    live = agent().invite(OFFER)
    notice = f"<Notify><CmdType>MediaStatus</CmdType><SN>1</SN><DeviceID>{CHANNEL}</DeviceID>"
    body = f'<?xml version="1.0" encoding="GB2312"?>\n{notice}<NotifyType>121</NotifyType></Notify>'.encode()
    elsewhere = Request(method="MESSAGE", uri="sip:x@y", headers=(("From", "<sip:x@y>;tag=1"), ("Call-ID", "other")))
    platform.send(from_platform("MESSAGE", elsewhere, body=body))
    until(lambda: live.ended is not None)
    assert live.ended == "the device says that it has sent everything (NotifyType 121)"  # a live stream has no end
    live.bye()
    platform.wait_for_request("BYE")
    assert answers_to(platform, "MESSAGE") == [200]


def test_a_request_that_comes_again_is_answered_again_and_obeyed_once(platform: Platform, agent: MakeAgent) -> None:
    agent().register()
    register = platform.requests("REGISTER")[0]
    query = b"<Query><CmdType>Catalog</CmdType><SN>17</SN><DeviceID>34020000004000000001</DeviceID></Query>"
    for _ in range(3):
        platform.send(from_platform("MESSAGE", register, body=query))
    platform.wait_for(lambda seen: isinstance(seen, Response) and seen.cseq[1] == "MESSAGE", 3)
    catalog = platform.wait_for_request("MESSAGE")
    assert b"<Response>" in catalog.body
    assert b"<SN>17</SN>" in catalog.body
    platform.send(from_platform("OPTIONS", register))
    platform.wait_for(lambda seen: isinstance(seen, Response) and seen.cseq[1] == "OPTIONS")
    assert len(platform.requests("MESSAGE")) == 1


def test_only_who_knows_the_call_can_end_it(platform: Platform, agent: MakeAgent) -> None:
    dialog = agent().invite(OFFER)
    invite = platform.requests("INVITE")[-1]
    platform.send(b"\x00\xff not SIP at all")
    platform.send(b"SIP/2.0 200 OK\r\n\r\n")
    platform.send(from_platform("BYE", invite, tag="somebody-else"))
    platform.wait_for(lambda seen: isinstance(seen, Response) and seen.status == 481)
    assert dialog.ended is None
    platform.send(from_platform("BYE", invite, cseq=2))
    until(lambda: dialog.ended is not None)
    assert dialog.ended == BYE_REASON
    platform.wait_for(lambda seen: isinstance(seen, Response) and seen.status == 200)
    dialog.bye()
    assert platform.requests("BYE") == []


def test_the_address_under_which_the_platform_sees_us_is_announced(platform: Platform, agent: MakeAgent) -> None:
    def nat(request: Request) -> list[Response]:
        via = request.value("Via").replace(";rport", ";received=192.0.2.7;rport=4321")
        return [
            Response(
                status=seen.status,
                phrase=seen.phrase,
                headers=tuple((name, via if name == "Via" else value) for name, value in seen.headers),
                body=seen.body,
            )
            for seen in friendly(request)
        ]

    platform.brain = nat
    agent().invite(OFFER)
    assert platform.requests("INVITE")[0].value("Contact") == f"<sip:{US}@192.0.2.7:4321>"


def test_a_platform_that_closes_the_tcp_connection_or_sends_garbage_over_it_ends_the_stream() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = UserAgent(
            address(server.getsockname()[1]), transport="tcp", stopping=threading.Event(), timing=Timing(goodbye_s=0.2)
        )
        peers: list[socket.socket] = []
        for last_words in (b"", b"A" * 20_000):
            answering = threading.Thread(target=_answer_two_requests, args=(server, peers))
            answering.start()
            dialog = one.invite(OFFER)
            answering.join()
            assert dialog.ended is None
            peers[-1].sendall(last_words)
            if not last_words:
                peers[-1].close()
            until(lambda: dialog.ended is not None)  # noqa: B023
            assert dialog.ended is not None
            assert dialog.ended.startswith("the SIP connection to the platform broke off: ")
            dialog.bye()
        one.close()
        peers[-1].close()


def _answer_two_requests(server: socket.socket, peers: list[socket.socket]) -> None:
    """REGISTER and INVITE, in small pieces, with empty lines between."""
    peer, _ = server.accept()
    peers.append(peer)
    with peer.makefile("rb") as stream:
        for _ in range(2):
            lines = [b""]
            while lines[-1] != b"\r\n":
                lines.append(stream.readline())
            length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"Content-Length"))
            stream.read(length)
            head = b"".join(lines).decode()
            method, uri, _ = head.partition("\r\n")[0].split(" ")
            headers = tuple(
                (name, value) for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:]) if value
            )
            data = b"\r\n\r\n" + friendly(Request(method=method, uri=uri, headers=headers))[0].to_bytes()
            for i in range(0, len(data), 50):
                peer.sendall(data[i : i + 50])
