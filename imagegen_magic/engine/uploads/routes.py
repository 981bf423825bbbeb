"""The routes of a local image to a gateway, the addresses that a gateway can fetch, and the refusals of others.

A key goes where the gateway itself says that its own files go, and nothing is put on any other host unless the person named a function
that does.
"""

from __future__ import annotations

import re
import time
from calendar import timegm
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, parse_qsl, urlsplit

from imagegen_magic.engine import endpoints
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.context import ledger_of
from imagegen_magic.engine.endpoints import Endpoint
from imagegen_magic.engine.ledger import uploads
from imagegen_magic.engine.net import peers
from imagegen_magic.engine.settings import Settings
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.formats import BY_TYPE
from imagegen_magic.humanize import file_size, local_minute
from imagegen_magic.providers import urls
from imagegen_magic.providers.base import Plan, UploadCall
from imagegen_magic.providers.describe import shown
from imagegen_magic.providers.urls import Zone
from imagegen_magic.request import LocalImage

MARGIN = 900.0  # seconds that an address must still live, so that a task that waits for its turn finds it
# masks that were looked at, for pictures of these pixels: a sweep says the same ones a thousand times
_sound: deque[tuple[str, int, int]] = deque(maxlen=64)


@dataclass(frozen=True, slots=True)
class UploadRoute:
    """How an image gets to a place from which a gateway can fetch it: by the gateway's own upload at `url`, or by a function of the user.

    `host` is what the ledger calls the place; `key_hosts` are set where the key goes to another host than the base URL's.
    """

    host: str
    url: str = ""
    call: UploadCall | None = None
    key_hosts: tuple[str, ...] = ()
    uploader: str = ""


def check(plan: Plan, gateway: Endpoint, settings: Settings) -> None:
    """Refuse what is known to fail: an address that this gateway cannot fetch or that has expired, an image without a route.

    Also a mask that does not fit its picture. Raises UnsupportedOption. Only the gateway's provider, address and `sandbox` are looked at.
    """
    check_hosts(plan, gateway)
    for option, address in _addresses(plan):
        _check_end(option, address, gateway, settings)
    for picture in plan.uploads:
        if not own_address(picture, gateway):
            find_route(gateway, picture, settings)
    _check_mask(plan)


def check_hosts(plan: Plan, gateway: Endpoint) -> None:
    """Refuse the address of a reference or mask whose host this gateway cannot reach. Raises UnsupportedOption.

    May wait for a resolver, where the gateway has a name and the address is one of a private network.
    """
    for option, address in _addresses(plan):
        _check_host(option, address, gateway)


def _addresses(plan: Plan) -> list[tuple[str, str]]:
    said = [("references", each) for each in plan.request.references] + [("mask", plan.request.mask)]
    return [(option, each) for option, each in said if isinstance(each, str) and not each.startswith("upload:")]


def preview(plan: Plan, gateway: Endpoint, settings: Settings) -> list[str]:
    """Return a line for each picture of this machine: what it is, and where it will be for how long. Raises like `check`."""
    check(plan, gateway, settings)
    return [f"{_described(picture)}: {_future(picture, gateway, settings)}" for picture in plan.uploads]


def find_route(gateway: Endpoint, picture: LocalImage, settings: Settings) -> UploadRoute:
    """Return the route of this image to the gateway; raises UnsupportedOption if there is none."""
    provider, uploader = gateway.provider, settings.get("uploader")
    if provider.upload is not None:
        call = provider.upload_call(picture)
        if url := _door(gateway, call.address, moved=not uploader):
            return UploadRoute(_host(url), url, call, () if _same_origin(url, gateway.base_url) else provider.key_hosts)
    if uploader and not gateway.sandbox:
        return UploadRoute(f"uploader {uploader}", uploader=uploader)
    raise _no_way(gateway, picture, settings)


def _door(gateway: Endpoint, address: str, *, moved: bool) -> str:
    """Return where an upload goes, "" where the key must not go there.

    Another host than the base URL's gets the key only where the gateway names that host as its own, and the base URL is its own too:
    a base URL that was changed gets the key as well. On this machine and in the sandbox uploads go where everything else goes; in
    a private network too, where uploads `moved` with the base URL.
    """
    base = gateway.base_url.rstrip("/")
    if address.startswith("/"):
        return base + address
    if _same_origin(base, gateway.provider.base_url) and _is_named(address, gateway.provider.key_hosts):
        return address
    zone = zone_of(gateway)
    return base + urlsplit(address).path if gateway.sandbox or zone is Zone.LOOPBACK or (moved and zone is Zone.PRIVATE) else ""


def _is_named(address: str, key_hosts: Iterable[str]) -> bool:
    parts = urls.split(address)
    named = parts is not None and parts.scheme == "https" and (parts.hostname or "") in key_hosts
    return named or any("://" in host and _same_origin(address, host) for host in key_hosts)


def zone_of(gateway: Endpoint) -> Zone:
    """Return the zone of a gateway's base URL; may wait for a resolver where that is a name and nothing was sent there yet."""
    return Zone.PUBLIC if gateway.sandbox else peers.gateway_zone_blocking(gateway.base_url)


def _no_way(gateway: Endpoint, picture: LocalImage, settings: Settings) -> UnsupportedOption:
    provider = gateway.provider
    what = f"{provider.title} takes no files, only addresses that it can fetch, and {picture.name} is on this machine"
    if provider.upload is not None:
        what = (
            f"{provider.title} takes files at {provider.upload.host}, and your key does not go there while its base URL is "
            f"{gateway.base_url}"
        )
    if gateway.sandbox:
        step = "nothing leaves this machine in the sandbox, so no uploader is called"
    else:
        config = '%config ImageGenMagics.uploader = "package:function"'
        step = f"name a function of yours that puts a file where the gateway can fetch it, {config} with (path) -> address"
    able = ", ".join(sorted(one.name for one in endpoints.known(settings) if one.upload and one.name != provider.name))
    step += f"; or give an https address, or an earlier result whose address still lives, or choose a gateway that takes files ({able})"
    return UnsupportedOption(what, option="references", value=picture.name, hint=step)


def _same_origin(one: str, other: str) -> bool:
    return _origin(one) == _origin(other)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def own_address(picture: LocalImage, gateway: Endpoint, gone: Iterable[str] = ()) -> str:
    """Return the address that a picture came with, where it lives and this gateway can fetch it, else ""."""
    lives = picture.expires_at is None or picture.expires_at > CLOCK.time() + MARGIN
    return picture.url if picture.url and lives and picture.url not in gone and _surely_fetchable(picture.url, gateway) else ""


def _surely_fetchable(url: str, gateway: Endpoint) -> bool:
    """Say whether a gateway can fetch an address that no user gave: of its network's hosts it knows itself, for certain."""
    return fetchable(url, gateway) and (_same_origin(url, gateway.base_url) or urls.is_public(urlsplit(url).hostname or ""))


def fetchable(url: str, gateway: Endpoint) -> bool:
    """Say whether this gateway can fetch an address: a public one, or one of the private network that the gateway is in."""
    parts = urls.split(url)
    if parts is None or parts.scheme not in ("http", "https"):
        return False
    if gateway.sandbox or urls.is_sandbox(parts.hostname or ""):
        base = urls.split(gateway.base_url)
        known_by_both = urls.is_sandbox(parts.hostname or "") and base is not None and base.hostname == parts.hostname  # http, https
        return gateway.sandbox and (known_by_both or _same_origin(url, gateway.base_url))  # neither fetches anything from the other
    if parts.scheme == "https" and urls.is_public(parts.hostname or ""):
        return True
    return _inside(parts, gateway)


def _inside(parts: SplitResult, gateway: Endpoint) -> bool:
    """Say whether an address is of the private network, or the machine, that a gateway is in; there http is as good as https."""
    base = zone_of(gateway)
    if base < Zone.PRIVATE:
        return False
    host = parts.hostname or ""
    zone = urls.zone_of(host)
    if zone is Zone.PUBLIC and parts.scheme == "http" and not urls.is_number(host):
        zone = peers.gateway_zone_blocking(parts.geturl())  # over http a name must be one of the network's own
        return Zone.PRIVATE <= zone <= base
    return zone <= base and (parts.scheme == "https" or zone >= Zone.PRIVATE)


def _check_host(option: str, address: str, gateway: Endpoint) -> None:
    """Refuse an address on this machine, or in a private network, that the gateway is not in."""
    if fetchable(address, gateway) or (gateway.sandbox and urls.is_loopback(urlsplit(address).hostname or "")):
        return
    parts, title = urlsplit(address), gateway.provider.title
    host, give = parts.hostname or "", "give the picture itself (a file, a variable, @17), which is then uploaded"
    zone = urls.zone_of(host)
    if urls.is_sandbox(host) and not gateway.sandbox:
        why = "that picture is in the sandbox, which no network knows"
    elif zone is Zone.LOOPBACK:
        why = f"{host} is this machine, which it cannot reach"
    elif zone is not Zone.PUBLIC:
        why = f"{host} is in a private network"
    elif parts.scheme != "https":
        why, give = "it is http, and only https addresses are given to it", f"give its https address; or {give}"
    else:
        return  # the sandbox draws from an address alone
    raise UnsupportedOption(f"{title} cannot fetch {shown(address)}: {why}", option=option, value=address, hint=give)


def _check_end(option: str, address: str, gateway: Endpoint, settings: Settings) -> None:
    """Refuse an address that has expired."""
    end = _end_in(address) or _end_in_ledger(address, settings)
    if end is not None and end < CLOCK.time():
        what = f"{gateway.provider.title} cannot fetch {shown(address)}: it expired at {local_minute(end)}"
        give = "give the picture itself (a file, a variable, @17), which is then uploaded"
        raise UnsupportedOption(what, option=option, value=address, hint=give)


def _end_in(address: str) -> float | None:
    """Return the expiry of a signed address (epoch seconds), as the common storage services write it; None if it names none."""
    said = {key.lower(): value for key, value in parse_qsl(urlsplit(address).query)}
    if re.fullmatch(r"1\d{9}(\.\d+)?", expires := said.get("expires", "")):
        return float(expires)
    for maker in ("amz", "goog", "tos"):
        begin, seconds = said.get(f"x-{maker}-date", ""), said.get(f"x-{maker}-expires", "")
        if re.fullmatch(r"\d{8}T\d{6}Z", begin) and seconds.isascii() and seconds.isdigit():
            try:
                return timegm(time.strptime(begin, "%Y%m%dT%H%M%SZ")) + float(seconds[:9])
            except ValueError:
                return None
    return None


def _end_in_ledger(address: str, settings: Settings) -> float | None:
    return uploads.expiry_now(ledger_of(settings), address)


def _check_mask(plan: Plan) -> None:
    by_placeholder = {picture.placeholder: picture for picture in plan.uploads}
    mask = by_placeholder.get(str(plan.request.mask))
    if mask is None or not plan.request.references:
        return
    from imagegen_magic.imaging.masks import check_mask

    first = by_placeholder.get(str(plan.request.references[0])) or mask  # of an address's pixels nothing is known, but a mask must be one
    pair = mask.sha256, first.width, first.height
    if pair not in _sound:
        check_mask(replace(mask, name=_mask_name(plan, mask)), first)
        _sound.append(pair)


def _mask_name(plan: Plan, mask: LocalImage) -> str:
    """Return what a message calls the mask: a plan knows the same bytes by one name, that of the reference."""
    return f"(the same picture as {mask.name})" if plan.request.mask in plan.request.references else mask.name


def _described(picture: LocalImage) -> str:
    kind = BY_TYPE.get(picture.mime_type)
    facts = ", ".join((kind.name if kind else picture.mime_type, f"{picture.width}×{picture.height}", weight(picture), *picture.notes))
    return f"{picture.name} ({facts})"


def weight(picture: LocalImage) -> str:
    """Return how many bytes a picture has, in words."""
    return file_size(len(picture.data))


def _future(picture: LocalImage, gateway: Endpoint, settings: Settings) -> str:
    if own := own_address(picture, gateway):
        until = f" until {local_minute(picture.expires_at)}" if picture.expires_at else ""
        return f"at {_called(_host(own))} already{until}, not uploaded"
    route = find_route(gateway, picture, settings)
    found = uploads.find_upload_now(ledger_of(settings), picture.sha256, route.host)
    if found and found.expires_at and lives(found.expires_at) and fetchable(found.url, gateway):
        return f"at {_called(_host(found.url))} already until {local_minute(found.expires_at)}, not uploaded again"
    if route.call is None:
        return f"your uploader {route.uploader} will put it at an address"
    lifetime = gateway.provider.upload.lifetime if gateway.provider.upload else 0.0
    return f"will be uploaded to {_called(route.host)}, where it lives for {lifetime / 3600:.0f} hours"


def _called(host: str) -> str:
    return "the sandbox in this process" if urls.is_sandbox(host) else host


def lives(expires_at: float | None) -> bool:
    """Return whether an address of the ledger lives long enough to be used again."""
    return expires_at is not None and expires_at > CLOCK.time() + MARGIN
