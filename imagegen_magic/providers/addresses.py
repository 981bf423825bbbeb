"""What an address says of itself, before anybody looks it up: its parts, and whether its host can be public."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

SANDBOX_HOST = "sandbox.invalid"
_PRIVATE_NAMES = ("localhost", "localdomain", "local", "internal", "intranet", "lan", "home", "corp", "test", "invalid", "onion", "arpa")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # its last 32 bits are an IPv4 address


def split(address: object) -> SplitResult | None:
    """Return the parts of an address that has a host and a port that can be; None where it is no such address."""
    if not isinstance(address, str) or not address.isprintable() or " " in address:
        return None
    try:
        parts = urlsplit(address)
        return parts if parts.hostname and parts.port != 0 else None  # a port that is no number raises
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine itself."""
    address = _literal(host)
    return host.lower().rstrip(".") == "localhost" if address is None else address.is_loopback


def is_sandbox(host: str) -> bool:
    """Say whether a host is the sandbox within this process, which no network knows."""
    return host.lower() == SANDBOX_HOST


def is_public(host: str) -> bool:
    """Say whether a host can be one on the public internet, as far as its name or number tells."""
    address = _literal(host)
    if address is not None:
        target = _embedded(address) or address
        return target.is_global and not target.is_multicast
    labels = host.lower().rstrip(".").split(".")
    numeric = re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1])  # 127.1 and 0x7f.1 are numbers to a resolver
    return len(labels) > 1 and all(labels) and labels[-1] not in _PRIVATE_NAMES and not numeric


def _embedded(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to through a translator or tunnel (NAT64, 6to4), if it is one."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address.sixtofour


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
