"""Google's own client at the sandbox's Gemini: it generates and edits pictures, and meets refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from clients import run_client
from servers import Sandbox, sandbox_thread

pytestmark = pytest.mark.slow

SCRIPT = """
import base64, io, json, sys
from google import genai
from google.genai import errors, types
from PIL import Image

kept = []

def client(key):
    kept.append(genai.Client(api_key=key, http_options=types.HttpOptions(base_url=sys.argv[1] + "/gemini")))
    return kept[-1]

def config(**image):
    return types.GenerateContentConfig(response_modalities=["TEXT", "IMAGE"], image_config=types.ImageConfig(**image))

def facts(response):
    first = next(part for part in response.parts if part.inline_data)
    image = Image.open(io.BytesIO(first.inline_data.data))
    image.load()
    usage = response.usage_metadata
    images = {each.modality.value: each.token_count for each in usage.candidates_tokens_details}
    return {
        "pixels": image.size, "mode": image.mode, "corner": image.convert("RGB").getpixel((8, 8)), "mime": first.inline_data.mime_type,
        "text": response.text, "reason": response.candidates[0].finish_reason.value, "model": response.model_version,
        "prompt_tokens": usage.prompt_token_count, "tokens": images,
    }

def refusal(call):
    try:
        call()
    except errors.APIError as error:
        return [error.code, error.status, error.message]

models, name = client("sandbox").models, "gemini-nano-banana-2.1"
buffer = io.BytesIO()
Image.new("RGB", (320, 320), (250, 10, 10)).save(buffer, "PNG")
red = types.Part.from_bytes(data=buffer.getvalue(), mime_type="image/png")
made = models.generate_content(model=name, contents="a red fox", config=config(aspect_ratio="16:9", image_size="1K"))
edited = models.generate_content(model="gemini-3-pro-image", contents=["keep it red", red], config=config(aspect_ratio="1:1"))
plain = models.generate_content(model=name, contents="keep it red")
blocked = models.generate_content(model=name, contents="a fight [[fault: moderation]]")
held = models.generate_content(model=name, contents="a fight [[fault: failed-by-moderation]]")
none = models.generate_content(model=name, contents="a riddle [[fault: no-address]]")
print(json.dumps({
    "made": facts(made), "edited": facts(edited), "plain": facts(plain),
    "blocked": [blocked.candidates, blocked.prompt_feedback.block_reason.value],
    "held": [held.candidates[0].content and "content", held.candidates[0].finish_reason.value],
    "none": [none.candidates[0].finish_reason.value, none.text],
    "models": [model.name for model in models.list()],
    "bad_key": refusal(lambda: client("bad").models.generate_content(model=name, contents="a fox")),
    "poor": refusal(lambda: client("poor").models.generate_content(model=name, contents="a fox")),
    "bad_size": refusal(lambda: models.generate_content(model=name, contents="a fox", config=config(image_size="8K"))),
    "bad_model": refusal(lambda: models.generate_content(model="gemini-9", contents="a fox")),
}))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    """A sandbox whose tasks take no time."""
    with sandbox_thread(duration=0.0) as running:
        yield running


@pytest.fixture(scope="module")
def seen(server: Sandbox) -> dict[str, Any]:
    """What the client saw."""
    return run_client(SCRIPT, server.origin)


def test_it_generates_a_picture_of_the_requested_ratio(seen: dict[str, Any]) -> None:
    """With text beside it, its MIME type and its tokens."""
    made = seen["made"]
    assert (made["pixels"], made["mime"], made["reason"]) == ([1376, 768], "image/png", "STOP")
    assert (made["text"], made["model"]) == ("Here is your picture.", "gemini-nano-banana-2.1")
    assert made["tokens"]["IMAGE"] == 1120


def test_it_edits_a_picture(seen: dict[str, Any]) -> None:
    """The reference is in the result, and counted."""
    edited, plain = seen["edited"], seen["plain"]
    assert (edited["pixels"], edited["mime"]) == ([1024, 1024], "image/jpeg")
    assert edited["prompt_tokens"] - plain["prompt_tokens"] == 560
    assert edited["corner"][0] > plain["corner"][0] or edited["corner"] != plain["corner"]


def test_it_meets_refusals_inside_a_200(seen: dict[str, Any]) -> None:
    """A blocked prompt, a picture that is not shown, and words alone."""
    assert seen["blocked"] == [None, "PROHIBITED_CONTENT"]
    assert seen["held"] == [None, "IMAGE_SAFETY"]
    assert seen["none"] == ["NO_IMAGE", "I could not make a picture of this."]


def test_it_meets_errors_as_google_words_them(seen: dict[str, Any]) -> None:
    """Key, money, a value and a model that do not exist."""
    assert seen["bad_key"] == [400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."]
    assert seen["poor"][:2] == [429, "RESOURCE_EXHAUSTED"]
    assert seen["bad_size"][:2] == [400, "INVALID_ARGUMENT"]
    assert seen["bad_model"][:2] == [404, "NOT_FOUND"]


def test_it_lists_the_models(seen: dict[str, Any]) -> None:
    """Those of the provider."""
    assert seen["models"] == ["models/gemini-nano-banana-2.1", "models/gemini-3-pro-image"]


def test_no_key_and_no_picture_is_in_the_log(server: Sandbox, seen: dict[str, Any]) -> None:
    """Long texts are cut."""
    entries = server.submissions("keep it red")
    assert [entry["had_key"] for entry in entries] == [True, True]
    assert max(len(str(entry["json"])) for entry in entries) < 2000
