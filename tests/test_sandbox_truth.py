"""The sandbox answers as the gateways were seen to answer, so that other people's clients work with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from servers import SandboxServer, sandbox_thread

from imagegen_magic.errors import NotFound
from imagegen_magic.providers.registry import get_provider

KEY = {"Authorization": "Bearer sandbox"}


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    """One gateway whose tasks are finished at once."""
    with sandbox_thread(duration=0) as running:
        yield running


def post(server: SandboxServer, gateway: str, headers: dict[str, str] = KEY, **body: Any) -> httpx2.Response:
    """Submit a request."""
    content = {"prompt": "a fox", **body}
    return httpx2.post(f"{server.base_url(gateway)}{get_provider(gateway).submit_path}", json=content, headers=headers)


def get(server: SandboxServer, gateway: str, path: str, headers: dict[str, str] = KEY) -> httpx2.Response:
    """Read a path."""
    return httpx2.get(f"{server.base_url(gateway)}{path}", headers=headers)


def test_a_finished_task_of_apimart(server: SandboxServer) -> None:
    """`actual_time` is an integer; `completed`, `credits_cost` and `usage` are there."""
    task_id = post(server, "apimart", size="1:1", quality="low").json()["data"][0]["task_id"]
    task = get(server, "apimart", f"/v1/tasks/{task_id}").json()["data"]
    assert type(task["actual_time"]) is int
    assert type(task["completed"]) is int
    assert task["credits_cost"] == task["cost"]
    assert task["usage"]


def test_a_waiting_task_of_apimart() -> None:
    """`pending` with progress 0."""
    with sandbox_thread(duration=60) as server:
        task_id = post(server, "apimart", size="1:1").json()["data"][0]["task_id"]
        task = get(server, "apimart", f"/v1/tasks/{task_id}").json()["data"]
    assert (task["status"], task["progress"]) == ("pending", 0)


@pytest.mark.parametrize("path", ["/apimart/v1/nothing", "/evolink/", "/nowhere", "/apimart/v2/images/generations"])
def test_every_path_answers_in_json(server: SandboxServer, path: str) -> None:
    """Also a 404."""
    answer = httpx2.get(server.origin + path, headers=KEY)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_a_wrong_key_at_apimart(server: SandboxServer) -> None:
    """The recorded body, and a request id in its header."""
    answer = post(server, "apimart", headers={"Authorization": "Bearer bad"})
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert (error["code"], error["param"], error["type"]) == ("", "", "apimart_error")
    assert "request id: " in error["message"]
    assert answer.headers["X-Oneapi-Request-Id"]


def test_size_auto_at_apimart(server: SandboxServer) -> None:
    """Accepted, as its newer page says."""
    assert post(server, "apimart", size="auto").status_code == 200


def test_an_unknown_task_at_evolink(server: SandboxServer) -> None:
    """400 `invalid_task_id`, which is read as a task that does not exist."""
    answer = get(server, "evolink", "/v1/tasks/task-unified-none")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_task_id")
    assert isinstance(get_provider("evolink").read_error(400, answer.json()), NotFound)


def test_a_key_with_another_body(server: SandboxServer) -> None:
    """409, and with the same body the first task again."""
    headers = {**KEY, "Idempotency-Key": "one"}
    first = post(server, "evolink", headers, size="1:1")
    again = post(server, "evolink", headers, size="1:1")
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Idempotency-Replayed"] == "true"
    other = post(server, "evolink", headers, size="2:1")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")


def test_data_addresses_are_no_references_at_apimart(server: SandboxServer) -> None:
    """They are uploaded first."""
    answer = post(server, "apimart", image_urls=["data:image/png;base64,iVBORw0KGgo="])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image_url")


def test_the_list_and_the_balance_of_evolink(server: SandboxServer) -> None:
    """The latest tasks first, each with its prompt; what was spent is missing in the balance."""
    task_id = post(server, "evolink", prompt="listed", size="1:1").json()["id"]
    listed = get(server, "evolink", "/v1/tasks").json()["data"]
    assert task_id in [task["id"] for task in listed]
    assert listed[0]["input"]["prompt"] == "listed"
    assert get(server, "evolink", "/v1/credits").json()["data"]["user"]["remaining_credits"] < 1000
