"""Pictures of OpenAI by the sandbox on a socket: what is paid for is kept, and nothing is paid twice."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from servers import Sandbox

from imagegen_magic import generate, run, stream
from imagegen_magic.engine import api
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import (
    APIError,
    AuthenticationError,
    ContentRejected,
    ImageGenError,
    InsufficientBalance,
    SubmissionUnknown,
    TaskFailed,
)
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.result import GeneratedImage, Progress

pytestmark = pytest.mark.slow

KEY = {"authorization": "Bearer a-key"}
OPENAI = get_provider("openai")


@pytest.fixture
def server(gateway: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The sandbox as OpenAI, with a key."""
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{gateway.origin}/openai/v1")
    return gateway


def draw(prompt: str, **options: Any) -> Any:
    """Make pictures at OpenAI, of the lowest quality."""
    return run(generate(prompt, provider="openai", **{"quality": "low", **options}))


def states() -> list[str]:
    """Return the states in the ledger, oldest first."""
    return [task.state for task in run(api.ledger(load()).tasks())[::-1]]


def pixel(image: GeneratedImage, place: tuple[int, int]) -> Any:
    """Return one pixel of a saved picture."""
    with Image.open(image.path) as saved:
        return saved.convert("RGB").getpixel(place)


def ask(server: Sandbox, path: str = "/images/generations", **more: Any) -> httpx2.Response:
    """Send one request as another client would, with a key."""
    return httpx2.post(f"{server.origin}/openai/v1{path}", headers=KEY, timeout=20, **more)


# our client


def test_a_picture_is_made_and_its_cost_is_calculated(server: Sandbox) -> None:
    """From the tokens that the answer counts."""
    (image,) = draw("openai makes a fox", size="3:2", output_format="webp", output_compression=60)
    assert (image.width, image.height, image.path.suffix) == (1536, 1024, ".webp")
    assert (image.cost.kind, image.cost.unit, image.differences) == ("calculated", "USD", ())
    (entry,) = server.accepted("openai makes a fox")
    assert (entry["json"]["size"], entry["json"]["output_compression"], entry["had_key"]) == ("1536x1024", 60, True)
    assert image.cost == OPENAI.cost({"usage": {"output_tokens": 158, "input_tokens_details": {"text_tokens": 4}}})


def test_several_pictures_are_several_requests(server: Sandbox) -> None:
    """Each with one picture."""
    assert len(draw("openai makes three", n=3)) == 3
    assert [entry["json"]["n"] for entry in server.accepted("openai makes three")] == [1, 1, 1]


def test_pictures_of_one_request_share_its_cost(server: Sandbox) -> None:
    """Each is a picture of its own."""
    images = draw("openai makes two together", n=2, parameters={"together": True})
    (entry,) = server.accepted("openai makes two together")
    assert (len(images), entry["json"]["n"], len({image.path.read_bytes() for image in images})) == (2, 2, 2)
    total = OPENAI.cost({"usage": {"output_tokens": 392, "input_tokens_details": {"text_tokens": 6}}})
    assert sum(image.cost.amount for image in images) == total.amount


def test_an_edit_of_files_keeps_what_the_mask_protects(server: Sandbox, tmp_path: Path) -> None:
    """Picture and mask travel within the JSON."""
    photo, mask = tmp_path / "photo.png", tmp_path / "mask.png"
    Image.new("RGB", (1024, 1024), "teal").save(photo)
    hole = Image.new("RGBA", (1024, 1024), "black")
    hole.paste((0, 0, 0, 0), (256, 256, 768, 768))
    hole.save(mask)
    (image,) = draw("openai edits a fox", references=[photo], mask=mask)
    assert pixel(image, (5, 5)) == (0, 128, 128)
    assert pixel(image, (512, 512)) != (0, 128, 128)
    (entry,) = server.accepted("openai edits a fox")
    assert [name.partition("/")[0] for name in (*entry["json"]["images"], entry["json"]["mask"])] == ["upload", "upload"]


def test_partial_pictures_come_before_the_result(server: Sandbox) -> None:
    """As previews of the progress."""

    async def previews() -> list[str]:
        found = []
        options: dict[str, Any] = {"provider": "openai", "quality": "low", "parameters": {"partials": 2}}
        async for each in stream("openai streams a fox", **options):
            if isinstance(each, Progress) and each.preview:
                found.append("partial")
            elif isinstance(each, GeneratedImage):
                found.append("picture")
        return found

    found = run(previews())
    assert (found[-1], set(found)) == ("picture", {"partial", "picture"})
    (entry,) = server.accepted("openai streams a fox")
    assert (entry["json"]["stream"], entry["json"]["partial_images"]) == (True, 2)


@pytest.mark.parametrize("fault", ["truncated", "dropped-download", "drop-after-accept", "truncated-json", "html-answer", "no-task-id"])
def test_an_answer_that_is_not_whole_is_unknown_and_never_repeated(server: Sandbox, fault: str) -> None:
    """It may have been charged."""
    prompt = f"openai loses a fox [[fault: {fault}]]"
    with pytest.raises(SubmissionUnknown) as unknown:
        draw(prompt)
    assert (unknown.value.charge, states(), len(server.accepted(prompt))) == ("unknown", ["unknown"], 1)


@pytest.mark.parametrize("fault", ["cut-stream", "truncated", "dropped-download"])
def test_a_stream_without_its_last_event_is_unknown_and_never_repeated(server: Sandbox, fault: str) -> None:
    """The last partial picture is kept as what it is."""
    prompt = f"openai cuts a stream [[fault: {fault}]]"
    with pytest.raises(SubmissionUnknown, match="first view"):
        draw(prompt, parameters={"partials": 1})
    assert (states(), len(server.accepted(prompt))) == (["unknown"], 1)


def test_a_slow_answer_is_waited_for(server: Sandbox) -> None:
    """It is whole in the end."""
    assert len(draw("openai is slow [[fault: slow]]")) == 1


@pytest.mark.parametrize("fault", ["rate-limited", "unavailable"])
def test_what_was_not_accepted_is_repeated(server: Sandbox, fault: str) -> None:
    """Once, and one picture is made."""
    prompt = f"openai is asked again [[fault: {fault}:1]]"
    assert len(draw(prompt)) == len(server.accepted(prompt)) == 1


@pytest.mark.parametrize(
    ("fault", "kind", "charge", "words"),
    [
        ("moderation", ContentRejected, "no", "refused: the prompt or a reference; categories: violence"),
        ("failed-by-moderation", ContentRejected, "unknown", "refused: the finished picture; categories: violence"),
        ("unverified", APIError, "no", "up to 15 minutes"),
        ("no-balance", InsufficientBalance, "no", "settings/organization/billing"),
        ("unauthorized", AuthenticationError, "no", "check the key"),
    ],
)
def test_refusals_say_what_to_do(server: Sandbox, fault: str, kind: type[ImageGenError], charge: str, words: str) -> None:
    """And whether it was charged; nothing is repeated."""
    prompt = f"openai refuses a fox [[fault: {fault}]]"
    with pytest.raises(kind) as refused:
        draw(prompt)
    assert refused.value.charge == charge
    assert words.lower() in str(refused.value).lower()
    assert len(server.submissions(prompt)) == 1


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [("failed", TaskFailed, "The server had an error"), ("failed-by-moderation", ContentRejected, "refused: the finished picture")],
)
def test_a_failure_within_a_stream_is_read(server: Sandbox, fault: str, kind: type[ImageGenError], words: str) -> None:
    """The event names it; it may have been charged."""
    with pytest.raises(kind, match=words) as failed:
        draw(f"openai fails within a stream [[fault: {fault}]]", parameters={"partials": 1})
    assert failed.value.charge == "unknown"


# any client


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"seed": 7}, 400, "unknown_parameter"),
        ({"response_format": "url"}, 400, "unknown_parameter"),
        ({"size": "1000x1000"}, 400, "invalid_value"),
        ({"size": "large"}, 400, "invalid_value"),
        ({"size": "1536x864", "model": "gpt-image-2.6-flare"}, 400, "invalid_value"),
        ({"quality": "max", "model": "gpt-image-2"}, 400, "invalid_parameter"),
        ({"background": "transparent", "output_format": "jpeg"}, 400, "invalid_value"),
        ({"output_compression": 50}, 400, "invalid_value"),
        ({"partial_images": 2}, 400, "invalid_value"),
        ({"n": 11}, 400, "invalid_parameter"),
        ({"prompt": " "}, 400, "invalid_request"),
        ({"model": "dall-e-3"}, 404, "model_not_found"),
        ({"model": None}, 400, "missing_required_parameter"),
        ({"images": []}, 400, "unknown_parameter"),
    ],
)
def test_what_openai_refuses_the_sandbox_refuses(server: Sandbox, body: dict[str, Any], status: int, code: str) -> None:
    """With its shape of errors."""
    answer = ask(server, json={"model": "gpt-image-2.5-flare", "prompt": "a fox", "quality": "low", **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], set(error)) == (status, code, {"message", "type", "param", "code"})
    assert len(answer.headers["x-request-id"]) == 32


def test_an_edit_needs_pictures_that_can_be_read(server: Sandbox) -> None:
    """A list of objects with data: addresses of their own type; a mask has alpha and the picture's pixels."""

    def data(mode: str, size: tuple[int, int], mime_type: str = "image/png") -> dict[str, str]:
        buffer = io.BytesIO()
        Image.new(mode, size).save(buffer, "PNG")
        return {"image_url": f"data:{mime_type};base64,{base64.b64encode(buffer.getvalue()).decode()}"}

    photo = data("RGB", (64, 64))
    refused = [
        ({}, "missing_required_parameter"),
        ({"images": "photo"}, "invalid_type"),
        ({"images": [{"file_id": "f"}]}, "invalid_type"),
        ({"images": [photo] * 17}, "array_above_max_length"),
        ({"images": [{"image_url": "data:image/png;base64,!"}]}, "invalid_base64"),
        ({"images": [{"image_url": "data:image/png;base64,AAAA"}]}, "invalid_image_file"),
        ({"images": [data("RGB", (64, 64), "application/octet-stream")]}, "unsupported_file_mimetype"),
        ({"images": [photo], "mask": data("RGB", (64, 64))}, "invalid_image_file"),
        ({"images": [photo], "mask": data("RGBA", (32, 64))}, "invalid_image_file"),
    ]
    for body, code in refused:
        answer = ask(server, "/images/edits", json={"model": "gpt-image-2.5-flare", "prompt": "an edit of a fox", **body})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert server.accepted("an edit of a fox") == []


def test_without_a_key_there_is_nothing(server: Sandbox) -> None:
    """Neither pictures nor models."""
    for method, path in (("POST", "images/generations"), ("POST", "images/edits"), ("GET", "models")):
        answer = httpx2.request(method, f"{server.origin}/openai/v1/{path}", timeout=20)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
