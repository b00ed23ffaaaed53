"""``http_push``: posts each frame's results to the client process (CONTRACT 4), usually as the graph's sink.

Keys of ``configure``: ``ip``, ``port`` and ``path`` are required; ``scheme`` (``http`` or ``https``), ``cacert``,
``verify``, ``cert`` and ``key`` as in sophon-stream. Ours are ``pictures`` (``always``, or ``on_demand``: the picture
follows only when the client asks for it) and ``retry_s`` (how long a frame is tried before it is dropped; 30).
"""

from __future__ import annotations

import logging
import random
import ssl
import threading
import time
from typing import Any

from streamserver.core import failpoints
from streamserver.core.events import EVENTS_KEY, NOWHERE, PICTURES_KEY
from streamserver.core.wire_json import from_json, to_json
from streamserver.elements._message import message_of
from streamserver.elements._model import read_choice, read_flag, read_text
from streamserver.elements._push_connection import PushConnection, RefusedError, Target, UnreachableError
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.vision.codec import encode_jpeg
from streamserver.vision.crop import crop_square

logger = logging.getLogger(__name__)

RETRY_S = 30.0

_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.1, 2.0
_LOG_INTERVAL_S = 10.0


class HttpPush(Element):
    """Posts every frame that reaches it, in order, and passes it on; waits for a receiver that is away.

    Each of its threads has a connection of its own.
    """

    wants_skipped = True

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._on_demand = read_choice(context, "pictures", ("always", "on_demand"), default="always") == "on_demand"
        self._retry_s = self._read_retry_s()
        self._target = self._read_target()
        self._connections: dict[int, PushConnection] = {}
        self._lock = threading.Lock()
        self.dropped = 0
        self._wanted = False
        self._failing = False
        self._next_complaint = 0.0

    def process(self, frame: Frame, emit: Emit) -> None:
        """Posts the frame; with ``on_demand``, once more with its pictures if the client wants to see them.

        A client that wanted those of the events before gets those of the next at once.
        """
        ahead = self._wanted and bool(frame.events)
        reply = self._deliver(self._message(frame, with_pictures=ahead or not self._on_demand))
        if self._on_demand and (wish := _wish(reply)) is not None:
            self._wanted = wish
            if wish:
                message = self._message(frame, with_pictures=True)
                if frame.events is None:
                    message["mCrops"] = _crops(frame)
                self._deliver(message)
        emit(frame)

    def close(self) -> None:
        """Closes the connections and says what was lost."""
        for connection in self._connections.values():
            connection.close()
        if self.dropped:
            logger.warning("%s: %d frames were dropped in all", self._target, self.dropped)

    def _connection(self) -> PushConnection:
        """The calling thread's own."""
        with self._lock:
            return self._connections.setdefault(threading.get_ident(), PushConnection(self._target))

    def _message(self, frame: Frame, *, with_pictures: bool) -> dict[str, Any]:
        message = message_of(frame, with_pictures=with_pictures)
        if frame.events is not None:
            message[EVENTS_KEY] = [event.to_wire() for event in frame.events]
            if with_pictures:
                message[PICTURES_KEY] = _event_pictures(frame)
        return message

    def _deliver(self, message: dict[str, Any]) -> bytes:
        """Posts ``message`` until it arrives, is refused, or its time is over; the reply, or nothing."""
        body = to_json(message)
        deadline = time.monotonic() + self._retry_s
        backoff_s = _FIRST_BACKOFF_S
        connection = self._connection()
        while not self.context.stopping.is_set():
            self.context.alive()
            try:
                failpoints.hit("push.before")
                reply = connection.post(body)
                failpoints.hit("push.answered")
            except RefusedError as e:
                self._drop(str(e))
                return b""
            except UnreachableError as e:
                delay_s = backoff_s * random.uniform(0.5, 1.0)
                if time.monotonic() + delay_s > deadline:
                    self._drop(str(e))
                    return b""
                self._say_unreachable(str(e))
                self.context.stopping.wait(delay_s)
                backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)
            else:
                self._say_reachable()
                return reply
        return b""

    def _drop(self, reason: str) -> None:
        now = time.monotonic()
        with self._lock:
            self.dropped += 1
            dropped, complains = self.dropped, now >= self._next_complaint
            if complains:
                self._next_complaint = now + _LOG_INTERVAL_S
        if complains:
            logger.warning("%s: frame dropped, %d so far: %s; is the client running?", self._target, dropped, reason)

    def _say_unreachable(self, reason: str) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("%s: %s; trying again for %g s", self._target, reason, self._retry_s)

    def _say_reachable(self) -> None:
        if self._failing:
            self._failing = False
            logger.info("%s: takes frames again; %d were dropped", self._target, self.dropped)

    def _read_target(self) -> Target:
        port = self.context.configure.get("port")
        if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
            raise self.context.error("port", f"expected a number from 1 to 65535, got {port!r}")
        path = read_text(self.context, "path")
        tls = (
            self._read_tls()
            if read_choice(self.context, "scheme", ("http", "https"), default="http") == "https"
            else None
        )
        return Target(read_text(self.context, "ip"), port, path if path.startswith("/") else f"/{path}", tls)

    def _read_tls(self) -> ssl.SSLContext:
        cacert, cert, key = (self._file(name) for name in ("cacert", "cert", "key"))
        if key is not None and cert is None:
            raise self.context.error("key", "has no certificate", cure="name its file in 'cert'")
        try:
            tls = ssl.create_default_context(cafile=cacert)
            if cert is not None:
                tls.load_cert_chain(cert, key, password=self._refuse_password)
        except OSError as e:
            raise self.context.error("cacert, cert, key", f"cannot be used: {e}") from e
        if not read_flag(self.context, "verify", default=True):
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        return tls

    def _file(self, name: str) -> str | None:
        """The file that a key names; ``None`` where it is absent, ``null`` or empty."""
        value = self.context.configure.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise self.context.error(name, f"expected a path, got {value!r}")
        return str(self.context.base_dir / value)

    def _refuse_password(self) -> str:
        """Asked by ssl for the password of an encrypted key, which it would otherwise ask on the terminal, for ever."""
        raise self.context.error("key", "is encrypted", cure="give a key without a password")

    def _read_retry_s(self) -> float:
        value = self.context.configure.get("retry_s", RETRY_S)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
            raise self.context.error("retry_s", f"expected seconds from 0 to 3600, got {value!r}")
        return float(value)


def _crops(frame: Frame) -> list[bytes]:
    """A JPEG of each object with its surroundings, in the order of the detections."""
    if frame.picture is None:
        return []
    image = frame.picture.bgr
    return [encode_jpeg(crop_square(image, box_xyxy)) for box_xyxy in frame.detections.boxes_xyxy]


def _event_pictures(frame: Frame) -> list[bytes]:
    """A JPEG for each event: what was kept of its object, or else its place in this frame; empty for neither."""
    pictures: list[bytes] = []
    for event, kept_bgr in zip(frame.events or (), frame.event_pictures, strict=True):
        if kept_bgr is not None:
            pictures.append(encode_jpeg(kept_bgr))
        elif frame.picture is not None and event.box_xyxy != NOWHERE:
            pictures.append(encode_jpeg(crop_square(frame.picture.bgr, event.box_xyxy)))
        else:
            pictures.append(b"")
    return pictures


def _wish(reply: bytes) -> bool | None:
    """Whether the client wants pictures: True if it asks for those of this frame, False if they came in vain."""
    try:
        answer = from_json(reply)
    except ValueError:
        return None
    wish = answer.get("pictures") if isinstance(answer, dict) else None
    return wish if isinstance(wish, bool) else None


ELEMENT = HttpPush
