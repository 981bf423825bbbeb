"""What an address says of itself, before anybody looks it up: its parts, and whether its host can be public."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

SANDBOX_HOST = "sandbox.invalid"
_PRIVATE_NAMES = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "test", "invalid", "onion", "arpa")


def split(address: object) -> SplitResult | None:
    """Return the parts of an address that has a host; None where it is no such address."""
    if not isinstance(address, str) or not address.isprintable() or " " in address:
        return None
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    return parts if parts.hostname else None


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
        return address.is_global and not address.is_multicast
    labels = host.lower().rstrip(".").split(".")
    numeric = re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1])  # 127.1 and 0x7f.1 are numbers to a resolver
    return len(labels) > 1 and all(labels) and labels[-1] not in _PRIVATE_NAMES and not numeric


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
