"""Requests to gateways: the key bound to its own origin, responses as JSON, uploads, and result addresses treated as untrusted input.

A submission needs one fact about a failure: it was certainly not sent (`NotSent`), or it may have arrived (`OutcomeUnknown`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urljoin, urlsplit

from imagegen_magic.engine.credentials import Key, KeyRule
from imagegen_magic.engine.endpoints import SANDBOX_ORIGIN
from imagegen_magic.engine.net.app_transport import app_transport
from imagegen_magic.engine.net.peers import AllowAll, AllowLinkedFrom, check_zone, gateway_zone
from imagegen_magic.engine.net.transport import (
    CONNECTIONS,
    AddressNotAllowed,
    Headers,
    InvalidRequest,
    NotSent,
    OutcomeUnknown,
    Pool,
    Response,
    origin_of,
    resolves_here,
    tls_context,
)
from imagegen_magic.errors import DownloadError, ImageInvalid
from imagegen_magic.providers.base import Call, UploadCall
from imagegen_magic.providers.urls import Zone, zone_of
from imagegen_magic.records import FrozenDict, PortableError
from imagegen_magic.secret_patterns import Address, mark_addresses

if TYPE_CHECKING:
    from imagegen_magic.engine.net.transport import Transport

T = TypeVar("T")
Sink = Callable[[Response], Awaitable[Any]]
"""Reads a successful response and returns its content."""

MAX_BYTES = 64 * 2**20  # of an image
_MAX_JSON_BYTES = 96 * 2**20  # some gateways answer with pictures as data
_MAX_REDIRECTS = 5
_RETRYABLE = (408, 425, 429)
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 256 * 1024  # bytes of an upload that are sent at once
_REQUEST_IDS = ("x-request-id", "x-oneapi-request-id", "cf-ray")
_UPLOADS = 4  # at once, to one gateway
_UPLOAD_SECONDS = 60.0  # seconds for an upload, plus those for its bytes
_MIN_UPLOAD_SPEED = 20_000  # bytes per second below which an upload is given up


class NotTrusted(DownloadError):
    """A result address leads to a host that this gateway may not name, so nothing was sent there."""

    def __init__(self, what: str) -> None:
        super().__init__(what, blame="gateway")


class HTTPStatusError(PortableError):
    """A result address answered with an error status; `retry_after` in seconds."""

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.retry_after = status, retry_after

    @property
    def temporary(self) -> bool:
        """Whether the same address may answer later."""
        return self.status >= 500 or self.status in _RETRYABLE


class GatewayResponse(NamedTuple):
    """A gateway's response: its decoded JSON, or its text if it is not JSON; `retry_after` in seconds, header names in lower case."""

    status: int
    content: Any
    request_id: str = ""
    retry_after: float | None = None
    headers: Mapping[str, str] = FrozenDict()


_BEARER = KeyRule()


def authorization(key: Key, base_url: str, url: str, key_hosts: Sequence[str] = (), header: tuple[str, str] = _BEARER.header) -> Headers:
    """Return the header that carries the key: for the configured origin (scheme, host, port), and for no other; none without a key.

    `key_hosts` are extra hosts, over https, or origins such as `http://10.0.0.5:9000`, that the gateway names as its own.
    Raises InvalidRequest if an address is malformed.
    """
    try:
        own = {origin_of(base_url), *(origin_of(host if "://" in host else f"https://{host}") for host in key_hosts)}
        allowed = origin_of(url) in own
    except ValueError:
        raise InvalidRequest from None
    name, value = header
    return Headers({name: value.format(key.reveal())} if allowed and key.reveal() else {})


class GatewayClients:
    """The connections of one event loop: a pool for polls and one for submissions to each gateway, and one for all downloads.

    So short requests never wait for long ones, nor one gateway's for another's. Each download host has its own queue.
    """

    def __init__(self, *, sandbox_home: Path | None = None) -> None:
        self._sandbox_home = sandbox_home
        self._sandbox: Transport | None = None
        self._closers: list[Callable[[], None]] = []
        self._tls: ssl.SSLContext | None = None
        self._opening = asyncio.Lock()
        self._pools: dict[Any, Pool] = {}
        self.downloads = Pool(self.tls, self._in_process, AllowAll(), size=CONNECTIONS, timeout=60.0, by_host=True)

    def polls(self, base_url: str) -> Pool:
        """Return the pool for a gateway's polls."""
        return self._pool("polls", base_url, CONNECTIONS, 30.0)

    def submits(self, base_url: str, *, at_once: int = CONNECTIONS, timeout: float = 120.0) -> Pool:
        """Return the pool for a gateway's submissions: `at_once` of them at a time, each with `timeout` seconds."""
        return self._pool("submits", base_url, at_once, timeout)

    def _pool(self, kind: str, base_url: str, size: int, timeout: float) -> Pool:
        name = (kind, base_url, size, timeout)
        if name not in self._pools:
            self._pools[name] = Pool(self.tls, self._in_process, AllowAll(), size=size, timeout=timeout)
        return self._pools[name]

    async def tls(self) -> ssl.SSLContext:
        """Return the one TLS context, made in a thread: reading the certificates takes 40 ms. Raises NotSent."""
        async with self._opening:
            if self._tls is None:
                self._tls = await asyncio.to_thread(tls_context)
        return self._tls

    async def _in_process(self, url: str) -> Transport | None:
        """Return the transport into the sandbox of this process for its addresses; made in a thread: importing it takes 100 ms."""
        if not _in_sandbox(url):
            return None
        async with self._opening:
            if self._sandbox is None:
                self._sandbox = await asyncio.to_thread(self._open_sandbox)
        return self._sandbox

    def _open_sandbox(self) -> Transport:
        from imagegen_magic.sandbox.app import create_app

        app = create_app(home=self._sandbox_home)
        self._closers.append(app.state.sandbox.images.close)
        return app_transport(app)

    async def call(
        self,
        pool: Pool,
        base_url: str,
        key: Key,
        call: Call,
        *,
        headers: Mapping[str, str] | None = None,
        rule: KeyRule = _BEARER,
        sink: Sink | None = None,
    ) -> GatewayResponse:
        """Make one call to a gateway and read its complete response. Raises NotSent, OutcomeUnknown.

        A redirect is returned like any other response: the key does not follow it. A successful response is read by `sink`, if given.
        """
        url = _address(base_url, call.path)
        carrying = authorization(key, base_url, url, rule.hosts, rule.header)
        if url == call.path and key.reveal() and not carrying:
            raise NotSent(f"{urlsplit(url).hostname} is not one of the service's own hosts")
        content_type, content = _body_of(call)
        fields = Headers({**call.headers, **(headers or {}), **content_type, **carrying})
        async with pool.stream(call.method, url, headers=fields, content=content) as response:
            if sink is not None and response.status < 300:
                return _described(response, await sink(response))
            return await _gateway_response(response, key)

    async def upload(
        self, url: str, base_url: str, key: Key, call: UploadCall, content: bytes, *, key_hosts: Sequence[str] = ()
    ) -> GatewayResponse:
        """Send an image as a form, in chunks, and read the complete response. Raises NotSent, OutcomeUnknown.

        The key goes to the gateway's own origin and to its `key_hosts`; to any other address nothing is sent. A redirect is returned like
        any other response.
        """
        fields = Headers(authorization(key, base_url, url, key_hosts))
        if "Authorization" not in fields:
            raise NotSent(f"{urlsplit(url).hostname} is not one of the service's own hosts")
        before, after, boundary = _form(call)
        fields["Content-Type"] = f"multipart/form-data; boundary={boundary}"
        fields["Content-Length"] = str(len(before) + len(content) + len(after))
        guard = None if origin_of(url) == origin_of(base_url) else AllowLinkedFrom(base_url)
        pool = self._pool("uploads", base_url, _UPLOADS, 60.0)
        try:
            async with asyncio.timeout(_UPLOAD_SECONDS + len(content) / _MIN_UPLOAD_SPEED):
                body = _body(before, content, after)
                async with pool.stream(call.method, url, headers=fields, content=body, guard=guard, whole=False) as response:
                    return await _gateway_response(response, key)
        except AddressNotAllowed as error:
            raise NotSent(f"it {error}") from None
        except TimeoutError:
            raise OutcomeUnknown("it took too long") from None

    async def close(self) -> None:
        """Close all connections."""
        for pool in (self.downloads, *self._pools.values()):
            await pool.close()
        for close in self._closers:
            await asyncio.to_thread(close)

    async def fetch(self, url: str, base_url: str, read: Callable[[Response], Awaitable[T]]) -> T:
        """Fetch a result address without any key, following at most five redirects, and return what `read` returns for the response.

        Raises HTTPStatusError for an error status, OutcomeUnknown or NotSent if the network failed, NotTrusted if the address leads to a
        host that this gateway may not name.
        """
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                guard = await _guard(url, base_url)
                async with self.downloads.stream("GET", url, headers={}, guard=guard, whole=_in_sandbox(url)) as response:
                    if response.status in _REDIRECTS and "location" in response.headers:
                        url = _joined(url, response.headers["location"])
                        continue
                    if response.status != 200:
                        raise HTTPStatusError(response.status, retry_after(response.headers.get("retry-after")))
                    return await read(response)
            except AddressNotAllowed as error:
                raise NotTrusted(f"The service's result address {error}") from None
        raise DownloadError(f"The result address was redirected more than {_MAX_REDIRECTS} times", blame="gateway")


def _joined(url: str, location: str) -> str:
    try:
        return Address(urljoin(url, location))
    except ValueError:
        raise DownloadError("The result address was redirected to something that is not an address", blame="gateway") from None


async def _guard(url: str, base_url: str) -> AllowLinkedFrom:
    """Return the guard of a result address's connections. Raises AddressNotAllowed if the address itself shows that it is not allowed."""
    try:
        scheme, host, _ = origin_of(url)
    except ValueError:
        raise AddressNotAllowed("cannot be read") from None
    base_scheme, base_host, _ = origin_of(base_url)
    if scheme not in ("http", "https"):
        raise AddressNotAllowed(f"is {scheme or 'no'}:// and not https://")
    if not host:
        raise AddressNotAllowed("names no host")
    zone, inside = zone_of(host), scheme == "http" and base_scheme != "http"
    base = await gateway_zone(base_url) if inside or (zone is not Zone.PUBLIC and host != base_host) else Zone.PUBLIC
    if inside and (base < Zone.PRIVATE or (zone < Zone.PRIVATE and not resolves_here(url))):
        raise AddressNotAllowed("is http:// and not https://")
    if host != base_host:
        check_zone(host, zone, base)
    return AllowLinkedFrom(base_url, inside)


def _in_sandbox(url: str) -> bool:
    return url.startswith(SANDBOX_ORIGIN + "/")


def _address(base_url: str, path: str) -> str:
    return path if path.startswith(("http://", "https://")) else base_url.rstrip("/") + path


def _body_of(call: Call) -> tuple[dict[str, str], bytes | None]:
    """Return the Content-Type header and the body of a call; both empty if it has none."""
    if call.form is not None:
        content_type, body = multipart(call.form)
        return {"Content-Type": content_type}, body
    if call.json is None:
        return {}, None
    return {"Content-Type": "application/json"}, json.dumps(dict(call.json), separators=(",", ":")).encode()


async def _gateway_response(response: Response, key: Key) -> GatewayResponse:
    return _described(response, decoded((await read_body(response, _MAX_JSON_BYTES)).decode("utf-8", "replace"), key))


def _described(response: Response, content: Any) -> GatewayResponse:
    request_id = next((found for name in _REQUEST_IDS if (found := response.headers.get(name))), "")
    return GatewayResponse(response.status, content, request_id, retry_after(response.headers.get("retry-after")), response.headers)


def decoded(text: str, key: Key) -> Any:
    """Return an answer's JSON without the key; its text if it is not JSON."""
    return _decoded(key.redact(text), key)


def _decoded(text: str, key: Key) -> Any:
    """Return decoded JSON, or the text if it is not JSON. The key is removed before decoding, and after it if escapes may hide it."""
    try:
        content = json.loads(text)
        return mark_addresses(redacted(content, key) if "\\" in text else content)
    except ValueError:
        return text
    except RecursionError:
        return "(a response that is nested too deeply to be read)"


def redacted(content: Any, key: Key) -> Any:
    """Return decoded JSON without the key."""
    match content:
        case str():
            return key.redact(content)
        case list():
            return [redacted(item, key) for item in content]
        case dict():
            return {key.redact(name): redacted(value, key) for name, value in content.items()}
    return content


class FilePart(NamedTuple):
    """A file in a multipart form."""

    name: str
    content_type: str
    content: bytes


def multipart(form: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return the content type and the body of a form of texts and `FilePart`, each alone or in a list."""
    boundary = f"imagegen-{secrets.token_hex(16)}"
    body = bytearray()
    for name, values in form.items():
        for value in values if isinstance(values, list | tuple) and not isinstance(values, FilePart) else (values,):
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
            if isinstance(value, FilePart):
                head += f'; filename="{value.name}"\r\nContent-Type: {value.content_type}'
            body += head.encode() + b"\r\n\r\n"
            body += value.content if isinstance(value, FilePart) else str(value).encode()
            body += b"\r\n"
    return f"multipart/form-data; boundary={boundary}", bytes(body + f"--{boundary}--\r\n".encode())


def _form(call: UploadCall) -> tuple[bytes, bytes, str]:
    """Return the bytes before and after a file in a multipart form, and the boundary; the names need no quoting."""
    boundary = f"imagegen-{secrets.token_hex(16)}"
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in call.form.items()]
    file = f'name="{call.field_name}"; filename="{call.file_name}"\r\nContent-Type: {call.content_type}'
    parts.append(f"--{boundary}\r\nContent-Disposition: form-data; {file}\r\n\r\n")
    return "".join(parts).encode(), f"\r\n--{boundary}--\r\n".encode(), boundary


async def _body(before: bytes, content: bytes, after: bytes) -> AsyncIterator[bytes]:
    yield before
    for start in range(0, len(content), _CHUNK):
        yield content[start : start + _CHUNK]
    yield after


async def read_body(response: Response, max_bytes: int) -> bytes:
    """Return a response's body. Raises ImageInvalid if it is larger than `max_bytes`."""
    length = response.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise ImageInvalid(f"The response is {int(length) / 2**20:.0f} MiB, more than the limit of {max_bytes / 2**20:.0f} MiB")
    chunks, size = [], 0
    async for chunk in response.chunks:
        size += len(chunk)
        if size > max_bytes:
            raise ImageInvalid(f"The response is more than the limit of {max_bytes / 2**20:.0f} MiB")
        chunks.append(chunk)
    return b"".join(chunks)


def retry_after(header: str | None) -> float | None:
    """Read a Retry-After header, in seconds from now; None if it is missing or cannot be read."""
    if not header:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(header)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    return None
