"""The secrets of the addresses that this process has seen, and text without them.

``urls.mask_credentials`` hides what stands in an address. A library's message, a quoted header or a traceback can hold
a password by itself; that is what this module is for. Every process registers each address that it gets to see, and
the log's formatter takes the secrets out of every line.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from streamserver.core.urls import decoded, for_ffmpeg, for_urllib, mask_credentials, secrets_of, take_apart

SHORTEST = 4
"""Shorter secrets are hidden only where they stand in an address; elsewhere too many words would be taken for them."""

_MOST_ADDRESSES = 2000
"""The oldest is forgotten when there are more; a server has fewer tasks at a time."""

_HIDDEN = "***"
_ESCAPE = re.compile("%[0-9A-F]{2}")


class _Known:
    """Addresses and the forms of their secrets, the longest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: dict[str, frozenset[str]] = {}
        self.longest_first: tuple[str, ...] = ()

    def add(self, address: str) -> None:
        """Remembers ``address`` as the newest."""
        with self._lock:
            forms = self._forms.pop(address, None)
            new = forms is None
            forms = forms if forms is not None else frozenset(_forms_of(address))
            if not forms:
                return
            self._forms[address] = forms
            while len(self._forms) > _MOST_ADDRESSES:
                del self._forms[next(iter(self._forms))]
            if new:
                self.longest_first = tuple(sorted(set().union(*self._forms.values()), key=lambda s: (-len(s), s)))


_known = _Known()


def register(address: str) -> None:
    """Notes the secrets of ``address``, in every form in which they may come up: as written, decoded, encoded."""
    _known.add(address)


def register_all(addresses: Iterable[str]) -> None:
    """Notes the secrets of each."""
    for address in addresses:
        register(address)


def hide(text: str) -> str:
    """``text`` without the secrets that were registered, and without the credentials of any address."""
    for secret in _known.longest_first:
        if secret in text:
            text = text.replace(secret, _HIDDEN)
    return mask_credentials(text)


def _forms_of(address: str) -> set[str]:
    parts = take_apart(address)
    forms: set[str] = set()
    for secret in secrets_of(address):
        forms |= _spellings(secret) | _spellings(decoded(secret))
    if parts is not None and parts.password:
        user = decoded(parts.user or "")
        pairs = [f"{user}:{decoded(parts.password)}", f"{parts.user}:{parts.password}"]
        forms |= {base64.b64encode(pair.encode()).decode() for pair in pairs}
        for spelled in (for_ffmpeg(address), for_urllib(address)):
            again = take_apart(spelled)
            forms.add(again.password or "" if again else "")
    return {form for form in forms if len(form) >= SHORTEST}


def _spellings(secret: str) -> set[str]:
    """As it is, percent-encoded in the usual ways, as text in JSON and in Python, and in Base64."""
    encoded = {quote(secret, safe=""), quote(secret), quote_plus(secret), quote(secret, safe="!$&'()*+,;=:")}
    encoded |= {_ESCAPE.sub(lambda found: found[0].lower(), form) for form in encoded}
    quoted = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    return {secret, *encoded, *quoted, base64.b64encode(secret.encode()).decode()}
