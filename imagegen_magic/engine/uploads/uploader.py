"""Uploads local images to a gateway: each content once while its address is valid, and again when that is gone.

Uploads are free and may be repeated, so failures are retried. `routes` decides where an image may go.
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
from imagegen_magic.engine.net.retry import Retryable, RetryDetails, attempts
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
from imagegen_magic.providers.base import Provider, UploadCall, Uploaded
from imagegen_magic.providers.describe import shown
from imagegen_magic.request import LocalImage

_UPLOADER_LIFETIME = 3600.0  # seconds that an address of the user's own uploader is used: its lifetime is unknown
_TRIES = 5
_STEPS = {
    400: "read the service's message, and try another picture",
    413: "add --fit to have it scaled down, or give a smaller picture",
    415: "save it as a PNG or JPEG",
    429: "wait a little",
}

Report = Callable[[str], None]


def insert_addresses(provider: Provider, sent: Mapping[str, Any], found: Mapping[str, str]) -> dict[str, Any]:
    """Return a submission's JSON with the addresses in place of the placeholders, in the fields of references and mask alone."""
    fields = {provider.field_names.get(name) for name in ("references", "mask")}
    return {key: _replaced(value, found) if key in fields else value for key, value in sent.items()}


async def upload_all(
    context: EngineContext, gateway: Endpoint, pictures: Sequence[LocalImage], settings: Settings, *, report: Report | None = None
) -> dict[str, str]:
    """Upload images to the gateway, several at once, and return their addresses by placeholder; `report` gets notes on the progress.

    An image that has an address already is not sent again. Raises UploadFailed, UnsupportedOption if there is no route,
    AuthenticationError, InsufficientBalance, ContentRejected, SaveError; nothing was submitted then.
    """
    uploader = _Uploader(context, gateway, settings, report)
    found = await asyncio.gather(*map(uploader.address_of, pictures), return_exceptions=True)
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
    uploader, sent = _Uploader(context, gateway, settings), set(_texts(list(sent_json.values())))
    renewed: dict[str, str] = {}
    for picture in pictures:
        for old in [url for url, sha256 in context.uploads.uploaded.items() if sha256 == picture.sha256 and url in sent]:
            context.uploads.expired.add(old)
            renewed[old] = await uploader.address_of(picture)
    return insert_addresses(gateway.provider, sent_json, renewed)


class _Uploader:
    """Uploads to one gateway; `report` gets notes on the progress."""

    def __init__(self, context: EngineContext, gateway: Endpoint, settings: Settings, report: Report | None = None) -> None:
        self._context, self._gateway, self._settings, self._report = context, gateway, settings, report or (lambda note: None)

    async def address_of(self, picture: LocalImage) -> str:
        """Return an address of an image, which is uploaded unless it has one; a copy is kept on this machine."""
        uploads_of = self._context.uploads
        path = await threads.writing(save_copy, self._settings.home, picture)
        address = await asyncio.to_thread(own_address, picture, self._gateway, uploads_of.expired)
        if not address:
            route = await asyncio.to_thread(find_route, self._gateway, picture, self._settings)
            async with uploads_of.locks.setdefault((picture.sha256, route.host), asyncio.Lock()):
                address = await self._recorded(picture, route) or await self._upload(picture, route, path)
        uploads_of.uploaded[address] = picture.sha256
        return address

    async def _recorded(self, picture: LocalImage, route: UploadRoute) -> str:
        """Return the address in the ledger, "" if there is no valid one; one that is gone is forgotten."""
        found = await uploads.find_upload(self._context.ledger, picture.sha256, route.host)
        if found is None:
            return ""
        if found.url in self._context.uploads.expired:
            await uploads.forget_upload(self._context.ledger, picture.sha256, route.host)
            return ""
        return found.url if lives(found.expires_at) and await asyncio.to_thread(fetchable, found.url, self._gateway) else ""

    async def _upload(self, picture: LocalImage, route: UploadRoute, path: Path) -> str:
        self._report(f"uploading {picture.name}")
        if route.call is None:
            found = await threads.calling(_by_uploader, route.uploader, path)
        else:
            found = await self._post_with_retries(picture, route, route.call)
        await uploads.record_upload(self._context.ledger, picture.sha256, route.host, len(picture.data), found)
        return found.url

    async def _post_with_retries(self, picture: LocalImage, route: UploadRoute, call: UploadCall) -> Uploaded:
        clock, timeout = self._context.clock, self._settings.get("timeout")
        began = clock.monotonic()

        def is_enough(failed: RetryDetails) -> bool:
            return failed.attempt >= _TRIES or clock.monotonic() - began + failed.retry_after > timeout

        def report_pause(failed: RetryDetails) -> None:
            self._report(f"{picture.name} is not uploaded yet, again in {math.ceil(failed.pause) or 1} s")

        try:
            found = await attempts(
                lambda: self._post(picture, route, call), Retryable, is_enough=is_enough, before_pause=report_pause, clock=clock
            )
        except Retryable as failure:
            raise failure.error from None
        rule = self._gateway.provider.upload
        lifetime = rule.lifetime if rule else _UPLOADER_LIFETIME
        return found if found.expires_at is not None else Uploaded(found.url, clock.time() + lifetime)

    async def _post(self, picture: LocalImage, route: UploadRoute, call: UploadCall) -> Uploaded:
        gateway = self._gateway
        try:
            answer = await self._context.clients.upload(
                route.url, gateway.base_url, gateway.key, call, picture.data, key_hosts=route.key_hosts
            )
        except (NotSent, OutcomeUnknown) as error:
            what = f"{picture.name} could not be uploaded to {route.host} ({error})"
            raise Retryable(UploadFailed(what, blame="network", hint=error.hint, retry=True)) from None
        if answer.status >= 300:
            refusal = _refusal(gateway.provider, answer, picture)
            if isinstance(refusal, UploadFailed) and (answer.status in (408, 425, 429) or answer.status >= 500):
                raise Retryable(refusal, pause=answer.retry_after)
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
    """Return the error of a refused upload: one of the account or of moderation as it is, else UploadFailed with the gateway's message."""
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
        raise UploadFailed(f"Your uploader {name} answered {shown(url)}, which no service can fetch", blame="you", hint=step)
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
    return found  # type: ignore[no-any-return]  # its answer is checked


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
