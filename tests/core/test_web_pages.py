"""Which web pages are strangers."""

from __future__ import annotations

import pytest

from streamserver.core.web_pages import is_from_other_site, names_of

_SITES = [
    ("a program", {"Host": "127.0.0.1:9"}, False),
    ("a program that asks by a name", {"Host": "cam.example"}, False),
    ("a page of the same address", {"Host": "10.0.0.5:9", "Origin": "http://10.0.0.5:8089"}, False),
    ("a page of this machine by another name", {"Host": "127.0.0.1:9", "Origin": "http://localhost"}, False),
    ("a page of this machine, version six", {"Host": "[::1]:9", "Origin": "http://[::1]:3000"}, False),
    ("a page of a named host", {"Host": "127.0.0.1", "Origin": "https://App.example:8443"}, False),
    ("a page of another site", {"Host": "127.0.0.1", "Origin": "http://evil.example"}, True),
    ("a page of another address", {"Host": "127.0.0.1", "Origin": "http://6.6.6.6"}, True),
    ("a name that was pointed here", {"Host": "evil.example", "Origin": "http://evil.example"}, True),
    ("nobody's page", {"Host": "127.0.0.1", "Origin": "null"}, True),
    ("a broken origin", {"Host": "127.0.0.1", "Origin": "http://["}, True),
    ("two broken sides", {"Host": "[", "Origin": "http://["}, True),
    ("no host", {"Origin": "http://127.0.0.1"}, True),
    ("a user in the origin", {"Host": "127.0.0.1", "Origin": "http://127.0.0.1@evil.example"}, True),
    ("what the browser says", {"Host": "127.0.0.1", "Sec-Fetch-Site": "cross-site"}, True),
]


@pytest.mark.parametrize(("headers", "expected"), [row[1:] for row in _SITES], ids=[row[0] for row in _SITES])
def test_a_page_is_a_stranger_unless_it_came_from_here(headers: dict[str, str], expected: bool) -> None:
    assert is_from_other_site(headers.get, names=names_of(" app.example , ")) is expected
