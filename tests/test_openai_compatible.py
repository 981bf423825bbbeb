"""Servers that speak OpenAI's interface: configured by a table, unknown in their abilities, without a key."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from servers import Sandbox

from imagegen_magic import generate, run
from imagegen_magic.errors import APIError, UnknownProvider, UnsupportedOption
from imagegen_magic.providers import registry
from imagegen_magic.providers.base import Plan, Provider
from imagegen_magic.providers.gateways.openai_compatible_models import FLAVOURS
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import Cost

TABLE = {"like": "openai-compatible", "base_url": "http://192.168.1.20:8080/v1", "key_variable": ""}
PHOTO = LocalImage(b"photo", "image/png", 1024, 1024, "photo.png")
MASK = LocalImage(b"mask", "image/png", 1024, 1024, "mask.png")
UNKNOWN = "(the abilities of this server are not known)"


def lab(flavour: str = "plain", **more: str) -> Provider:
    """Return a server of that flavour, as a table of pyproject.toml makes it."""
    return registry.get_provider("lab", {"lab": {**TABLE, "flavour": flavour, **more}})


def plan(flavour: str = "plain", prompt: str = "a red fox", **options: Any) -> Plan:
    """Return a plan at such a server."""
    return lab(flavour).plan(ImageRequest(prompt, **options))


def sent(flavour: str = "plain", **options: Any) -> dict[str, Any]:
    """Return the JSON of the only call."""
    (call,) = plan(flavour, **options).calls
    return dict(call.json or {})


# the table


def test_a_table_makes_a_server_without_a_key() -> None:
    """It is named to be chosen; http in a private network is usual."""
    server = lab()
    assert (server.name, server.base_url, server.key_variable, server.needs_key) == ("lab", TABLE["base_url"], "", False)
    assert (server.chosen_by_key, server.synchronous, server.template, dict(server.extra_headers)) == (False, True, False, {})
    assert lab(key_variable="LAB_KEY").needs_key
    without = {name: value for name, value in TABLE.items() if name != "key_variable"}
    optional = registry.get_provider("lab", {"lab": without})
    assert (optional.key_variable, optional.needs_key) == ("LAB_API_KEY", False)


def test_the_template_is_no_provider_by_itself() -> None:
    """It has no address; the error says how to give it one."""
    assert "openai-compatible" not in registry.provider_names()
    with pytest.raises(
        UnknownProvider, match=r'needs an address of its own.*\[tool.imagegen.providers.NAME\] with like = "openai-compatible"'
    ):
        registry.get_provider("openai-compatible")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"flavour": "ollama"}, "has a flavour 'ollama' that is not known"),
        ({"flavor": "plain"}, "has unknown keys flavor"),
        ({"base_url": ""}, "has no base_url"),
        ({"base_url": "http://images.example.com/v1"}, "no plain https address"),
    ],
)
def test_a_wrong_table_is_named(table: dict[str, str], words: str) -> None:
    """With what it may have."""
    with pytest.raises(UnknownProvider, match=words):
        registry.get_provider("lab", {"lab": {**TABLE, **table}})
    assert "flavour" not in registry._KEYS


# what is sent


def test_the_plain_request_has_the_servers_own_defaults() -> None:
    """Only what is certain, and the picture within the answer."""
    made = plan()
    assert (made.calls[0].path, made.calls[0].json) == (
        "/images/generations",
        {"prompt": "a red fox", "n": 1, "response_format": "b64_json"},
    )
    assert (made.price, made.pixels) == (Cost(), ())
    assert made.warnings == ("size auto: the service chooses, so the pixels are not known before",)
    assert sent("openai") == {"prompt": "a red fox", "n": 1}


def test_a_table_may_name_the_default_model() -> None:
    """Any other name is a model too."""
    assert lab(model="flux-1").plan(ImageRequest("x")).calls[0].json["model"] == "flux-1"
    assert sent(model="Qwen-Image")["model"] == "Qwen-Image"
    assert sent(prompt="default")["prompt"] == "default"


def test_every_option_is_sent_and_listed_as_not_checked() -> None:
    """In words that fit: the server's abilities are not known."""
    options = {"size": "512x768", "quality": "hd", "background": "transparent", "output_format": "webp", "moderation": "low"}
    made = plan(**options, parameters={"steps": 30, "sampler": "euler"})
    assert {**options, "steps": 30, "sampler": "euler"}.items() <= dict(made.calls[0].json or {}).items()
    assert set(made.warnings) == {
        f"not checked: size '512x768' {UNKNOWN}",
        f"not checked: quality 'hd' {UNKNOWN}",
        f"not checked: background 'transparent' {UNKNOWN}",
        f"not checked: output_format 'webp' {UNKNOWN}",
        f"not checked: moderation 'low' {UNKNOWN}",
        f"not checked: steps 30 {UNKNOWN}",
        f"not checked: sampler 'euler' {UNKNOWN}",
    }
    assert (made.pixels, made.mime_type) == (((512, 768),), "image/webp")


def test_a_ratio_is_sent_as_pixels_and_a_tier_needs_one() -> None:
    """There is no field for either."""
    made = plan(size="16:9", resolution="2k")
    assert (made.calls[0].json or {})["size"] == "2048x1152"
    assert made.warnings == (f"not checked: size 16:9, sent as 2048x1152 {UNKNOWN}",)
    with pytest.raises(UnsupportedOption, match="takes a resolution only with a ratio"):
        plan(resolution="2k")


@pytest.mark.parametrize(
    ("flavour", "fields"),
    [
        ("vllm-omni", {"seed": 7, "negative_prompt": "rain", "num_inference_steps": 30, "guidance_scale": 3.5}),
        ("sglang", {"seed": 7, "negative_prompt": "rain", "num_inference_steps": 30, "guidance_scale": 3.5}),
        ("plain", {"seed": 7, "negative_prompt": "rain", "steps": 30, "guidance_scale": 3.5}),
    ],
)
def test_parameters_have_the_names_of_the_server(flavour: str, fields: dict[str, Any]) -> None:
    """Those that a flavour declares are checked; the others go by their own names."""
    given = {"seed": 7, "negative_prompt": "rain", "steps": 30, "guidance_scale": 3.5}
    assert fields.items() <= sent(flavour, parameters=given).items()
    assert (f"not checked: seed 7 {UNKNOWN}" in plan(flavour, parameters=given).warnings) is (flavour == "plain")
    if flavour != "plain":
        with pytest.raises(UnsupportedOption, match="takes no steps 300"):
            plan(flavour, parameters={"steps": 300})


def test_xinference_has_its_parameters_in_one_text() -> None:
    """JSON within JSON."""
    body = sent("xinference", parameters={"seed": 7, "steps": 30})
    assert json.loads(body["kwargs"]) == {"seed": 7, "num_inference_steps": 30}
    assert "kwargs" not in sent("xinference")


def test_localai_has_the_negative_prompt_in_the_prompt() -> None:
    """After a mark, of which a prompt with one is warned."""
    assert sent("localai", parameters={"negative_prompt": "rain", "steps": 9}) | {"n": 1} == {
        "prompt": "a red fox|rain",
        "n": 1,
        "step": 9,
        "response_format": "b64_json",
    }
    words = "this server reads what follows | in the prompt as a negative prompt"
    assert words in plan("localai", "a fox | a dog").warnings
    assert words not in plan("plain", "a fox | a dog").warnings


@pytest.mark.parametrize("flavour", sorted(FLAVOURS))
def test_an_edit_is_as_the_server_takes_it(flavour: str) -> None:
    """A form for most, base64 for LocalAI, data: addresses for a proxy that passes all on."""
    (call,) = plan(flavour, references=(PHOTO,)).calls
    given = FLAVOURS[flavour]
    assert call.path == (given.edit_path or "/images/generations")
    body = dict(call.form or call.json or {})
    assert (call.form is not None) is (given.references_as == "part")
    picture = {"image_url": PHOTO.placeholder} if flavour == "openai" else PHOTO.placeholder
    assert list(body[given.reference_field]) == [picture]
    assert f"not checked: references {UNKNOWN}" in plan(flavour, references=(PHOTO,)).warnings
    if given.mask_field:
        (masked,) = plan(flavour, references=(PHOTO,), mask=MASK).calls
        assert given.mask_field in (masked.form or masked.json or {})
    else:
        with pytest.raises(UnsupportedOption, match=r"takes no mask.*describe what to change, or choose a service that takes one"):
            plan(flavour, references=(PHOTO,), mask=MASK)


def test_a_form_holds_no_address() -> None:
    """The server would not fetch it."""
    for flavour in ("plain", "localai"):
        with pytest.raises(UnsupportedOption, match="it takes no addresses"):
            plan(flavour, references=("https://example.com/a.png",))
    assert sent("openai", references=("https://example.com/a.png",))["images"] == [{"image_url": "https://example.com/a.png"}]


# answers


def test_models_are_learnt_from_the_server() -> None:
    """Any list of names; what is no name is left out."""
    server = lab()
    assert (server.models_call().method, server.models_call().path) == ("GET", "/models")
    found = server.read_models(
        {"object": "list", "data": [{"id": "flux"}, {"id": "qwen"}, {"id": ""}, {"id": 7}, {"id": []}, {}, "x", {"id": "flux"}]}
    )
    assert [(model.name, model.strict) for model in found] == [("flux", False), ("qwen", False)]
    for nothing in ({}, [], None, {"data": None}, "text"):
        assert server.read_models(nothing) == ()


def test_pictures_come_within_the_answer_or_at_addresses() -> None:
    """Also in the network of the server."""
    server = lab()
    url = "http://192.168.1.20:8080/a.png"
    for item, address in (({"b64_json": "AA=="}, "#/data/0/b64_json"), ({"url": url}, url)):
        answer = {"created": 1, "data": [item | {"revised_prompt": "a fox, red"}], "usage": {"output_tokens": 0}}
        finished = server.read_submission(answer).finished
        assert finished is not None
        assert (finished.image_urls, finished.text, finished.cost) == ((address,), "a fox, red", Cost())


@pytest.mark.parametrize(
    ("text", "amount"), [("0.0132", "0.0132"), ("1.3e-05", "0.000013"), ("", None), ("None", None), ("-1", None), ("nan", None)]
)
def test_litellms_header_is_a_measured_cost(text: str, amount: str | None) -> None:
    """In dollars."""
    cost = lab("litellm").cost_of_headers({"x-litellm-response-cost": text})
    assert cost.amount == (None if amount is None else Decimal(amount))
    assert (cost.kind, cost.unit) == (("unknown", "") if amount is None else ("measured", "USD"))
    assert lab().cost_headers == ("x-litellm-response-cost",)


def test_errors_are_the_servers_own() -> None:
    """A `detail`, and a hint for a server that refuses the field response_format; none of them leads to OpenAI's pages."""
    found = lab().read_error(422, {"detail": [{"msg": "field required", "loc": ["body", "prompt"]}]})
    assert isinstance(found, APIError)
    assert (found.refused, "field required" in found.what) == (True, True)
    refused = lab().read_error(400, {"error": {"message": "Unknown parameter: 'response_format'.", "code": "unknown_parameter"}})
    assert 'Set flavour = "openai" in [tool.imagegen.providers.lab]' in str(refused)
    spent = lab().read_error(429, {"error": {"message": "no quota", "code": "insufficient_quota", "type": "insufficient_quota"}})
    assert "openai.com" not in str(spent)


# a server


@pytest.fixture
def server(gateway: Sandbox, own_world: Path) -> Sandbox:
    """The sandbox as such a server, configured as `lab` (plain) and `local` (LocalAI)."""
    tables = {"lab": "plain", "local": "localai", "proxy": "openai"}
    lines = [
        f'[tool.imagegen.providers.{name}]\nlike = "openai-compatible"\nflavour = "{flavour}"\nkey_variable = ""\n'
        f'base_url = "{gateway.origin}/openai-compatible/v1"\n'
        for name, flavour in tables.items()
    ]
    (own_world / "pyproject.toml").write_text("\n".join(lines), encoding="utf-8")
    return gateway


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lab", "proxy"])
def test_a_picture_is_made_without_a_key(server: Sandbox, name: str) -> None:
    """Within the answer, or fetched from the server's own address; its cost is that of LiteLLM's header."""
    (image,) = run(generate(f"{name} makes a fox", provider=name, size="256x128"))
    assert (image.width, image.height, image.cost.amount, image.cost.kind) == (256, 128, Decimal("0.0025"), "measured")
    (entry,) = server.accepted(f"{name} makes a fox")
    assert (entry["had_key"], entry["json"].get("response_format")) == (False, "b64_json" if name == "lab" else None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lab", "local", "proxy"])
def test_a_picture_is_edited(server: Sandbox, tmp_path: Path, name: str) -> None:
    """As a form, as base64 and as a data: address."""
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 64), "teal").save(photo)
    (image,) = run(generate(f"{name} edits a fox", provider=name, size="64x64", references=[photo]))
    with Image.open(image.path) as saved:
        assert saved.convert("RGB").getpixel((2, 2))[1] >= 64  # half of the reference is in it
    (entry,) = server.accepted(f"{name} edits a fox")
    assert len(entry["json"]["images"]) == 1


@pytest.mark.slow
def test_a_key_travels_if_the_table_names_one(server: Sandbox, own_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the usual header."""
    text = (own_world / "pyproject.toml").read_text(encoding="utf-8").replace('key_variable = ""', 'key_variable = "LAB_KEY"', 1)
    (own_world / "pyproject.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("LAB_KEY", "a-key")
    run(generate("lab makes a fox with a key", provider="lab"))
    assert [entry["had_key"] for entry in server.accepted("lab makes a fox with a key")] == [True]


def test_the_sandbox_lists_models_of_such_a_server(server: Sandbox) -> None:
    """Of several kinds, as LocalAI does."""
    answer = httpx2.get(f"{server.origin}/openai-compatible/v1/models", timeout=20).json()
    assert [model.name for model in lab().read_models(answer)] == ["flux-1-schnell", "qwen-image", "qwen3-embedding"]
    assert "LAB_KEY" not in os.environ
