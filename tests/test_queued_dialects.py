"""The sandbox's dialects of fal and Replicate: status codes, error bodies, and what an hour leaves."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from servers import Sandbox, sandbox_thread

pytestmark = pytest.mark.slow

FAL, REPLICATE = "/fal/fal-ai/flux/schnell", "/replicate/v1/models/black-forest-labs/flux-schnell/predictions"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Clock:
    """A clock that a test sets."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return its time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The server's clock."""
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[Sandbox]:
    """A server whose tasks take 100 seconds of that clock, ten of them in the queue."""
    with sandbox_thread(duration=100, clock=clock) as running:
        yield running


def ask(server: Sandbox, method: str, url: str, body: Any = None, key: str = "sandbox") -> tuple[int, Any]:
    """Return status and JSON of a request."""
    scheme = "Key" if "/fal/" in url else "Bearer"
    data = None if body is None else json.dumps(body).encode()
    address = url if url.startswith("http") else server.origin + url
    request = urllib.request.Request(address, data, {"Authorization": f"{scheme} {key}", "Content-Type": "application/json"}, method=method)
    try:
        with _DIRECT.open(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_fals_statuses_and_codes(server: Sandbox, clock: Clock) -> None:
    """202 until it is completed, and no result before that."""
    _, accepted = ask(server, "POST", FAL, {"prompt": "a fox", "seed": 7})
    assert accepted["status_url"] == f"{server.origin}/fal/fal-ai/flux/requests/{accepted['request_id']}/status"
    seen = []
    for seconds in (0, 50, 100):
        clock.now = Clock.now + seconds
        status, answer = ask(server, "GET", accepted["status_url"])
        seen.append((status, answer["status"], ask(server, "GET", accepted["response_url"])[0]))
    assert seen == [(202, "IN_QUEUE", 400), (202, "IN_PROGRESS", 400), (200, "COMPLETED", 200)]
    assert ask(server, "GET", accepted["response_url"])[1]["seed"] == 7
    assert ask(server, "PUT", accepted["cancel_url"]) == (400, {"status": "ALREADY_COMPLETED"})


def test_fals_cancelling(server: Sandbox, clock: Clock) -> None:
    """What waits is removed, what runs is asked to stop."""
    _, waiting = ask(server, "POST", FAL, {"prompt": "a fox"})
    _, running = ask(server, "POST", FAL, {"prompt": "another fox"})
    assert ask(server, "PUT", waiting["cancel_url"]) == (200, {"status": "OK"})
    clock.now += 50
    assert ask(server, "PUT", running["cancel_url"]) == (202, {"status": "CANCELLATION_REQUESTED"})
    for each in (waiting, running):
        assert ask(server, "GET", each["status_url"])[1]["error_type"] == "client_cancelled"


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        (FAL, {}, 422, "missing"),
        (FAL, {"prompt": "a fox", "seed": "seven"}, 422, "int_parsing"),
        (FAL, {"prompt": "a fox", "image_size": "huge"}, 422, "literal_error"),
        (FAL, {"prompt": "a fox", "image_size": {"width": 1}}, 422, "image_size"),
        ("/fal/fal-ai/nano-banana-2/edit", {"prompt": "a fox"}, 422, "missing"),
        ("/fal/painter", {"prompt": "a fox"}, 404, None),
        (FAL, ["a fox"], 400, None),
    ],
)
def test_what_fal_refuses(server: Sandbox, path: str, body: Any, status: int, kind: str | None) -> None:
    """A list of what is wrong, or one sentence."""
    found, answer = ask(server, "POST", path, body)
    detail = answer["detail"]
    assert (found, detail[0]["type"] if isinstance(detail, list) else None) == (status, kind)
    assert server.accepted() == []


def test_a_picture_as_data_that_is_none_is_refused(server: Sandbox) -> None:
    """Nothing is accepted, and the log keeps only the beginning of a picture."""
    body = {"prompt": "a fox", "image_urls": ["data:image/png;base64," + "AAAA" * 100]}
    assert ask(server, "POST", "/fal/fal-ai/nano-banana-2/edit", body)[0] == 422
    (entry,) = server.submissions()
    assert (len(entry["json"]["image_urls"][0]), entry["accepted"]) == (80, False)


def test_replicates_prediction(server: Sandbox, clock: Clock) -> None:
    """Starting, processing with a percentage in the logs, succeeded, and deleted after an hour."""
    _, made = ask(server, "POST", REPLICATE, {"input": {"prompt": "a fox", "seed": 7}})
    seen = []
    for seconds in (0, 80, 100, 3800):
        clock.now = Clock.now + seconds
        _, answer = ask(server, "GET", made["urls"]["get"])
        seen.append((answer["status"], "75%|" in answer["logs"], bool(answer["output"]), answer["data_removed"]))
    assert seen == [
        ("starting", False, False, False),
        ("processing", True, False, False),
        ("succeeded", False, True, False),
        ("succeeded", False, False, True),
    ]
    assert answer["input"] == {}
    _, listed = ask(server, "GET", "/replicate/v1/predictions")
    assert [each["id"] for each in listed["results"]] == [made["id"]]


@pytest.mark.parametrize(("seconds", "started"), [(0, False), (50, True)])
def test_replicates_cancelling(server: Sandbox, clock: Clock, seconds: float, started: bool) -> None:
    """A prediction that never began has no start."""
    _, made = ask(server, "POST", REPLICATE, {"input": {"prompt": "a fox"}})
    clock.now += seconds
    status, answer = ask(server, "POST", made["urls"]["cancel"])
    assert (status, answer["status"], answer["started_at"] is not None) == (200, "canceled", started)


@pytest.mark.parametrize(
    ("body", "key", "status", "words"),
    [
        ({}, "sandbox", 422, "input is required"),
        ({"input": {}}, "sandbox", 422, "prompt is required"),
        ({"input": {"prompt": "a fox", "num_inference_steps": 9}}, "sandbox", 422, "input.num_inference_steps: Must be 1 to 4"),
        ({"input": {"prompt": "a fox"}}, "bad", 401, "valid authentication token"),
        ({"input": {"prompt": "a fox"}}, "poor", 402, "insufficient credit"),
        ({"input": {"prompt": "a fox [[fault: rate-limited]]"}}, "sandbox", 429, "Request was throttled"),
    ],
)
def test_what_replicate_refuses(server: Sandbox, body: Any, key: str, status: int, words: str) -> None:
    """A problem description."""
    found, answer = ask(server, "POST", REPLICATE, body, key)
    assert (found, answer["status"], words in answer["detail"]) == (status, status, True)
    assert server.accepted() == []


def test_unknown_tasks(server: Sandbox) -> None:
    """404 at both."""
    assert ask(server, "GET", "/fal/fal-ai/flux/requests/1/status") == (404, {"detail": "Request not found"})
    assert ask(server, "GET", "/replicate/v1/predictions/1")[0] == 404
