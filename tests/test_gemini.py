"""The provider gemini: what would be sent, what its answers mean, and its errors."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from imagegen_magic.engine.jobs import submission
from imagegen_magic.engine.net.client import GatewayResponse
from imagegen_magic.engine.net.retry import Retryable
from imagegen_magic.errors import (
    AuthenticationError,
    ContentRejected,
    InsufficientBalance,
    RateLimited,
    SubmissionUnknown,
    TaskFailed,
    UnsupportedOption,
)
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import Cost

GEMINI = get_provider("gemini")
PICTURE = LocalImage(b"a picture", "image/jpeg", 64, 32, "photo.jpg")
USAGE = {
    "promptTokenCount": 572,
    "candidatesTokenCount": 1130,
    "thoughtsTokenCount": 200,
    "totalTokenCount": 1902,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}, {"modality": "IMAGE", "tokenCount": 560}],
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}, {"modality": "TEXT", "tokenCount": 10}],
}


def _answer(*parts: dict[str, Any], reason: str = "STOP", **further: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": reason, "index": 0}
    return {"candidates": [candidate], "modelVersion": "gemini-nano-banana-2.1", "responseId": "r1", **further}


def _picture(data: str = "iVBORw0KGgo=") -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": data}}


def test_a_request_is_one_call_of_the_models_own_path() -> None:
    """The model stands in the path, the size in `imageConfig`, and pictures and texts may come."""
    plan = GEMINI.plan(ImageRequest("a fox", size="16:9", resolution="2k"))
    (call,) = plan.calls
    assert (call.method, call.path) == ("POST", "/models/gemini-nano-banana-2.1:generateContent")
    assert call.json == {
        "contents": [{"role": "user", "parts": [{"text": "a fox"}]}],
        "generationConfig": {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"}},
    }
    assert (plan.pixels, plan.mime_type) == (((2752, 1536),), None)


def test_several_pictures_are_several_calls() -> None:
    """One answer carries one picture."""
    assert GEMINI.plan(ImageRequest("a fox", n=3)).images_per_call == (1, 1, 1)


def test_the_defaults_are_a_square_of_1k_with_its_price() -> None:
    """A square of 1024 pixels costs 1120 tokens at $30 per million."""
    plan = GEMINI.plan(ImageRequest("a fox"))
    assert (plan.pixels, plan.request.resolution) == (((1024, 1024),), "1k")
    assert plan.price == Cost(Decimal("0.0336"), "USD", "estimated", "https://ai.google.dev/gemini-api/docs/pricing", "2026-11-30")


@pytest.mark.parametrize(
    ("model", "tier", "dollars"),
    [
        ("gemini-nano-banana-2.1", "2k", "0.0504"),
        ("gemini-nano-banana-2.1", "4k", "0.1134"),
        ("gemini-3-pro-image", "1k", "0.1344"),
        ("gemini-3-pro-image", "2k", "0.1344"),
        ("gemini-3-pro-image", "4k", "0.24"),
    ],
)
def test_the_price_follows_the_tier(model: str, tier: str, dollars: str) -> None:
    """Each model and tier has its own count of output tokens."""
    assert GEMINI.plan(ImageRequest("a fox", model=model, resolution=tier)).price.amount == Decimal(dollars)


def test_the_ratios_are_those_of_the_page() -> None:
    """Fourteen ratios, of which the older model has ten."""
    new, old = (set(GEMINI.model(name).sizes) for name in ("gemini-nano-banana-2.1", "gemini-3-pro-image"))
    assert new - old == {"1:4", "4:1", "1:8", "8:1"}
    assert old == {"1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"}


def test_references_go_as_base64_with_their_type() -> None:
    """The placeholders of content and MIME type stand where the request carries them."""
    (call,) = GEMINI.plan(ImageRequest("make it blue", references=(PICTURE,))).calls
    parts = call.json["contents"][0]["parts"] if call.json else ()
    assert parts[1] == {"inlineData": {"mimeType": f"mime:{PICTURE.placeholder}", "data": PICTURE.placeholder}}


def test_an_address_is_refused_before_sending() -> None:
    """The API is given the bytes themselves."""
    with pytest.raises(UnsupportedOption, match="takes no addresses") as refused:
        GEMINI.plan(ImageRequest("make it blue", references=("https://example.com/a.png",)))
    assert "Give the picture itself" in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"size": "1:4", "model": "gemini-3-pro-image"}, "size"),
        ({"size": "1024x1024"}, "size"),
        ({"resolution": "512"}, "resolution"),
        ({"quality": "high"}, "quality"),
        ({"mask": PICTURE, "references": (PICTURE,)}, "mask"),
        ({"references": (PICTURE,) * 15}, "references"),
        ({"parameters": {"temperature": 3}}, "temperature"),
        ({"parameters": {"steps": 30}}, "steps"),
    ],
)
def test_what_the_model_cannot_do_is_refused_with_a_fix(fields: dict[str, Any], option: str) -> None:
    """Each refusal names the option and a value that works, or leaves it out."""
    with pytest.raises(UnsupportedOption) as refused:
        GEMINI.plan(ImageRequest("a fox", **fields))
    assert (refused.value.option, bool(refused.value.fix)) == (option, True)


def test_parameters_stand_within_the_generation_config() -> None:
    """They join the size; a seed counts up from call to call."""
    request = ImageRequest("a fox", n=2, parameters={"seed": 7, "temperature": 0.5, "thinking": "high"})
    configs = [call.json["generationConfig"] for call in GEMINI.plan(request).calls if call.json]
    assert [config["seed"] for config in configs] == [7, 8]
    assert (configs[0]["temperature"], configs[0]["thinkingConfig"]) == (0.5, {"thinkingLevel": "high"})
    assert configs[0]["imageConfig"] == {"aspectRatio": "1:1", "imageSize": "1K"}


def test_pictures_are_read_from_among_texts_and_thoughts() -> None:
    """A picture that is a thought is none of the result; the text is kept."""
    answer = _answer({"text": "a plan", "thought": True}, {**_picture(), "thought": True}, {"text": "Here it is."}, _picture())
    finished = GEMINI.read_submission(answer).finished
    assert finished is not None
    assert finished.image_urls == ("#/candidates/0/content/parts/3/inlineData/data",)
    assert finished.text == "Here it is."


def test_the_cost_is_calculated_from_the_tokens_of_each_kind() -> None:
    """Pictures, text and thoughts have their own prices."""
    finished = GEMINI.read_submission(_answer(_picture(), usageMetadata=USAGE)).finished
    assert finished is not None
    expected = (1120 * Decimal(30) + 210 * Decimal("7.50") + 572 * Decimal("1.50")) / 1_000_000
    assert (finished.cost.amount, finished.cost.unit, finished.cost.kind) == (expected, "USD", "calculated")
    assert finished.cost.source.startswith("1,120 image output tokens at $30 per million")
    assert finished.cost.checked == "2026-11-30"


def test_tokens_that_are_not_counted_by_kind_are_those_of_the_picture() -> None:
    """The higher price is assumed."""
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 1120, "totalTokenCount": 1130}
    finished = GEMINI.read_submission(_answer(_picture(), usageMetadata=usage)).finished
    assert finished is not None
    assert finished.cost.amount == (1120 * Decimal(30) + 10 * Decimal("1.50")) / 1_000_000


@pytest.mark.parametrize("change", [{"modelVersion": "gemini-9"}, {"usageMetadata": "none"}])
def test_a_cost_that_cannot_be_calculated_is_unknown(change: dict[str, Any]) -> None:
    """It is never 0."""
    finished = GEMINI.read_submission(_answer(_picture(), **{"usageMetadata": USAGE, **change})).finished
    assert finished is not None
    assert finished.cost == Cost()


@pytest.mark.parametrize("reason", ["SAFETY", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY"])
def test_a_blocked_prompt_in_a_200_is_a_refusal_of_content(reason: str) -> None:
    """The reason is named; without counted tokens nothing was charged."""
    with pytest.raises(ContentRejected, match=reason) as refused:
        GEMINI.read_submission({"promptFeedback": {"blockReason": reason}, "modelVersion": "gemini-nano-banana-2.1"})
    assert (refused.value.charge, refused.value.blame) == ("no", "moderation")


@pytest.mark.parametrize("reason", ["IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "SAFETY", "SPII"])
def test_a_picture_that_was_held_back_is_a_refusal_of_content(reason: str) -> None:
    """Tokens that were written are charged; the message of the answer is shown."""
    answer = _answer(reason=reason, usageMetadata={"promptTokenCount": 5, "candidatesTokenCount": 20})
    answer["candidates"][0]["finishMessage"] = "The image was held back."
    with pytest.raises(ContentRejected, match=f"{reason}: The image was held back") as refused:
        GEMINI.read_submission(answer)
    assert refused.value.charge == "yes"


def test_a_counted_prompt_alone_may_have_been_charged() -> None:
    """A blocked prompt with counted tokens is not called free."""
    with pytest.raises(ContentRejected) as refused:
        GEMINI.read_submission({"promptFeedback": {"blockReason": "IMAGE_SAFETY"}, "usageMetadata": {"promptTokenCount": 5}})
    assert refused.value.charge == "unknown"


@pytest.mark.parametrize("reason", ["NO_IMAGE", "STOP", "IMAGE_OTHER", "MAX_TOKENS"])
def test_an_answer_in_words_alone_is_a_failure_that_shows_them(reason: str) -> None:
    """What the model wrote says what to change."""
    answer = _answer({"text": "What colour should it be?"}, reason=reason, usageMetadata=USAGE)
    with pytest.raises(TaskFailed, match="What colour should it be") as failed:
        GEMINI.read_submission(answer)
    assert (failed.value.charge, reason in str(failed.value)) == ("yes", True)


@pytest.mark.parametrize("answer", ["<html>", {}, {"something": 1}, [], None])
def test_an_answer_without_candidates_is_unknown(answer: object) -> None:
    """It is neither a picture nor a refusal."""
    with pytest.raises(SubmissionUnknown):
        GEMINI.read_submission(answer)


@pytest.mark.parametrize(
    "answer",
    [
        {"candidates": None},
        {"candidates": [None, 3]},
        {"candidates": [{"content": None}]},
        {"candidates": [{"content": {"parts": [None, {"inlineData": None}, {"inlineData": {"data": ""}}]}}]},
        {"candidates": [{"content": {"parts": {"text": 3}}, "finishReason": ["STOP"]}], "usageMetadata": [1]},
    ],
)
def test_answers_of_other_shapes_are_failures_without_a_picture(answer: dict[str, Any]) -> None:
    """No shape raises anything else."""
    with pytest.raises(TaskFailed):
        GEMINI.read_submission(answer)


def _error(code: int, message: str, status: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def test_a_bad_key_is_a_400_and_still_a_matter_of_the_key() -> None:
    """The API answers INVALID_ARGUMENT with the reason API_KEY_INVALID."""
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    error = GEMINI.read_error(400, _error(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", detail))
    assert (type(error), error.charge) == (AuthenticationError, "no")


def test_429_is_a_rate_with_its_delay() -> None:
    """The usual words about a quota are those of a rate; the message names the seconds."""
    words = "You exceeded your current quota, please check your plan and billing details. Please retry in 20.04466179s."
    violation = {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}
    detail = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}
    error = GEMINI.read_error(429, _error(429, words, "RESOURCE_EXHAUSTED", detail))
    assert isinstance(error, RateLimited)
    assert error.retry_after == 20.04466179


@pytest.mark.parametrize(("header", "pause"), [(None, 20.5), (3.0, 3.0)])
def test_the_pause_that_the_body_names_is_kept(header: float | None, pause: float) -> None:
    """Google's API has no Retry-After header; where there is one, it counts."""
    body = _error(429, "You exceeded your current quota. Please retry in 20.5s.", "RESOURCE_EXHAUSTED")
    with pytest.raises(Retryable) as asked:
        submission.read_submission(GEMINI, GatewayResponse(429, body, retry_after=header))
    assert asked.value.pause == pause


@pytest.mark.parametrize(
    ("words", "quota"),
    [
        ("You exceeded your current quota.", "GenerateRequestsPerDayPerProjectPerModel"),
        ("Quota exceeded for metric: generate_content_free_tier_requests, limit: 0, model: gemini-3-pro-image", "x"),
        ("Your prepayment credits are depleted.", "x"),
    ],
)
def test_429_of_a_quota_that_is_spent_ends_the_job(words: str, quota: str) -> None:
    """A quota of the day, a limit of 0 and spent credits do not come back within minutes."""
    error = GEMINI.read_error(429, _error(429, words, "RESOURCE_EXHAUSTED", {"violations": [{"quotaId": quota}]}))
    assert isinstance(error, InsufficientBalance)
    assert "Google AI Studio" in str(error)


def test_other_errors_are_read_as_those_of_any_gateway() -> None:
    """An unknown model is not found, an outage is no refusal, an overload is one."""
    kinds = {status: GEMINI.read_error(status, _error(status, "words", "X")) for status in (400, 404, 500, 503)}
    assert {status: (type(error).__name__, getattr(error, "refused", None)) for status, error in kinds.items()} == {
        400: ("APIError", True),
        404: ("NotFound", True),
        500: ("APIError", False),
        503: ("APIError", True),
    }


def test_it_is_chosen_by_name_only_and_takes_both_variables() -> None:
    """A key for other purposes changes no default."""
    assert (GEMINI.chosen_by_key, GEMINI.synchronous, GEMINI.version_segment) == (False, True, "/v1beta")
    assert (GEMINI.key_variable, GEMINI.other_key_variables, GEMINI.key_header) == (
        "GEMINI_API_KEY",
        ("GOOGLE_API_KEY",),
        ("x-goog-api-key", "{}"),
    )
