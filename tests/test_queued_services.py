"""fal and Replicate from request to file: nothing that was paid for is lost, and nothing is paid for twice."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from servers import Sandbox, sandbox_thread
from waiting import until

from imagegen_magic import generate
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import ContentRejected, InsufficientBalance, SubmissionUnknown, TaskFailed, UnsupportedOption
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.result import Generation

pytestmark = pytest.mark.slow

SERVICES = ("fal", "replicate")
services = pytest.mark.parametrize("service", SERVICES)
EDITORS = {"fal": "fal-ai/nano-banana-2", "replicate": "google/nano-banana-2"}


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    """One server for all tests of this file."""
    with sandbox_thread(duration=0.15) as server:
        yield server


@pytest.fixture(autouse=True)
def server(running: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Point both services at the server, each as its base variable is written."""
    running.disarm()
    use(running, monkeypatch)
    return running


def use(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make both services of a test this server."""
    for name in SERVICES:
        monkeypatch.setenv(f"{name.upper()}_BASE_URL", server.base_url(name))
        monkeypatch.setenv(get_provider(name).key_variable, "sandbox")
    monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.05")


def make(prompt: str, service: str, **options: Any) -> Generation:
    """Make pictures."""
    return asyncio.run(generate(prompt, provider=service, **options))


def states() -> list[str]:
    """Return the state of each task in the ledger."""
    return [task.state for task in loop.run(api.ledger(load()).tasks())]


@services
def test_a_picture_is_made_in_process(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --sandbox no server and no key is needed."""
    monkeypatch.delenv(get_provider(service).key_variable)
    made = make("a red fox", service, sandbox=True)
    assert (made.provider, [cost.source for cost in made.costs]) == (service, ["sandbox"])
    with Image.open(made.images[0].path) as image:
        assert image.size == (made.images[0].width, made.images[0].height)


@services
def test_a_picture_is_made_at_an_address(service: str, server: Sandbox) -> None:
    """One submission, as the plan has it, and a download without the key."""
    prompt = f"a red fox at {service}"
    made = make(prompt, service)
    (entry,) = server.accepted(prompt)
    plan = api.plan(api.ImageRequest(prompt), provider=service)
    assert entry["json"] == plan.calls[0].json
    assert made.images[0].differences == ()
    assert (made.tasks, states()) == ((made.images[0].task_id,), ["saved"])
    assert server.log()["downloads_with_key"] == 0


def test_replicates_address_is_taken_with_its_version_too(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own client knows it without."""
    monkeypatch.setenv("REPLICATE_BASE_URL", f"{server.base_url('replicate')}/v1")
    assert make("a red fox at an address with a version", "replicate").images


@services
def test_an_edit_carries_its_picture_as_data(service: str, server: Sandbox) -> None:
    """Nothing is uploaded, and the ledger holds a placeholder."""
    buffer = io.BytesIO()
    Image.new("RGB", (256, 256), (0, 128, 128)).save(buffer, "PNG")
    prompt = f"a red fox on teal at {service}"
    made = make(prompt, service, model=EDITORS[service], references=(buffer.getvalue(),))
    assert made.images
    (entry,) = server.accepted(prompt)
    assert "data:image/png;base64," in str(entry["json"])
    (task,) = loop.run(api.ledger(load()).tasks())
    assert "upload:" in str(task.sent)
    assert "base64" not in str(task.sent)


@services
def test_several_pictures_have_seeds_that_count_up(service: str, server: Sandbox) -> None:
    """Each is a submission of its own."""
    prompt = f"counted foxes at {service}"
    make(prompt, service, n=3, parameters={"seed": 7})
    bodies = [entry["json"] for entry in server.accepted(prompt)]
    assert sorted(body.get("input", body)["seed"] for body in bodies) == [7, 8, 9]


def test_the_parameters_of_another_model_are_learnt_from_its_schema(server: Sandbox) -> None:
    """Each has its name on the wire, and a value out of range is refused before anything is sent."""
    prompt = "a fox of another painter"
    for model in ("acme/painter", f"acme/painter:{'0a' * 32}"):
        assert make(prompt, "replicate", model=model, parameters={"steps": 20}).images
        with pytest.raises(UnsupportedOption, match="takes no steps 99") as caught:
            make(prompt, "replicate", model=model, parameters={"steps": 99})
        assert caught.value.fix == {"steps": 50}
    assert [entry["json"]["input"]["num_inference_steps"] for entry in server.submissions(prompt)] == [20, 20]


@services
def test_an_expired_address_is_asked_for_again(service: str, server: Sandbox) -> None:
    """Through the poll, and fal's second call; nothing is submitted again."""
    prompt = f"an old fox at {service} [[fault: expired]]"
    assert make(prompt, service).images
    assert len(server.submissions(prompt)) == 1


KILLED = """
import sys
from imagegen_magic import generate, run
run(generate(sys.argv[1], provider=sys.argv[2]))
"""


@services
def test_a_kill_between_submission_and_result_costs_nothing(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resumed in another process, the task is collected, and was submitted once."""
    prompt = f"a fox that outlives its process at {service}"
    with sandbox_thread(duration=1.5) as server:
        use(server, monkeypatch)
        process = subprocess.Popen([sys.executable, "-c", KILLED, prompt, service])
        until(lambda: server.log()["looks"])
        process.kill()
        process.wait()
        collected = api.resume(load()).wait()
        assert (len(collected.images), len(server.submissions(prompt))) == (1, 1)
    assert states() == ["saved"]


@services
@pytest.mark.parametrize("fault", ["drop-after-accept", "504-after-accept", "truncated-json", "no-task-id"])
def test_a_submission_with_an_unknown_outcome_is_never_repeated(service: str, fault: str, server: Sandbox) -> None:
    """The ledger knows that it may have been accepted."""
    prompt = f"a lost fox at {service} [[fault: {fault}]]"
    with pytest.raises(SubmissionUnknown):
        make(prompt, service)
    assert (len(server.submissions(prompt)), states()) == (1, ["unknown"])


def test_a_submission_without_an_answer_is_found_in_replicates_list(server: Sandbox) -> None:
    """Resume collects it, and nothing is submitted again."""
    prompt = "a found fox [[fault: drop-after-accept]]"
    with pytest.raises(SubmissionUnknown):
        make(prompt, "replicate")
    assert len(api.resume(load()).wait().images) == 1
    assert (len(server.submissions(prompt)), states()) == (1, ["saved"])


@services
def test_refused_content_is_reported_with_its_charge(service: str) -> None:
    """Both services refuse after they accepted, and may charge for it."""
    with pytest.raises(ContentRejected) as caught:
        make(f"a refused fox at {service} [[fault: moderation]]", service)
    assert (caught.value.charge, states()) == ("unknown", ["failed"])


@services
@pytest.mark.parametrize("fault", ["look-500", "look-garbage", "look-rate-limited", "unknown-word"])
def test_a_poll_that_fails_is_repeated(service: str, fault: str) -> None:
    """The task goes on."""
    assert make(f"a patient fox at {service} [[fault: {fault}]]", service).images


def test_a_failed_runner_of_fal_is_not_charged() -> None:
    """Its page promises that."""
    with pytest.raises(TaskFailed) as caught:
        make("a fox [[fault: failed]]", "fal")
    assert caught.value.charge == "no"


@services
def test_an_account_without_money(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in the service's own words."""
    monkeypatch.setenv(get_provider(service).key_variable, "poor-account")
    with pytest.raises(InsufficientBalance) as caught:
        make("a fox", service)
    assert caught.value.charge == "no"
