"""Our registration at the platform, kept alive: REGISTER again in time, Keepalive each minute."""

from __future__ import annotations

import itertools
import logging
import queue
import re
import threading
import time
from collections.abc import Callable

from streamserver.core.errors import SourceError
from streamserver.core.gb28181_address import Gb28181Address
from streamserver.media.gb28181 import manscdp
from streamserver.media.gb28181.endpoint import NoResponse, Patience
from streamserver.media.gb28181.line import Line
from streamserver.media.gb28181.message import Response
from streamserver.media.gb28181.reasons import registration_refused
from streamserver.media.gb28181.writer import MANSCDP

logger = logging.getLogger(__name__)

_SHARE_UNTIL_REFRESH = 2 / 3
_RETRY_S = 30.0
_MOST_ERRANDS = 16
_TOO_BRIEF = 423
_ITS_OWN_FAULT = 500
_JOIN_S = 5.0
_CONTACT_EXPIRES = re.compile(r";\s*expires\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


class Registration:
    """Registers over a line, and stays registered until closed.

    Args:
        line: to the platform; the registration does not close it.
        address: who we are.
        on_lost: told why the platform does not want or know us any more; from the registration's own thread.
    """

    def __init__(self, line: Line, address: Gb28181Address, *, on_lost: Callable[[str], None]) -> None:
        self._line = line
        self._address = address
        self._on_lost = on_lost
        self._call = line.writer.own_call()
        self._asked_s = line.timing.expires_s
        self._granted_s = float(self._asked_s)
        self._serials = itertools.count(1)
        self._closing = threading.Event()
        self._errands: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._keep, name="gb28181-keeper", daemon=True)

    def begin(self, *, limit_s: float, stopping: threading.Event) -> None:
        """Registers, and starts to keep the registration.

        Raises:
            NoResponse: the platform does not answer.
            SourceError: it refuses us.
        """
        response = self._register(Patience(limit_s=limit_s, stopping=stopping))
        if response.status >= 300:
            raise registration_refused(response, us=self._address.local_id)
        self._thread.start()

    def post(self, body: bytes) -> None:
        """Sends the platform a MESSAGE, soon, from the registration's own thread; too many at once are left out."""
        if self._errands.qsize() < _MOST_ERRANDS:
            self._errands.put(body)

    def close(self, *, polite: bool) -> None:
        """Ends the registration; ``polite`` tells the platform so, and waits a moment for its answer."""
        first = not self._closing.is_set()
        self._closing.set()
        self._errands.put(None)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)
        if polite and first:
            try:
                self._put(0, Patience(limit_s=self._line.timing.goodbye_s))
            except (NoResponse, SourceError) as e:
                logger.debug("the platform was not told that we are gone: %s", e)

    def _register(self, patience: Patience) -> Response:
        response = self._put(self._asked_s, patience)
        least = response.value("Min-Expires")
        if response.status == _TOO_BRIEF and _SECONDS.fullmatch(least):
            self._asked_s = int(least)
            response = self._put(self._asked_s, patience)
        if response.status < 300:
            self._granted_s = _granted_s(response) or float(self._asked_s)
        return response

    def _put(self, expires_s: int, patience: Patience) -> Response:
        _, response = self._line.ask("REGISTER", self._call, patience=patience, extra=(("Expires", str(expires_s)),))
        return response

    def _keep(self) -> None:
        """The thread: until closed, or until the platform has gone."""
        try:
            self._keep_alive()
        except SourceError as e:
            if not self._closing.is_set():
                self._on_lost(e.message)

    def _keep_alive(self) -> None:
        timing = self._line.timing
        now = time.monotonic()
        refresh_at, expires_at = self._dates(now)
        beat_at, misses = now + timing.keepalive_s, 0
        while not self._closing.is_set():
            self._run_errands(until=min(refresh_at, beat_at))
            now = time.monotonic()
            if now >= beat_at and not self._closing.is_set():
                beat_at = now + timing.keepalive_s
                answered = self._beat()
                misses = 0 if answered is not None else misses + 1
                if answered is False or misses >= timing.keepalive_misses:
                    refresh_at = now
            if now >= refresh_at and not self._closing.is_set():
                if self._refresh():
                    misses = 0
                    refresh_at, expires_at = self._dates(time.monotonic())
                elif misses >= timing.keepalive_misses:
                    raise SourceError(f"the platform does not answer keep-alives any more ({misses} in a row)")
                elif time.monotonic() >= expires_at:
                    raise SourceError("the registration has expired: the platform does not answer REGISTER any more")
                else:
                    refresh_at = min(now + _RETRY_S, max(expires_at, now + 1.0))

    def _dates(self, now: float) -> tuple[float, float]:
        """When to register again, and when the platform forgets us; a second at least."""
        return now + max(1.0, self._granted_s * _SHARE_UNTIL_REFRESH), now + self._granted_s

    def _run_errands(self, *, until: float) -> None:
        """Sends what was asked for; comes back when it is time, or when the registration is closed."""
        while not self._closing.is_set() and (wait_s := until - time.monotonic()) > 0:
            try:
                body = self._errands.get(timeout=wait_s)
            except queue.Empty:
                return
            if body is not None:
                self._message(body)

    def _beat(self) -> bool | None:
        """Says that we are well: True if the platform is content, False if it does not know us, None for silence."""
        response = self._message(manscdp.keepalive(next(self._serials), self._address.local_id))
        return None if response is None else response.status < 300

    def _message(self, body: bytes) -> Response | None:
        line = self._line
        patience = Patience(limit_s=line.timing.answer_s, stopping=self._closing)
        call = line.writer.call(self._address.server_id)
        try:
            return line.ask("MESSAGE", call, patience=patience, content_type=MANSCDP, body=body)[1]
        except NoResponse as e:
            logger.debug("the platform %s to a MESSAGE", e.reason)
            return None

    def _refresh(self) -> bool:
        """False when the platform does not answer, or is not well: that may pass before the registration expires."""
        try:
            response = self._register(Patience(limit_s=self._line.timing.answer_s, stopping=self._closing))
        except NoResponse as e:
            logger.debug("the platform %s to a REGISTER", e.reason)
            return False
        if 300 <= response.status < _ITS_OWN_FAULT:
            raise registration_refused(response, us=self._address.local_id)
        return response.status < 300


def _granted_s(response: Response) -> float:
    """For how long the platform keeps us; 0 if it does not say."""
    inside = _CONTACT_EXPIRES.search(response.value("Contact"))
    value = inside[1] if inside else response.value("Expires")
    return float(value) if _SECONDS.fullmatch(value) else 0.0
