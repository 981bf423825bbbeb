"""Behind a proxy: which one the environment names for an address, and the way through it, which httpcore knows for every kind."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import os
import ssl
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote, urlsplit

from imagegen_magic.engine.exchange import Lost, NotSent, Reply, Request, Unformed
from imagegen_magic.engine.wire import CONNECT_SECONDS, IDLE_SECONDS

_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_WORDS = {"ReadTimeout": "no answer in time", "WriteTimeout": "not sent in time", "ConnectTimeout": "no connection in time"}


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment, or elsewhere than on Linux the system, names for an address."""
    environment = tuple(os.environ.get(name, "") for name in _VARIABLES)
    if sys.platform == "linux" and not any(environment):
        return None
    parts = urlsplit(url)
    return _proxy_of(parts.scheme, parts.hostname or "", environment)


@functools.lru_cache(maxsize=256)
def _proxy_of(scheme: str, host: str, environment: tuple[str, ...]) -> str | None:
    import urllib.request  # where a proxy may be: importing it takes as long as ten requests, and asking it half a millisecond

    proxies = urllib.request.getproxies()
    if not proxies or urllib.request.proxy_bypass(host):
        return None
    proxy = proxies.get(scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


async def through(address: str, *, tls: ssl.SSLContext | None, connections: int, patience: float) -> Proxy:
    """Return the way through a proxy: so many connections at once, `tls` for what is beyond it, `patience` seconds for each wait.

    Raises NotSent where the proxy is of a kind that needs another library.
    """
    await asyncio.to_thread(_load)
    import httpcore

    parts = urlsplit(address)
    socks = parts.scheme.startswith("socks")
    try:
        pool = (httpcore.AsyncSOCKSProxy if socks else httpcore.AsyncHTTPProxy)(
            parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
            proxy_auth=(unquote(parts.username), unquote(parts.password or "")) if parts.username else None,
            ssl_context=tls,
            max_connections=connections,
            keepalive_expiry=IDLE_SECONDS,
        )
    except RuntimeError:
        raise NotSent(f"the proxy {parts.hostname} speaks SOCKS, which needs: pip install socksio") from None
    return Proxy(pool, patience)


def _load() -> None:
    # in a thread: on the loop it would hold everything up for 40 ms
    for name in ("httpcore", "anyio._backends._asyncio"):
        importlib.import_module(name)


class Proxy:
    """A proxy and the connections through it."""

    def __init__(self, pool: Any, patience: float) -> None:
        self._pool = pool
        self._timeout = {"connect": CONNECT_SECONDS, "read": patience, "write": patience, "pool": None}

    @contextlib.asynccontextmanager
    async def ask(self, request: Request) -> AsyncIterator[Reply]:
        """Send a request and give its answer as a stream. Raises NotSent or Lost."""
        import httpcore

        sent_nothing = (
            httpcore.ConnectError,
            httpcore.ConnectTimeout,
            httpcore.PoolTimeout,
            httpcore.UnsupportedProtocol,
            httpcore.ProxyError,
            httpcore.ConnectionNotAvailable,
        )
        try:
            response = await self._pool.handle_async_request(self._translated(request))
            try:
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                yield Reply(response.status, headers, response.aiter_stream())
            finally:
                await response.aclose()
        except httpcore.LocalProtocolError:
            raise Unformed from None
        except sent_nothing as error:
            raise NotSent(_words(error)) from None
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            raise Lost(_words(error)) from None

    def _translated(self, request: Request) -> Any:
        import httpcore

        scheme, host, _ = request.origin
        url = httpcore.URL(scheme=scheme, host=host, port=urlsplit(request.url).port, target=request.target)
        extensions = {"timeout": self._timeout}
        try:
            return httpcore.Request(
                request.method, url, headers=list(request.headers.items()), content=request.content, extensions=extensions
            )
        except TypeError:  # a header that is not ASCII
            raise Unformed from None

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


def _words(error: Exception) -> str:
    return str(error) or _WORDS.get(type(error).__name__, type(error).__name__)
