"""The `openai` package, in a process of its own, takes the sandbox for OpenAI."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Sandbox, sandbox_thread

from imagegen_magic.providers.registry import get_provider

pytestmark = pytest.mark.slow

CLIENT = Path(__file__).parent / "clients" / "openai_client.py"
TEAL = [0, 128, 128]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    """A sandbox on a socket whose pictures are finished after a moment."""
    with sandbox_thread(duration=0.2) as running:
        yield running


def client(server: Sandbox, task: str) -> Any:
    """Return what the package got."""
    command = [sys.executable, str(CLIENT), f"{server.origin}/openai/v1", task]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_generates_a_picture(server: Sandbox) -> None:
    """In the requested size, quality and format, with the tokens of OpenAI's formula."""
    found = client(server, "generate")
    assert (found["picture"]["format"], found["picture"]["size"]) == ("WEBP", [1024, 1536])
    assert (found["size"], found["quality"], found["output_format"], found["background"]) == ("1024x1536", "high", "webp", "opaque")
    assert found["output_tokens"] == 1372


def test_it_streams_partial_pictures_and_the_result(server: Sandbox) -> None:
    """Two views of the same pixels, then the picture with the tokens of all three."""
    first, second, last = client(server, "stream")
    assert [each["type"] for each in (first, second)] == ["image_generation.partial_image"] * 2
    assert [each["partial_image_index"] for each in (first, second)] == [0, 1]
    assert last["type"] == "image_generation.completed"
    assert {tuple(each["picture"]["size"]) for each in (first, second, last)} == {(1024, 1024)}
    assert last["usage"]["output_tokens"] == 196 + 200


def test_it_edits_with_a_mask(server: Sandbox) -> None:
    """Its form is read; only what the mask leaves open is painted."""
    found = client(server, "edit")
    assert found["picture"]["corner"] == TEAL
    assert found["picture"]["middle"] != TEAL
    assert found["image_tokens"] == 1500


def test_it_meets_refusals(server: Sandbox) -> None:
    """Each as the package's own class, with OpenAI's code and type, and moderation's stage."""
    found = client(server, "refusals")
    assert {name: (each["class"], each["status"], each["code"]) for name, each in found.items()} == {
        "moderation": ("BadRequestError", 400, "moderation_blocked"),
        "failed-by-moderation": ("BadRequestError", 400, "moderation_blocked"),
        "unverified": ("PermissionDeniedError", 403, None),
        "no-balance": ("RateLimitError", 429, "credit_balance_exhausted"),
        "unavailable": ("InternalServerError", 503, "server_is_overloaded"),
        "unauthorized": ("AuthenticationError", 401, "invalid_api_key"),
        "mimetype": ("BadRequestError", 400, "unsupported_file_mimetype"),
    }
    stages = [found[name]["body"]["moderation_details"]["moderation_stage"] for name in ("moderation", "failed-by-moderation")]
    assert stages == ["input", "output"]
    assert found["moderation"]["type"] == "image_generation_user_error"
    assert found["no-balance"]["type"] == "insufficient_quota"


def test_it_lists_the_models(server: Sandbox) -> None:
    """Those of the provider."""
    assert client(server, "models") == [model.name for model in get_provider("openai").models]


def test_azures_class_generates_at_a_deployment(server: Sandbox) -> None:
    """With the key in its own header, and the deployment and the version in the address."""
    assert client(server, "azure")["picture"]["size"] == [1024, 1024]
    entry = server.submissions()[-1]
    assert (entry["provider"], entry["json"]["model"], entry["had_key"]) == ("azure-openai", "lab-images", True)
