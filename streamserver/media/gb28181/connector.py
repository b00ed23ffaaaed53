"""GB28181 streams: our user agent asks the platform for a camera, a receiver takes the media, a decoder shows it."""

from __future__ import annotations

import dataclasses
import threading

from streamserver.core.errors import SourceError
from streamserver.core.gb28181_address import parse_gb28181
from streamserver.core.source_monitor import SourceMonitor
from streamserver.media.egress import Egress
from streamserver.media.gb28181.connection import Decoding, Gb28181Connection, Parts
from streamserver.media.gb28181.dialog import Dialog
from streamserver.media.gb28181.played import Recording
from streamserver.media.gb28181.reasons import InviteRefusedError
from streamserver.media.gb28181.receiver import Receiver, TcpReceiver, UdpReceiver
from streamserver.media.gb28181.sdp import Offer
from streamserver.media.gb28181.user_agent import UserAgent
from streamserver.media.pyav import require_av
from streamserver.media.sources import SourceSpec

_WAYS = {
    "auto": ("tcp-passive", "udp", "tcp-active"),
    "tcp": ("tcp-passive", "tcp-active"),
    "udp": ("udp",),
}
"""How the media may come, in the order in which it is tried: TCP loses nothing, and most devices connect to us."""

_OTHER_WAY = frozenset({400, 406, 415, 488, 500, 501, 603, 606})
"""Refusals after which another way may be accepted."""

_STRANGERS = frozenset({401, 403, 404, 407, 481})
"""Refusals by a platform that may have forgotten us: the next try registers anew."""

_TRIES_OF_WHAT_WORKED = 3
_STALLED_GRACE_S = 5.0
_LONGEST_SILENCE_S = 60.0


class Gb28181Connector:
    """Connects to ``spec`` again and again; keeps the registration at the platform from one to the next.

    A recording goes on where it broke off, at the full second before, so that pictures may come twice but none is left
    out. It is over when the platform says so, or when it has been played to the end of the time that was asked for.

    Raises:
        AddressError: the address is wrong.
    """

    def __init__(self, spec: SourceSpec, *, stopping: threading.Event, monitor: SourceMonitor) -> None:
        self._spec = spec
        self._stopping = stopping
        self._monitor = monitor
        self._address = parse_gb28181(spec.url)
        begin, end = self._address.begin, self._address.end
        self._recording = Recording(begin, end) if begin is not None and end is not None else None
        self._ways = _Ways(_WAYS[spec.transport])
        self._egress = Egress(spec.policy)
        self._agent = UserAgent(self._address, transport="auto", stopping=stopping, egress=self._egress)

    def connect(self) -> Gb28181Connection:
        """Registers where it is needed, asks for the stream and waits for the first of it.

        Raises:
            SourceError: it is not to be had now.
        """
        decoding = self._decoding()
        self._agent.register()
        local_ip = self._agent.local_ip
        receiver = self._receiver(local_ip)
        offer = self._offer(local_ip, receiver.port)
        try:
            dialog = self._invited(offer)
        except SourceError:
            receiver.close()
            raise
        connection = self._connection(receiver, dialog, decoding)
        answer = dialog.answer
        try:
            receiver.expect(int(answer.ssrc or offer.ssrc), sender=(answer.media_ip, answer.media_port))
            connection.wait_for_media()
        except SourceError:
            connection.close()
            self._ways.failed()
            raise
        self._ways.worked()
        return connection

    def close(self) -> None:
        """Leaves the platform."""
        self._agent.close()

    def _receiver(self, host: str) -> Receiver:
        port, way = self._address.media_port, self._ways.now
        if way == "udp":
            return UdpReceiver(host, port)
        listening = way == "tcp-passive"
        return TcpReceiver(host, port, listening=listening, stopping=self._stopping, egress=self._egress)

    def _offer(self, media_ip: str, media_port: int) -> Offer:
        way = self._ways.now
        offer = Offer.for_address(self._address, media_ip=media_ip, media_port=media_port, transport=way)
        if self._recording is None:
            return offer
        return dataclasses.replace(offer, begin=self._recording.rest_begins)

    def _invited(self, offer: Offer) -> Dialog:
        try:
            return self._agent.invite(offer)
        except SourceError as e:
            status = e.status if isinstance(e, InviteRefusedError) else None
            if status in _OTHER_WAY:
                self._ways.failed()
            if status is None or status in _STRANGERS:
                self._agent.close()
            raise

    def _connection(self, receiver: Receiver, dialog: Dialog, decoding: Decoding) -> Gb28181Connection:
        parts = Parts(
            receiver=receiver,
            dialog=dialog,
            decoding=decoding,
            recording=self._recording,
            silence_s=min(self._spec.stalled_after_s + _STALLED_GRACE_S, _LONGEST_SILENCE_S),
        )
        return Gb28181Connection(parts, stopping=self._stopping, monitor=self._monitor)

    def _decoding(self) -> Decoding:
        if self._spec.decoder == "opencv":
            from streamserver.media.gb28181.opencv_decoding import OpenCvDecoding

            self._spec.warn_of_no_gate("OpenCV tells nothing of packets")
            return OpenCvDecoding(self._monitor.broken, self._stopping)
        require_av(self._spec.masked_url)
        from streamserver.media.gb28181.decoding import AvDecoding

        return AvDecoding(self._monitor.broken, gate=self._spec.gate, monitor=self._monitor)


class _Ways:
    """Which way to bring the media is tried: what has worked is kept until it fails several times in a row."""

    def __init__(self, ways: tuple[str, ...]) -> None:
        self._ways = ways
        self._index = 0
        self._patience = 1

    @property
    def now(self) -> str:
        """The one to try."""
        return self._ways[self._index]

    def worked(self) -> None:
        """It has brought media."""
        self._patience = _TRIES_OF_WHAT_WORKED

    def failed(self) -> None:
        """It was refused, or nothing has come."""
        self._patience -= 1
        if self._patience <= 0:
            self._index = (self._index + 1) % len(self._ways)
            self._patience = 1
