"""One request after another to the API of a server."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streamserver.core.errors import StreamServerError
from streamserver.core.settings import ENV_PREFIX, Settings

KEY_VARIABLE = f"{ENV_PREFIX}KEY"
"""The environment variable that may hold the key."""

_TIMEOUT_S = 30.0
_MOST_BYTES = 100_000_000
_ANY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised, not listened on  # nosec B104


class UsageError(StreamServerError):
    """The command line, or a file that it names, cannot be used."""


class UnreachableError(StreamServerError):
    """No server of ours answers at the address."""


class RefusedError(StreamServerError):
    """The server answered that it will not; the message is its own."""


def default_url(settings: Settings) -> str:
    """Where the server with these settings is reached from this machine."""
    host = _ANY_INTERFACE.get(settings.host, settings.host)
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"


def find_key(environment: Mapping[str, str], key_file: Path | None) -> str:
    """The API key: of ``key_file``, else of the environment, else of the user's own file; empty without one.

    Raises:
        UsageError: the file cannot be read, or others can read it, too.
    """
    if key_file is None and environment.get(KEY_VARIABLE):
        return _sound(environment[KEY_VARIABLE], KEY_VARIABLE)
    home = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    file = key_file or home / "stream-server" / "key"
    try:
        with file.open(encoding="ascii") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            text = opened.read(1000)
    except FileNotFoundError:
        if key_file is None:
            return ""
        raise UsageError(f"--key-file: there is no file '{file}'", cure="correct the path") from None
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"the key in '{file}' cannot be read: {e}", cure="write the token alone into it") from e
    if stat.S_ISREG(mode) and mode & 0o077:
        raise UsageError(f"others may read the key in '{file}'", cure=f"chmod 600 '{file}'")
    return _sound(text, str(file))


def _sound(text: str, where: str) -> str:
    key = text.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"{where} holds no API key", cure="it is one word, as 'keys create --role' has printed it")
    return key


class Connection:
    """Asks one server; a connection for each request, so none is held while a person thinks.

    Args:
        url: ``http://host:port`` or ``https://…``.
        key: the API key, or empty.
        trusted: a file with the certificates to trust; ``None`` for those of the system.
        any_name: whether the certificate may be for another name: for the server's own file on the same machine.

    Raises:
        UsageError: ``url`` is no such address, or ``trusted`` cannot be read.
    """

    def __init__(self, url: str, key: str = "", *, trusted: Path | None = None, any_name: bool = False) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError as e:
            raise UsageError(f"--url: {e}", cure="write http://host:port") from e
        if parts.scheme not in ("http", "https") or not self._host or parts.username or parts.path not in ("", "/"):
            raise UsageError("--url: this is not the address of a server", cure="write http://host:port")
        self.url = url.rstrip("/")
        self._key = key
        self._tls = _context(trusted, any_name) if parts.scheme == "https" else None

    def call(self, path: str, body: Any = None) -> dict[str, Any]:
        """The reply to a POST of ``body``, JSON or bytes of it, when its ``Code`` is 0.

        Raises:
            RefusedError: it is another; the message is the server's ``Msg``.
            UnreachableError: nobody answers, or not with our replies.
        """
        data = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        _, reply = self.ask("POST", path, data)
        if "Code" not in reply:
            raise self._unreachable(ValueError("it answered without a Code"))
        if reply["Code"] != 0:
            raise RefusedError(str(reply.get("Msg", reply)))
        return reply

    def ask(self, method: str, path: str, data: bytes | None = None) -> tuple[int, dict[str, Any]]:
        """HTTP status and the JSON object that came back; redirects are not followed.

        Raises:
            UnreachableError: nobody answers, or not with a JSON object.
        """
        headers = {"Content-Type": "application/json"} if data is not None else {}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        connection = self._open()
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            reply = json.loads(response.read(_MOST_BYTES))
        except (OSError, http.client.HTTPException, ValueError) as e:
            raise self._unreachable(e) from e
        finally:
            connection.close()
        if not isinstance(reply, dict):
            raise self._unreachable(ValueError("it answered without a JSON object"))
        return response.status, reply

    def _open(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=_TIMEOUT_S, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)

    def _unreachable(self, error: Exception) -> UnreachableError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return UnreachableError(
                f"{self.url}: its certificate is not trusted: {error.verify_message}",
                cure="write --url with a name that stands in it, or name its file with --ca, as it applies",
            )
        if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            reason = error.strerror or str(error) or type(error).__name__
            return UnreachableError(
                f"no server answers at {self.url}: {reason}",
                cure="start one (./start_server.sh), or correct --url (http or https?); 'check' looks for the cause",
            )
        return UnreachableError(
            f"what listens at {self.url} does not answer as a stream-server does: {error or type(error).__name__}",
            cure="correct --url (http or https? the right port?)",
        )


def _context(trusted: Path | None, any_name: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(trusted) if trusted else None)
    except OSError as e:
        raise UsageError(f"the certificates in '{trusted}' cannot be read: {e}", cure="name a PEM file") from e
    if trusted:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the server's own certificate is enough to know it by
    if any_name:
        context.check_hostname = False
    return context
