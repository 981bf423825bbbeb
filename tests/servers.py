"""Starts the sandbox on a socket: as a process of its own, or in a thread of this one, which takes a hundredth of the time.

with sandbox_server(scale=0) as server: …      a process, for what outlives this one, is killed, or is the point of the test
with sandbox_thread(duration=0.1) as server: … a thread; it draws as this process does (`quick_sandbox`)
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn
from gateway_table import GATEWAYS

from imagegen_magic.sandbox.__main__ import _OnPurpose
from imagegen_magic.sandbox.app import create_app
from imagegen_magic.sandbox.dialects import DIALECTS

PROJECT = Path(__file__).resolve().parent.parent
_ON_PURPOSE = _OnPurpose()  # keeps connections that a fault broke out of the log
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Sandbox:
    """A running sandbox; `origin` is `http://127.0.0.1:<port>`."""

    origin: str

    def base_url(self, gateway: str) -> str:
        """Return the value of `<GATEWAY>_BASE_URL`."""
        return f"{self.origin}/{gateway}"

    def environ(self, *gateways: str, key: str = "sandbox") -> dict[str, str]:
        """Return the variables that point these gateways (default: all) to this server."""
        chosen = gateways or GATEWAYS
        return {f"{name.upper()}_BASE_URL": self.base_url(name) for name in chosen} | {f"{name.upper()}_API_KEY": key for name in chosen}

    def be_every_gateway(self, monkeypatch: Any, key: str = "sandbox") -> None:
        """Make every gateway of a test this server, with no fault armed and a short polling interval."""
        self.disarm()
        for name, value in self.environ(key=key).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.05")

    def log(self) -> dict[str, Any]:
        """Return the server's log of requests: `submissions`, `providers` (counts) and totals."""
        answer: dict[str, Any] = self._ask("GET", "/_sandbox/log")
        return answer

    def submissions(self, prompt: str | None = None) -> list[dict[str, Any]]:
        """Return the submissions, refused and repeated ones too, of one prompt or of all."""
        query = "" if prompt is None else "?" + urlencode({"prompt": prompt}, errors="surrogatepass")
        entries: list[dict[str, Any]] = self._ask("GET", f"/_sandbox/log{query}")["submissions"]
        return entries

    def accepted(self, prompt: str | None = None) -> list[dict[str, Any]]:
        """Return the submissions that made a task, which would be charged."""
        return [entry for entry in self.submissions(prompt) if entry["accepted"]]

    def arm(self, kind: str, times: int | None = 1, provider: str | None = None, match: str | None = None) -> None:
        """Arm a fault: `times` None means always, `match` is a part of the prompt."""
        self._ask("POST", "/_sandbox/faults", {"kind": kind, "times": times, "provider": provider, "match": match})

    def disarm(self) -> None:
        """Disarm every fault."""
        self._ask("DELETE", "/_sandbox/faults")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.origin + path, data=data, method=method)
        with _DIRECT.open(request, timeout=20) as response:
            return json.load(response)


@dataclass
class SandboxServer(Sandbox):
    """A running sandbox process; `greeting` is what it printed."""

    process: subprocess.Popen[str]
    greeting: str

    def stop(self) -> None:
        """End the process in good order, or by force after five seconds."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._close()

    def kill(self) -> None:
        """Kill the process at once."""
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()


def start_sandbox(*, port: int = 0, stderr: Path | None = None, **options: Any) -> SandboxServer:
    """Start a sandbox process and return when it listens; port 0 picks a free one.

    `options` are those of the command line: `scale=0.01`, `home=tmp_path`, `duration=0.2`, `latency=0.05`, `plain=True`,
    `lifetime=2`, `fault=["truncated:2"]`. Its standard error goes to the file `stderr`, else to ours.
    Raises RuntimeError if it does not start.
    """
    command = [sys.executable, "-m", "imagegen_magic.sandbox", "--port", str(port), *_flags(options)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
    with contextlib.ExitStack() as stack:
        error_log = stack.enter_context(stderr.open("ab")) if stderr else None
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=error_log, text=True, env=environment)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(1 + len(DIALECTS))]
    origin = next((word for word in lines[0].split() if word.startswith("http://")), "")
    server = SandboxServer(origin, process, "".join(lines))
    if not origin:
        server.kill()
        raise RuntimeError(f"the sandbox did not start: {' '.join(command)}")
    return server


def _flags(options: dict[str, Any]) -> list[str]:
    flags: list[str] = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool) or value is None:
            flags += [flag] if value else []
        else:
            for each in value if isinstance(value, (list, tuple)) else [value]:
                flags += [flag, str(each)]
    return flags


@contextlib.contextmanager
def sandbox_server(**options: Any) -> Iterator[SandboxServer]:
    """Run a sandbox process for the length of a `with` block; options as `start_sandbox`."""
    server = start_sandbox(**options)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def sandbox_thread(*, port: int = 0, certificate: Path | None = None, **options: Any) -> Iterator[Sandbox]:
    """Run a sandbox in a thread for the length of a `with` block; port 0 picks a free one, `options` are those of `create_app`.

    With a `certificate` (a file with its key, for localhost), it speaks https.
    """
    listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    app = create_app(**options)
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1)
    config.ssl_certfile = certificate
    logging.getLogger("uvicorn.error").addFilter(_ON_PURPOSE)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield Sandbox(f"{'https://localhost' if certificate else 'http://127.0.0.1'}:{listener.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        app.state.sandbox.images.close()
