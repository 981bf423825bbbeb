"""EvoLink's own MCP server works with the sandbox: it gets pictures, and reads every refusal."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import httpx2
import pytest
from mcp_servers import McpServer, mcp_server
from PIL import Image
from servers import Sandbox, sandbox_thread

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    """One sandbox whose tasks are finished at once."""
    with sandbox_thread(duration=0) as server:
        yield server


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    """The sandbox with no fault armed."""
    running.disarm()
    return running


@pytest.fixture(scope="module")
def client(running: Sandbox) -> Iterator[McpServer]:
    """EvoLink's MCP server, which works until the last test."""
    with mcp_server("evolink.mjs", running.base_url("evolink"), EVOLINK_API_KEY="sandbox") as server:
        yield server


def generate(client: McpServer, prompt: str, size: str = "1:1") -> str:
    """Let the client submit, and return the task id that it read."""
    result = client.call("generate_image", prompt=prompt, model="gpt-image-2", size=size)
    assert not result.is_error, result.text
    found = re.search(r"^Task ID: (task-unified-\S+)$", result.text, re.MULTILINE)
    assert found, result.text
    return found[1]


def polls(sandbox: Sandbox) -> int:
    """Return how many polls EvoLink's dialect counted."""
    return sandbox.log()["providers"].get("evolink", {}).get("looks", 0)


def test_it_submits_polls_and_gets_the_address(client: McpServer, sandbox: Sandbox) -> None:
    """One task at the sandbox; it is pending at first, then it has an address with the pixels of the request."""
    before = polls(sandbox)
    sandbox.arm("held", match="a wide fox")
    task_id = generate(client, "a wide fox", "16:9")
    waiting = client.call("check_task", task_id=task_id)
    assert (waiting.is_error, "Task is still in progress" in waiting.text) == (False, True)

    sandbox.disarm()
    finished = client.call("check_task", task_id=task_id)
    assert "Status: completed\nProgress: 100%\nEstimated cost: " in finished.text
    (address,) = re.findall(r"^  \[\d\] (\S+)$", finished.text, re.MULTILINE)
    picture = Image.open(io.BytesIO(httpx2.get(address).content))
    assert (picture.format, picture.size) == ("PNG", (1824, 1024))
    assert [entry["task_id"] for entry in sandbox.submissions("a wide fox")] == [task_id]
    assert polls(sandbox) - before == 2


def test_it_shows_credits_and_the_estimate(client: McpServer, sandbox: Sandbox) -> None:
    """Both are where the client reads them in the answer to a submission."""
    result = client.call("generate_image", prompt="an estimate", model="gpt-image-2", size="1:1")
    assert re.search(r"^Estimated time: ~\d+s$", result.text, re.MULTILINE)
    assert re.search(r"^Estimated cost: [\d.]+ credits \(per_call\)$", result.text, re.MULTILINE)


def test_it_reads_that_a_task_does_not_exist(client: McpServer, sandbox: Sandbox) -> None:
    """One poll, one message, and the client goes on."""
    before = polls(sandbox)
    result = client.call("check_task", task_id="task-unified-none")
    assert (result.is_error, result.text) == (True, "[400] the task does not exist")
    assert polls(sandbox) - before == 1
    assert generate(client, "after an unknown task")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "gpt-image-1.5"}, "[404] model 'gpt-image-1.5' not found"),
        ({"model": "gpt-image-2", "size": "5:7"}, "[400] size '5:7' is neither a supported ratio, nor pixels, nor auto"),
        ({"model": "gpt-image-2", "mask_url": "https://example.com/mask.png"}, "[400] mask_url must be used together with image_urls"),
    ],
)
def test_it_shows_why_a_request_was_refused(client: McpServer, sandbox: Sandbox, arguments: dict[str, str], message: str) -> None:
    """The sandbox's own words; no task was made."""
    prompt = f"refused: {message}"
    result = client.call("generate_image", prompt=prompt, **arguments)
    assert (result.is_error, result.text) == (True, message)
    assert (len(sandbox.submissions(prompt)), sandbox.accepted(prompt)) == (1, [])


@pytest.mark.parametrize(("fault", "status"), [("no-balance", 402), ("unauthorized", 401), ("moderation", 400)])
def test_it_shows_what_the_gateway_refuses(client: McpServer, sandbox: Sandbox, fault: str, status: int) -> None:
    """Balance, key and moderation: one submission, with the gateway's message, and no task."""
    sandbox.arm(fault, match=f"refused by {fault}")
    result = client.call("generate_image", prompt=f"refused by {fault}", model="gpt-image-2")
    assert (result.is_error, result.text.startswith(f"[{status}] "), "Unexpected token" in result.text) == (True, True, False)
    assert [entry["accepted"] for entry in sandbox.submissions(f"refused by {fault}")] == [False]


def test_it_repeats_what_was_not_accepted(client: McpServer, sandbox: Sandbox) -> None:
    """After HTTP 429 it submits a second time, which makes one task."""
    sandbox.arm("rate-limited", match="too many requests")
    assert generate(client, "too many requests")
    assert [entry["accepted"] for entry in sandbox.submissions("too many requests")] == [False, True]


def test_it_explains_a_failed_task(client: McpServer, sandbox: Sandbox) -> None:
    """The code of moderation is one that the client knows."""
    sandbox.arm("failed-by-moderation", match="a failing fox")
    result = client.call("check_task", task_id=generate(client, "a failing fox"))
    assert not result.is_error
    assert "Status: failed" in result.text
    assert "Error code: content_policy_violation" in result.text
    assert "Retryable: No" in result.text
