"""Whether the server runs, or could: its ports, its health, who may ask it."""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import json
import socket
from collections.abc import Iterator
from pathlib import Path

from streamserver.cli.connection import UnreachableError
from streamserver.cli.findings import Finding, fail, ok, warn
from streamserver.cli.tasks import connect
from streamserver.core.errors import StreamServerError
from streamserver.core.settings import Settings
from streamserver.keys.ring import KeyRing

_PORTS = 100
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def findings(options: argparse.Namespace, settings: Settings) -> Iterator[Finding]:
    """Ports, health and access."""
    server = connect(options)
    try:
        status, alive = server.ask("GET", "/livez")
    except UnreachableError as e:
        yield _port(settings, str(e)) if not options.url else fail("server", e.message, e.cure)
        yield from _client_ports(settings)
    else:
        if status == http.client.OK and alive.get("Alive"):
            yield ok("port", f"a stream-server listens at {server.url}")
            yield _ready(*server.ask("GET", "/readyz"))
        else:
            yield fail("port", f"{server.url} answered /livez with {status}", "stop that program, or set port")
    yield from _access(settings)


def _ready(status: int, said: dict[str, object]) -> Finding:
    if status == http.client.OK:
        return ok("server", "is ready to take tasks")
    checks = said.get("Checks")
    entries = checks.items() if isinstance(checks, dict) else ()
    bad = [f"{name}: {entry['Reason']}" for name, entry in entries if isinstance(entry, dict) and not entry.get("Ok")]
    cure = "each reason names its cure; 'tasks log' and the files in state_dir/logs say more"
    return fail("server", f"is not ready: {'; '.join(bad) or json.dumps(said)[:300]}", cure)


def _port(settings: Settings, reason: str) -> Finding:
    problem = _cannot_listen(settings.host, settings.port)
    if problem:
        return fail(
            "port",
            f"{settings.host} port {settings.port} cannot be listened on: {problem} ({reason})",
            "stop the program that has it (ss -ltnp), or set host and port",
        )
    return ok("port", f"{settings.host} port {settings.port} is free; the server does not run")


def _client_ports(settings: Settings) -> Iterator[Finding]:
    base = settings.client_port_base
    taken = [port for port in range(base, min(base + _PORTS, 65536)) if _cannot_listen(settings.client_host, port)]
    span = f"{base} to {min(base + _PORTS, 65536) - 1} on {settings.client_host}"
    if len(taken) == min(_PORTS, 65536 - base):
        yield fail("client ports", f"none of {span} can be listened on", "set client_host and client_port_base")
        return
    try:
        low, high = map(int, _EPHEMERAL.read_text().split())
    except (OSError, ValueError):
        low, high = 0, -1
    if low <= base <= high:
        cure = f"set client_port_base below {low}"
        yield warn("client ports", f"{span}: the kernel lends these to outgoing connections, too", cure)
    else:
        yield ok("client ports", f"{_PORTS - len(taken)} of {span} are free")


def _cannot_listen(host: str, port: int) -> str:
    """Why nobody can listen there now; empty when one can."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as e:
        return e.strerror or str(e)
    return ""


def _access(settings: Settings) -> Iterator[Finding]:
    """Who gets in: the setting, the keys there are, and who could read along."""
    local = _is_loopback(settings.host)
    if settings.auth == "off" and not local:
        cure = "set auth to auto and make keys, or name who may ask in trusted_networks"
        yield fail("access", f"auth is off, and {settings.host} lets whoever reaches it start and end tasks", cure)
        return
    if settings.auth == "off" or (settings.auth == "auto" and local):
        yield ok("access", f"no keys are needed ({settings.host}, auth is {settings.auth})")
        return
    try:
        has_keys = KeyRing(settings.state_path).has_keys()
    except StreamServerError as e:
        yield fail("access", f"the keys cannot be read: {e.message}", e.cure or "see docs/operations.md")
        return
    if not has_keys and not settings.trusted_networks:
        cure = "python -m streamserver keys create --role write"
        yield fail("access", "keys are needed, and there are none: nobody can use the API", cure)
    else:
        trusted = f", none from {settings.trusted_networks}" if settings.trusted_networks else ""
        yield ok("access", f"keys are needed{trusted}; there are {'some' if has_keys else 'none'}")
    if not local and not settings.tls_cert:
        yield warn(
            "access", "keys travel unencrypted", "set tls_cert and tls_key, or put nginx before it (deploy/nginx.conf)"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
