"""Which addresses a gateway's results may have: those of the network that the gateway's own address is in.

A gateway at a public address may name public addresses only. A gateway in this network may name addresses of this network, one on this
machine those of this machine too. A gateway with a name has the most public zone of all addresses that its name has resolved to in this
process. So no name leads inward by resolving to another address the second time.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imagegen_magic.engine.net.transport import AddressNotAllowed, origin_of, resolves_here
from imagegen_magic.providers.urls import Zone, is_number, is_sandbox, zone_of

_zones: dict[str, set[Zone]] = {}  # by host of a gateway: the zones of all addresses that it has resolved to


@dataclass(frozen=True, slots=True)
class AllowAll:
    """The guard of connections to the gateway itself: all addresses are allowed, and their zones are recorded."""

    async def __call__(self, host: str, addresses: Sequence[str]) -> Sequence[str]:
        """Return the addresses to connect to."""
        record_zones(host, addresses)
        return addresses


@dataclass(frozen=True, slots=True)
class AllowLinkedFrom:
    """The guard of connections to addresses that the gateway at `base_url` named; with `inside` to its own network only."""

    base_url: str
    inside: bool = False

    async def __call__(self, host: str, addresses: Sequence[str]) -> Sequence[str]:
        """Return the addresses to connect to. Raises AddressNotAllowed if one of them is not allowed."""
        zones = {address: zone_of(address) for address in addresses}
        if not self.inside and not any(zones.values()):  # all public: the gateway's own zone does not matter
            return addresses
        base = await gateway_zone(self.base_url)
        own = _zones.get(host, set()) if host == origin_of(self.base_url).host else set()
        # a name of a local network often has a link-local IPv6 address too
        usable = [address for address, zone in zones.items() if zone is not Zone.REFUSED or ":" not in address] or list(addresses)
        for address in usable:
            if zones[address] not in own - {Zone.REFUSED}:  # else the gateway itself has such an address
                check_zone(host, zones[address], base, address)
            if self.inside and zones[address] < Zone.PRIVATE:
                raise AddressNotAllowed(f"is http:// and leads to {_both(host, address)}, outside the service's network")
        return usable


def check_zone(host: str, zone: Zone, base: Zone, address: str = "") -> None:
    """Raise AddressNotAllowed if a gateway in the zone `base` may not name a host in `zone`."""
    if zone <= base and zone is not Zone.REFUSED:
        return
    if zone is Zone.REFUSED:
        raise AddressNotAllowed(f"leads to {_both(host, address)}: link-local, metadata and reserved addresses are never allowed")
    if zone is Zone.LOOPBACK and base is Zone.PRIVATE:
        raise AddressNotAllowed(f"leads to this machine: the server names itself {host}: set its public address there")
    raise AddressNotAllowed(f"leads into a private network ({_both(host, address)})")


def _both(host: str, address: str) -> str:
    return host if address in ("", host) else f"{host} is {address}"


def record_zones(host: str, addresses: Iterable[str]) -> None:
    """Record the zones of the addresses that a gateway's host resolved to."""
    _zones.setdefault(host, set()).update(map(zone_of, addresses))


def known_zone(base_url: str) -> Zone | None:
    """Return the zone of a gateway's own address; None if its name must be resolved first. Raises ValueError if it is not an address.

    If the name is resolved elsewhere, as behind a proxy, the name itself decides.
    """
    host = origin_of(base_url).host
    if is_sandbox(host):
        return Zone.PUBLIC  # it names its own addresses only
    zone = zone_of(host)
    if is_number(host) or zone is Zone.LOOPBACK or not resolves_here(base_url):
        return _as_gateway(zone)
    return _as_gateway(min(_zones[host])) if _zones.get(host) else None


async def gateway_zone(base_url: str) -> Zone:
    """Return the zone of a gateway's own address; resolves its name, in a thread, if no connection to it has done so."""
    return known if (known := known_zone(base_url)) is not None else await asyncio.to_thread(gateway_zone_blocking, base_url)


def gateway_zone_blocking(base_url: str) -> Zone:
    """Return the zone of a gateway's own address as `gateway_zone`, for threads that may wait for a resolver."""
    if (known := known_zone(base_url)) is not None:
        return known
    host, port = origin_of(base_url)[1:]
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return _as_gateway(zone_of(host))
    record_zones(host, [str(entry[4][0]) for entry in entries])
    return known_zone(base_url) or Zone.PUBLIC


def _as_gateway(zone: Zone) -> Zone:
    return Zone.PUBLIC if zone is Zone.REFUSED else zone  # no gateway has a refused address, so it leads nowhere either
