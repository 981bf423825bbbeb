"""The routes of a local image to a gateway, the addresses that a gateway can fetch, and the refusals of others.

A key goes only to the hosts that the gateway names for its own files. An image goes to another host only through a function of the user.
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

MARGIN = 900.0  # seconds that an address must still be valid, for a task that waits in a queue
_checked_masks: deque[tuple[str, int, int]] = deque(maxlen=64)  # SHA-256 and the image's pixels: a sweep repeats them a thousand times


@dataclass(frozen=True, slots=True)
class UploadRoute:
    """How an image gets an address that a gateway can fetch: by the gateway's own upload at `url`, or by a function of the user.

    `host` is the name of the route in the ledger; `key_hosts` are set if the key goes to another host than the base URL's.
    """

    host: str
    url: str = ""
    call: UploadCall | None = None
    key_hosts: tuple[str, ...] = ()
    uploader: str = ""


def check(plan: Plan, gateway: Endpoint, settings: Settings) -> None:
    """Refuse what is known to fail: an address that this gateway cannot fetch or that has expired, an image without a route.

    Also a mask that does not fit its picture. Raises UnsupportedOption. Only the gateway's provider, address and `sandbox` matter.
    """
    check_hosts(plan, gateway)
    for option, address in _addresses(plan):
        _check_end(option, address, gateway, settings)
    for picture in plan.uploads if plan.model.references_as == "address" else ():
        if not own_address(picture, gateway):
            find_route(gateway, picture, settings)
    _check_mask(plan)


def check_hosts(plan: Plan, gateway: Endpoint) -> None:
    """Refuse the address of a reference or mask whose host this gateway cannot reach. Raises UnsupportedOption.

    May wait for a resolver if the gateway has a name and the address is one of a private network.
    """
    for option, address in _addresses(plan):
        _check_host(option, address, gateway)


def _addresses(plan: Plan) -> list[tuple[str, str]]:
    sources = [("references", each) for each in plan.request.references] + [("mask", plan.request.mask)]
    return [(option, each) for option, each in sources if isinstance(each, str) and not each.startswith("upload:")]


def preview(plan: Plan, gateway: Endpoint, settings: Settings) -> list[str]:
    """Return a line for each picture of this machine: its facts, and its address for how long. Raises like `check`."""
    check(plan, gateway, settings)
    if plan.model.references_as != "address":
        return [f"{_described(picture)}: sent within the request to {_called(_host(gateway.base_url))}" for picture in plan.uploads]
    return [f"{_described(picture)}: {_future(picture, gateway, settings)}" for picture in plan.uploads]


def find_route(gateway: Endpoint, picture: LocalImage, settings: Settings) -> UploadRoute:
    """Return the route of this image to the gateway; raises UnsupportedOption if there is none."""
    provider, uploader = gateway.provider, settings.get("uploader")
    if provider.upload is not None:
        call = provider.upload_call(picture)
        if url := _upload_url(gateway, call.address, moved=not uploader):
            return UploadRoute(_host(url), url, call, () if _same_origin(url, gateway.base_url) else provider.key_hosts)
    if uploader and not gateway.sandbox:
        return UploadRoute(f"uploader {uploader}", uploader=uploader)
    raise _no_route(gateway, picture, settings)


def _upload_url(gateway: Endpoint, address: str, *, moved: bool) -> str:
    """Return the URL of an upload, "" if the key must not go there.

    Another host than the base URL's gets the key only if the gateway names that host as its own and the base URL was not changed.
    On this machine and in the sandbox uploads go to the base URL; in a private network too, if uploads `moved` with the base URL.
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
    """Return the zone of a gateway's base URL; may wait for a resolver if that is a name and nothing was sent there yet."""
    return Zone.PUBLIC if gateway.sandbox else peers.gateway_zone_blocking(gateway.base_url)


def _no_route(gateway: Endpoint, picture: LocalImage, settings: Settings) -> UnsupportedOption:
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
        step = f"name a function of yours that puts a file where the service can fetch it, {config} with (path) -> address"
    able = ", ".join(sorted(each.name for each in endpoints.known(settings) if each.upload and each.name != provider.name))
    step += f"; or give an https address, or an earlier result whose address is still valid, or choose a service that takes files ({able})"
    return UnsupportedOption(what, option="references", value=picture.name, hint=step)


def _same_origin(left: str, right: str) -> bool:
    return _origin(left) == _origin(right)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def own_address(picture: LocalImage, gateway: Endpoint, gone: Iterable[str] = ()) -> str:
    """Return the address that a picture came with if it is still valid and this gateway can fetch it, else ""."""
    url, valid = picture.url, picture.expires_at is None or lives(picture.expires_at)
    if not url or not valid or url in gone or not fetchable(url, gateway):
        return ""
    # no user gave this address: in the gateway's private network, only the gateway itself is certain to be reachable
    return url if _same_origin(url, gateway.base_url) or urls.is_public(urlsplit(url).hostname or "") else ""


def fetchable(url: str, gateway: Endpoint) -> bool:
    """Return whether this gateway can fetch an address: a public one, or one of the private network that the gateway is in."""
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
    """Return whether an address is of the gateway's private network or machine; there http is as good as https."""
    base = zone_of(gateway)
    if base < Zone.PRIVATE:
        return False
    host = parts.hostname or ""
    zone = urls.zone_of(host)
    if zone is Zone.PUBLIC and parts.scheme == "http" and not urls.is_number(host):
        zone = peers.gateway_zone_blocking(parts.geturl())  # over http a name must belong to the network
        return Zone.PRIVATE <= zone <= base
    return zone <= base and (parts.scheme == "https" or zone >= Zone.PRIVATE)


def _check_host(option: str, address: str, gateway: Endpoint) -> None:
    """Refuse an address on this machine or in a private network if the gateway is not there too."""
    if fetchable(address, gateway) or (gateway.sandbox and urls.is_loopback(urlsplit(address).hostname or "")):
        return
    parts, title = urlsplit(address), gateway.provider.title
    host, give = parts.hostname or "", "give the picture itself (a file, a variable, @17), which is then uploaded"
    zone = urls.zone_of(host)
    if urls.is_sandbox(host) and not gateway.sandbox:
        why = "that picture is in the sandbox, which has no network address"
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
    end = _end_in(address) or uploads.expiry_now(ledger_of(settings), address)
    if end is not None and end < CLOCK.time():
        what = f"{gateway.provider.title} cannot fetch {shown(address)}: it expired at {local_minute(end)}"
        give = "give the picture itself (a file, a variable, @17), which is then uploaded"
        raise UnsupportedOption(what, option=option, value=address, hint=give)


def _end_in(address: str) -> float | None:
    """Return the expiry of a signed address (epoch seconds), as the common storage services write it; None if it names none."""
    query = {key.lower(): value for key, value in parse_qsl(urlsplit(address).query)}
    if re.fullmatch(r"1\d{9}(\.\d+)?", expires := query.get("expires", "")):
        return float(expires)
    for service in ("amz", "goog", "tos"):
        begin, seconds = query.get(f"x-{service}-date", ""), query.get(f"x-{service}-expires", "")
        if re.fullmatch(r"\d{8}T\d{6}Z", begin) and seconds.isascii() and seconds.isdigit():
            try:
                return timegm(time.strptime(begin, "%Y%m%dT%H%M%SZ")) + float(seconds[:9])
            except ValueError:
                return None
    return None


def _check_mask(plan: Plan) -> None:
    by_placeholder = {picture.placeholder: picture for picture in plan.uploads}
    mask = by_placeholder.get(str(plan.request.mask))
    if mask is None or not plan.request.references:
        return
    from imagegen_magic.imaging.masks import check_mask

    first = by_placeholder.get(str(plan.request.references[0])) or mask  # an address has unknown pixels, but the mask must still be a mask
    pair = mask.sha256, first.width, first.height
    if pair not in _checked_masks:
        # a plan has the same bytes under one name, that of the reference
        name = f"(the same picture as {mask.name})" if plan.request.mask in plan.request.references else mask.name
        check_mask(replace(mask, name=name), first)
        _checked_masks.append(pair)


def _described(picture: LocalImage) -> str:
    kind = BY_TYPE.get(picture.mime_type)
    facts = ", ".join((kind.name if kind else picture.mime_type, f"{picture.width}×{picture.height}", weight(picture), *picture.notes))
    return f"{picture.name} ({facts})"


def weight(picture: LocalImage) -> str:
    """Return the size of a picture's file, as text."""
    return file_size(len(picture.data))


def _future(picture: LocalImage, gateway: Endpoint, settings: Settings) -> str:
    if own := own_address(picture, gateway):
        until = f" until {local_minute(picture.expires_at)}" if picture.expires_at else ""
        return f"at {_called(_host(own))} already{until}, not uploaded"
    route = find_route(gateway, picture, settings)
    found = uploads.find_upload_now(ledger_of(settings), picture.sha256, route.host)
    if found and found.expires_at is not None and lives(found.expires_at) and fetchable(found.url, gateway):
        return f"at {_called(_host(found.url))} already until {local_minute(found.expires_at)}, not uploaded again"
    if route.call is None:
        return f"your uploader {route.uploader} will put it at an address"
    lifetime = gateway.provider.upload.lifetime if gateway.provider.upload else 0.0
    return f"will be uploaded to {_called(route.host)}, where it is kept for {lifetime / 3600:.0f} hours"


def _called(host: str) -> str:
    return "the sandbox in this process" if urls.is_sandbox(host) else host


def lives(expires_at: float | None) -> bool:
    """Return whether an address that expires then is valid long enough to be used again."""
    return expires_at is not None and expires_at > CLOCK.time() + MARGIN
