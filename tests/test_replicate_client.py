"""The `replicate` package, in a process of its own, takes the sandbox for Replicate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Sandbox, sandbox_thread

pytestmark = pytest.mark.slow

CLIENT = Path(__file__).parent / "clients" / "replicate_client.py"


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    """A sandbox on a socket whose pictures are finished after a moment."""
    with sandbox_thread(duration=0.5) as running:
        yield running


def client(server: Sandbox, task: str) -> Any:
    """Return what the package got."""
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()} | {"REPLICATE_POLL_INTERVAL": "0.05"}
    command = [sys.executable, str(CLIENT), f"{server.origin}/replicate", task]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_generates_pictures(server: Sandbox) -> None:
    """One waiting in the request, one with polls."""
    found = client(server, "generate")
    assert found["waited"] == {"format": "PNG", "size": [1344, 768]}
    assert found["polled"] == {"format": "WEBP", "size": [1024, 1024]}
    assert (found["first"], found["status"]) == ("starting", "succeeded")


def test_it_edits_a_picture(server: Sandbox) -> None:
    """Uploaded as a file, and as data."""
    expected = {"format": "JPEG", "size": [1024, 1024]}
    assert client(server, "edit") == {"url": expected, "base64": expected}


def test_it_meets_refusals(server: Sandbox) -> None:
    """Each as the package's own class, in Replicate's words."""
    found = client(server, "refusals")
    assert {name: each["status"] for name, each in found.items()} == {"moderation": "failed", "field": 422, "throttled": 429, "token": 401}
    assert "flagged as sensitive" in found["moderation"]["detail"]
    assert "input.num_inference_steps" in found["field"]["detail"]
    assert found["throttled"]["detail"].startswith("Request was throttled.")
    assert "authentication token" in found["token"]["detail"]


def test_it_cancels_a_prediction() -> None:
    """One that has not begun never does."""
    with sandbox_thread(duration=600) as server:
        assert client(server, "cancel") == {"before": "starting", "after": "canceled", "started_at": None, "listed": "canceled"}


def test_it_reads_a_models_schema(server: Sandbox) -> None:
    """The fields of its input."""
    assert client(server, "schema") == ["go_fast", "num_inference_steps", "prompt", "seed"]
