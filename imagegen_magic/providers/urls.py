"""Facts about an address without a lookup: its parts, and in which kind of network its host is."""

from __future__ import annotations

import ipaddress
import re
from enum import IntEnum
from urllib.parse import SplitResult, urlsplit

SANDBOX_HOST = "sandbox.invalid"
_LOCAL_NAMES = ("localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback")
_PRIVATE_NAMES = ("localhost", "localdomain", "local", "internal", "intranet", "lan", "home", "corp", "test", "invalid", "onion", "arpa")
_METADATA_NAMES = ("metadata", "instance-data", "metadata.google.internal", "metadata.goog", "instance-data.ec2.internal")
_USER = re.compile(r"(?<=://)[^/?#]*@")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Zone(IntEnum):
    """The kind of network that a host is in; a server in one zone may lead to what is in the same zone or a lower one.

    FAKE_IP is 198.18.0.0/15, which a VPN client on this machine answers for the names that it resolves itself. REFUSED is where no
    server leads: link-local addresses, the metadata services of clouds, and addresses that no host has.
    """

    PUBLIC = 0
    FAKE_IP = 1
    PRIVATE = 2
    LOOPBACK = 3
    REFUSED = 4


def _networks(zone: Zone, *networks: str) -> list[tuple[Zone, ipaddress.IPv4Network | ipaddress.IPv6Network]]:
    return [(zone, ipaddress.ip_network(network)) for network in networks]


# The first network that holds an address decides. IPv4: what is not named here is public. IPv6: only 2000::/3 is given to hosts.
_ZONES = [
    # metadata services: Alibaba Cloud, Oracle Cloud, Azure, Amazon, Google; those at 169.254.169.254 are link-local
    *_networks(Zone.REFUSED, "100.100.100.200/32", "192.0.0.0/24", "168.63.129.16/32", "fd00:ec2::254/128", "fd20:ce::254/128"),
    *_networks(Zone.REFUSED, "169.254.0.0/16", "fe80::/10"),  # link-local
    *_networks(Zone.LOOPBACK, "127.0.0.0/8", "0.0.0.0/32", "::1/128", "::/128"),  # a connection to 0.0.0.0 reaches this machine
    *_networks(Zone.PRIVATE, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    *_networks(Zone.PRIVATE, "100.64.0.0/10"),  # carriers and VPNs such as Tailscale
    *_networks(Zone.FAKE_IP, "198.18.0.0/15"),
    *_networks(Zone.REFUSED, "0.0.0.0/8", "192.0.2.0/24", "192.88.99.0/24", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
    *_networks(Zone.REFUSED, "2001:db8::/32", "3fff::/20", "2001::/23"),  # documentation, and protocols such as Teredo
    *_networks(Zone.PUBLIC, "0.0.0.0/0", "2000::/3"),
    *_networks(Zone.REFUSED, "::/0"),
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # its last 32 bits are an IPv4 address


def split(address: object) -> SplitResult | None:
    """Return the parts of an address with a host and a possible port; None if it is no such address."""
    if not isinstance(address, str) or not address.isprintable() or " " in address or "\\" in address:
        return None
    try:
        parts = urlsplit(address)
        return parts if parts.hostname and parts.port != 0 else None  # a port that is no number raises
    except ValueError:
        return None


def has_user(address: object) -> bool:
    """Return whether an address holds a user name or a password."""
    parts = split(address)
    return parts is not None and "@" in parts.netloc


def without_user(text: str, instead: str = "[hidden]@") -> str:
    """Return a text with the user names and passwords of its addresses hidden."""
    return _USER.sub(instead, text)


def zone_of(host: str) -> Zone:
    """Return the zone of a host, by its name or number; a name may resolve to an address of another zone."""
    name = _plain(host)
    address = _literal(name)
    if address is not None:
        return next(zone for zone, network in _ZONES if address in network)  # of the other IP version: never in it
    labels = name.split(".")
    if name in _METADATA_NAMES or not all(labels) or re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1]):
        return Zone.REFUSED  # what ends in a number and is no address is read as one by some resolvers
    if name in _LOCAL_NAMES or labels[-1] == "localhost":
        return Zone.LOOPBACK
    return Zone.PRIVATE if len(labels) == 1 or labels[-1] in _PRIVATE_NAMES else Zone.PUBLIC


def is_number(host: str) -> bool:
    """Return whether a host is an IP address, so that no resolver is asked for it."""
    return _literal(_plain(host)) is not None


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine itself."""
    return zone_of(host) is Zone.LOOPBACK


def is_sandbox(host: str) -> bool:
    """Return whether a host is the sandbox within this process, which no network knows."""
    return host.lower() == SANDBOX_HOST


def is_public(host: str) -> bool:
    """Return whether a host can be one on the public internet, by its name or number."""
    return zone_of(host) is Zone.PUBLIC


def _plain(host: str) -> str:
    """Return a host as a resolver reads it: in small ASCII letters, without the dot at its end."""
    try:
        host = host if host.isascii() else host.encode("idna").decode()
    except ValueError:
        return ""
    return host.lower().removesuffix(".")


def _literal(host: str) -> IPAddress | None:
    """Return a host's IP address, the IPv4 one if an IPv6 address only stands for it; None if the host is a name."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return _old_ipv4(host)
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _old_ipv4(host: str) -> ipaddress.IPv4Address | None:
    """Read an IPv4 address as `inet_aton` does: 127.1, 0177.0.0.1, 0x7f000001."""
    numbers = [_number(part) for part in host.split(".")]
    *first, last = numbers
    if len(numbers) > 4 or last is None or any(each is None or each > 255 for each in first) or last >= 256 ** (5 - len(numbers)):
        return None
    return ipaddress.IPv4Address(sum((each or 0) << (24 - 8 * position) for position, each in enumerate(first)) + last)


def _number(text: str) -> int | None:
    for pattern, base in ((r"0x[0-9a-f]{1,8}", 16), (r"0[0-7]{0,11}", 8), (r"[1-9][0-9]{0,9}", 10)):
        if re.fullmatch(pattern, text):
            return int(text, base)
    return None
