"""Our requests and our responses, with the headers that SIP and GB/T 28181 want."""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
import re
import secrets
from dataclasses import dataclass

from streamserver.core.gb28181_address import Gb28181Address
from streamserver.media.gb28181 import digest
from streamserver.media.gb28181.message import Headers, Request, Response, tag_of, uri_of, via_parameter
from streamserver.media.gb28181.transport import Remote, host_port

logger = logging.getLogger(__name__)

USER_AGENT = "stream-server"
MANSCDP = "Application/MANSCDP+xml"
ALLOW = "INVITE, ACK, CANCEL, BYE, MESSAGE, OPTIONS, INFO, NOTIFY"
_MAGIC_COOKIE = "z9hG4bK"
_HOPS = "70"
_DOMAIN_DIGITS = 10
_BARE_RPORT = re.compile(r";\s*rport(?=\s*(?:[;,]|$))", re.IGNORECASE)


def new_token() -> str:
    """A tag, a branch or a Call-ID that nobody else has."""
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class Call:
    """What the requests of one call, or of one registration, have in common.

    Attributes:
        uri: the request goes to it.
        to: who is meant, as an address.
        call_id: names the call.
        local_tag: our half of the dialog's name.
        remote_tag: the other half; empty before there is one.
        route: the Route headers' values.
    """

    uri: str
    to: str
    call_id: str
    local_tag: str
    remote_tag: str = ""
    route: tuple[str, ...] = ()


class Writer:
    """Writes requests from us to one platform over one way.

    Args:
        address: who we are and whom we speak to.
        remote: the platform's address, looked up.
        transport: ``UDP`` or ``TCP``.
        local: host and port at which we are reached.
    """

    def __init__(self, address: Gb28181Address, remote: Remote, transport: str, local: tuple[str, int]) -> None:
        self._address = address
        self._remote = remote
        self._transport = transport
        self._via = host_port(*local)
        self._contact = self._via

    @property
    def contact(self) -> str:
        """Where the platform sends its own requests."""
        transport = ";transport=tcp" if self._transport == "TCP" else ""
        return f"<sip:{self._address.local_id}@{self._contact}{transport}>"

    def learn(self, response: Response) -> None:
        """Takes over the address under which the platform sees us, as told in Via, unless ours was given."""
        if self._address.local_ip:
            return
        via = response.value("Via")
        known_host, _, known_port = self._contact.rpartition(":")
        host, port = via_parameter(via, "received"), via_parameter(via, "rport")
        try:
            ip = ipaddress.ip_address(host or known_host.strip("[]"))
            self._contact = host_port(str(ip), int(port or known_port))
        except ValueError:
            logger.debug("the platform sees us at '%s:%s', which is no address", host, port)

    def call(self, user: str) -> Call:
        """A new call to ``user``."""
        domain = self._address.server_id[:_DOMAIN_DIGITS]
        call_id = f"{new_token()}@{self._via.rpartition(':')[0]}"
        return Call(f"sip:{user}@{self._remote.uri}", f"sip:{user}@{domain}", call_id, new_token())

    def own_call(self) -> Call:
        """A new registration: from us, for us, at the platform."""
        at_platform = self.call(self._address.server_id)
        return dataclasses.replace(at_platform, to=self._us)

    def request(
        self, method: str, call: Call, cseq: int, *, extra: Headers = (), content_type: str = "", body: bytes = b""
    ) -> Request:
        """A request of its own transaction."""
        branch = _MAGIC_COOKIE + new_token()
        remote_tag = f";tag={call.remote_tag}" if call.remote_tag else ""
        headers: list[tuple[str, str]] = [
            ("Via", f"SIP/2.0/{self._transport} {self._via};rport;branch={branch}"),
            *(("Route", route) for route in call.route),
            ("From", f"<{self._us}>;tag={call.local_tag}"),
            ("To", f"<{call.to}>{remote_tag}"),
            ("Call-ID", call.call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Contact", self.contact),
            ("Max-Forwards", _HOPS),
            ("User-Agent", USER_AGENT),
            *extra,
        ]
        if content_type:
            headers.append(("Content-Type", content_type))
        return Request(method=method, uri=call.uri, headers=tuple(headers), body=body)

    def credentials(self, request: Request, response: Response) -> tuple[Headers, bool] | None:
        """The header that answers a 401 or 407, and whether the last answer was only too old; ``None`` if we cannot."""
        proxy = response.status == 407
        for value in response.values("Proxy-Authenticate" if proxy else "WWW-Authenticate"):
            if challenge := digest.parse_challenge(value):
                answer = digest.answer(
                    challenge,
                    username=self._address.local_id,
                    password=self._address.password,
                    method=request.method,
                    uri=request.uri,
                )
                return (("Proxy-Authorization" if proxy else "Authorization", answer),), challenge.stale
        return None

    @property
    def _us(self) -> str:
        return f"sip:{self._address.local_id}@{self._address.server_id[:_DOMAIN_DIGITS]}"


def acknowledgement(invite: Request, response: Response) -> Request:
    """The ACK of a refusal: part of the INVITE's own transaction."""
    return _hop_by_hop("ACK", invite, to=response.value("To"))


def cancellation(invite: Request) -> Request:
    """The CANCEL of an INVITE that is still ringing."""
    return _hop_by_hop("CANCEL", invite, to=invite.value("To"))


def _hop_by_hop(method: str, invite: Request, *, to: str) -> Request:
    headers = (
        ("Via", invite.value("Via")),
        *(("Route", route) for route in invite.values("Route")),
        ("From", invite.value("From")),
        ("To", to),
        ("Call-ID", invite.call_id),
        ("CSeq", f"{invite.cseq[0]} {method}"),
        ("Max-Forwards", _HOPS),
        ("User-Agent", USER_AGENT),
    )
    return Request(method=method, uri=invite.uri, headers=headers)


def accepted(invite: Request, response: Response) -> Call:
    """The call as its 200 has made it: where further requests go, and by which route."""
    contact = uri_of(response.value("Contact"))
    routes = [part.strip() for value in response.values("Record-Route") for part in value.split(",") if part.strip()]
    return Call(
        uri=contact if contact.lower().startswith("sip:") else invite.uri,
        to=uri_of(invite.value("To")),
        call_id=invite.call_id,
        local_tag=tag_of(invite.value("From")),
        remote_tag=tag_of(response.value("To")),
        route=tuple(reversed(routes)),
    )


def reply(
    request: Request, status: int, phrase: str, *, tag: str, sender: tuple[str, int], extra: Headers = ()
) -> Response:
    """Our response to a request of the platform's.

    Args:
        request: what is answered.
        status: 200 and its like.
        phrase: the same in words.
        tag: ours, unless the request has one for us.
        sender: host and port that the request came from, for a Via that asks (RFC 3581).
        extra: further headers.
    """
    to = request.value("To")
    top, *further = request.values("Via")
    seen = f";received={sender[0]};rport={sender[1]}"
    headers: list[tuple[str, str]] = [("Via", _BARE_RPORT.sub(seen, top, count=1))]
    headers += [("Via", via) for via in further]
    headers += [("Record-Route", route) for route in request.values("Record-Route")]
    headers += [
        ("From", request.value("From")),
        ("To", to if tag_of(to) else f"{to};tag={tag}"),
        ("Call-ID", request.call_id),
        ("CSeq", request.value("CSeq")),
        ("User-Agent", USER_AGENT),
    ]
    return Response(status=status, phrase=phrase, headers=(*headers, *extra))
