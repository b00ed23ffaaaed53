"""A SIP platform on a UDP port, for what no SIPp scenario can say: the test is its brain, message by message."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable

from streamserver.media.gb28181.message import Request, Response, parse

Brain = Callable[[Request], Iterable[Response | Request]]
"""Says what to send when a request has come."""

SDP = b"v=0\r\ns=Play\r\nc=IN IP4 127.0.0.1\r\nm=video 40000 RTP/AVP 96\r\na=rtpmap:96 PS/90000\r\ny=0200000001\r\n"


class Platform:
    """Keeps what comes, and answers as its brain says; the brain may be exchanged."""

    def __init__(self, brain: Brain | None = None) -> None:
        self.brain = brain or friendly
        self.seen: list[Request | Response] = []
        self._news = threading.Condition()
        self._socket, self._deaf = _udp_alone()
        self._socket.settimeout(0.1)
        self.port = int(self._socket.getsockname()[1])
        self._client: tuple[str, int] | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def send(self, data: bytes) -> None:
        """Sends something by itself to whoever spoke last."""
        assert self._client is not None
        self._socket.sendto(data, self._client)

    def wait_for(self, wanted: Callable[[Request | Response], bool], count: int = 1) -> Request | Response:
        """The last of so many messages of this kind, once they have come."""
        with self._news:
            assert self._news.wait_for(lambda: sum(map(wanted, self.seen)) >= count, 60), "it did not come"
            return [message for message in self.seen if wanted(message)][count - 1]

    def requests(self, method: str) -> list[Request]:
        with self._news:
            return [seen for seen in self.seen if isinstance(seen, Request) and seen.method == method]

    def wait_for_request(self, method: str, count: int = 1) -> Request:
        found = self.wait_for(lambda message: isinstance(message, Request) and message.method == method, count)
        assert isinstance(found, Request)
        return found

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                data, self._client = self._socket.recvfrom(65535)
            except TimeoutError:
                continue
            message = parse(data)
            answers = list(self.brain(message)) if isinstance(message, Request) else []
            with self._news:
                self.seen.append(message)
                self._news.notify_all()
            for answer in answers:
                self.send(answer.to_bytes())

    def __enter__(self) -> Platform:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        self._socket.close()
        self._deaf.close()


def _udp_alone() -> tuple[socket.socket, socket.socket]:
    """A UDP socket, and the TCP port of the same number, which refuses connections as long as it is held."""
    while True:
        deaf = socket.socket()
        deaf.bind(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(deaf.getsockname())
        except OSError:  # somebody has this one
            deaf.close()
            udp.close()
        else:
            return udp, deaf


def answer(request: Request, status: int, phrase: str, *extra: tuple[str, str], body: bytes = b"") -> Response:
    """A response with a tag of the platform's."""
    to = request.value("To")
    headers = [
        ("Via", request.value("Via")),
        ("From", request.value("From")),
        ("To", to if "tag=" in to else f"{to};tag=platform"),
        ("Call-ID", request.call_id),
        ("CSeq", request.value("CSeq")),
    ]
    return Response(status=status, phrase=phrase, headers=(*headers, *extra), body=body)


def friendly(request: Request) -> list[Response]:
    """Says yes to everything."""
    if request.method == "ACK":
        return []
    return [answer(request, 200, "OK", body=SDP if request.method == "INVITE" else b"")]
