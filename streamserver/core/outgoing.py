"""Where tasks may lead this server: the networks of their addresses, the directories of their files.

Every address of a request passes twice: ``Policy.check`` at create, and ``resolve`` or ``connect`` with each
connection, where the very address that was judged is connected to, so nothing can change in between.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import time
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from streamserver.core.errors import RefusedAddressError
from streamserver.core.lookups import Lookups
from streamserver.core.networks import Address, Network, disguised, network_of, parse_networks, plain
from streamserver.core.settings import Settings
from streamserver.core.strict_json import describe
from streamserver.core.urls import ascii_host, local_path, source_type, take_apart

LOOKUP_S = 0.7
"""What all names of one request together may take; a name that is not known by then is judged when it is used."""

Place = tuple[socket.AddressFamily, tuple[Any, ...]]
"""Family and address, as ``socket.socket`` and its ``connect`` take them."""

_LISTENS = re.compile(r"[?&]mode=listener(?=&|\Z)", re.IGNORECASE)
_DOTS = re.compile("[\u3002\uff0e\uff61]")
_NEVER = tuple(Path(folder) for folder in ("/proc", "/sys", "/dev"))
_MEMORY = Path("/dev/shm")  # noqa: S108 - files there are refused  # nosec B108
_NETWORK_CURE = "use another address, or have an operator change that setting"


class Policy:
    """What addresses and files of tasks may lead to; never changes, and may be used by several threads.

    Args:
        deny: networks that nothing may lead to.
        allow: the only networks otherwise; none for all.
        file_dirs: directories below which files must lie.
        state_dir: never read as a source, wherever ``file_dirs`` are; it holds everybody's secrets.
    """

    def __init__(
        self,
        *,
        deny: Sequence[Network] = (),
        allow: Sequence[Network] = (),
        file_dirs: Sequence[Path] = (),
        state_dir: Path | None = None,
    ) -> None:
        self._deny = tuple(deny)
        self._allow = tuple(allow)
        self._file_dirs = tuple(file_dirs)
        self._state_dir = state_dir
        self._lookups = Lookups()

    @staticmethod
    def from_settings(settings: Settings) -> Policy:
        """The policy of ``settings``; the same for equal ones.

        Raises:
            ConfigError: a network of theirs is none.
        """
        return _policy(settings.deny_networks, settings.allow_networks, tuple(settings.file_paths), settings.state_path)

    @property
    def limits_networks(self) -> bool:
        """False where every IP address passes."""
        return bool(self._deny or self._allow)

    def check(self, address: str) -> None:
        """Whether a task may have the stream or report address ``address``, as far as is known without connecting.

        A name that cannot be looked up within ``LOOKUP_S`` passes: each connection asks again.

        Raises:
            RefusedAddressError: it leads to a denied network, or any address of its name does; names it.
        """
        self.check_all({"": address})

    def check_all(self, addresses: Mapping[str, str]) -> None:
        """``check`` for several; keys are the JSON paths of the addresses, which errors carry.

        Raises:
            RefusedAddressError: of the first that is refused.
        """
        until = time.monotonic() + LOOKUP_S
        hosts = {path: _host_reached(address) for path, address in addresses.items()}
        for host in hosts.values():
            if host and _literal(host) is None:
                self._lookups.begin(_name(host), until=until)
        for path, address in addresses.items():
            try:
                if source_type(address) == "VIDEO":
                    self.file(local_path(address))
                elif hosts[path]:
                    self._check_host(hosts[path], until)
            except RefusedAddressError as e:
                raise RefusedAddressError(e.message, path=path, cure=e.cure) from e

    def resolve(self, host: str, port: int | None, kind: socket.SocketKind = socket.SOCK_STREAM) -> list[Place]:
        """The allowed addresses of ``host``, in the resolver's order; asks no resolver for an IP address.

        Raises:
            RefusedAddressError: it has addresses, and all of them are denied.
            OSError: the name cannot be looked up.
        """
        try:
            found = socket.getaddrinfo(ascii_host(host), port, type=kind)
        except UnicodeError as e:
            raise OSError(f"'{host}' is no name of a host") from e
        places: list[Place] = []
        refusal: RefusedAddressError | None = None
        for family, _, _, _, place in found:
            try:
                self.judge(str(place[0]), host=host)
            except RefusedAddressError as e:
                refusal = refusal or e
            else:
                places.append((family, place))
        if refusal is not None and not places:
            raise refusal
        return places

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A TCP connection to the first allowed address of ``host`` that takes one.

        Args:
            host: a name or an IP address.
            port: the port.
            timeout_s: for each address; it stays the time limit of the socket.

        Raises:
            RefusedAddressError: all addresses are denied.
            OSError: there is no connection; of the last address.
        """
        last: OSError = OSError(f"'{host}' has no address")
        for family, place in self.resolve(host, port):
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(timeout_s)
                connection.connect(place)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as e:
                connection.close()
                last = e
            else:
                return connection
        raise last

    def judge(self, address: str, *, host: str = "") -> None:
        """Whether the IP address ``address``, with or without a zone, may be reached.

        Args:
            address: as a resolver gives it, or a socket's peer.
            host: the name that led there, for the error.

        Raises:
            RefusedAddressError: it may not.
            ValueError: it is no IP address.
        """
        ip = ipaddress.ip_address(address.partition("%")[0])
        shown = f"{describe(host)} leads to {ip}" if host and host != str(ip) else str(ip)
        for one in disguised(ip):
            if network := network_of(one, self._deny):
                inside = "" if one == ip else f" (in effect {one})"
                raise RefusedAddressError(
                    f"{shown}{inside}, and the setting deny_networks forbids {network}", cure=_NETWORK_CURE
                )
        if self._allow and not (network_of(ip, self._allow) or network_of(plain(ip), self._allow)):
            raise RefusedAddressError(
                f"{shown}, which lies in no network of the setting allow_networks", cure=_NETWORK_CURE
            )

    def file(self, path: str | Path) -> Path:
        """The real path of a file or folder, to be opened instead of ``path``; it need not exist.

        Raises:
            RefusedAddressError: it lies outside the directories of ``file_dirs``; the same whether it exists or not.
        """
        try:
            if not Path(path).is_absolute():
                raise ValueError("a relative path")
            real = Path(os.path.realpath(path))
        except ValueError as e:  # or a null byte, or half of a surrogate pair
            raise RefusedAddressError(
                f"no readable file or folder {describe(str(path))}", cure="write a path from / on, without null bytes"
            ) from e
        if not self._may_read(real):
            places = ", ".join(str(folder) for folder in self._file_dirs) or "(none)"
            raise RefusedAddressError(
                f"{describe(str(path))} does not lie in the directories that tasks may read, symbolic links followed",
                cure=f"copy it below one of {places}, or add its directory to the setting file_dirs",
            )
        return real

    def _may_read(self, real: Path) -> bool:
        if self._state_dir is not None and real.is_relative_to(os.path.realpath(self._state_dir)):
            return False
        if any(real.is_relative_to(folder) for folder in _NEVER) and not real.is_relative_to(_MEMORY):
            return False
        return any(real.is_relative_to(os.path.realpath(folder)) for folder in self._file_dirs)

    def _check_host(self, host: str, until: float) -> None:
        literal = _literal(host)
        if literal is not None:
            self.judge(str(literal), host=host)
            return
        for address in self._lookups.addresses(_name(host), until=until):
            self.judge(address, host=host)


@lru_cache(maxsize=8)
def _policy(deny: str, allow: str, file_dirs: tuple[Path, ...], state_dir: Path) -> Policy:
    return Policy(
        deny=parse_networks(deny, setting="deny_networks"),
        allow=parse_networks(allow, setting="allow_networks"),
        file_dirs=file_dirs,
        state_dir=state_dir,
    )


def _host_reached(address: str) -> str:
    """The host that an address leads to; empty where there is none, or where it is only listened."""
    kind = source_type(address)
    parts = take_apart(address)
    if parts is None or kind in ("BASE64", "CAMERA", "VIDEO"):
        return ""
    literal = _literal(parts.host)
    listens = kind == "UDP" or (kind == "SRT" and _LISTENS.search(parts.location))
    if listens and literal is not None and (literal.is_unspecified or literal.is_multicast):
        return ""
    return parts.host


def _literal(host: str) -> Address | None:
    """The IP address that ``host`` is in any spelling that a resolver, a browser or a person takes for one."""
    text = _DOTS.sub(".", unicodedata.normalize("NFKC", unquote(host))).partition("%")[0].rstrip(".")
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(text))  # 2852039166, 0xa9.254.0251.254, 127.1
    except (OSError, UnicodeError):
        return None


def _name(host: str) -> str:
    try:
        return ascii_host(host)
    except UnicodeError:
        return host
