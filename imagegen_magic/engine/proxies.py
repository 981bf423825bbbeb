"""Behind a proxy: which one the environment names for an address, and the way through it, which httpcore knows for every kind."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from imagegen_magic.engine.exchange import NotSent, Reply, Request, Unformed, told
from imagegen_magic.engine.wire import CONNECT_SECONDS, IDLE_SECONDS

_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment, or elsewhere than on Linux the system, names for an address."""
    environment = tuple(os.environ.get(name, "") for name in _VARIABLES)
    if sys.platform == "linux" and not any(environment):
        return None
    parts = urlsplit(url)
    return _proxy_of(parts.scheme, parts.netloc.rpartition("@")[2], environment)


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

    Raises NotSent where the address is no proxy's, or one of a kind that needs another library.
    """
    await asyncio.to_thread(_load)
    import httpcore

    scheme, _, rest = address.partition("://")
    scheme, host = scheme.lower(), rest.rpartition("@")[2]
    kind = {"socks": "socks5", "socks5h": "socks5"}.get(scheme, scheme)
    if kind not in ("http", "https", "socks5"):
        raise NotSent(f"a proxy of the kind {scheme}:// is not known: http, https and socks5 are")
    try:
        parts = urlsplit(address)
        pool = (httpcore.AsyncSOCKSProxy if kind == "socks5" else httpcore.AsyncHTTPProxy)(
            f"{kind}://{host}",
            proxy_auth=(unquote_to_bytes(parts.username), unquote_to_bytes(parts.password or "")) if parts.username else None,
            ssl_context=tls,
            max_connections=connections,
            keepalive_expiry=IDLE_SECONDS,
        )
    except RuntimeError:
        raise NotSent(f"the proxy {parts.hostname} speaks SOCKS, which needs: pip install socksio") from None
    except (ValueError, TypeError):
        raise NotSent("the proxy's address cannot be read") from None  # without showing it: it may hold a password
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
    async def ask(self, request: Request, out: Callable[[], None]) -> AsyncIterator[Reply]:
        """Send a request and give its answer as a stream; `out` is called before the first of it leaves. Raises OSError or Unformed."""
        import httpcore

        left = False

        async def traced(event: str, about: dict[str, Any]) -> None:
            nonlocal left
            if event == "http11.send_request_headers.started" and about["request"].method != b"CONNECT":
                left = True
                out()

        try:
            response = await self._pool.handle_async_request(self._translated(request, traced))
            try:
                yield Reply(response.status, told(response.headers), response.aiter_stream())
            finally:
                await response.aclose()
        except httpcore.LocalProtocolError:
            raise Unformed from None
        except httpcore.TimeoutException:
            raise TimeoutError from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as error:
            raise ConnectionError(str(error) or type(error).__name__) from None
        except Exception as error:
            if left or isinstance(error, NotSent):
                raise
            raise ConnectionError(f"the proxy cannot be used ({type(error).__name__})") from None

    def _translated(self, request: Request, traced: Any) -> Any:
        import httpcore

        scheme, host, _ = request.origin
        url = httpcore.URL(scheme=scheme, host=host, port=urlsplit(request.url).port, target=request.target)
        headers, more = list(request.headers.items()), {"timeout": self._timeout, "trace": traced}
        try:
            return httpcore.Request(request.method, url, headers=headers, content=request.content, extensions=more)
        except TypeError:  # a header that is not ASCII
            raise Unformed from None

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()
