"""The secrets of the addresses that this process has seen, and text without them.

``urls.mask_credentials`` hides what stands in an address. A library's message, a quoted header or a traceback can hold
a password by itself; that is what this module is for. Every process registers each address that it gets to see, and
the log's formatter takes the secrets out of every message.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from streamserver.core.urls import decoded, for_ffmpeg, for_urllib, mask_credentials, secrets_of, take_apart

SHORTEST = 4
"""Shorter secrets are hidden only where they stand in an address; elsewhere too many words would be taken for them."""

_MOST_ADDRESSES = 10_000
"""The oldest is forgotten when there are more; a server has fewer tasks at a time."""

_WORD_CHARACTERS = 8
"""A shorter secret of letters and digits is hidden as a whole word only: ``cam1`` is no part of ``cam12``."""

_NUMBER_DIGITS = 7
_GUESSED_FIRST = (
    "access account address admin camera channel default engine error guest host live login media name number path "
    "pass password picture port refused root rtsp secret server source stream system task test time token user "
    "username video"
)
"""Words of our own sentences. A gap in a known sentence would tell such a password, and so would one for a number of
fewer than ``_NUMBER_DIGITS``: both are hidden next to their user only."""

_HIDDEN = "***"
_TOKEN = re.compile(
    r"(ss_[0-9a-f]{12}_)[0-9a-fA-F]+|(authorization\W{1,6}(?:basic|bearer|digest)\s+)[^\s,'\"\\]+", re.IGNORECASE
)
"""API keys (``keys/``), which nobody knows beforehand, and headers."""

_ESCAPE = re.compile("%[0-9A-F]{2}")
_GOES_BEFORE = re.compile(r"(?<=[\w/.-])(?<!%[0-9A-Fa-f]{2})(?<!\\[nrt])")
_GOES_ON = re.compile(r"[\w/-]|\.\w")
"""What makes a word a part of a longer one, of a path or of a file's name."""


class _Known:
    """Addresses with the forms of their secrets, and these by their beginnings.

    So a text is searched for all of them at once: with 2000 addresses it takes no longer than with two.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: dict[str, frozenset[str]] = {}
        self._beginnings: dict[str, dict[str, int]] = {}
        """Forms that begin so, and how many addresses have each. A dictionary that is here is never changed."""

    def add(self, address: str) -> None:
        """Remembers ``address`` as the newest."""
        with self._lock:
            forms = self._forms.pop(address, None)
            if forms is None:
                forms = frozenset(_forms_of(address))
                self._count(forms, 1)
            if forms:
                self._forms[address] = forms
            while len(self._forms) > _MOST_ADDRESSES:
                self._count(self._forms.pop(next(iter(self._forms))), -1)

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        """From where to where secrets stand in ``text``, in order of their beginnings; they may overlap."""
        for at in range(len(text) - SHORTEST + 1 if self._beginnings else 0):
            for form in self._beginnings.get(text[at : at + SHORTEST], ()):
                if text.startswith(form, at) and (not _is_word(form) or _stands_alone(text, at, at + len(form))):
                    yield at, at + len(form)

    def _count(self, forms: Iterable[str], by: int) -> None:
        for form in forms:
            counts = dict(self._beginnings.get(form[:SHORTEST], {}))
            counts[form] = counts.get(form, 0) + by
            if not counts[form]:
                del counts[form]
            if counts:
                self._beginnings[form[:SHORTEST]] = counts
            else:
                del self._beginnings[form[:SHORTEST]]


_known = _Known()


def register(address: str) -> None:
    """Notes the secrets of ``address``, in every form in which they may come up: as written, decoded, encoded."""
    if "@" in address or "=" in address:
        _known.add(address)


def register_all(addresses: Iterable[str]) -> None:
    """Notes the secrets of each."""
    for address in addresses:
        register(address)


def register_secret(secret: str) -> None:
    """Notes a secret that stands in no address, e.g. a key among the settings."""
    if secret:
        _known.add(f"http://secret:{quote(secret, safe='')}@localhost/")


def register_request(request: Mapping[str, Any]) -> None:
    """Notes the secrets of the addresses of a task's request, as the store keeps it."""
    register_all([request["InputSrc"]["StreamSrc"]["Address"], *request.get("Reporting", {}).get("ReportUrlList", ())])


def hide(text: str) -> str:
    """``text`` without the secrets that were registered, the credentials of any address, and API keys."""
    pieces, done = [], 0
    for start, end in _known.places(text):
        if start >= done:
            pieces += [text[done:start], _HIDDEN]
        done = max(done, end)
    shown = mask_credentials("".join([*pieces, text[done:]]))
    return _TOKEN.sub(lambda found: f"{found[1] or found[2]}{_HIDDEN}", shown)


def _is_word(form: str) -> bool:
    return len(form) < _WORD_CHARACTERS and form.isascii() and form.isalnum()


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether what is there is no part of a longer word, of a path or of a file's name."""
    return not _GOES_BEFORE.match(text, start) and not _GOES_ON.match(text, end)


def _is_recognised(secret: str) -> bool:
    """Whether a secret that stands by itself can be told from a word or a number of ours."""
    return secret.lower() not in _GUESSED_FIRST.split() and not (secret.isdigit() and len(secret) < _NUMBER_DIGITS)


def _forms_of(address: str) -> set[str]:
    parts = take_apart(address)
    forms: set[str] = set()
    for secret in secrets_of(address):
        forms |= _spellings(secret) | _spellings(decoded(secret))
    if parts is not None and parts.password:
        user = decoded(parts.user or "")
        pairs = {f"{user}:{decoded(parts.password)}", f"{parts.user}:{parts.password}"}
        forms |= pairs | {base64.b64encode(pair.encode()).decode() for pair in pairs}
        for spelled in (for_ffmpeg(address), for_urllib(address)):
            again = take_apart(spelled)
            forms.add(again.password or "" if again else "")
    return {form for form in forms if len(form) >= SHORTEST and _is_recognised(form)}


def _spellings(secret: str) -> set[str]:
    """As it is, percent-encoded in the usual ways, as text in JSON and in Python, and in Base64."""
    encoded = {quote(secret, safe=""), quote(secret), quote_plus(secret), quote(secret, safe="!$&'()*+,;=:")}
    encoded |= {_ESCAPE.sub(lambda found: found[0].lower(), form) for form in encoded}
    quoted = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    return {secret, *encoded, *quoted, base64.b64encode(secret.encode()).decode()}
