"""The process of ``http.HttpMediaServer``: streams what FFmpeg makes of a clip to whoever asks for it.

Reads one JSON object with what to serve from standard input. Ends with its parent; what FFmpeg it has started dies of
its closed connection, or with it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_REALM = "cameras"
_NONCE = secrets.token_hex(16)


class Server(ThreadingHTTPServer):
    """Knows the order of its parent."""

    daemon_threads = True

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        super().__init__(("127.0.0.1", order["port"]), Handler)


class Handler(BaseHTTPRequestHandler):
    """One who watches."""

    server: Server

    def do_GET(self) -> None:
        order = self.server.order
        stream = order["streams"].get(self.path.partition("?")[0])
        if stream is None:
            self.send_error(404)
        elif order["user"] and not self._is_allowed(order):
            kind = "Basic" if order["auth"] == "basic" else f'Digest qop="auth", nonce="{_NONCE}", algorithm=MD5,'
            self.send_response(401)
            self.send_header("WWW-Authenticate", f'{kind} realm="{_REALM}"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._stream(*stream)

    def _stream(self, content_type: str, command: list[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.flush()
        subprocess.run(["setpriv", "--pdeathsig", "KILL", "--", *command], stdout=self.connection, check=False)

    def _is_allowed(self, order: dict[str, Any]) -> bool:
        kind, _, rest = self.headers.get("Authorization", "").partition(" ")
        if order["auth"] == "basic":
            return kind == "Basic" and base64.b64decode(rest).decode() == f"{order['user']}:{order['password']}"
        given = {key: quoted or bare for key, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', rest)}
        if kind != "Digest" or given.get("username") != order["user"] or given.get("nonce") != _NONCE:
            return False
        login = md5(f"{order['user']}:{_REALM}:{order['password']}")
        asked = md5(f"GET:{given['uri']}")
        middle = [given["nonce"], *([given["nc"], given["cnonce"], given["qop"]] if "qop" in given else [])]
        return given["response"] == md5(":".join([login, *middle, asked]))

    def log_message(self, format: str, *args: Any) -> None:
        pass


def md5(text: str) -> str:
    """As HTTP's digest takes it."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    Server(json.loads(sys.stdin.readline())).serve_forever()
