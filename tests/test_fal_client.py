"""The `fal-client` package, in a process of its own, takes the sandbox for fal's queue."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rawhosts import CERTIFICATE
from servers import Sandbox, sandbox_thread

pytestmark = pytest.mark.slow

CLIENT = Path(__file__).parent / "clients" / "fal_queue_client.py"


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    """A sandbox over TLS whose pictures are finished after a moment."""
    with sandbox_thread(certificate=CERTIFICATE, duration=0.5) as running:
        yield running


def client(server: Sandbox, task: str) -> Any:
    """Return what the package got."""
    host = f"{server.origin.removeprefix('https://')}/fal"
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {"FAL_QUEUE_RUN_HOST": host, "FAL_KEY": "sandbox", "SSL_CERT_FILE": str(CERTIFICATE)}
    done = subprocess.run([sys.executable, str(CLIENT), task], capture_output=True, text=True, check=False, timeout=150, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_generates_a_picture(server: Sandbox) -> None:
    """Through the states of the queue, in the requested size and format, with its seed."""
    found = client(server, "generate")
    assert found["picture"] == {"format": "PNG", "size": [1024, 576]}
    assert (found["width"], found["height"], found["content_type"], found["seed"]) == (1024, 576, "image/png", 7)
    assert {"Completed"} <= set(found["states"]) <= {"Queued", "InProgress", "Completed"}


def test_it_edits_a_picture(server: Sandbox) -> None:
    """Its data: address is read, and the status is below the owner and the app alone."""
    found = client(server, "edit")
    assert found["picture"] == {"format": "PNG", "size": [1024, 1024]}
    assert found["address"].startswith("fal-ai/nano-banana-2/requests/")


def test_it_meets_refusals(server: Sandbox) -> None:
    """Each in the shape that the package reads."""
    found = client(server, "refusals")
    assert {name: (each["status"], each["type"], each["error_type"]) for name, each in found.items()} == {
        "moderation": (422, "content_policy_violation", None),
        "field": (422, "value_error", None),
        "runner": (503, None, "runner_disconnected"),
        "key": (401, None, None),
    }
    assert found["moderation"]["ctx"] == {"categories": ["violence"]}


def test_it_cancels_a_request() -> None:
    """One that waits in the queue is removed, and no picture is made of it."""
    with sandbox_thread(certificate=CERTIFICATE, duration=600) as server:
        assert client(server, "cancel") == {"before": "Queued", "after": "Completed", "error_type": "client_cancelled"}
