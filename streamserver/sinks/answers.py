"""What a receiver's answer means for the alarm that it was sent."""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from streamserver.core.errors import AlarmRefusedError, DeliveryError
from streamserver.core.secrets import hide

_log = logging.getLogger(__name__)

_ABOUT_THE_ALARM = frozenset({400, 413, 415, 422})
"""Statuses that say of this alarm, not of the receiver, that something is wrong: too large, not understood."""

_NOT_TAKEN = -1
"""application-web's ``code`` in an answer of 200 to a report that it did not keep."""

_WORDS_ABOUT_THE_ALARM = ("参数", "param", "picture", "图片")
"""In the ``msg`` beside it: 参数错误 (no events, no JSON) and "picture save error" speak of the alarm."""

_BEGINS_NOT_TAKEN = re.compile(rb'\s*\{\s*"code"\s*:\s*-1\b', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; ``retry_after`` and ``date`` are headers, empty where absent, and ``reply`` may be cut short."""

    status: int
    reply: bytes
    retry_after: str = ""
    date: str = ""


def problem_of(name: str, answer: Answer) -> DeliveryError | None:
    """What is wrong, or ``None`` when the alarm has arrived.

    2xx is success, whatever its body says, but for application-web's ``{"code": -1}``: other receivers may mean
    anything by a number of theirs.

    Args:
        name: the address, its secrets masked.
        answer: what came.
    """
    if 200 <= answer.status < 300:
        message = _refusal(name, answer.reply)
        if message is None:
            return None
        about_the_alarm = any(word in message.lower() for word in _WORDS_ABOUT_THE_ALARM)
        said = f"answered {answer.status} with code {_NOT_TAKEN}"
    else:
        about_the_alarm = answer.status in _ABOUT_THE_ALARM
        said = f"answered {answer.status}" + (" (redirects are not followed)" if 300 <= answer.status < 400 else "")
    kind = AlarmRefusedError if about_the_alarm else DeliveryError
    text = f"{name}: {said} {_excerpt(answer.reply)}".rstrip()
    return kind(text, retry_after_s=seconds_of(answer.retry_after, answer.date))


def seconds_of(retry_after: str, date: str = "") -> float | None:
    """The time that Retry-After asks for, from now: seconds or a date, which is held against the answer's own ``date``.

    ``None`` when there is none or it cannot be read.
    """
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    then = _epoch_of(text)
    if then is None:
        return None
    sent = _epoch_of(date)
    return max(0.0, then - (time.time() if sent is None else sent))


def _epoch_of(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def _refusal(name: str, reply: bytes) -> str | None:
    """application-web's message when it says that it did not take the alarm; other codes than 0 are only logged."""
    try:
        answer: Any = json.loads(reply)
    except (ValueError, RecursionError):
        return reply.decode("utf-8", "replace") if _BEGINS_NOT_TAKEN.match(reply) else None
    if not isinstance(answer, dict):
        return None
    code = answer.get("code", answer.get("Code", 0))
    if code == _NOT_TAKEN:
        return str(answer.get("msg", answer.get("Msg", "")))
    if code not in (0, 200):
        _log.warning("%s: took the alarm, but answered %s", name, _excerpt(reply))
    return None


def _excerpt(reply: bytes) -> str:
    """The beginning of an answer; secrets are hidden before it is cut, for half a secret is not recognised."""
    return repr(hide(reply[:4000].decode("utf-8", "replace"))[:200]) if reply else ""
