"""Our SIP user agent: registers at a GB28181 platform and asks it for one camera's stream."""

from __future__ import annotations

import functools
import logging
import threading

from streamserver.core.errors import SourceError
from streamserver.core.gb28181_address import Gb28181Address
from streamserver.media.egress import Egress
from streamserver.media.gb28181 import manscdp, writer
from streamserver.media.gb28181.answering import Answered, response_to
from streamserver.media.gb28181.dialog import Dialog
from streamserver.media.gb28181.endpoint import NoResponse, Patience, Timing
from streamserver.media.gb28181.line import Line, open_transport
from streamserver.media.gb28181.message import Request, Response, tag_of
from streamserver.media.gb28181.reasons import invite_refused
from streamserver.media.gb28181.registration import Registration
from streamserver.media.gb28181.sdp import Offer, offer_body, parse_answer
from streamserver.media.gb28181.transport import Remote, look_up, route_to
from streamserver.media.gb28181.writer import Call, new_token

logger = logging.getLogger(__name__)

BYE_REASON = "the device ended the stream (BYE)"
_SENT_ALL_REASON = "the device says that it has sent everything (NotifyType 121)"
_BROKEN_OFF = "the SIP connection to the platform broke off"
_WAYS = {"udp": ("UDP",), "tcp": ("TCP",), "auto": ("UDP", "TCP")}


class UserAgent:
    """One client of one platform, for one stream.

    ``register`` and ``invite`` belong to one thread; ``close`` may come from any. What the platform sends by itself is
    answered in a thread of the agent's own, which ends with it.

    Args:
        address: who we are, whom we speak to, which stream.
        transport: how SIP travels: ``udp``, ``tcp``, or ``auto`` for UDP and, where nobody answers, TCP.
        stopping: once set, whatever waits comes back with a SourceError.
        timing: limits of time.
        egress: which platforms may be spoken to; ``None`` for all.
    """

    def __init__(
        self,
        address: Gb28181Address,
        *,
        transport: str,
        stopping: threading.Event,
        timing: Timing | None = None,
        egress: Egress | None = None,
    ) -> None:
        self._address = address
        self._ways = _WAYS[transport]
        self._stopping = stopping
        self._timing = timing or Timing()
        self._egress = egress or Egress(None)
        self._lock = threading.Lock()
        self._remote: Remote | None = None
        self._line: Line | None = None
        self._registration: Registration | None = None
        self._dialogs: dict[str, Dialog] = {}
        self._inviting = ""
        self._hung_up_early = False
        self._answered = Answered()
        self._tag = new_token()

    @property
    def local_ip(self) -> str:
        """The address under which the platform reaches us: the one of the address, else that of the way to it.

        Raises:
            SourceError: the platform's name is unknown, or no way leads there.
        """
        return self._address.local_ip or route_to(self._known_remote())

    def register(self) -> None:
        """Registers at the platform and stays registered; nothing to do while that holds.

        Raises:
            SourceError: the platform does not answer, or refuses us.
        """
        if self._registration is not None:
            return
        self._remote = None  # its name may lead elsewhere by now
        failures = []
        for way in self._ways:
            try:
                self._register_over(way)
            except NoResponse as e:
                if self._stopping.is_set():
                    raise SourceError(f"the platform {e.reason}") from e
                failures.append(f"{e.reason} over {way}")
            else:
                self._ways = (way, *(other for other in self._ways if other != way))
                return
        raise SourceError(
            f"the platform {', and '.join(failures)}", cure="check host and port, and the firewall between"
        )

    def invite(self, offer: Offer) -> Dialog:
        """Asks for the stream.

        Raises:
            SourceError: there is none; the reason in words.
        """
        self.register()
        with self._lock:
            line = self._line
        if line is None:
            raise SourceError(_BROKEN_OFF)
        address = self._address
        call = line.writer.call(address.device_id)
        self._inviting, self._hung_up_early = call.call_id, False
        try:
            return self._called(line, call, offer)
        except NoResponse as e:
            raise SourceError(f"the platform {e.reason} when it was asked for the stream") from e
        finally:
            self._inviting = ""

    def close(self) -> None:
        """Hangs up and ends the registration, waiting a moment for each; more than once."""
        for dialog in list(self._dialogs.values()):
            dialog.bye()
        with self._lock:
            line, registration = self._line, self._registration
            self._line = self._registration = None
        if registration is not None:
            registration.close(polite=True)
        if line is not None:
            line.close()

    def _known_remote(self) -> Remote:
        self._remote = self._remote or look_up(self._address.host, self._address.port, self._egress)
        return self._remote

    def _register_over(self, way: str) -> None:
        remote, local_ip, timing = self._known_remote(), self.local_ip, self._timing
        limit_s = timing.probe_s if len(self._ways) > 1 else timing.answer_s
        transport = open_transport(way, remote, local_ip, timeout_s=limit_s)
        line = Line(self._address, remote, transport, local_ip=local_ip, listener=self, timing=timing)
        registration = Registration(line, self._address, on_lost=functools.partial(self.on_lost, line))
        with self._lock:
            self._line, self._registration = line, registration
        try:
            registration.begin(limit_s=limit_s, stopping=self._stopping)
        except (NoResponse, SourceError):
            with self._lock:
                self._line = self._registration = None
            line.close()
            raise

    def _called(self, line: Line, call: Call, offer: Offer) -> Dialog:
        address, timing = self._address, self._timing
        patience = Patience(limit_s=timing.answer_s, ringing_s=timing.ringing_s, stopping=self._stopping)
        subject = ("Subject", f"{address.device_id}:{offer.ssrc},{address.local_id}:0")
        invite, response = line.ask(
            "INVITE",
            call,
            patience=patience,
            extra=(subject,),
            content_type="APPLICATION/SDP",
            body=offer_body(offer, device_id=address.device_id),
        )
        if response.status >= 300:
            raise invite_refused(response, channel=address.device_id, us=address.local_id)
        return self._accepted(line, invite, response, playback=offer.playback)

    def _accepted(self, line: Line, invite: Request, response: Response, *, playback: bool) -> Dialog:
        try:
            answer = parse_answer(response.body)
        except SourceError:
            line.drop_call(invite, response)
            raise
        call = writer.accepted(invite, response)
        ack = line.writer.request("ACK", call, invite.cseq[0])
        dialog = Dialog(call, answer, ack=ack, playback=playback, hang_up=self._hang_up)
        with self._lock:
            self._dialogs[call.call_id] = dialog
            hung_up, lost = self._hung_up_early, self._line is not line
        line.send(ack)
        if hung_up or lost:
            dialog.is_over(BYE_REASON if hung_up else _BROKEN_OFF, gone=True)
        return dialog

    def _hang_up(self, call: Call) -> None:
        with self._lock:
            line = self._line
            self._dialogs.pop(call.call_id, None)
        if line is None:
            return
        try:
            line.ask("BYE", call, patience=Patience(limit_s=self._timing.goodbye_s))
        except (NoResponse, SourceError) as e:
            logger.debug("the platform was not told that the stream is not wanted any more: %s", e)

    def on_request(self, request: Request) -> None:
        """Answers the platform, and does what it says."""
        with self._lock:
            line, registration = self._line, self._registration
        if line is None:
            return
        answered = self._answered.before(request)
        if answered is not None:
            line.send(answered)
            return
        dialog = self._dialog_of(request)
        ours = dialog is not None or request.call_id == self._inviting
        response = response_to(request, tag=self._tag, sender=line.remote.host_port, ours=ours)
        if response is None:
            return
        self._answered.keep(request, response)
        line.send(response)
        if response.status == 200:
            self._obey(request, registration)

    def on_late_answer(self, invite: Request, response: Response) -> None:
        """Our ACK was lost, or the call is one that we have given up."""
        with self._lock:
            line, dialog = self._line, self._dialogs.get(invite.call_id)
        if line is None:
            return
        if dialog is not None and dialog.call.remote_tag == tag_of(response.value("To")):
            line.send(dialog.ack)
        elif invite.call_id != self._inviting:
            line.drop_call(invite, response)

    def on_lost(self, line: Line, reason: str) -> None:
        """The platform is away, or does not know us any more: the next ``register`` starts anew."""
        with self._lock:
            if self._line is not line:
                return
            registration = self._registration
            self._line = self._registration = None
            dialogs = list(self._dialogs.values())
            self._dialogs.clear()
        for dialog in dialogs:
            dialog.is_over(reason, gone=True)
        if registration is not None:
            registration.close(polite=False)
        line.close()

    def _dialog_of(self, request: Request) -> Dialog | None:
        """The running call that a request belongs to, by its Call-ID and both tags."""
        with self._lock:
            dialog = self._dialogs.get(request.call_id)
        if dialog is None:
            return None
        theirs, ours = tag_of(request.value("From")), tag_of(request.value("To"))
        return dialog if (theirs, ours) == (dialog.call.remote_tag, dialog.call.local_tag) else None

    def _obey(self, request: Request, registration: Registration | None) -> None:
        if request.method == "BYE":
            with self._lock:
                dialog = self._dialogs.pop(request.call_id, None)
                self._hung_up_early = dialog is None
            if dialog is not None:
                dialog.is_over(BYE_REASON, gone=True)
        elif request.method in ("MESSAGE", "NOTIFY", "INFO"):
            command = manscdp.parse(request.body)
            if command is None:
                return
            if command.source_ended:
                self._sent_all(command, request.call_id)
            answer = manscdp.answer(command, self._address.local_id)
            if answer is not None and registration is not None:
                registration.post(answer)

    def _sent_all(self, command: manscdp.Command, call_id: str) -> None:
        """Whose source has ended: the call that it was said in, else, for there is one stream, every one that runs."""
        with self._lock:
            named = self._dialogs.get(call_id)
            dialogs = [named] if named is not None else list(self._dialogs.values())
        logger.debug("%s has sent all it has", command.device_id)
        for dialog in dialogs:
            dialog.is_over("" if dialog.playback else _SENT_ALL_REASON, gone=False)
