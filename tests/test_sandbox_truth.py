"""The sandbox answers as the gateways were seen to answer, so that other people's clients work with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from gateway_table import GATEWAYS, POLL, SUBMIT
from servers import Sandbox, sandbox_thread

from imagegen_magic.errors import NotFound
from imagegen_magic.providers.registry import get_provider

KEY = {"Authorization": "Bearer sandbox"}


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    """One gateway whose tasks are finished at once."""
    with sandbox_thread(duration=0) as running:
        yield running


def post(server: Sandbox, gateway: str, headers: dict[str, str] = KEY, **body: Any) -> httpx2.Response:
    """Submit a request."""
    content = {"prompt": "a fox", **body}
    return httpx2.post(f"{server.base_url(gateway)}{get_provider(gateway).submit_path}", json=content, headers=headers)


def get(server: Sandbox, gateway: str, path: str, headers: dict[str, str] = KEY) -> httpx2.Response:
    """Read a path."""
    return httpx2.get(f"{server.base_url(gateway)}{path}", headers=headers)


def test_a_finished_task_of_apimart() -> None:
    """`actual_time` is an integer, whatever the fraction; `completed`, `credits_cost` and `usage` are there."""
    now = [1_800_000_000.25]
    with sandbox_thread(duration=2.75, clock=lambda: now[0]) as server:
        task_id = post(server, "apimart", size="1:1", quality="low").json()["data"][0]["task_id"]
        now[0] += 3
        task = get(server, "apimart", f"/v1/tasks/{task_id}").json()["data"]
    times = {name: task[name] for name in ("actual_time", "created", "completed")}
    assert times == {"actual_time": 3, "created": 1_800_000_000, "completed": 1_800_000_003}
    assert {type(value) for value in times.values()} == {int}
    assert task["credits_cost"] == task["cost"]
    assert task["usage"]


def test_a_waiting_task_of_apimart() -> None:
    """`pending` with progress 0."""
    with sandbox_thread(duration=60) as server:
        task_id = post(server, "apimart", size="1:1").json()["data"][0]["task_id"]
        task = get(server, "apimart", f"/v1/tasks/{task_id}").json()["data"]
    assert (task["status"], task["progress"]) == ("pending", 0)


@pytest.mark.parametrize("path", ["/apimart/v1/nothing", "/evolink/", "/nowhere", "/apimart/v2/images/generations"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_path_answers_in_json(server: Sandbox, path: str, method: str) -> None:
    """Also a 404."""
    answer = httpx2.request(method, server.origin + path, headers=KEY)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_another_method_answers_in_json(server: Sandbox, gateway: str) -> None:
    """A path that exists for another method is a 404 as well."""
    for method, path in (("GET", SUBMIT[gateway]), ("PUT", SUBMIT[gateway]), ("DELETE", f"{POLL[gateway]}one")):
        answer = httpx2.request(method, server.origin + path, headers=KEY)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_unknown_task_answers_in_json(server: Sandbox, gateway: str) -> None:
    """Every gateway's answer has a message, and is read as a task that does not exist."""
    answer = httpx2.get(f"{server.origin}{POLL[gateway]}none", headers=KEY)
    assert answer.headers["content-type"] == "application/json"
    assert isinstance(get_provider(gateway).read_error(answer.status_code, answer.json()), NotFound)


def test_a_wrong_key_at_apimart(server: Sandbox) -> None:
    """The recorded body, and a request id in its header."""
    answer = post(server, "apimart", headers={"Authorization": "Bearer bad"})
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert (error["code"], error["param"], error["type"]) == ("", "", "apimart_error")
    assert "request id: " in error["message"]
    assert answer.headers["X-Oneapi-Request-Id"]


@pytest.mark.parametrize("gateway", ["apimart", "evolink"])
def test_size_auto(server: Sandbox, gateway: str) -> None:
    """Every model takes it: APIMart's newer page lists it, and it is EvoLink's default."""
    models = [model.name for model in get_provider(gateway).models]
    assert {name: post(server, gateway, model=name, size="auto").status_code for name in models} == dict.fromkeys(models, 200)


def test_an_unknown_task_at_evolink(server: Sandbox) -> None:
    """400 `invalid_task_id`, which is read as a task that does not exist."""
    answer = get(server, "evolink", "/v1/tasks/task-unified-none")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_task_id")
    assert isinstance(get_provider("evolink").read_error(400, answer.json()), NotFound)


@pytest.mark.parametrize(("gateway", "code"), [("apimart", "idempotency_key_reused"), ("evolink", "idempotency_conflict")])
def test_a_key_with_another_body(server: Sandbox, gateway: str, code: str) -> None:
    """409, and with the same body the first answer again; the sandbox made one task."""
    headers = {**KEY, "Idempotency-Key": f"one of {gateway}"}
    prompt = f"a reused key at {gateway}"
    first = post(server, gateway, headers, prompt=prompt, size="1:1")
    again = post(server, gateway, headers, prompt=prompt, size="1:1")
    assert "Idempotency-Replayed" not in first.headers
    assert (again.json(), again.headers["Idempotency-Replayed"]) == (first.json(), "true")
    other = post(server, gateway, headers, prompt=prompt, size="2:1")
    assert (other.status_code, other.json()["error"]["code"]) == (409, code)
    submissions = server.submissions(prompt)
    assert [entry["accepted"] for entry in submissions] == [True, False, False]
    assert [entry["repeated"] for entry in submissions] == [False, True, False]


def test_data_addresses_are_no_references_at_apimart(server: Sandbox) -> None:
    """They are uploaded first."""
    answer = post(server, "apimart", image_urls=["data:image/png;base64,iVBORw0KGgo="])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image_url")


def test_the_list_and_the_balance_of_evolink(server: Sandbox) -> None:
    """The latest tasks first, each with its prompt; what was spent is missing in the balance."""
    task_id = post(server, "evolink", prompt="listed", size="1:1").json()["id"]
    listed = get(server, "evolink", "/v1/tasks").json()["data"]
    assert task_id in [task["id"] for task in listed]
    assert listed[0]["input"]["prompt"] == "listed"
    assert get(server, "evolink", "/v1/credits").json()["data"]["user"]["remaining_credits"] < 1000
