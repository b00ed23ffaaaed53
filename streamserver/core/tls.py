"""The certificate by which the API speaks https: what is wrong with it, and what replaces it."""

from __future__ import annotations

import logging
import ssl
import time
from pathlib import Path

from streamserver.core.errors import ConfigError
from streamserver.core.settings import Settings, data_dir

log = logging.getLogger(__name__)

_LOOK_S = 1.0
"""A renewed certificate is noticed so soon."""


def files(settings: Settings) -> tuple[str, str] | None:
    """Certificate and key where the settings ask for https, checked; ``None`` where they do not.

    Relative paths count from the project's folder.

    Raises:
        ConfigError: only one is set, or the files do not do.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if bool(cert) != bool(key):
        given, missing = ("tls_cert", "tls_key") if cert else ("tls_key", "tls_cert")
        raise ConfigError(f"{given} is set and {missing} is not", cure=f"set {missing} as well, or neither")
    if not cert:
        return None
    cert, key = (str(data_dir() / Path(path).expanduser()) for path in (cert, key))
    server_context(cert, key)
    return cert, key


def server_context(cert: str, key: str) -> ssl.SSLContext:
    """How this server speaks TLS: 1.2 or newer, no renegotiation.

    Raises:
        ConfigError: a file is missing, cannot be read, is encrypted or does not fit the other.
    """
    _refuse_unreadable("tls_cert", cert)
    _refuse_unreadable("tls_key", key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except _EncryptedError as e:
        raise ConfigError(
            f"tls_key: '{key}' is encrypted, and nobody is there to type its password",
            cure=f"write it without one: openssl pkey -in {key} -out server.key; keep that readable by this user alone",
        ) from e
    except (ssl.SSLError, OSError) as e:
        raise _what_is_wrong(cert, key, e) from e
    return context


def _refuse_unreadable(name: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except FileNotFoundError as e:
        raise ConfigError(f"{name}: there is no file '{path}'", cure="correct the path") from e
    except OSError as e:
        raise ConfigError(
            f"{name}: '{path}' cannot be read by this user: {e.strerror}",
            cure=f"let it read the file and no others: chown <user> {path}; chmod 400 {path}",
        ) from e


def _what_is_wrong(cert: str, key: str, error: OSError) -> ConfigError:
    reason = getattr(error, "reason", "") or str(error)
    if reason == "KEY_VALUES_MISMATCH":
        return ConfigError(
            f"tls_key: '{key}' is not the key of the certificate '{cert}'",
            cure="give the pair that was made together; in tls_cert the server's own certificate comes first",
        )
    if reason in ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL"):
        return ConfigError(
            f"tls_cert: OpenSSL takes '{cert}' for too weak ({reason})", cure="have one made with a newer key or hash"
        )
    return ConfigError(
        f"tls_cert '{cert}' and tls_key '{key}' are no certificate and key in PEM ({reason})",
        cure="give files with BEGIN CERTIFICATE and BEGIN PRIVATE KEY",
    )


class _EncryptedError(Exception):
    """The key has a password."""


def _no_password() -> str:
    raise _EncryptedError


class Certificate:
    """The context of the files as they are now: whoever renews a certificate has nothing to restart.

    Raises:
        ConfigError: as ``server_context``.
    """

    def __init__(self, cert: str, key: str) -> None:
        self._files = (cert, key)
        self._context = server_context(cert, key)
        self._seen = self._state()
        self._look_at = 0.0

    def context(self) -> ssl.SSLContext:
        """The context for a new connection; the last good one while the files do not do."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._look()
        return self._context

    def _look(self) -> None:
        found = self._state()
        if found == self._seen:
            return
        try:
            self._context = server_context(*self._files)
        except ConfigError as e:
            log.error("the new certificate is not used: %s", e)
        else:
            log.info("the new certificate of %s is used", self._files[0])
        self._seen = found

    def _state(self) -> list[tuple[int, int]]:
        found = []
        for path in self._files:
            try:
                status = Path(path).stat()
            except OSError:
                found.append((0, 0))
            else:
                found.append((status.st_mtime_ns, status.st_ino))
        return found


def unverified() -> ssl.SSLContext:
    """For asking this machine's own server whether it lives: its certificate is for other names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
