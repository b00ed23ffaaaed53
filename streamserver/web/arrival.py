"""How much of a request has arrived, which decides when it may have a thread.

What a request means, gunicorn's parser decides alone.
"""

from __future__ import annotations

import re
from enum import Enum

HEAD_BYTES = 16_384
"""The longest head: request line and header fields."""

WHOLE_BYTES = 32_768
"""Head and body up to here are gathered before the request gets a thread."""

_LENGTH = re.compile(rb"\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n|$)")


class Stage(Enum):
    """Where a request stands."""

    COMING = "its head is not whole"
    BODY = "its head is whole, its small body is not"
    WHOLE = "all of it is there"
    LONG = "its head is whole; its body is large, or shows its end only when it is read"
    TOO_LARGE = "its head is too large"
    BROKEN = "its lines do not end as HTTP demands, so its head will never be whole"


def stage(received: bytes | bytearray) -> Stage:
    """Where a request stands of which these bytes have come; they may be followed by those of the next one."""
    end = received.find(b"\r\n\r\n", 0, HEAD_BYTES + 4)
    if end < 0:
        if len(received) > HEAD_BYTES:
            return Stage.TOO_LARGE
        return Stage.BROKEN if b"\n\n" in received else Stage.COMING
    length = _body_bytes(bytes(received[:end]).lower())
    if length is None or end + 4 + length > WHOLE_BYTES:
        return Stage.LONG
    return Stage.WHOLE if len(received) >= end + 4 + length else Stage.BODY


def _body_bytes(head: bytes) -> int | None:
    """The length of the body; ``None`` where it takes gunicorn's parser to know.

    Errs to that side only: what is taken for whole by mistake would wait for the rest in a thread.
    """
    if b"\ntransfer-encoding" in head or b"\nexpect" in head:
        return None
    said = head.count(b"\ncontent-length")
    found = _LENGTH.findall(head)
    return None if said != len(found) or said > 1 else int(found[0]) if said else 0
