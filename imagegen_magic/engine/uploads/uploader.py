"""Uploads local images to a gateway: each content once while its address is valid, and again when that is gone.

Uploading is free and may be repeated, so failures are retried. The key goes where the gateway itself says that
its own files go, and nothing is put on any other host unless the person named a function that does.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from imagegen_magic.engine import threads
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.context import EngineContext
from imagegen_magic.engine.endpoints import Endpoint
from imagegen_magic.engine.ledger import uploads
from imagegen_magic.engine.net.client import GatewayResponse
from imagegen_magic.engine.net.retry import RetryDetails, attempts
from imagegen_magic.engine.net.transport import NotSent, OutcomeUnknown
from imagegen_magic.engine.settings import Settings
from imagegen_magic.engine.storage.source_copies import save_copy
from imagegen_magic.engine.uploads.routes import UploadRoute, fetchable, find_route, lives, own_address, weight, zone_of
from imagegen_magic.errors import (
    APIError,
    AuthenticationError,
    Blame,
    ContentRejected,
    ImageGenError,
    InsufficientBalance,
    UnsupportedOption,
    UploadFailed,
)
from imagegen_magic.providers import urls
from imagegen_magic.providers.base import Provider, Uploaded
from imagegen_magic.providers.describe import shown
from imagegen_magic.records import PortableError
from imagegen_magic.request import LocalImage

_UPLOADER_LIFETIME = 3600.0  # seconds that an address of the user's own uploader is used: its lifetime is unknown
_TRIES = 5
_STEPS = {
    400: "read the gateway's words, and try another picture",
    413: "add --fit to have it scaled down, or give a smaller picture",
    415: "save it as a PNG or JPEG",
    429: "wait a little",
}

Report = Callable[[str], None]


class _Again(PortableError):
    """Worth a retry; `error` is final if retries fail, `pause` the Retry-After value in seconds."""

    def __init__(self, error: ImageGenError, pause: float | None = None) -> None:
        super().__init__(error.what)
        self.error, self.pause = error, pause


def insert_addresses(provider: Provider, sent: Mapping[str, Any], found: Mapping[str, str]) -> dict[str, Any]:
    """Return a submission's JSON with the addresses in place of the placeholders, in the fields of references and mask alone."""
    fields = {provider.field_names.get(name) for name in ("references", "mask")}
    return {key: _replaced(value, found) if key in fields else value for key, value in sent.items()}


async def upload_all(
    context: EngineContext, gateway: Endpoint, pictures: Sequence[LocalImage], settings: Settings, *, report: Report | None = None
) -> dict[str, str]:
    """Upload images to the gateway, several at once, and return their addresses by placeholder; `report` gets notes on the progress.

    What is there already is not sent again. Raises UploadFailed, UnsupportedOption if there is no route, AuthenticationError,
    InsufficientBalance, ContentRejected, SaveError; nothing was submitted then.
    """
    found = await asyncio.gather(*(_upload(context, gateway, each, settings, report) for each in pictures), return_exceptions=True)
    for outcome in found:
        if isinstance(outcome, BaseException):
            raise outcome
    return {picture.placeholder: str(address) for picture, address in zip(pictures, found, strict=True)}


async def reupload(
    context: EngineContext, gateway: Endpoint, sent_json: Mapping[str, Any], pictures: Sequence[LocalImage], settings: Settings
) -> dict[str, Any]:
    """Upload the images of a submission again and return its JSON with their new addresses; the old ones are forgotten.

    Equal to `sent_json` if none of its addresses is one of ours: then there is nothing to renew. Raises like `upload_all`.
    """
    there = set(_texts(list(sent_json.values())))
    brought = context.uploads.uploaded
    renewed: dict[str, str] = {}
    for picture in pictures:
        for old in [url for url, sha256 in brought.items() if sha256 == picture.sha256 and url in there]:
            context.uploads.expired.add(old)
            renewed[old] = await _upload(context, gateway, picture, settings, None)
    return insert_addresses(gateway.provider, sent_json, renewed)


async def _upload(context: EngineContext, gateway: Endpoint, picture: LocalImage, settings: Settings, report: Report | None) -> str:
    path = await threads.writing(save_copy, settings.home, picture)
    address = await asyncio.to_thread(own_address, picture, gateway, context.uploads.expired)
    if not address:
        route = await asyncio.to_thread(find_route, gateway, picture, settings)
        async with context.uploads.locks.setdefault((picture.sha256, route.host), asyncio.Lock()):
            address = await _recorded(context, picture, route, gateway) or await _sent(
                context, gateway, route, picture, path, settings, report
            )
    context.uploads.uploaded[address] = picture.sha256
    return address


async def _recorded(context: EngineContext, picture: LocalImage, route: UploadRoute, gateway: Endpoint) -> str:
    """Return the address that the ledger knows, "" if there is no valid one; one that is gone is forgotten."""
    found = await uploads.find_upload(context.ledger, picture.sha256, route.host)
    if found is None:
        return ""
    if found.url in context.uploads.expired:
        await uploads.forget_upload(context.ledger, picture.sha256, route.host)
        return ""
    return found.url if lives(found.expires_at) and await asyncio.to_thread(fetchable, found.url, gateway) else ""


async def _sent(
    context: EngineContext,
    gateway: Endpoint,
    route: UploadRoute,
    picture: LocalImage,
    path: Path,
    settings: Settings,
    report: Report | None,
) -> str:
    if report:
        report(f"uploading {picture.name}")
    if route.call is None:
        found = await threads.calling(_by_uploader, route.uploader, path)
    else:
        found = await _post_with_retries(context, gateway, route, picture, settings.get("timeout"), report)
    await uploads.record_upload(context.ledger, picture.sha256, route.host, len(picture.data), found)
    return found.url


async def _post_with_retries(
    context: EngineContext, gateway: Endpoint, route: UploadRoute, picture: LocalImage, patience: float, report: Report | None
) -> Uploaded:
    began = context.clock.monotonic()

    def is_enough(failed: RetryDetails) -> bool:
        return failed.attempt >= _TRIES or context.clock.monotonic() - began + failed.retry_after > patience

    def report_pause(failed: RetryDetails) -> None:
        if report:
            report(f"{picture.name} is not uploaded yet, again in {math.ceil(failed.pause) or 1} s")

    try:
        found = await attempts(
            lambda: _post(context, gateway, route, picture), _Again, is_enough=is_enough, before_pause=report_pause, clock=context.clock
        )
    except _Again as failure:
        raise failure.error from None
    lifetime = gateway.provider.upload.lifetime if gateway.provider.upload else _UPLOADER_LIFETIME
    return found if found.expires_at is not None else Uploaded(found.url, context.clock.time() + lifetime)


async def _post(context: EngineContext, gateway: Endpoint, route: UploadRoute, picture: LocalImage) -> Uploaded:
    assert route.call is not None
    try:
        answer = await context.clients.upload(route.url, gateway.base_url, gateway.key, route.call, picture.data, key_hosts=route.key_hosts)
    except (NotSent, OutcomeUnknown) as error:
        what = f"{picture.name} could not be uploaded to {route.host} ({error})"
        raise _Again(UploadFailed(what, blame="network", hint=error.hint, retry=True)) from None
    if answer.status >= 300:
        refusal = _refusal(gateway.provider, answer, picture)
        if isinstance(refusal, UploadFailed) and (answer.status in (408, 425, 429) or answer.status >= 500):
            raise _Again(refusal, answer.retry_after)
        raise refusal
    return await asyncio.to_thread(_read, gateway, answer, picture)  # which may wait for a resolver


def _read(gateway: Endpoint, answer: GatewayResponse, picture: LocalImage) -> Uploaded:
    try:
        found = gateway.provider.read_upload(answer.content)
    except (AuthenticationError, InsufficientBalance):
        raise
    except APIError as error:
        raise UploadFailed(f"{error.what}; {picture.name} is not uploaded") from None
    if not fetchable(found.url, gateway):
        what = f"{gateway.provider.title} answered the upload of {picture.name} with an address that cannot be fetched"
        raise UploadFailed(what + _why_not(found.url, gateway))
    return found


def _why_not(url: str, gateway: Endpoint) -> str:
    host = urlsplit(url).hostname or ""
    itself = urls.is_loopback(host) and zone_of(gateway) is urls.Zone.PRIVATE
    return f": the server names itself {host}: set its public address there" if itself else ""


def _refusal(provider: Provider, answer: GatewayResponse, picture: LocalImage) -> ImageGenError:
    """Return what a refused upload means: an error of the account or of moderation as it is, else UploadFailed with the gateway's words."""
    if answer.status < 400:
        step = "check the base URL (%imagegen doctor)"
        what = f"{provider.title} answered the upload of {picture.name} with a redirect ({answer.status}); the key does not follow it"
        return UploadFailed(what, hint=step)
    error = provider.read_error(answer.status, answer.content)
    if isinstance(error, (AuthenticationError, InsufficientBalance, ContentRejected)):
        return error
    blame: Blame = "you" if answer.status in (400, 413, 415, 422) else "gateway"
    what = f"{error.what}; {picture.name} ({weight(picture)}) is not uploaded"
    hint = _STEPS.get(answer.status, _STEPS[400] if blame == "you" else None)
    return UploadFailed(what, blame=blame, hint=hint, retry=answer.status == 429 or None)


def _by_uploader(name: str, path: Path) -> Uploaded:
    """Return the address that the user's function returns for a file. Raises UnsupportedOption and UploadFailed."""
    function = _function(name)
    try:
        url = function(path)
    except Exception as error:  # the user's function may raise anything
        raise UploadFailed(f"Your uploader {name} failed: {type(error).__name__}: {error}", blame="you", hint="correct it") from error
    parts = urls.split(url)
    if parts is None or parts.scheme != "https" or not urls.is_public(parts.hostname or ""):
        step = "let it return a public https address"
        raise UploadFailed(f"Your uploader {name} answered {shown(url)}, which no gateway can fetch", blame="you", hint=step)
    return Uploaded(str(url), CLOCK.time() + _UPLOADER_LIFETIME)


def _function(name: str) -> Callable[[Path], Any]:
    module, _, attribute = name.partition(":")
    step = 'give it as "package:function", where function(path) returns an https address'
    try:
        found = operator.attrgetter(attribute)(importlib.import_module(module))
    except Exception as error:  # the user's module may raise anything while it is imported
        what = f"uploader = {name!r} cannot be used: {type(error).__name__}: {error}"
        raise UnsupportedOption(what, option="uploader", value=name, hint=step) from error
    if not callable(found):
        raise UnsupportedOption(f"uploader = {name!r} is no function", option="uploader", value=name, hint=step)
    return found  # type: ignore[no-any-return]  # whatever it is, it is called and its answer is checked


def _replaced(value: Any, found: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return found.get(value, value)
    return [_replaced(each, found) for each in value] if isinstance(value, list) else value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
