"""OpenAI: what would be sent, what its answers mean, and what an address that is given for it is."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest

from imagegen_magic.errors import (
    APIError,
    AuthenticationError,
    ContentRejected,
    InsufficientBalance,
    RateLimited,
    SubmissionUnknown,
    TaskFailed,
    UnknownProvider,
    UnsupportedOption,
)
from imagegen_magic.providers.base import Failed, Partial, PixelRule, Plan, Succeeded
from imagegen_magic.providers.registry import get_provider, moved
from imagegen_magic.request import ImageRequest, LocalImage

OPENAI = get_provider("openai")
PHOTO = LocalImage(b"photo", "image/png", 1024, 1024, "photo.png")
MASK = LocalImage(b"mask", "image/png", 1024, 1024, "mask.png")
USAGE = {"input_tokens": 30, "input_tokens_details": {"text_tokens": 30, "image_tokens": 0}, "output_tokens": 1756, "total_tokens": 1786}
ANSWER = {"created": 1, "background": "opaque", "output_format": "png", "quality": "high", "size": "1024x1024", "usage": USAGE}
ANSWER |= {"data": [{"b64_json": "iVBORw0KGgo="}]}


def plan(**options: Any) -> Plan:
    """Return the plan of a red fox at OpenAI."""
    return OPENAI.plan(ImageRequest("a red fox", **options))


def sent(**options: Any) -> dict[str, Any]:
    """Return the JSON of the first call."""
    return dict(plan(**options).calls[0].json or {})


def refusal(**options: Any) -> UnsupportedOption:
    """Return the refusal of a plan."""
    with pytest.raises(UnsupportedOption) as caught:
        plan(**options)
    return caught.value


def error(code: str, message: str = "no", kind: str = "invalid_request_error", **more: Any) -> dict[str, Any]:
    """Return an error as OpenAI writes it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


# what is sent


def test_the_plain_request_has_every_field_and_a_price() -> None:
    """The defaults are those whose price is known before: 1024x1024 at medium quality."""
    made = plan()
    assert (made.calls[0].method, made.calls[0].path, made.calls[0].events) == ("POST", "/images/generations", False)
    assert made.calls[0].json == {
        "model": "gpt-image-2.5-flare",
        "prompt": "a red fox",
        "n": 1,
        "size": "1024x1024",
        "quality": "medium",
        "background": "auto",
        "moderation": "auto",
        "output_format": "png",
    }
    assert (made.pixels, made.mime_type, made.warnings) == (((1024, 1024),), "image/png", ())
    assert str(made.price) == "about $0.0132"


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"size": "16:9", "resolution": "2k"}, {"size": "2048x1152"}),
        ({"size": "1536x864"}, {"size": "1536x864"}),
        ({"size": "auto"}, {"size": "auto"}),
        ({"quality": "xhigh"}, {"quality": "xhigh"}),
        ({"quality": "max"}, {"quality": "max"}),
        ({"background": "transparent", "output_format": "webp"}, {"background": "transparent", "output_format": "webp"}),
        ({"output_format": "jpeg", "output_compression": 60}, {"output_format": "jpeg", "output_compression": 60}),
        ({"moderation": "low"}, {"moderation": "low"}),
        ({"parameters": {"complexity": "LOW"}}, {"complexity": "low"}),
        ({"extra": {"safety_identifier": "x"}}, {"safety_identifier": "x"}),
        ({"extra": {"complexity": "high"}}, {"complexity": "high"}),
        ({"model": "GPT-Image-2.5-sunburst-2026-09-08"}, {"model": "gpt-image-2.5-sunburst-2026-09-08"}),
    ],
)
def test_each_option_is_sent_as_openai_names_it(options: dict[str, Any], fields: dict[str, Any]) -> None:
    """A ratio and a tier become pixels, and no field resolution is sent."""
    body = sent(**options)
    assert {name: body[name] for name in fields} == fields
    assert "resolution" not in body


def test_every_listed_size_obeys_the_rule_of_free_sizes() -> None:
    """The table has no pixels that OpenAI would refuse."""
    rule = PixelRule()
    found = [pixels for model in OPENAI.models for tiers in model.sizes.values() for pixels in tiers.values() if rule.violations(pixels)]
    assert found == []


@pytest.mark.parametrize(
    ("options", "what", "fix"),
    [
        ({"size": "1000x1000"}, "multiples of 16", {"size": "1008x1008"}),
        ({"size": "4096x1024"}, "no edge may exceed 3840", {"size": "3552x1184"}),
        ({"quality": "ultra"}, "has no quality", {"quality": "medium"}),
        ({"model": "gpt-image-2", "quality": "max"}, "has no quality", {"quality": "medium"}),
        ({"model": "gpt-image-2.6-flare", "quality": "xhigh"}, "has no quality", {"quality": "high"}),
        ({"model": "gpt-image-2.6-flare", "size": "1536x864"}, "takes no pixels such as 1536x864", {"size": "3:2"}),
        ({"background": "transparent", "output_format": "jpeg"}, "transparent background as jpeg", {"output_format": "png"}),
        ({"output_compression": 50}, "cannot compress png", {"output_format": "jpeg"}),
        ({"output_format": "gif"}, "has no output_format", {"output_format": "png"}),
        ({"parameters": {"partials": 4}}, "takes no partials 4", {"partials": 3}),
        ({"parameters": {"complexity": "higher"}}, "takes no complexity", {"complexity": "high"}),
        ({"parameters": {"seed": 7}}, "has no parameter seed", {"seed": None}),
        ({"references": ("https://example.com/a.gif",)}, "takes no gif as a reference", None),
        ({"references": (PHOTO,) * 17}, "takes at most 16 reference pictures", {"references": (PHOTO,) * 16}),
        ({"mask": MASK}, "takes a mask only with a reference picture", None),
        ({"callback_url": "https://example.com/"}, "has no option callback_url", {"callback_url": None}),
        ({"extra": {"stream": True}}, "has its own field stream", None),
        ({"extra": {"image": "x"}}, "has its own field image", None),
    ],
)
def test_what_openai_refuses_is_refused_before_it_is_sent(options: dict[str, Any], what: str, fix: dict[str, Any] | None) -> None:
    """Each refusal names what fits."""
    refused = refusal(**options)
    assert what in refused.what
    assert refused.fix == fix


def test_a_prompt_and_a_mask_that_are_too_large_are_refused() -> None:
    """32,000 characters, and 4 MB, are the limits."""
    with pytest.raises(UnsupportedOption, match="no prompt of 32001 characters"):
        OPENAI.plan(ImageRequest("x" * 32_001))
    large = LocalImage(bytes(4_000_000), "image/png", 1024, 1024, "mask.png")
    assert "takes a mask of at most 4 MB, and mask.png has 4 MB" in refusal(references=(PHOTO,), mask=large).what
    assert "takes pictures of at most 50 MB" in refusal(references=(LocalImage(bytes(50_000_000), "image/png", 9, 9, "p.png"),)).what


def test_a_reference_makes_an_edit_of_json() -> None:
    """Pictures of this machine stand in it as placeholders, which become data: addresses; no form is needed."""
    made = plan(references=(PHOTO, "https://example.com/a.png"), mask=MASK, n=2)
    call = made.calls[0]
    assert (call.path, call.form) == ("/images/edits", None)
    assert call.json is not None
    assert call.json["images"] == [{"image_url": PHOTO.placeholder}, {"image_url": "https://example.com/a.png"}]
    assert call.json["mask"] == {"image_url": MASK.placeholder}
    assert made.model.references_as == "data_url"
    assert {each.name for each in made.uploads} == {"photo.png", "mask.png"}


def test_several_pictures_are_single_requests_and_the_plan_says_what_that_costs() -> None:
    """One lost answer loses one picture; the input tokens of an edit are paid for each."""
    assert [len(plan(n=3).calls), plan(n=3).images_per_call, plan(n=3).warnings] == [3, (1, 1, 1), ()]
    assert plan(n=3, references=(PHOTO,)).warnings == ("3 pictures are 3 requests: the input tokens of the references are charged 3 times",)
    assert plan(references=(PHOTO,)).warnings == ()


def test_pictures_are_made_together_if_that_is_requested() -> None:
    """Up to ten in one request; the plan says what a lost answer loses."""
    made = plan(n=12, references=(PHOTO,), parameters={"together": "yes"})
    assert (made.images_per_call, [(call.json or {})["n"] for call in made.calls]) == ((10, 2), [10, 2])
    assert made.warnings == ("10 pictures are one request: if its answer is lost, all of them are",)
    assert "together" not in (made.calls[0].json or {})
    assert sent(n=1, parameters={"together": True}) == sent()
    with pytest.raises(UnsupportedOption, match="streams one picture of a request only"):
        plan(n=2, parameters={"together": True, "partials": 1})


def test_partial_pictures_are_a_stream_and_cost_output_tokens() -> None:
    """Without them there is no stream."""
    made = plan(parameters={"partials": 2})
    assert made.calls[0].events is True
    assert {"stream": True, "partial_images": 2}.items() <= dict(made.calls[0].json or {}).items()
    assert made.warnings == ("2 first views cost 200 output tokens a picture; fewer may come",)
    assert made.price.amount == plan().price.amount + Decimal("0.006")
    assert sent(parameters={"partials": 0}).keys() == sent().keys()


def test_what_openai_calls_experimental_or_a_preview_is_warned_of() -> None:
    """Large sizes, and a transparent background on gpt-image-2."""
    assert plan(size="3840x2160").warnings == ("OpenAI calls sizes above 2560x1440 experimental",)
    assert plan(size="2560x1440").warnings == ()
    assert plan(model="gpt-image-2", background="transparent").warnings == ("a transparent background is a preview on gpt-image-2",)


def test_an_unchecked_request_sends_what_the_data_do_not_have() -> None:
    """A quality of 2.6 that only others report; no field resolution is added."""
    made = plan(model="gpt-image-2.6-flare", quality="max", size="16:9", unchecked=True)
    body = dict(made.calls[0].json or {})
    assert (body["quality"], body["size"]) == ("max", "1536x864")
    assert "resolution" not in body
    assert any("has no quality" in warning for warning in made.warnings)


# money before and after


@pytest.mark.parametrize(
    ("quality", "size", "dollars"),
    [
        *(("low", "1024x1024", "0.0059"), ("medium", "1024x1024", "0.0132"), ("high", "1024x1024", "0.0527")),
        *(("xhigh", "1024x1024", "0.0937"), ("max", "1024x1024", "0.2107"), ("high", "1536x1024", "0.0412")),
        *(("max", "2048x2048", "0.4282"), ("xhigh", "3840x2160", "0.1779")),
    ],
)
def test_the_estimated_price_is_that_of_the_price_list(quality: str, size: str, dollars: str) -> None:
    """Output tokens of 2.5 in five steps, and a few cents of a cent for the prompt."""
    price = plan(quality=quality, size=size).price
    assert (price.unit, price.kind, price.checked) == ("USD", "estimated", "2026-11-30")
    assert price.amount is not None
    assert abs(price.amount - Decimal(dollars)) < Decimal("0.0001")


def test_a_reference_adds_input_tokens_to_the_estimate() -> None:
    """About 1,500 tokens at $8 per million."""
    price = plan(references=(PHOTO, PHOTO)).price
    assert price.amount == plan().price.amount + Decimal("0.024")
    assert price.source == "OpenAI's price list; tokens estimated"


@pytest.mark.parametrize("options", [{"quality": "auto"}, {"size": "auto"}, {"model": "gpt-image-2.6-sunburst"}])
def test_a_price_that_cannot_be_known_is_unknown(options: dict[str, Any]) -> None:
    """Never 0."""
    assert plan(**options).price.amount is None


def test_the_charge_is_calculated_from_the_reported_tokens() -> None:
    """By dated rates; output tokens without details are those of a picture."""
    cost = OPENAI.cost({"usage": USAGE})
    assert (cost.amount, cost.unit, cost.kind, cost.checked) == (Decimal("0.05283"), "USD", "calculated", "2026-11-30")
    assert cost.source == "1,756 image output tokens at $30 per million, 30 text input tokens at $5 per million"
    edit = {"input_tokens": 1530, "input_tokens_details": {"text_tokens": 30, "image_tokens": 1500}, "output_tokens": 100}
    assert OPENAI.cost({"usage": edit}).amount == Decimal("0.01515")
    for usage in (None, {}, {"output_tokens": 0}, {"output_tokens": "many"}):
        assert OPENAI.cost({"usage": usage}).amount is None


# answers


def test_the_answer_is_the_result() -> None:
    """There is no task; the picture's address leads into the answer."""
    submission = OPENAI.read_submission(ANSWER)
    assert submission.task_id == ""
    assert submission.finished is not None
    assert submission.finished.image_urls == ("#/data/0/b64_json",)
    assert submission.finished.cost == submission.cost == OPENAI.cost(ANSWER)


def test_a_second_picture_has_its_own_address() -> None:
    """An item without a picture has none."""
    answer = {**ANSWER, "data": [{"b64_json": ""}, {"b64_json": "AA=="}, {"url": "https://example.com/a.png"}]}
    finished = OPENAI.read_submission(answer).finished
    assert finished is not None
    assert finished.image_urls == ("#/data/1/b64_json", "https://example.com/a.png")


@pytest.mark.parametrize("answer", [{}, {"data": []}, {"data": [{}]}, {"created": 1, "data": None}, "<html>", None, [1]])
def test_an_answer_without_a_picture_is_an_unknown_submission(answer: Any) -> None:
    """It may have been charged, and is not repeated."""
    with pytest.raises(SubmissionUnknown) as caught:
        OPENAI.read_submission(answer)
    assert (caught.value.charge, caught.value.retry) == ("unknown", False)


@pytest.mark.parametrize("kind", ["image_generation", "image_edit"])
def test_events_carry_partial_pictures_and_the_result(kind: str) -> None:
    """Any other event is none of a picture."""
    partial = {"type": f"{kind}.partial_image", "b64_json": "AA==", "partial_image_index": 1}
    assert OPENAI.read_event(f"{kind}.partial_image", partial) == Partial("#/b64_json", 1)
    completed = {"type": f"{kind}.completed", "b64_json": "AA==", "usage": USAGE}
    assert OPENAI.read_event(f"{kind}.completed", completed) == Succeeded(("#/b64_json",), cost=OPENAI.cost(completed))
    for name, data in ((f"{kind}.in_progress", {"type": f"{kind}.in_progress"}), ("", "[DONE]"), (f"{kind}.completed", {}), ("x", None)):
        assert OPENAI.read_event(name, data) is None


def test_an_error_in_the_stream_may_have_been_charged() -> None:
    """The request was accepted; a moderation names its stage."""
    failed = OPENAI.read_event("error", {"type": "error", **error("server_error", "The server had an error", "server_error")})
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, TaskFailed)
    assert failed.error.charge == "unknown"
    details = {"moderation_stage": "output", "categories": ["violence"]}
    refused = OPENAI.read_event("error", error("moderation_blocked", "blocked", "image_generation_user_error", moderation_details=details))
    assert isinstance(refused, Failed)
    assert isinstance(refused.error, ContentRejected)
    assert refused.error.charge == "unknown"


# errors


@pytest.mark.parametrize(
    ("details", "what", "charge"),
    [
        (
            {"moderation_stage": "input", "categories": ["violence", "sexual"]},
            "the prompt or a reference; categories: violence, sexual",
            "no",
        ),
        ({"moderation_stage": "output", "categories": ["self-harm"]}, "the finished picture; categories: self-harm", "unknown"),
        ({"moderation_stage": "unknown", "categories": []}, "an unknown stage", "unknown"),
    ],
)
def test_a_moderation_names_its_stage_and_categories(details: dict[str, Any], what: str, charge: str) -> None:
    """A refusal of the finished picture may have been charged."""
    answer = error("moderation_blocked", "Your request was rejected", "image_generation_user_error", moderation_details=details)
    found = OPENAI.read_error(400, answer)
    assert isinstance(found, ContentRejected)
    assert (found.what, found.charge) == (f"OpenAI refused the content: Your request was rejected (refused: {what})", charge)
    plain = OPENAI.read_error(400, error("moderation_blocked", "Your request was rejected", "image_generation_user_error"))
    assert (plain.what, plain.charge) == ("OpenAI refused the content: Your request was rejected", "no")


def test_a_missing_verification_has_its_link_and_what_else_can_make_the_picture() -> None:
    """The organization's page, up to 15 minutes, and the other services."""
    message = "Your organization must be verified to use the model `gpt-image-2.5-flare`. Please go to the settings."
    found = OPENAI.read_error(403, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}})
    assert isinstance(found, APIError)
    assert (found.refused, found.charge, found.blame, found.status) == (True, "no", "you", 403)
    for part in (
        "https://platform.openai.com/settings/organization/general",
        "up to 15 minutes",
        "-p fal",
        "-p openrouter",
        "azure-openai",
    ):
        assert part in str(found)


@pytest.mark.parametrize(
    ("status", "answer", "kind", "refused", "hint"),
    [
        (429, error("credit_balance_exhausted", kind="insufficient_quota"), InsufficientBalance, True, "organization/billing"),
        (429, error("organization_spend_limit_exceeded", kind="insufficient_quota"), InsufficientBalance, True, "organization/limits"),
        (429, error("project_spend_limit_exceeded", kind="insufficient_quota"), InsufficientBalance, True, "organization/limits"),
        (429, error("organization_usage_limit_exceeded", kind="insufficient_quota"), InsufficientBalance, True, "organization/limits"),
        (429, error("rate_limit_exceeded", kind="requests"), RateLimited, True, ""),
        (429, error("slow_down"), RateLimited, True, ""),
        (503, error("server_is_overloaded", kind="server_error"), APIError, True, "try again later"),
        (500, error("server_error", kind="server_error"), APIError, False, ""),
        (401, error("invalid_api_key", "Incorrect API key provided: sk-proj-abcdef123456"), AuthenticationError, True, "login"),
        (400, error("invalid_value", "unsupported mimetype ('application/octet-stream')"), APIError, True, ""),
    ],
)
def test_each_error_is_of_its_kind(status: int, answer: Any, kind: type[APIError], refused: bool, hint: str) -> None:
    """A refusal was not charged; a failure of the server may have been."""
    found = OPENAI.read_error(status, answer)
    assert type(found) is kind
    assert isinstance(found, APIError)
    assert (found.refused, found.charge) == (refused, "no" if refused else "unknown")
    assert hint in found.hint
    assert "abcdef123456" not in str(found)


# another address


@pytest.mark.parametrize(
    ("address", "template"),
    [
        *(("https://api.openai.com/v1", ""), ("https://eu.api.openai.com/v1", ""), ("https://api.openai.com.", "")),
        *(("http://sandbox.invalid/openai/v1", ""), ("http://127.0.0.1:8001/openai", "")),
        *(("https://lab.openai.azure.com/openai/v1", "azure-openai"), ("https://lab.services.ai.azure.com/openai/v1", "azure-openai")),
        *(("http://192.168.1.20:8080/v1", "openai-compatible"), ("http://localhost:8080/v1", "openai-compatible")),
        *(("https://openai.com.example.org/v1", "openai-compatible"), ("https://notopenai.com/v1", "openai-compatible")),
        *(("https://llm.example.com/openai/v1", "openai-compatible"), ("nonsense", "openai-compatible")),
    ],
)
def test_an_address_that_is_not_openais_is_a_compatible_server(address: str, template: str) -> None:
    """OpenAI's own data and prices are those of its own hosts only; what is at its own address stays there."""
    assert OPENAI.template_at(address) == template
    assert get_provider("azure-openai").template_at(address) == ""


def test_a_compatible_server_at_openais_variable_keeps_name_and_key() -> None:
    """Its abilities and prices are not known, and it may need no key."""
    found = moved(OPENAI, "http://192.168.1.20:8080/v1")
    assert (found.name, found.title, found.base_url) == ("openai", "192.168.1.20", "http://192.168.1.20:8080/v1")
    assert (found.key_variable, found.needs_key, found.template) == ("OPENAI_API_KEY", False, False)
    made = found.plan(ImageRequest("a red fox", model="flux", quality="hd"))
    assert made.price.amount is None
    assert (made.calls[0].json or {})["quality"] == "hd"
    assert pickle.loads(pickle.dumps(found)).base_url == found.base_url
    assert moved(OPENAI, "https://api.openai.com/v1") is OPENAI
    azure = moved(OPENAI, "https://lab.openai.azure.com/openai/v1")
    assert (azure.name, azure.key_header, azure.key_variable) == ("openai", ("api-key", "{}"), "OPENAI_API_KEY")


def test_openai_is_named_to_be_chosen() -> None:
    """Its key mostly stands in the environment for other purposes; the organization and the project become headers."""
    assert (OPENAI.chosen_by_key, OPENAI.synchronous, OPENAI.needs_key, OPENAI.version_segment) == (False, True, True, "/v1")
    assert dict(OPENAI.extra_headers) == {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
    with pytest.raises(UnknownProvider, match=r"Did you mean gpt-image-2\.5-flare"):
        OPENAI.model("gpt-image-2.5-flair")
