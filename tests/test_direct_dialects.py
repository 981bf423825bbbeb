"""Our own engine at the sandbox's Gemini and OpenRouter: pictures, edits, costs, refusals, and answers that are lost or damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from servers import Sandbox, sandbox_thread

from imagegen_magic import generate, run
from imagegen_magic.engine import api
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import (
    APIError,
    AuthenticationError,
    ContentRejected,
    ImageInvalid,
    InsufficientBalance,
    SubmissionUnknown,
    TaskFailed,
)

pytestmark = pytest.mark.slow
services = pytest.mark.parametrize("service", ["gemini", "openrouter"])


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    """A sandbox whose tasks take no time."""
    with sandbox_thread(duration=0.0, plain=False) as running:
        yield running


@pytest.fixture(autouse=True)
def _here(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    server.disarm()
    for name, value in server.environ("gemini", "openrouter").items():
        monkeypatch.setenv(name, value)


def _made(prompt: str, service: str, **options: Any) -> Any:
    return run(generate(prompt, provider=service, **options))


def _states() -> list[str]:
    return [task.state for task in run(api.ledger(load()).tasks())]


@services
def test_a_picture_is_made_with_its_cost(server: Sandbox, service: str) -> None:
    """Of the requested ratio; Gemini's cost is calculated from tokens, OpenRouter's is measured."""
    made = _made(f"a red fox at {service}", service, size="16:9")
    (image,) = made
    assert image.width > image.height
    assert made.cost.unit == "USD"
    assert made.cost.kind == {"gemini": "calculated", "openrouter": "measured"}[service]
    assert 0.03 < float(made.cost.amount) < 0.04
    assert [entry["had_key"] for entry in server.submissions(f"a red fox at {service}")] == [True]


@services
def test_a_picture_of_this_machine_is_edited_without_an_upload(server: Sandbox, service: str, tmp_path: Path) -> None:
    """It travels within the request, with its type."""
    Image.new("RGB", (320, 320), (250, 10, 10)).save(tmp_path / "red.png")
    prompt = f"keep it red at {service}"
    (edited,) = _made(prompt, service, references=[tmp_path / "red.png"])
    (entry,) = server.submissions(prompt)
    assert "upload:" not in str(entry["json"])
    assert "image/png" in str(entry["json"])
    assert server.log()["uploads"] == 0
    assert edited.path.exists()


@services
def test_several_pictures_are_several_requests(server: Sandbox, service: str) -> None:
    """One answer that is lost loses one picture."""
    assert len(_made(f"three foxes at {service}", service, n=3)) == 3
    assert len(server.accepted(f"three foxes at {service}")) == 3


@services
@pytest.mark.parametrize("fault", ["moderation", "failed-by-moderation"])
def test_a_refusal_of_content_is_one(server: Sandbox, service: str, fault: str) -> None:
    """Of the prompt and of the picture, also inside an answer with HTTP 200."""
    with pytest.raises(ContentRejected):
        _made(f"a fight at {service} [[fault: {fault}]]", service)
    assert _states() == ["failed"]


def test_words_without_a_picture_are_shown(server: Sandbox) -> None:
    """Gemini's answer says why."""
    with pytest.raises(TaskFailed, match="I could not make a picture of this"):
        _made("a riddle [[fault: no-address]]", "gemini")


@services
@pytest.mark.parametrize(("key", "kind"), [("bad", AuthenticationError), ("poor", InsufficientBalance)])
def test_a_wrong_key_and_an_empty_account_are_different_errors(
    monkeypatch: pytest.MonkeyPatch, service: str, key: str, kind: type[Exception]
) -> None:
    """Each as the service answers it."""
    monkeypatch.setenv(f"{service.upper()}_API_KEY", key)
    with pytest.raises(kind):
        _made("a fox", service)


@services
@pytest.mark.parametrize(
    "fault", ["drop-after-accept", "502-after-accept", "html-answer", "truncated-json", "dropped-download", "truncated"]
)
def test_an_answer_that_is_lost_is_unknown_and_never_repeated(server: Sandbox, service: str, fault: str) -> None:
    """The picture may be paid for."""
    prompt = f"a lost fox at {service} [[fault: {fault}:1]]"
    with pytest.raises(SubmissionUnknown):
        _made(prompt, service)
    assert (len(server.submissions(prompt)), _states()) == (1, ["unknown"])


@services
def test_a_rate_is_waited_for(server: Sandbox, service: str) -> None:
    """It is repeated, because it was certainly not accepted."""
    prompt = f"a patient fox at {service} [[fault: rate-limited:1]]"
    assert len(_made(prompt, service)) == 1
    assert [entry["accepted"] for entry in server.submissions(prompt)] == [False, True]


@services
def test_a_picture_that_is_none_is_an_error(server: Sandbox, service: str) -> None:
    """The bytes are checked as those of a download."""
    with pytest.raises(ImageInvalid):
        _made(f"a page at {service} [[fault: non-image]]", service)


@services
def test_a_picture_of_another_shape_is_shown_with_the_difference(service: str) -> None:
    """What came is compared with the plan."""
    (image,) = _made(f"a tall fox at {service} [[fault: wrong-size]]", service, size="1:1")
    assert image.differences


def test_a_field_that_gemini_does_not_have_is_refused_by_it(server: Sandbox) -> None:
    """As Google's API does, before anything is made."""
    with pytest.raises(APIError, match='Unknown name "mood"') as refused:
        _made("a moody fox", "gemini", extra={"mood": "calm"})
    assert (refused.value.charge, server.accepted("a moody fox")) == ("no", [])


def test_a_request_that_is_not_checked_is_sent_to_openrouter(server: Sandbox) -> None:
    """Its list has no such ratio, and the service takes it."""
    (image,) = _made("a panorama", "openrouter", size="5:2", unchecked=True)
    assert image.unchecked
    assert image.width > 2 * image.height
