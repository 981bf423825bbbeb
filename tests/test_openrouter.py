"""The provider openrouter: what would be sent, models as the service describes them, answers and errors."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from imagegen_magic.errors import (
    AuthenticationError,
    ContentRejected,
    InsufficientBalance,
    NotFound,
    RateLimited,
    SubmissionUnknown,
    TaskFailed,
    UnknownProvider,
    UnsupportedOption,
)
from imagegen_magic.providers.base import Model
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import Cost

OPENROUTER = get_provider("openrouter")
PICTURE = LocalImage(b"a picture", "image/png", 64, 32, "photo.png")
ROW = {
    "id": "lab/fox-1",
    "name": "Fox 1",
    "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["image"]},
    "created": 1790000000,
    "description": "A model of foxes.",
    "endpoints": "/api/v1/images/models/lab/fox-1/endpoints",
    "supports_streaming": False,
    "supported_parameters": {
        "aspect_ratio": {"type": "enum", "values": ["16:9", "1:1", "2.35:1", "auto"]},
        "resolution": {"type": "enum", "values": ["512", "1K", "2K"]},
        "quality": {"type": "enum", "values": ["auto", "low", "high"]},
        "background": {"type": "enum", "values": ["auto", "transparent"]},
        "output_format": {"type": "enum", "values": ["png", "webp", "svg"]},
        "output_compression": {"type": "range", "min": 0, "max": 100},
        "n": {"type": "range", "min": 1, "max": 4},
        "input_references": {"type": "range", "min": 0, "max": 8},
        "seed": {"type": "boolean"},
        "strength": {"type": "range", "min": 0, "max": 1},
        "style": {"type": "enum", "values": ["photo", "ink"]},
        "magic": {"type": "boolean"},
    },
}


def _learnt() -> Model:
    (model,) = OPENROUTER.read_models({"data": [ROW]})
    return model


def _plan_on(model: Model, **fields: Any) -> Any:
    class Learnt(type(OPENROUTER)):  # type: ignore[misc]  # a class that is found at run time
        models = (model,)

    return Learnt().plan(ImageRequest("a fox", **fields))


def test_a_request_is_one_call_with_what_was_requested() -> None:
    """An option that was not requested is not sent, because each provider has its own default."""
    (call,) = OPENROUTER.plan(ImageRequest("a fox", size="16:9", resolution="2k")).calls
    assert (call.method, call.path) == ("POST", "/images")
    assert call.json == {
        "model": "google/gemini-nano-banana-2.1",
        "prompt": "a fox",
        "n": 1,
        "aspect_ratio": "16:9",
        "resolution": "2K",
    }


def test_size_auto_is_left_out_and_pixels_are_the_size() -> None:
    """Explicit pixels stand alone: a ratio beside them would be refused."""
    request = ImageRequest("a fox", model="openai/gpt-image-2.5-sunburst", size="auto")
    assert set(OPENROUTER.plan(request).calls[0].json or ()) == {"model", "prompt", "n"}
    plan = OPENROUTER.plan(ImageRequest("a fox", model="black-forest-labs/flux-3-image", size="1024x768"))
    assert (plan.calls[0].json or {})["size"] == "1024x768"
    assert any("not checked" in warning for warning in plan.warnings)


def test_several_pictures_are_several_requests() -> None:
    """A response that is lost loses one picture."""
    assert OPENROUTER.plan(ImageRequest("a fox", n=3)).images_per_call == (1, 1, 1)


def test_references_are_addresses_or_data_urls() -> None:
    """A picture of this machine stands as a placeholder that becomes a data URL."""
    request = ImageRequest("make it blue", references=(PICTURE, "https://example.com/a.png"))
    sent = (OPENROUTER.plan(request).calls[0].json or {})["input_references"]
    assert [each["type"] for each in sent] == ["image_url", "image_url"]
    assert [each["image_url"]["url"] for each in sent] == [PICTURE.placeholder, "https://example.com/a.png"]
    assert OPENROUTER.model().references_as == "data_url"


def test_the_price_is_that_of_the_model_and_tier() -> None:
    """A model without a listed price has an unknown one."""
    assert OPENROUTER.plan(ImageRequest("a fox", resolution="4k")).price.amount == Decimal("0.1134")
    assert OPENROUTER.plan(ImageRequest("a fox", model="bytedance-seed/seedream-4.5")).price == Cost()


def test_any_other_model_is_taken_by_its_name() -> None:
    """What is not known of it is sent, and the plan says so."""
    plan = OPENROUTER.plan(ImageRequest("a fox", model="lab/fox-2", quality="high", parameters={"seed": 3}))
    assert plan.calls[0].json == {"model": "lab/fox-2", "prompt": "a fox", "n": 1, "aspect_ratio": "1:1", "quality": "high", "seed": 3}
    assert any("quality" in warning for warning in plan.warnings)
    with pytest.raises(UnknownProvider):
        OPENROUTER.model("fox-2")


def test_the_list_of_models_is_read_with_its_descriptors() -> None:
    """Enums are the values of options, ranges are limits, and the rest are parameters."""
    model = _learnt()
    assert (tuple(model.sizes), model.auto_size, model.default_size) == (("16:9", "1:1"), True, "1:1")
    assert (model.resolutions, model.qualities, model.backgrounds) == (
        ("1k", "512", "2k"),
        ("auto", "low", "high"),
        ("auto", "transparent"),
    )
    assert (model.formats, model.compressible, model.max_n, model.max_references) == (("png", "webp"), ("webp",), 1, 8)
    assert (model.strict, model.pixels_documented, model.references_as) == (True, False, "data_url")
    assert {name: (parameter.kind, parameter.allowed, parameter.counted) for name, parameter in model.parameters.items()} == {
        "seed": ("integer", ("0 to 2.14748e+09",), True),
        "strength": ("number", ("0 to 1",), False),
        "style": ("choice", ("photo", "ink"), False),
    }


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"size": "4:3"}, "size"),
        ({"resolution": "4k"}, "resolution"),
        ({"quality": "max"}, "quality"),
        ({"output_format": "jpeg"}, "output_format"),
        ({"references": (PICTURE,) * 9}, "references"),
        ({"parameters": {"strength": 2}}, "strength"),
        ({"parameters": {"steps": 2}}, "steps"),
    ],
)
def test_what_the_service_does_not_list_is_refused_before_sending(fields: dict[str, Any], option: str) -> None:
    """The description is the service's own."""
    with pytest.raises(UnsupportedOption) as refused:
        _plan_on(_learnt(), **fields)
    assert refused.value.option == option


def test_what_the_service_lists_is_sent() -> None:
    """Every kind of parameter reaches the request."""
    fields = {"quality": "high", "background": "transparent", "output_format": "webp", "output_compression": 80, "size": "auto"}
    plan = _plan_on(_learnt(), **fields, n=2, parameters={"seed": 7, "strength": "0.5", "style": "Ink"})
    assert [call.json["seed"] for call in plan.calls] == [7, 8]
    sent = dict(plan.calls[0].json)
    assert {key: sent[key] for key in ("quality", "background", "output_format", "output_compression", "strength", "style")} == {
        "quality": "high",
        "background": "transparent",
        "output_format": "webp",
        "output_compression": 80,
        "strength": 0.5,
        "style": "ink",
    }


@pytest.mark.parametrize(
    "answer",
    [None, "<html>", {}, {"data": None}, {"data": [None, 3, {"id": 3}, {"id": ""}]}],
)
def test_an_unreadable_list_has_no_models(answer: object) -> None:
    """It raises nothing."""
    assert OPENROUTER.read_models(answer) == ()


def test_unreadable_descriptors_are_left_out() -> None:
    """The model stays usable."""
    strange = {
        "aspect_ratio": 3,
        "resolution": {"type": "enum"},
        "n": {"type": "range", "max": "many"},
        "x": {"type": "range", "min": None},
    }
    (model,) = OPENROUTER.read_models({"data": [{"id": "lab/odd", "supported_parameters": strange}]})
    assert (model.default_size, model.resolutions, model.max_n) == ("auto", (), 1)
    assert _plan_on(model).calls[0].json == {"model": "lab/odd", "prompt": "a fox", "n": 1}


def test_one_models_endpoints_are_joined_with_the_highest_price() -> None:
    """All values of an enum, the widest range; a price only where each endpoint asks it for a picture."""
    line = {"billable": "output_image", "unit": "image", "cost_usd": 0.04}
    endpoints = [
        {
            "supported_parameters": {
                "resolution": {"type": "enum", "values": ["1K"]},
                "input_references": {"type": "range", "min": 0, "max": 4},
            },
            "pricing": [line],
        },
        {
            "supported_parameters": {
                "resolution": {"type": "enum", "values": ["2K"]},
                "input_references": {"type": "range", "min": 0, "max": 8},
            },
            "pricing": [{**line, "cost_usd": 0.05}],
        },
    ]
    model = OPENROUTER.read_schema("lab/fox-1", {"id": "lab/fox-1", "endpoints": endpoints})
    assert model is not None
    assert (model.resolutions, model.max_references, model.prices) == (("1k", "2k"), 8, {"": Decimal("0.05")})
    assert _plan_on(model, n=2).price.amount == Decimal("0.10")
    by_tokens = OPENROUTER.read_schema("lab/fox-1", {"endpoints": [*endpoints, {"pricing": [{**line, "unit": "token"}]}]})
    assert by_tokens is not None
    assert by_tokens.prices == {}
    assert OPENROUTER.read_schema("lab/fox-1", {"endpoints": []}) is None


def test_the_calls_for_models_are_those_of_the_api() -> None:
    """The list, and one model's endpoints."""
    calls = OPENROUTER.models_call(), OPENROUTER.schema_call("lab/fox 1")
    assert [(call.method, call.path) for call in calls if call] == [
        ("GET", "/images/models"),
        ("GET", "/images/models/lab/fox%201/endpoints"),
    ]


def _answer(**usage: Any) -> dict[str, Any]:
    tokens = {"prompt_tokens": 3, "completion_tokens": 1120, "total_tokens": 1123}
    return {"created": 1790000000, "data": [{"b64_json": "iVBORw0KGgo=", "media_type": "image/png"}], "usage": {**tokens, **usage}}


def test_pictures_are_within_the_answer_and_the_cost_is_measured() -> None:
    """`usage.cost` is in dollars."""
    finished = OPENROUTER.read_submission(_answer(cost=0.0336)).finished
    assert finished is not None
    assert finished.image_urls == ("#/data/0/b64_json",)
    assert finished.cost == Cost(Decimal("0.0336"), "USD", "measured", "OpenRouter's answer")


def test_with_a_key_of_ones_own_the_upstream_price_is_added() -> None:
    """The fee alone would be too little; without the upstream price the cost is unknown."""
    own = _answer(cost=0.001, is_byok=True, cost_details={"upstream_inference_cost": 0.04})
    finished, unknown = (OPENROUTER.read_submission(each).finished for each in (own, _answer(cost=0.001, is_byok=True)))
    assert finished is not None
    assert unknown is not None
    assert (finished.cost.amount, unknown.cost) == (Decimal("0.041"), Cost())


def test_an_answer_without_usage_has_an_unknown_cost() -> None:
    """It is never 0."""
    finished = OPENROUTER.read_submission({"data": [{"b64_json": "x"}]}).finished
    assert finished is not None
    assert finished.cost == Cost()


@pytest.mark.parametrize(("usage", "charge"), [({"cost": 0.03}, "yes"), ({"cost": 0}, "no"), ({}, "unknown")])
def test_an_answer_without_pictures_is_a_failure_with_its_charge(usage: dict[str, Any], charge: str) -> None:
    """The answer's own cost decides."""
    with pytest.raises(TaskFailed) as failed:
        OPENROUTER.read_submission({"data": [{"media_type": "image/png"}, None], "usage": usage})
    assert failed.value.charge == charge


@pytest.mark.parametrize("answer", [None, "<html>", {}, {"created": 1}])
def test_an_answer_of_another_shape_is_unknown(answer: object) -> None:
    """It is neither a picture nor a refusal."""
    with pytest.raises(SubmissionUnknown):
        OPENROUTER.read_submission(answer)


def _error(code: int, message: str, **metadata: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **({"metadata": metadata} if metadata else {})}, "user_id": "user_1"}


@pytest.mark.parametrize(
    ("status", "answer", "kind", "words"),
    [
        (401, _error(401, "No auth credentials found"), AuthenticationError, "No auth"),
        (402, _error(402, "This request requires more credits"), InsufficientBalance, "more credits"),
        (403, _error(403, "Your input was flagged", reasons=["violence"], provider_name="OpenAI"), ContentRejected, "violence"),
        (
            400,
            _error(400, "Provider returned error", raw='{"error":{"code":"moderation_blocked"}}', provider_name="OpenAI"),
            ContentRejected,
            "moderation_blocked",
        ),
        (404, _error(404, "No endpoints found for lab/fox-9."), NotFound, "No endpoints"),
        (429, _error(429, "Provider returned error", raw="slow down", provider_name="Google"), RateLimited, "Google: slow down"),
    ],
)
def test_errors_are_read_with_the_words_of_the_upstream_service(status: int, answer: Any, kind: type, words: str) -> None:
    """Each type of error says what happened."""
    error = OPENROUTER.read_error(status, answer)
    assert (type(error), error.charge) == (kind, "no")
    assert words in str(error)


def test_an_outage_upstream_is_no_refusal() -> None:
    """Whether the picture was made is not known, unless the provider was overloaded."""
    outage, overloaded = (OPENROUTER.read_error(502, _error(502, words)) for words in ("Provider returned error", "Provider is overloaded"))
    assert (outage.charge, overloaded.charge) == ("unknown", "no")


def test_an_error_in_a_200_is_an_error() -> None:
    """The code within it is its status."""
    with pytest.raises(InsufficientBalance):
        OPENROUTER.read_submission(_error(402, "Insufficient credits"))


def test_it_is_chosen_by_name_only() -> None:
    """A key for other purposes changes no default."""
    assert (OPENROUTER.chosen_by_key, OPENROUTER.synchronous) == (False, True)
    assert (OPENROUTER.key_variable, OPENROUTER.version_segment) == ("OPENROUTER_API_KEY", "/api/v1")
