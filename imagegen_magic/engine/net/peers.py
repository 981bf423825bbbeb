"""Where a gateway's results may lead: as far as the network that the gateway's own address is in, and no further.

A gateway at a public address may name public addresses alone. One in this network may name addresses of this network, one on this
machine those of this machine too. The zone of a gateway with a name is that of the addresses that its name has resolved to, the most
public one of them in this process, so that no name leads inward by resolving to something else the second time.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from imagegen_magic.engine.net.exchange import origin_of
from imagegen_magic.engine.net.proxies import proxy_of
from imagegen_magic.providers.urls import Zone, is_number, is_sandbox, zone_of
from imagegen_magic.records import PortableError

_resolved: dict[str, set[Zone]] = {}  # by host: the zones of all addresses that it has resolved to


class RefusedPeer(PortableError):
    """An address leads where the gateway may not lead to; its words say where."""


@dataclass(frozen=True, slots=True)
class Own:
    """The guard of connections to the gateway itself: all addresses are allowed, and their zones are remembered."""

    async def __call__(self, host: str, addresses: Sequence[str]) -> Sequence[str]:
        """Return the addresses to connect to."""
        remember(host, addresses)
        return addresses


@dataclass(frozen=True, slots=True)
class Guard:
    """The guard of connections that the gateway at `base_url` leads to; with `inside` to its own network alone, not to public hosts."""

    base_url: str
    inside: bool = False

    async def __call__(self, host: str, addresses: Sequence[str]) -> Sequence[str]:
        """Return the addresses to connect to; raises RefusedPeer where one of them is not allowed."""
        zones = {address: zone_of(address) for address in addresses}
        if not self.inside and not any(zones.values()):  # all public: nothing is asked about the gateway
            return addresses
        base = await zone_of_gateway(self.base_url)
        own = _resolved.get(host, set()) if host == origin_of(self.base_url).host else set()
        # names of a local network often have a link-local IPv6 address beside the one that is meant
        usable = [address for address, zone in zones.items() if zone is not Zone.REFUSED or ":" not in address] or list(addresses)
        for address in usable:
            if zones[address] not in own - {Zone.REFUSED}:  # else it is as before, where the gateway itself was
                check(host, zones[address], base, address)
            if self.inside and zones[address] < Zone.PRIVATE:
                raise RefusedPeer(f"is http:// and leads to {_both(host, address)}, outside the gateway's network")
        return usable


def check(host: str, zone: Zone, base: Zone, address: str = "") -> None:
    """Raise RefusedPeer where a gateway in the zone `base` may not lead to a host in `zone`."""
    if zone <= base and zone is not Zone.REFUSED:
        return
    if zone is Zone.REFUSED:
        raise RefusedPeer(f"leads to {_both(host, address)}: link-local, metadata and reserved addresses are never allowed")
    if zone is Zone.LOOPBACK and base is Zone.PRIVATE:
        raise RefusedPeer(f"leads to this machine: the server names itself {host}: set its public address there")
    raise RefusedPeer(f"leads into a private network ({_both(host, address)})")


def _both(host: str, address: str) -> str:
    return host if address in ("", host) else f"{host} is {address}"


def remember(host: str, addresses: Iterable[str]) -> None:
    """Remember to which zones a host of a gateway resolved."""
    _resolved.setdefault(host, set()).update(map(zone_of, addresses))


def known_zone(base_url: str) -> Zone | None:
    """Return the zone of a gateway's own address; None where a resolver must be asked first. Raises ValueError for what is no address.

    Behind a proxy, which resolves names itself, it is what the name tells.
    """
    host = origin_of(base_url).host
    if is_sandbox(host):
        return Zone.PUBLIC  # it leads to itself alone
    told = zone_of(host)
    if is_number(host) or told is Zone.LOOPBACK or proxy_of(base_url):
        return _sound(told)
    return _sound(min(_resolved[host])) if _resolved.get(host) else None


async def zone_of_gateway(base_url: str) -> Zone:
    """Return the zone of a gateway's own address; resolves its name where no connection to it has done so."""
    if (known := known_zone(base_url)) is not None:
        return known
    host, port = origin_of(base_url)[1:]
    try:
        _remember_found(host, await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError:
        return _sound(zone_of(host))
    return known_zone(base_url) or Zone.PUBLIC


def zone_now(base_url: str) -> Zone:
    """Return the zone of a gateway's own address as `zone_of_gateway`, for threads that may wait for a resolver."""
    if (known := known_zone(base_url)) is not None:
        return known
    host, port = origin_of(base_url)[1:]
    try:
        _remember_found(host, socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError:
        return _sound(zone_of(host))
    return known_zone(base_url) or Zone.PUBLIC


def _remember_found(host: str, found: Iterable[tuple[Any, ...]]) -> None:
    remember(host, [str(entry[4][0]) for entry in found])


def _sound(zone: Zone) -> Zone:
    return Zone.PUBLIC if zone is Zone.REFUSED else zone  # no gateway is there, so it leads nowhere either
