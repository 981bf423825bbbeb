"""Requests to an ASGI app of this process, without a socket: a response is read while the app still sends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

from imagegen_magic.engine.net.transport import OutcomeUnknown, Request, Sent, Transport

_WAITING = 8  # chunks that the app may be ahead of the reader
_END = b""


def app_transport(app: Any) -> Transport:
    """Return the transport into an ASGI app of this process."""

    async def send(request: Request, extensions: dict[str, Any]) -> Sent:
        exchange = _Exchange(app, request)
        try:
            status, headers = await exchange.started
        except BaseException:
            await exchange.close()
            raise
        return Sent(status, headers, exchange.chunks(), exchange.close)

    async def close() -> None:
        pass

    return Transport(send, close)


class _Exchange:
    """One request to the app, which runs in a task of its own. `started` has the status and the headers."""

    def __init__(self, app: Any, request: Request) -> None:
        self.started: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()
        self._request, self._is_read, self._over = request, False, asyncio.Event()
        self._sent: asyncio.Queue[bytes | Exception] = asyncio.Queue(_WAITING)
        self._task = asyncio.create_task(self._run(app))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as the app sends it. Raises what the app raises, and OutcomeUnknown if it ends without the last byte."""
        while (chunk := await self._sent.get()) != _END:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    async def close(self) -> None:
        """End the app's task, unless it has sent everything."""
        if not self._over.is_set():
            self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self, app: Any) -> None:
        try:
            await app(_scope(self._request), self._receive, self._send)
            failure: Exception = OutcomeUnknown("the response was cut off")
        except Exception as error:  # whatever the app raises is the reader's
            failure = error
        if self._over.is_set():  # the reader has the whole response, and takes nothing more
            return
        if self.started.done():
            await self._sent.put(failure)
        else:
            self.started.set_exception(failure)

    async def _receive(self) -> dict[str, Any]:
        if self._is_read:
            await self._over.wait()
            return {"type": "http.disconnect"}
        self._is_read, content = True, self._request.content
        body = content if isinstance(content, bytes | None) else b"".join([chunk async for chunk in content])
        return {"type": "http.request", "body": body or b"", "more_body": False}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.started.set_result((message["status"], message.get("headers", [])))
            return
        if chunk := message.get("body", b""):
            await self._sent.put(bytes(chunk))
        if not message.get("more_body", False):
            await self._sent.put(_END)
            self._over.set()


def _scope(request: Request) -> dict[str, Any]:
    path, _, query = request.target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()],
        "scheme": request.origin.scheme,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "server": (request.origin.host, request.origin.port),
        "client": ("127.0.0.1", 123),
        "root_path": "",
    }
