"""Whether a stream gives pictures and a report address takes reports, each tried as a task would."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

from streamserver.cli.cures import cure_of
from streamserver.cli.findings import Finding, fail, ok, warn
from streamserver.cli.tasks import typed_address
from streamserver.core.errors import StreamServerError
from streamserver.core.outgoing import Policy
from streamserver.core.secrets import hide, register
from streamserver.core.settings import PROJECT_DIR, Settings, to_environment
from streamserver.core.urls import is_http_url, masked

_PICTURE_S = 20
_TEST_REPORT = [
    {
        "TaskID": "stream-server check",
        "SrcID": "stream-server check",
        "FrameIndex": 0,
        "SceneImageBase64": "",
        "AnalyzeEvents": [],
        "Test": True,
    }
]
"""What ``--send`` posts: a report without events, and marked."""


def stream(text: str | None, settings: Settings) -> Iterator[Finding]:
    """Takes a picture of an address."""
    if text is None:
        return
    address = typed_address(text)
    register(address)
    try:
        Policy.from_settings(settings).check(address)
        reason = _no_picture(address, settings)
    except StreamServerError as e:
        yield fail("stream", hide(e.message), hide(e.cure) or "correct the address")
        return
    if reason:
        found, _, cure = reason.partition("; ")
        yield fail(
            "stream",
            f"{masked(address)}: {found}",
            cure or cure_of(found) or "docs/sources.md has every kind of address",
        )
    else:
        yield ok("stream", f"{masked(address)} gives pictures")


def _no_picture(address: str, settings: Settings) -> str:
    """Why there is no picture; empty where there is one."""
    question = json.dumps({"address": address, "decoder": settings.decoder}).encode() + b"\n"
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "streamserver.media.snapshot"],
            input=question,
            capture_output=True,
            cwd=PROJECT_DIR,
            env={**os.environ, **to_environment(settings)},
            timeout=_PICTURE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no picture came within {_PICTURE_S} s"
    if ended.returncode == 0 and ended.stdout:
        return ""
    lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
    return hide(lines[-1]) if lines else "the process that reads it ended"


def report(text: str | None, settings: Settings, *, send: bool) -> Iterator[Finding]:
    """Connects to a report address, and posts a test report with ``send``."""
    if text is None:
        return
    address = typed_address(text)
    register(address)
    shown = masked(address)
    try:
        parts = urlsplit(address)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        port = 0
    if not port or not is_http_url(address):
        yield fail("report", f"{shown} is no address for reports", "write http://host:port/path or https://…")
        return
    try:
        policy = Policy.from_settings(settings)
        policy.check(address)
        raw = policy.connect(parts.hostname or "", port, settings.report_connect_timeout_s)
    except StreamServerError as e:
        yield fail("report", hide(e.message), hide(e.cure) or "correct the address")
        return
    except OSError as e:
        yield fail(
            "report", f"{shown}: {hide(_reason(e))}", "start the receiver, correct the address, open the firewall"
        )
        return
    with raw:
        yield _speak(raw, address, settings, send=send)


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _speak(raw: socket.socket, address: str, settings: Settings, *, send: bool) -> Finding:
    """TLS, and the test report, over a connection that stands."""
    parts, shown = urlsplit(address), masked(address)
    raw.settimeout(settings.report_timeout_s)
    try:
        link = raw
        if parts.scheme == "https":
            link = ssl.create_default_context().wrap_socket(raw, server_hostname=parts.hostname)
        if not send:
            return ok("report", f"{shown} takes connections (--send posts a report marked as a test)")
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        connection.sock = link
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, json.dumps(_TEST_REPORT), {"Content-Type": "application/json"})
        response = connection.getresponse()
        said = response.read(300).decode("utf-8", "replace")
    except ssl.SSLError as e:
        return fail("report", f"{shown}: TLS failed: {hide(_reason(e))}", "mend the certificate of the receiver")
    except (OSError, http.client.HTTPException) as e:
        return fail("report", f"{shown}: no answer: {hide(str(e) or type(e).__name__)}", "look into the receiver's log")
    found = f"{shown} answered {response.status} {hide(said)}".rstrip()
    if 200 <= response.status < 300:
        return ok("report", found)
    return warn("report", found, "a test report has no events, so this may be a fair refusal; see the receiver's log")
