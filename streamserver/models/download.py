"""Fetching one file over HTTP: checked while it arrives, visible under its name only when it is whole."""

from __future__ import annotations

import hashlib
import http.client
import logging
import queue
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamserver.core.urls import mask_credentials

TIMEOUT_S = 20.0
"""Longest silence while receiving."""

ANSWER_S = 5.0
"""Longest wait for a server's first answer, from looking up its name on: a task that starts must not wait for more."""

MAX_BYTES = 4_000_000_000
"""No weights of ours are larger; an answer without an end must not fill the disk."""

_CHUNK_BYTES = 1 << 16

OnProgress = Callable[[int, int | None], None]
"""Told the bytes received so far and the total, ``None`` where the server does not say."""

logger = logging.getLogger(__name__)


class DownloadError(Exception):
    """A file could not be fetched; the message says why, addresses masked."""


def download(url: str, target: Path, *, sha256: str, on_progress: OnProgress, answer_s: float = ANSWER_S) -> None:
    """Fetches ``url`` into ``target``; the caller makes sure that nobody else fetches the same target.

    Args:
        url: an http or https address.
        target: where the file goes, in one step, once its checksum is right; its folder must exist.
        sha256: the checksum it must have.
        on_progress: called after each piece.
        answer_s: longest wait for the server's first answer.

    Raises:
        DownloadError: anything from a refused connection to a wrong checksum; nothing is left behind.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        digest = _receive(url, part, on_progress, answer_s)
        if digest != sha256:
            raise DownloadError(f"{mask_credentials(url)}: sha256 is {digest}, expected {sha256}")
        part.replace(target)
    except (OSError, http.client.HTTPException) as e:
        raise DownloadError(f"{mask_credentials(url)}: {_reason(e)}") from e
    finally:
        part.unlink(missing_ok=True)


def _receive(url: str, part: Path, on_progress: OnProgress, answer_s: float) -> str:
    digest, received = hashlib.sha256(), 0
    with _open(url, answer_s) as reply, part.open("wb") as file:
        length = reply.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        while chunk := reply.read(_CHUNK_BYTES):
            received += len(chunk)
            if received > MAX_BYTES:
                raise DownloadError(f"{mask_credentials(url)}: more than {MAX_BYTES} bytes")
            digest.update(chunk)
            file.write(chunk)
            on_progress(received, total)
    if total is not None and received != total:
        raise DownloadError(f"{mask_credentials(url)}: broken off after {received} of {total} bytes")
    return digest.hexdigest()


def _open(url: str, answer_s: float) -> Any:
    """The server's answer, ready to be read.

    Looking up a name knows no timeout, and a host with six addresses is given six: so a thread asks, and is left
    behind when it takes too long.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "stream-server"})  # noqa: S310 - an address of the operator  # nosec B310
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    given_up = threading.Event()

    def ask() -> None:
        try:
            answer: Any = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310 - an address of the operator  # nosec B310
        except (OSError, http.client.HTTPException, ValueError) as e:
            answer = e
        answers.put(answer)
        if given_up.is_set() and hasattr(answer, "close"):
            answer.close()

    threading.Thread(target=ask, name="download", daemon=True).start()
    try:
        answer = answers.get(timeout=answer_s)
    except queue.Empty:
        given_up.set()
        raise TimeoutError(f"no answer within {answer_s:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__


class ProgressBar:
    """Shows a download: one line that grows on a terminal, a log line for every quarter elsewhere."""

    def __init__(self, name: str, *, terminal: bool | None = None) -> None:
        self._name = name
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._shown = -1

    def __call__(self, received: int, total: int | None) -> None:
        """Takes the bytes received so far and the total, ``None`` where the server does not say."""
        step = received * 100 // total if total else received // 1_000_000
        if self._terminal:
            if step != self._shown:
                self._shown = step
                self._draw(received, total)
        elif step // 25 != self._shown:
            self._shown = step // 25
            logger.info("fetching '%s': %s", self._name, _amount(received, total))

    def close(self) -> None:
        """Ends the line."""
        if self._terminal and self._shown >= 0:
            sys.stderr.write("\n")

    def _draw(self, received: int, total: int | None) -> None:
        filled = received * 30 // total if total else 0
        bar = f"[{'#' * filled}{'.' * (30 - filled)}] " if total else ""
        sys.stderr.write(f"\r{self._name} {bar}{_amount(received, total)}")
        sys.stderr.flush()


def _amount(received: int, total: int | None) -> str:
    mega = f"{received / 1e6:.1f}"
    return f"{mega} of {total / 1e6:.1f} MB" if total else f"{mega} MB"
