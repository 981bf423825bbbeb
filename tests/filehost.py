"""A gateway of APIMart's dialect whose files a test chooses: what comes at a result's address, and whether a look gives a new one."""

from __future__ import annotations

import contextlib
import itertools
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from ledgers import a_png
from webserver import Seen, Web, web

GatewayResponse = tuple[int, dict[str, str], bytes]

PNG = a_png(size=(1024, 1024))
STRANGE = b"\x0bSTRANGE" + bytes(range(256)) * 40  # of no format that anybody here reads
PAGE = b"<!doctype html><html><body>Access denied</body></html>"


class FileHost:
    """What the gateway answers; `file(number, path)` is asked for each download, whose numbers begin with 1.

    Tasks have `pictures` pictures each. With `renews` each look gives new addresses.
    """

    def __init__(self) -> None:
        self.file: Callable[[int, str], bytes | GatewayResponse] = lambda number, path: PNG
        self.at_look: Callable[[], GatewayResponse | None] = lambda: None
        self.pictures, self.renews, self.server = 1, False, Web("")
        self.submissions = self.looks = self.downloads = 0
        self._tasks = itertools.count(1)
        self.host = ""

    def __call__(self, seen: Seen) -> GatewayResponse:
        """Answer a request."""
        if seen.path.startswith("/files/"):
            self.downloads += 1
            given = self.file(self.downloads, seen.path)
            return (200, {}, given) if isinstance(given, bytes) else given
        if seen.path.endswith("generations"):
            self.submissions += 1
            return 200, {}, json.dumps({"code": 200, "data": [{"status": "submitted", "task_id": f"task-{next(self._tasks)}"}]}).encode()
        self.looks += 1
        if refused := self.at_look():
            return refused
        if seen.method == "POST":
            return 200, {}, json.dumps({"code": 200, "data": [self._done(name) for name in json.loads(seen.body)["task_ids"]]}).encode()
        return 200, {}, json.dumps({"code": 200, "data": self._done(seen.path.rpartition("/")[2].partition("?")[0])}).encode()

    def _done(self, task: str) -> dict[str, Any]:
        fresh = f"?look={self.looks}" if self.renews else ""
        origin = self.host or self.server.origin
        urls = [f"{origin}/files/{task}/{picture}.png{fresh}" for picture in range(self.pictures)]
        return {"id": task, "status": "completed", "result": {"images": [{"url": [url]} for url in urls]}}


@contextlib.contextmanager
def file_host(monkeypatch: Any) -> Iterator[FileHost]:
    """Be APIMart for a test, with little waiting."""
    host = FileHost()
    with web(host) as server:
        host.server = server
        for name, value in {"APIMART_BASE_URL": server.origin, "APIMART_API_KEY": "k", "IMAGEGEN_POLL_SECONDS": "0.05"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("imagegen_magic.engine.net.retry.backoff", lambda attempt: 0.01)
        monkeypatch.setattr("imagegen_magic.engine.jobs.download._PAUSE", 0.01)
        yield host


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
