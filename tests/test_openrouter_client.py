"""OpenRouter's own client at the sandbox: it lists models, generates and edits pictures, and meets refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from clients import run_client
from servers import Sandbox, sandbox_thread

from imagegen_magic.providers.registry import get_provider

pytestmark = pytest.mark.slow

SCRIPT = """
import base64, io, json, sys
from openrouter import OpenRouter, errors
from PIL import Image

def client(key):
    return OpenRouter(api_key=key, server_url=sys.argv[1] + "/openrouter/api/v1")

def facts(response):
    image = Image.open(io.BytesIO(base64.b64decode(response.data[0].b64_json)))
    image.load()
    return {
        "pixels": image.size, "mode": image.mode, "mime": response.data[0].media_type, "count": len(response.data),
        "corner": image.convert("RGB").getpixel((8, 8)), "cost": response.usage.cost,
    }

def refusal(call):
    try:
        call()
    except errors.OpenRouterError as error:
        return [type(error).__name__, error.status_code, error.message]

images, name = client("sandbox").images, "google/gemini-nano-banana-2.1"
buffer = io.BytesIO()
Image.new("RGB", (320, 320), (250, 10, 10)).save(buffer, "PNG")
url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
red = [{"type": "image_url", "image_url": {"url": url}}]
gpt = dict(model="openai/gpt-image-2.5-sunburst", quality="low", background="transparent", output_format="webp", n=2)
found = images.list_models()
endpoints = images.list_model_endpoints(author="google", slug="gemini-nano-banana-2.1")
print(json.dumps({
    "made": facts(images.generate(model=name, prompt="a red fox", aspect_ratio="16:9", resolution="1K")),
    "edited": facts(images.generate(model=name, prompt="keep it red", input_references=red)),
    "plain": facts(images.generate(model=name, prompt="keep it red")),
    "clear": facts(images.generate(prompt="a logo", **gpt)),
    "models": [model.id for model in found.data],
    "resolutions": [model.supported_parameters["resolution"].values for model in found.data if "resolution" in model.supported_parameters],
    "endpoint": [endpoints.id, endpoints.endpoints[0].pricing[0].cost_usd],
    "blocked": refusal(lambda: images.generate(model=name, prompt="a fight [[fault: moderation]]")),
    "bad_key": refusal(lambda: client("bad").images.generate(model=name, prompt="a fox")),
    "poor": refusal(lambda: client("poor").images.generate(model=name, prompt="a fox")),
    "bad_model": refusal(lambda: images.generate(model="lab/fox-9", prompt="a fox")),
    "rate": refusal(lambda: images.generate(model=name, prompt="a fox [[fault: rate-limited]]")),
    "conflict": refusal(lambda: images.generate(model=name, prompt="a fox", size="512x512", resolution="2K")),
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


def test_it_generates_a_picture_with_its_cost(seen: dict[str, Any]) -> None:
    """Of the requested ratio, and priced in dollars."""
    made = seen["made"]
    assert (made["pixels"], made["mime"], made["count"], made["cost"]) == ([1360, 768], "image/png", 1, 0.0336)


def test_it_makes_several_transparent_pictures(seen: dict[str, Any]) -> None:
    """In the requested format."""
    clear = seen["clear"]
    assert (clear["mode"], clear["mime"], clear["count"]) == ("RGBA", "image/webp", 2)


def test_it_edits_a_picture(seen: dict[str, Any]) -> None:
    """The reference is in the result."""
    assert seen["edited"]["corner"] != seen["plain"]["corner"]


def test_it_lists_the_models_and_their_parameters(seen: dict[str, Any]) -> None:
    """What it lists is what our provider reads."""
    assert seen["models"] == [model.name for model in get_provider("openrouter").models]
    assert seen["resolutions"] == [["1K", "2K", "4K"]] * 3
    assert seen["endpoint"] == ["google/gemini-nano-banana-2.1", 0.04]


def test_it_meets_errors_as_openrouter_words_them(seen: dict[str, Any]) -> None:
    """Each has its class in the client."""
    assert seen["blocked"][:2] == ["ForbiddenResponseError", 403]
    assert seen["bad_key"] == ["UnauthorizedResponseError", 401, "No auth credentials found"]
    assert seen["poor"][:2] == ["PaymentRequiredResponseError", 402]
    assert seen["bad_model"] == ["NotFoundResponseError", 404, "No endpoints found for lab/fox-9."]
    assert seen["rate"][:2] == ["TooManyRequestsResponseError", 429]
    assert seen["conflict"][:2] == ["BadRequestResponseError", 400]


def test_our_provider_reads_the_sandboxs_own_list(server: Sandbox) -> None:
    """The models that it learns are those that it knows, with the same options."""
    import json
    import urllib.request

    provider = get_provider("openrouter")
    call = provider.models_call()
    assert call is not None
    with urllib.request.urlopen(f"{server.base_url('openrouter')}/api/v1{call.path}", timeout=20) as response:
        learnt = provider.read_models(json.load(response))
    facts = [
        [(model.name, set(model.sizes), model.resolutions, model.qualities, model.max_references) for model in each]
        for each in (learnt, provider.models)
    ]
    assert facts[0] == facts[1]
