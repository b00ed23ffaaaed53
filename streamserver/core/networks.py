"""Networks of the settings, and the networks that an address belongs to, whatever it is dressed as."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from streamserver.core.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
"""RFC 6052 and RFC 8215: a gateway sends what comes for them to the IPv4 address in their last 32 bits."""

_COMPATIBLE = ipaddress.IPv6Network("::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)
_LOOPBACK = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))


def parse_networks(text: str, *, setting: str) -> tuple[Network, ...]:
    """The networks of a setting: addresses and networks, separated by commas; ``setting`` names it in errors.

    Raises:
        ConfigError: one of them is none; says what to write instead.
    """
    return tuple(_network(part.strip(), setting) for part in text.split(",") if part.strip())


def network_of(address: Address, networks: tuple[Network, ...]) -> Network | None:
    """The first of ``networks`` that ``address`` lies in."""
    return next((network for network in networks if address.version == network.version and address in network), None)


def plain(address: Address) -> Address:
    """IPv4 where it is that what is connected to: mapped into IPv6, or behind NAT64."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if any(address in network for network in _NAT64):
            return _last_32_bits(address)
    return address


def disguised(address: Address) -> Iterator[Address]:
    """Every address that packets for ``address`` may come to: itself, and what a tunnel or a gateway makes of it."""
    yield address
    if address.is_unspecified:
        yield from _LOOPBACK  # Linux connects to this machine
    if isinstance(address, ipaddress.IPv4Address):
        return
    if plain(address) != address:
        yield from disguised(plain(address))
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        yield _last_32_bits(address)
    if address in _COMPATIBLE and int(address) >> 24:  # not ::1
        yield _last_32_bits(address)


def _last_32_bits(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _network(text: str, setting: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ConfigError(f"{setting}: '{text}' is no IP address and no network", cure=_cure(text)) from None


def _cure(text: str) -> str:
    try:
        return f"write {ipaddress.ip_network(text, strict=False)} for the network, or {text.partition('/')[0]} for one"
    except ValueError:
        pass
    if len(text.split()) > 1:
        return "separate them by commas"
    if wildcard := re.fullmatch(r"((?:\d{1,3}\.){1,3})(\*(?:\.\*)*)", text):
        numbers = wildcard[1].count(".")
        return f"write {wildcard[1]}{'.'.join(['0'] * (4 - numbers))}/{8 * numbers}"
    return "write an address such as 10.0.0.5 or fd00::5, or a network such as 10.0.0.0/8 (names are not looked up)"
