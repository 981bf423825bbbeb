"""fal: what is sent to each model's endpoint, what the queue's answers mean, and what is charged."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from imagegen_magic.errors import (
    AuthenticationError,
    ContentRejected,
    InsufficientBalance,
    NotFound,
    PictureMissing,
    RateLimited,
    SubmissionUnknown,
    TaskFailed,
    UnknownProvider,
    UnsupportedOption,
)
from imagegen_magic.providers.base import Call, Elsewhere, Failed, Pending, Plan, Succeeded
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest, LocalImage

FAL = get_provider("fal")
FLARE = "openai/gpt-image-2.5/flare/text-to-image"
BANANA = "fal-ai/nano-banana-2"
QUEUE = "https://queue.fal.run/fal-ai/flux/requests/764cabcf"
ACCEPTED = {
    "status": "IN_QUEUE",
    "request_id": "764cabcf",
    "response_url": QUEUE,
    "status_url": f"{QUEUE}/status",
    "cancel_url": f"{QUEUE}/cancel",
    "queue_position": 2,
}
LOCKED = "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."
REFUSED = {
    "detail": [
        {
            "loc": ["body", "prompt"],
            "msg": "The content could not be processed because it contained material flagged by a content checker.",
            "type": "content_policy_violation",
            "ctx": {"categories": ["violence"]},
        }
    ]
}


def plan(model: str | None = None, **options: Any) -> Plan:
    """Return the plan of a request."""
    return FAL.plan(ImageRequest("a red fox", model=model, **options))


def body(model: str | None = None, **options: Any) -> dict[str, Any]:
    """Return the JSON of a request's only call."""
    (call,) = plan(model, **options).calls
    return dict(call.json or {})


def test_the_first_model_is_sent_with_its_own_defaults() -> None:
    """The model stands in the path, and the size as pixels."""
    expected = {"prompt": "a red fox", "output_format": "jpeg", "image_size": {"width": 1024, "height": 768}}
    assert plan().calls == (Call("POST", "/fal-ai/flux/schnell", expected),)


def test_a_ratio_and_pixels_are_exact_pixels() -> None:
    """fal's names of sizes are never needed."""
    assert body(size="16:9")["image_size"] == {"width": 1024, "height": 576}
    assert body(size="1280x720")["image_size"] == {"width": 1280, "height": 720}
    assert plan(size="1280x720").pixels == ((1280, 720),)


def test_pixels_that_the_model_would_round_are_refused_with_the_nearest() -> None:
    """FLUX draws multiples of 16."""
    with pytest.raises(UnsupportedOption, match="multiples of 16") as caught:
        plan(size="1001x1001")
    assert caught.value.fix == {"size": "1008x1008"}


def test_parameters_have_their_names_on_the_wire() -> None:
    """Steps and guidance are fal's num_inference_steps and guidance_scale."""
    sent = body("fal-ai/qwen-image", parameters={"steps": 20, "guidance": "4", "negative_prompt": "text", "seed": 7})
    assert {name: sent[name] for name in ("num_inference_steps", "guidance_scale", "negative_prompt", "seed")} == {
        "num_inference_steps": 20,
        "guidance_scale": 4.0,
        "negative_prompt": "text",
        "seed": 7,
    }


def test_a_parameter_out_of_range_is_refused_with_the_nearest() -> None:
    """FLUX schnell takes at most 12 steps."""
    with pytest.raises(UnsupportedOption, match="takes no steps 30") as caught:
        plan(parameters={"steps": 30})
    assert (caught.value.allowed, caught.value.fix) == (("1 to 12",), {"steps": 12})


def test_several_pictures_are_single_requests_whose_seed_counts_up() -> None:
    """One lost answer loses one picture."""
    planned = plan(n=3, parameters={"seed": 7})
    assert [call.json["seed"] for call in planned.calls if call.json] == [7, 8, 9]
    assert planned.images_per_call == (1, 1, 1)


def test_an_edit_goes_to_the_models_edit_endpoint() -> None:
    """References and mask travel as data, for which the plan holds placeholders."""
    picture = LocalImage(b"png", "image/png", 64, 64, "fox.png")
    mask = LocalImage(b"mask", "image/png", 64, 64, "mask.png")
    (call,) = plan(FLARE, references=(picture, "https://example.com/a.png"), mask=mask).calls
    sent = call.json or {}
    assert call.path == "/openai/gpt-image-2.5/flare/edit"
    assert (sent["image_urls"], sent["mask_url"]) == ([picture.placeholder, "https://example.com/a.png"], mask.placeholder)
    assert FAL.model(FLARE).references_as == "data_url"


def test_nano_banana_takes_a_ratio_and_a_resolution() -> None:
    """It has no pixels to choose, so none are promised."""
    planned = plan(BANANA, size="16:9", resolution="2k")
    sent = planned.calls[0].json or {}
    assert (sent["aspect_ratio"], sent["resolution"], "image_size" in sent, planned.pixels) == ("16:9", "2K", False, ())


@pytest.mark.parametrize(
    ("model", "options", "dollars"),
    [
        pytest.param("fal-ai/flux/schnell", {"size": "1:1"}, "0.003", id="one megapixel"),
        pytest.param("fal-ai/flux/dev", {"size": "2048x1024"}, "0.050", id="two megapixels"),
        pytest.param("fal-ai/flux/dev", {"size": "2048x1024", "n": 2}, "0.100", id="two pictures"),
        pytest.param(FLARE, {"size": "1024x1024", "quality": "low"}, "0.00588", id="OpenAI's low"),
        pytest.param(FLARE, {"size": "3840x2160", "quality": "max"}, "0.40026", id="OpenAI's max at 4K"),
        pytest.param(BANANA, {}, "0.08", id="1K"),
        pytest.param(BANANA, {"resolution": "4k"}, "0.16", id="4K"),
        pytest.param("fal-ai/recraft/v4.1/text-to-image", {}, "0.04", id="one price for all"),
        pytest.param("fal-ai/ideogram/v3", {}, "0.06", id="balanced"),
    ],
)
def test_prices_are_the_list_prices(model: str, options: dict[str, Any], dollars: str) -> None:
    """Each names its page and the date on which it was read."""
    price = plan(model, **options).price
    assert (price.amount, price.unit, price.kind, price.checked) == (Decimal(dollars), "USD", "estimated", "2026-11-30")
    assert "https://fal.ai/models/" in price.source


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("fal-ai/qwen-image", {}),
        (FLARE, {"quality": "auto"}),
        ("fal-ai/ideogram/v3", {"parameters": {"rendering_speed": "turbo"}}),
        ("acme/painter", {}),
    ],
)
def test_a_price_that_is_not_known_is_unknown(model: str, options: dict[str, Any]) -> None:
    """No price is invented."""
    assert plan(model, **options).price.amount is None


def test_a_model_that_rewrites_the_prompt_comes_with_a_warning() -> None:
    """A parameter stops it."""
    assert "rewrites the prompt" in plan("fal-ai/ideogram/v3").warnings[0]
    assert plan("fal-ai/ideogram/v3", parameters={"expand_prompt": "no"}).warnings == ()


# other models


def test_any_other_endpoint_is_sent_what_was_requested_and_nothing_else() -> None:
    """What is not known is sent, and the plan lists it."""
    planned = plan("acme/painter/v2/fast", parameters={"strength": 0.5}, extra={"loras": []})
    assert planned.calls == (Call("POST", "/acme/painter/v2/fast", {"prompt": "a red fox", "strength": 0.5, "loras": []}),)
    planned = plan("acme/painter", size="16:9", output_format="webp", references=("https://example.com/a.png",))
    assert dict(planned.calls[0].json or {}) == {
        "prompt": "a red fox",
        "output_format": "webp",
        "image_urls": ["https://example.com/a.png"],
        "image_size": "landscape_16_9",
    }
    assert any("output_format" in warning for warning in planned.warnings)


EVERYTHING = {
    "size": "3:2",
    "resolution": "2k",
    "quality": "high",
    "background": "opaque",
    "moderation": "low",
    "output_format": "webp",
    "output_compression": 80,
    "references": ("https://example.com/a.png",),
    "mask": "https://example.com/mask.png",
}


def test_no_option_of_another_endpoint_is_left_out_silently() -> None:
    """Each is sent under its usual name, and what cannot be sent is refused."""
    assert body("acme/painter", **EVERYTHING) == {
        "prompt": "a red fox",
        "aspect_ratio": "3:2",
        "resolution": "2K",
        "quality": "high",
        "background": "opaque",
        "moderation": "low",
        "output_format": "webp",
        "output_compression": 80,
        "image_urls": ["https://example.com/a.png"],
        "mask_url": "https://example.com/mask.png",
    }
    assert body("acme/painter", resolution="2k") == {"prompt": "a red fox", "resolution": "2K"}
    with pytest.raises(UnsupportedOption, match="no option callback_url"):
        plan("acme/painter", callback_url="https://example.com/done")


def test_a_name_without_an_owner_is_no_endpoint() -> None:
    """It is a misspelt model."""
    with pytest.raises(UnknownProvider, match="painter"):
        plan("painter")


SCHEMA = {
    "paths": {
        "/acme/painter": {
            "post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/PainterInput"}}}}}
        }
    },
    "components": {
        "schemas": {
            "PainterInput": {
                "type": "object",
                "properties": {
                    "prompt": {"type": "string"},
                    "num_inference_steps": {"type": "integer", "minimum": 1, "maximum": 40, "default": 20, "description": "Steps."},
                    "guidance_scale": {"type": "number", "minimum": 0, "maximum": 10},
                    "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                    "style": {"allOf": [{"$ref": "#/components/schemas/Style"}], "default": "oil"},
                    "image_url": {"type": "string"},
                    "output_format": {"enum": ["jpeg", "png"], "type": "string"},
                    "loras": {"type": "array"},
                    "sync_mode": {"type": "boolean"},
                    "tiling": {"type": "boolean", "default": False},
                },
            },
            "Style": {"type": "string", "enum": ["oil", "pencil"]},
        }
    },
}


def test_a_models_own_schema_has_its_parameters() -> None:
    """Ranges, choices and the usual names; what is an option, a list or an object is none."""
    assert FAL.schema_call("acme/painter") == Call("GET", "https://fal.ai/api/openapi/queue/openapi.json?endpoint_id=acme%2Fpainter")
    model = FAL.read_schema("acme/painter", SCHEMA)
    assert model is not None
    kinds = {name: (each.kind, each.path, each.allowed, each.counted) for name, each in model.parameters.items()}
    assert kinds == {
        "steps": ("integer", "num_inference_steps", ("1 to 40",), False),
        "guidance": ("number", "guidance_scale", ("0 to 10",), False),
        "seed": ("integer", "", (), True),
        "style": ("choice", "", ("oil", "pencil"), False),
        "tiling": ("flag", "", ("true", "false"), False),
    }
    assert (model.formats, model.max_references, model.strict, model.pixel_rule) == (("jpeg", "png"), 1, False, None)
    assert FAL.schema_call("flux") is None


@pytest.mark.parametrize("answer", [None, "<html>", {}, {"components": {"schemas": []}}, {"paths": {"/acme/painter": {"post": 3}}}])
def test_a_schema_that_cannot_be_read_is_none(answer: Any) -> None:
    """The model stays unlisted and unchecked."""
    assert FAL.read_schema("acme/painter", answer) is None


# the queue's answers


def test_the_task_is_the_answered_address_without_the_models_path() -> None:
    """Polls, the result and cancelling go to the owner and the app alone."""
    submission = FAL.read_submission(ACCEPTED)
    assert submission.task_id == "fal-ai/flux/requests/764cabcf"
    assert FAL.task_call(submission.task_id) == Call("GET", "/fal-ai/flux/requests/764cabcf/status")
    assert FAL.cancel_call(submission.task_id) == Call("PUT", "/fal-ai/flux/requests/764cabcf/cancel")


@pytest.mark.parametrize(
    ("address", "task_id"),
    [
        ("http://127.0.0.1:8080/fal/openai/gpt-image-2.5/requests/7-a/status", "openai/gpt-image-2.5/requests/7-a"),
        ("https://queue.fal.run/workflows/me/two-steps/requests/7/status", "workflows/me/two-steps/requests/7"),
    ],
)
def test_a_base_address_with_a_path_and_a_workflow_are_read(address: str, task_id: str) -> None:
    """The base address's own path is no part of the task."""
    assert FAL.read_submission({**ACCEPTED, "status_url": address}).task_id == task_id


@pytest.mark.parametrize(
    "answer",
    [{"request_id": "7"}, {**ACCEPTED, "status_url": "https://evil.example/", "response_url": 7}, {}, {"status_url": "/../requests/7"}],
)
def test_an_answer_without_an_address_of_the_task_is_unknown(answer: Any) -> None:
    """It may have been accepted, so it is not repeated."""
    with pytest.raises(SubmissionUnknown):
        FAL.read_submission(answer)


def test_the_queues_states() -> None:
    """A task in the queue has certainly not begun."""
    assert FAL.read_task({"status": "IN_QUEUE", "queue_position": 3}) == Pending("in_queue, position 3", queued=True)
    assert FAL.read_task({"status": "IN_PROGRESS", "logs": None}) == Pending("in_progress")
    assert FAL.read_task({"status": "COMPLETED", "response_url": QUEUE}) == Elsewhere(Call("GET", "/fal-ai/flux/requests/764cabcf"))
    other = {"status": "COMPLETED", "response_url": f"{QUEUE}/response"}
    assert FAL.read_task(other) == Elsewhere(Call("GET", "/fal-ai/flux/requests/764cabcf/response"))


@pytest.mark.parametrize(
    ("error_type", "kind", "charge"),
    [
        ("runner_disconnected", TaskFailed, "no"),
        ("request_timeout", TaskFailed, "no"),
        ("something_else", TaskFailed, "unknown"),
        ("content_policy_violation", ContentRejected, "unknown"),
    ],
)
def test_a_finished_task_with_an_error_has_failed(error_type: str, kind: type[Exception], charge: str) -> None:
    """fal never charges what its own machines did wrong."""
    state = FAL.read_task({"status": "COMPLETED", "response_url": QUEUE, "error": "It broke", "error_type": error_type})
    assert isinstance(state, Failed)
    assert (type(state.error), state.error.charge) == (kind, charge)
    assert "It broke" in state.error.what


def test_the_result_has_addresses_and_the_seed() -> None:
    """The gateway's own seconds too."""
    picture = {"url": "https://v3.fal.media/files/a.png", "width": 1024, "height": 768, "content_type": "image/png"}
    result = {"images": [picture], "seed": 42, "timings": {"inference": 1.5}, "has_nsfw_concepts": [False], "prompt": "a red fox"}
    assert FAL.read_result(result) == Succeeded(("https://v3.fal.media/files/a.png",), seconds=1.5, seeds=(42,))
    assert FAL.read_result({"image": picture}) == Succeeded(("https://v3.fal.media/files/a.png",))


def test_a_picture_that_the_checker_flagged_comes_with_a_note() -> None:
    """It may be black, and was paid for."""
    state = FAL.read_result({"images": [{"url": "https://v3.fal.media/files/a.png"}], "has_nsfw_concepts": [True]})
    assert isinstance(state, Succeeded)
    assert "flagged" in state.text


def test_a_result_without_a_picture_is_asked_for_again() -> None:
    """PictureMissing keeps the task."""
    state = FAL.read_result({"images": []})
    assert isinstance(state, Failed)
    assert isinstance(state.error, PictureMissing)


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        ({"status": "OK"}, "cancelled"),
        ({"status": "CANCELLATION_REQUESTED"}, "running"),
        ({"status": "ALREADY_COMPLETED"}, "finished"),
        ({"status": "NOT_FOUND"}, "unknown"),
        ("<html>", "unknown"),
    ],
)
def test_what_cancelling_did(answer: Any, meaning: str) -> None:
    """Only what was removed from the queue is certainly free."""
    assert FAL.read_cancel(answer) == meaning


# refusals


def test_refused_content_names_its_categories_and_may_be_charged() -> None:
    """Its page names the type, and 422 among the answers that may cost."""
    error = FAL.read_error(422, REFUSED)
    assert isinstance(error, ContentRejected)
    assert (error.charge, "violence" in error.what, "content checker" in error.what) == ("unknown", True, True)


@pytest.mark.parametrize(
    ("status", "answer", "kind", "charge"),
    [
        (422, {"detail": [{"loc": ["body", "image_size"], "msg": "Input should be valid", "type": "enum"}]}, None, "unknown"),
        (401, {"detail": "No user found for Key ID and Secret"}, AuthenticationError, "no"),
        (
            403,
            {"detail": "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."},
            InsufficientBalance,
            "no",
        ),
        (404, {"detail": 'Application "painter" not found'}, NotFound, "no"),
        (429, {"detail": "Too many requests"}, RateLimited, "no"),
    ],
)
def test_errors(status: int, answer: Any, kind: type[Exception] | None, charge: str) -> None:
    """Each with its charge; the type of an item in `detail` is its code."""
    error = FAL.read_error(status, answer)
    assert error.charge == charge
    if kind:
        assert isinstance(error, kind)
    else:
        assert getattr(error, "code", "") == "enum"


def test_a_key_alone_does_not_make_it_the_default() -> None:
    """FAL_KEY mostly stands in an environment for other purposes."""
    assert (FAL.chosen_by_key, FAL.key_variable, FAL.key_header) == (False, "FAL_KEY", ("Authorization", "Key {}"))


def test_the_listed_models() -> None:
    """At least six, each dated, with its page."""
    assert len(FAL.models) >= 6
    assert {(model.checked, model.document) for model in FAL.models} == {
        ("2026-11-30", f"https://fal.ai/models/{model.name}") for model in FAL.models
    }
