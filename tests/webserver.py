"""A small real HTTP server for tests: a function answers each request, every request is remembered."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Web:
    """A running server: its address and what it has seen."""

    origin: str
    seen: list[Seen] = field(default_factory=list)


@contextlib.contextmanager
def web(answer: Callable[[Seen], tuple[int, dict[str, str], bytes | Iterable[bytes]]], host: str = "127.0.0.1") -> Iterator[Web]:
    """Serve `answer(request) -> (status, headers, body)` on a free port; a header `X-Cut` drops the connection after the body.

    A body in pieces has no length, and ends with the connection.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            server.seen.append(request)
            status, headers, content = answer(request)
            self.send_response(status)
            cut = headers.pop("X-Cut", None)
            pieces = [content] if isinstance(content, bytes) else content
            length = {"Content-Length": str(len(content))} if isinstance(content, bytes) else {"Connection": "close"}
            length = {} if "Transfer-Encoding" in headers else length
            for name, value in {**length, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)
            self.close_connection = bool(cut) or not isinstance(content, bytes)

        do_GET = do_POST = _serve

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that went away is no news."""

    real = Server((host, 0), Handler)
    server = Web(f"http://{host}:{real.server_address[1]}")
    thread = threading.Thread(target=real.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        real.shutdown()
        real.server_close()
        thread.join()


@contextlib.contextmanager
def evolink_gateway(answers: Any, monkeypatch: Any) -> Iterator[Any]:
    """Serve `answers` as EvoLink's address, with a key and quick polls; `answers.origin` becomes the server's own."""
    with web(answers) as server:
        answers.origin = server.origin
        for name, value in {"EVOLINK_BASE_URL": server.origin, "EVOLINK_API_KEY": "k", "IMAGEGEN_POLL_SECONDS": "0.05"}.items():
            monkeypatch.setenv(name, value)
        yield answers
