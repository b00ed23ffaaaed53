"""Where a source may lead: what a task's address may reach, and which files it may open.

``Egress`` goes with one source. What we connect to ourselves goes through ``Egress.connect``; what FFmpeg does stands
within ``with egress:``, so that ``connect_watch`` asks it about each address that FFmpeg is about to use.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from streamserver.core.errors import RefusedAddressError, SourceError, SourceMissingError
from streamserver.core.outgoing import Policy
from streamserver.core.urls import take_apart
from streamserver.media.connect_watch import UnwatchedError, Watch, watch

T = TypeVar("T")

_OVER_HTTP = "http,https,tls,tcp,udp,rtp,crypto,httpproxy"
PROTOCOLS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "RTSP": {"protocol_whitelist": "rtsp,rtsps,tls,tcp,udp,rtp,srtp"},
        "RTMP": {"protocol_whitelist": "rtmp,rtmps,tls,tcp"},
        "HTTP": {"protocol_whitelist": _OVER_HTTP},
        "VIDEO": {"protocol_whitelist": _OVER_HTTP},
        "UDP": {"protocol_whitelist": "udp,rtp"},
        "SRT": {"protocol_whitelist": "srt"},
        "CAMERA": {},
    }
)
"""FFmpeg's option for each kind of source; nothing that answers can make it open a file or lead it elsewhere."""

BYTES_ONLY: Mapping[str, str] = MappingProxyType({"protocol_whitelist": "none"})
"""For what comes from a file object of ours: whatever the bytes are, they name nothing that is opened."""

FILE = "fd:"
"""What FFmpeg opens for a local file, with ``options_of_file``."""

_LISTENS = re.compile(r"[?&]mode=listener(?=&|\Z)", re.IGNORECASE)
_CAMERA = re.compile(r"/dev/video[0-9]+")


class Egress:
    """What one source may reach; used by one thread at a time.

    Args:
        policy: who decides; ``None`` to let everything pass.
    """

    def __init__(self, policy: Policy | None) -> None:
        self._policy = policy
        self._watch: Watch | None = None
        self._refused: RefusedAddressError | None = None

    @property
    def judges(self) -> bool:
        """Whether there is a network that it may not reach."""
        return self._policy is not None and self._policy.limits_networks

    def __enter__(self) -> Egress:
        """From now on, what FFmpeg connects to in this thread is judged.

        Raises:
            SourceMissingError: this FFmpeg cannot be watched.
        """
        if self.judges:
            self._watch = self._watch or _watched()
            self._watch.set_judge(self.allows)
        return self

    def __exit__(self, *_: object) -> None:
        if self._watch is not None:
            self._watch.set_judge(None)

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """``items``, while FFmpeg makes each of them judged as in a ``with``."""
        rest = iter(items)
        while True:
            with self:
                try:
                    item = next(rest)
                except StopIteration:
                    return
            yield item

    def allows(self, ip: str) -> bool:
        """Whether an IP address may be reached; what is refused is kept for ``raise_if_refused``."""
        try:
            if self._policy is not None:
                self._policy.judge(ip)
        except RefusedAddressError as e:
            self._refused = e
            return False
        return True

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A TCP connection, with this limit of time for its reads and writes as well.

        Raises:
            OSError: nobody answers.
            SourceError: the policy forbids it.
        """
        if self._policy is None:
            return socket.create_connection((host, port), timeout=timeout_s)
        try:
            return self._policy.connect(host, port, timeout_s)
        except RefusedAddressError as e:
            raise _as_source_error(e) from e

    def numbered(self, address: str) -> str:
        """``address`` with an IP address for its name: for libraries that connect by themselves, which nobody watches.

        Raises:
            SourceError: the name is not known, or the policy forbids where it leads.
        """
        parts = take_apart(address)
        if self._policy is None or parts is None or not parts.host or _LISTENS.search(parts.location):
            return address
        try:
            ip = str(self._policy.resolve(parts.host, parts.port)[0][1][0])
        except RefusedAddressError as e:
            raise _as_source_error(e) from e
        except OSError as e:
            raise SourceError(f"the name '{parts.host}' cannot be resolved") from e
        front, _, rest = address.rpartition(parts.location)
        bare = parts.location.replace(f"[{parts.host}]", parts.host, 1)
        return f"{front}{bare.replace(parts.host, f'[{ip}]' if ':' in ip else ip, 1)}{rest}"

    def forget(self) -> None:
        """A new connection begins: what was refused before does not matter any more."""
        self._refused = None

    @property
    def refused(self) -> str:
        """Why an address was refused since ``forget``, and the cure; empty if none was."""
        return "" if self._refused is None else str(self._refused)

    def raise_if_refused(self) -> None:
        """Raises ``SourceError`` with reason and cure if an address was refused since ``forget``."""
        if self._refused is not None:
            raise _as_source_error(self._refused) from self._refused


def open_file(path: str, policy: Policy | None) -> int:
    """A descriptor of a local file or folder, open to be read, in a place where a task may read; never waits.

    Raises:
        SourceMissingError: tasks may not read there, which is all that is said of it.
        OSError: it cannot be opened.
        ValueError: it is no path.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    if policy is None:
        return os.open(path, flags)
    descriptor = os.open(_allowed(path, policy), flags | os.O_NOFOLLOW)
    try:
        _allowed(
            str(Path(f"/proc/self/fd/{descriptor}").readlink()), policy
        )  # a folder on the way may have been exchanged
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def options_of_file(descriptor: int) -> dict[str, str]:
    """FFmpeg's options to read a file that is open already, and nothing else: a playlist in it leads nowhere."""
    return {"fd": str(descriptor), "protocol_whitelist": "fd"}


def require_camera(path: str, policy: Policy | None) -> None:
    """Makes sure that ``path`` leads to a camera device; raises ``SourceMissingError``."""
    if policy is not None and not _CAMERA.fullmatch(os.path.realpath(path)):
        raise SourceMissingError(f"'{path}' is no camera of this machine", cure="they are called /dev/video0 and so on")


def _allowed(path: str, policy: Policy) -> str:
    try:
        return str(policy.file(Path(path).absolute()))
    except RefusedAddressError as e:
        raise SourceMissingError(e.message, cure=e.cure) from e


def _as_source_error(refused: RefusedAddressError) -> SourceError:
    return SourceError(refused.message, cure=refused.cure)


def _watched() -> Watch:
    try:
        return watch()
    except UnwatchedError as e:
        raise SourceMissingError(
            f"this FFmpeg cannot be kept from the networks that the settings forbid: {e}",
            cure="install the package 'av' as requirements.txt names it, or leave the settings deny_networks and "
            "allow_networks empty and let a firewall do it, see docs/operations.md",
        ) from e
