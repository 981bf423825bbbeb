"""The sandbox on a socket: `python -m imagegen_magic.sandbox --port 8001`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from imagegen_magic._version import install_extra
from imagegen_magic.providers.registry import in_file
from imagegen_magic.sandbox.app import create_app
from imagegen_magic.sandbox.dialects import DIALECTS
from imagegen_magic.sandbox.faults import KINDS


class _OnPurpose(logging.Filter):
    """Keeps the connections that a fault broke, and requests cut off by the shutdown, out of the console."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[0] if record.exc_info else None
        return error is None or not issubclass(error, ConnectionResetError)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    command_line = argparse.ArgumentParser(
        prog="python -m imagegen_magic.sandbox",
        description="The services in a box: every dialect on one socket, no key, no cost, drawn pictures.",
        epilog="faults: " + ", ".join(KINDS),
    )
    command_line.add_argument("--port", type=_port, default=8001, help="port, 0 for a free one (default 8001)")
    command_line.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    command_line.add_argument("--scale", type=float, default=0.05, help="factor on realistic waiting times (default 0.05)")
    command_line.add_argument("--seed", type=int, default=0, help="other pictures for the same prompts")
    command_line.add_argument("--home", type=Path, help="folder that keeps the tasks when this process ends")
    command_line.add_argument("--fault", action="append", default=[], metavar="KIND[:TIMES]", help="arm a fault; repeatable")
    command_line.add_argument("--duration", type=float, metavar="SECONDS", help="every task takes exactly this long")
    command_line.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="added to each poll")
    command_line.add_argument("--lifetime", type=float, default=86_400.0, metavar="SECONDS", help="life of a result address (default 24 h)")
    command_line.add_argument("--plain", action="store_true", help="one drawing for all pictures of the same pixels: for measuring")
    return command_line


def _port(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no port, which is a number from 0 to 65535")
    return int(text)


def greeting(origin: str) -> str:
    """Return the lines with the addresses of the services and how to use them."""
    lines = [f"sandbox: listening on {origin} (nothing here costs anything; Ctrl+C ends it)"]
    for name in DIALECTS:
        provider = in_file(name)
        variable = provider.base_variable or f"{name.upper().replace('-', '_')}_BASE_URL"
        lines.append(f"export {variable}={origin}/{name}{provider.version_segment} {provider.key_variable}=sandbox")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit code."""
    command_line = parser()
    options = command_line.parse_args(arguments)
    try:
        import uvicorn
    except ImportError:
        print(f"the sandbox on a socket needs uvicorn: {install_extra('sandbox')}", file=sys.stderr)
        return 1
    given = vars(options).copy()
    host, port = given.pop("host"), given.pop("port")
    try:
        app = create_app(faults=given.pop("fault"), **given)
    except ValueError as error:
        command_line.error(str(error))
    try:
        listener = socket.create_server((host, port), backlog=2048)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it; else each answer's body waits 40 ms
    except OSError as error:
        print(f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}", file=sys.stderr)
        return 1
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1)
    logging.getLogger("uvicorn.error").addFilter(_OnPurpose())
    port = listener.getsockname()[1]
    with listener, contextlib.suppress(KeyboardInterrupt):
        print(greeting(f"http://{host}:{port}"), flush=True)
        uvicorn.Server(config).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
