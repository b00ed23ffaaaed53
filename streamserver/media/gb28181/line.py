"""A line to the platform: asks it, with our credentials where it wants them, and sees INVITEs to their end."""

from __future__ import annotations

import itertools
import logging
from collections import OrderedDict
from typing import Protocol

from streamserver.core.errors import SourceError
from streamserver.core.gb28181_address import Gb28181Address
from streamserver.media.gb28181 import writer
from streamserver.media.gb28181.endpoint import Endpoint, Exchange, NoResponse, Patience, Timing
from streamserver.media.gb28181.message import Headers, Message, Request, Response
from streamserver.media.gb28181.transport import Remote, TcpTransport, Transport, UdpTransport
from streamserver.media.gb28181.writer import Call, Writer

logger = logging.getLogger(__name__)

_UNAUTHORIZED = (401, 407)
_REMEMBERED_INVITES = 8


class Listener(Protocol):
    """Told what comes by itself; in the receiving thread, so it must not wait."""

    def on_request(self, request: Request) -> None:
        """The platform asks something."""

    def on_late_answer(self, invite: Request, response: Response) -> None:
        """A 200 to an INVITE of ours has come when nobody waited for it, or has come again."""

    def on_lost(self, line: Line, reason: str) -> None:
        """The way to the platform has broken off."""


def open_transport(name: str, remote: Remote, local_ip: str, *, timeout_s: float) -> Transport:
    """Opens ``UDP`` or ``TCP``.

    Raises:
        NoResponse: the platform cannot be reached this way.
    """
    try:
        return UdpTransport(remote, local_ip) if name == "UDP" else TcpTransport(remote, local_ip, timeout_s=timeout_s)
    except ConnectionRefusedError as e:
        raise NoResponse("refuses the connection") from e
    except TimeoutError as e:
        raise NoResponse(f"did not take the connection within {timeout_s:.0f} s") from e
    except OSError as e:
        raise NoResponse(f"cannot be reached: {e.strerror or e}") from e


class Line:
    """Requests to one platform over one way.

    Args:
        address: who we are and whom we speak to.
        remote: the platform's address, looked up.
        transport: the way; the line closes it.
        local_ip: the address under which the platform reaches us.
        listener: told what comes by itself.
        timing: limits of time.
    """

    def __init__(
        self,
        address: Gb28181Address,
        remote: Remote,
        transport: Transport,
        *,
        local_ip: str,
        listener: Listener,
        timing: Timing,
    ) -> None:
        self.writer = Writer(address, remote, transport.name, (local_ip, transport.local()[1]))
        self.remote = remote
        self.timing = timing
        self._cseqs = itertools.count(1)
        self._invites: OrderedDict[str, Request] = OrderedDict()
        self._listener = listener
        self._endpoint = Endpoint(
            transport, on_request=listener.on_request, on_late=self._late, on_lost=self._lost, timing=timing
        )

    def send(self, message: Message) -> None:
        """Sends what needs no answer."""
        self._endpoint.send(message)

    def close(self) -> None:
        """Ends the way; more than once."""
        self._endpoint.close()

    def ask(
        self,
        method: str,
        call: Call,
        *,
        patience: Patience,
        extra: Headers = (),
        content_type: str = "",
        body: bytes = b"",
    ) -> tuple[Request, Response]:
        """Sends a request and waits for the last word; tells who we are where the platform asks.

        Returns:
            The request as it was answered, and the answer.

        Raises:
            NoResponse: there is none.
            SourceError: the platform wants to know what we cannot say.
        """

        def put(credentials: Headers) -> tuple[Request, Response]:
            request = self.writer.request(
                method, call, next(self._cseqs), extra=(*extra, *credentials), content_type=content_type, body=body
            )
            response = self._once(request, patience)
            self.writer.learn(response)
            return request, response

        request, response = put(())
        for attempt in range(2):
            if response.status not in _UNAUTHORIZED:
                break
            answer = self.writer.credentials(request, response)
            if answer is None:
                raise SourceError(f"the platform asks for our name in a way that we do not know ({response.in_words})")
            credentials, stale = answer
            if attempt and not stale:
                break
            request, response = put(credentials)
        return request, response

    def drop_call(self, invite: Request, response: Response) -> None:
        """Takes note of a 200 that nobody wants any more, and hangs up."""
        call = writer.accepted(invite, response)
        self.send(self.writer.request("ACK", call, invite.cseq[0]))
        self.send(self.writer.request("BYE", call, next(self._cseqs)))

    def _once(self, request: Request, patience: Patience) -> Response:
        with self._endpoint.begin(request) as exchange:
            if request.method == "INVITE":
                self._remember(request)
            exchange.send()
            try:
                response = exchange.final(patience)
            except NoResponse:
                if request.method == "INVITE" and exchange.provisional is not None:
                    self._cancel(request, exchange)
                raise
        if request.method == "INVITE" and response.status >= 300:
            self.send(writer.acknowledgement(request, response))
        return response

    def _cancel(self, invite: Request, ringing: Exchange) -> None:
        """Best effort: the INVITE's last word is 487 then, or a 200 that was faster."""
        patience = Patience(limit_s=self.timing.goodbye_s)
        try:
            with self._endpoint.begin(writer.cancellation(invite)) as exchange:
                exchange.send()
                exchange.final(patience)
            response = ringing.final(patience)
        except NoResponse as e:
            logger.debug("the platform %s when an INVITE was cancelled", e.reason)
            return
        if response.status >= 300:
            self.send(writer.acknowledgement(invite, response))
        else:
            self.drop_call(invite, response)

    def _lost(self, reason: str) -> None:
        self._listener.on_lost(self, reason)

    def _remember(self, invite: Request) -> None:
        self._invites[invite.branch] = invite
        while len(self._invites) > _REMEMBERED_INVITES:
            self._invites.popitem(last=False)

    def _late(self, response: Response) -> None:
        """In the receiving thread: only INVITEs' answers are still of interest, since they want an ACK each time."""
        invite = self._invites.get(response.branch)
        if invite is None or response.cseq[1] != "INVITE" or response.status < 200:
            return
        if response.status >= 300:
            self.send(writer.acknowledgement(invite, response))
        else:
            self._listener.on_late_answer(invite, response)
