"""Replicate: what is sent to each model, what a prediction's states mean, and what is charged."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from imagegen_magic.errors import (
    APIError,
    AuthenticationError,
    ContentRejected,
    InsufficientBalance,
    PictureMissing,
    RateLimited,
    SubmissionUnknown,
    TaskFailed,
    UnknownProvider,
    UnsupportedOption,
)
from imagegen_magic.providers.base import Call, Failed, ListedTask, Pending, Plan, Succeeded
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest, LocalImage

REPLICATE = get_provider("replicate")
SCHNELL = "black-forest-labs/flux-schnell"
PRO = "black-forest-labs/flux-1.1-pro"
OUTPUT = "https://replicate.delivery/xezq/a.webp"
PREDICTION: dict[str, Any] = {
    "id": "gm3qorzdhgbfurvjtvhg6dckhu",
    "model": SCHNELL,
    "version": "official",
    "input": {"prompt": "a red fox"},
    "logs": "",
    "output": None,
    "error": None,
    "status": "starting",
    "created_at": "2026-11-30T12:00:00.000Z",
    "started_at": None,
    "completed_at": None,
    "urls": {"get": "https://api.replicate.com/v1/predictions/gm3", "cancel": "https://api.replicate.com/v1/predictions/gm3/cancel"},
}


def plan(model: str | None = None, **options: Any) -> Plan:
    """Return the plan of a request."""
    return REPLICATE.plan(ImageRequest("a red fox", model=model, **options))


def sent(model: str | None = None, **options: Any) -> dict[str, Any]:
    """Return the input of a request's only call."""
    (call,) = plan(model, **options).calls
    return dict((call.json or {})["input"])


def state(**fields: Any) -> Any:
    """Return what a poll of a prediction with these fields means."""
    return REPLICATE.read_task({**PREDICTION, **fields})


def test_the_first_model_is_sent_with_its_own_defaults() -> None:
    """The model stands in the path, the fields in `input`; paths carry no version segment."""
    fields = {"prompt": "a red fox", "output_format": "webp", "aspect_ratio": "1:1"}
    assert plan().calls == (Call("POST", f"/models/{SCHNELL}/predictions", {"input": fields}),)
    assert (REPLICATE.version_segment, plan().pixels) == ("/v1", ((1024, 1024),))


def test_jpeg_and_its_quality_have_replicates_names() -> None:
    """Only OpenAI's models have OpenAI's names."""
    assert {"output_format": "jpg", "output_quality": 90}.items() <= sent(output_format="jpeg", output_compression=90).items()
    openai = sent("openai/gpt-image-2", output_format="jpeg", output_compression=90)
    assert {"output_format": "jpeg", "output_compression": 90}.items() <= openai.items()


def test_parameters_have_their_names_on_the_wire() -> None:
    """Steps are num_inference_steps."""
    fields = sent("qwen/qwen-image-2512", parameters={"steps": 20, "guidance": 4, "negative_prompt": "text", "seed": 7})
    assert {"num_inference_steps": 20, "guidance": 4, "negative_prompt": "text", "seed": 7}.items() <= fields.items()
    with pytest.raises(UnsupportedOption, match="takes no steps 5") as caught:
        plan(parameters={"steps": 5})
    assert caught.value.fix == {"steps": 4}


def test_further_fields_stand_in_the_input() -> None:
    """A field that has an option is refused there too."""
    assert sent(extra={"megapixels": "0.25"})["megapixels"] == "0.25"
    with pytest.raises(UnsupportedOption, match="has its own field aspect_ratio"):
        plan(extra={"aspect_ratio": "1:1"})


def test_several_pictures_are_single_requests_whose_seed_counts_up() -> None:
    """One lost answer loses one picture."""
    calls = plan(n=3, parameters={"seed": 7, "go_fast": False}).calls
    assert [(call.json or {})["input"]["seed"] for call in calls] == [7, 8, 9]


@pytest.mark.parametrize(
    ("model", "size", "fields"),
    [
        (SCHNELL, "16:9", {"aspect_ratio": "16:9"}),
        (PRO, "16:9", {"aspect_ratio": "16:9"}),
        (PRO, "1024x768", {"aspect_ratio": "custom", "width": 1024, "height": 768}),
        ("bytedance/seedream-4.5", "16:9", {"size": "custom", "width": 2560, "height": 1440}),
        ("recraft-ai/recraft-v4", "16:9", {"size": "1344x768"}),
        ("ideogram-ai/ideogram-v3-quality", "3:1", {"resolution": "1536x512"}),
        ("google/nano-banana-2", "4:5", {"aspect_ratio": "4:5"}),
        ("google/nano-banana-2", None, {}),
    ],
)
def test_sizes(model: str, size: str | None, fields: dict[str, Any]) -> None:
    """Each model has its own way to name a size."""
    names = ("aspect_ratio", "size", "resolution", "width", "height")
    assert {name: value for name, value in sent(model, size=size).items() if name in names} == fields


@pytest.mark.parametrize(
    ("model", "field"),
    [("openai/gpt-image-2", "input_images"), ("bytedance/seedream-4.5", "image_input"), ("google/nano-banana-2", "image_input")],
)
def test_references_are_data_in_the_models_own_field(model: str, field: str) -> None:
    """The plan holds the placeholder of a picture of this machine."""
    picture = LocalImage(b"png", "image/png", 64, 64, "fox.png")
    assert sent(model, references=(picture, "https://example.com/a.png"))[field] == [picture.placeholder, "https://example.com/a.png"]
    assert REPLICATE.model(model).references_as == "data_url"


@pytest.mark.parametrize(
    ("model", "dollars"),
    [(SCHNELL, "0.003"), ("black-forest-labs/flux-dev", "0.025"), (PRO, "0.04"), ("ideogram-ai/ideogram-v3-quality", "0.09")],
)
def test_prices_are_those_of_the_page(model: str, dollars: str) -> None:
    """With the date on which it was read."""
    price = plan(model, n=2).price
    assert (price.amount, price.unit, price.checked, price.source) == (
        Decimal(dollars) * 2,
        "USD",
        "2026-10-07",
        "https://replicate.com/pricing",
    )


@pytest.mark.parametrize("model", ["openai/gpt-image-2", "google/nano-banana-2", "recraft-ai/recraft-v4", "acme/painter"])
def test_a_price_that_is_not_known_is_unknown(model: str) -> None:
    """No price is invented."""
    assert plan(model).price.amount is None


def test_warnings_of_a_rewritten_prompt_and_of_a_seed_that_is_not_repeatable() -> None:
    """Each names the parameter that changes it."""
    assert "magic_prompt_option=Off" in plan("ideogram-ai/ideogram-v3-quality").warnings[0]
    assert plan("ideogram-ai/ideogram-v3-quality", parameters={"magic_prompt_option": "off"}).warnings == ()
    assert "go_fast=false" in plan(parameters={"seed": 7}).warnings[0]
    assert plan(parameters={"seed": 7, "go_fast": False}).warnings == ()


# other models


def test_any_other_model_is_sent_what_was_requested_and_nothing_else() -> None:
    """A version has a path of its own."""
    fields = {"prompt": "a red fox", "strength": 0.5}
    expected = Call("POST", "/models/acme/painter/predictions", {"input": fields})
    assert plan("acme/painter", parameters={"strength": 0.5}).calls == (expected,)
    version = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
    body = {"version": version, "input": {**fields, "loras": [1]}}
    assert plan(f"acme/painter:{version}", parameters={"strength": 0.5}, extra={"loras": [1]}).calls == (
        Call("POST", "/predictions", body),
    )
    with pytest.raises(UnknownProvider):
        plan("painter")


def test_no_option_of_another_model_is_left_out_silently() -> None:
    """Each is sent under its usual name, and what cannot be sent is refused."""
    options = {"size": "3:2", "resolution": "2k", "quality": "high", "background": "opaque", "moderation": "low", "output_format": "webp"}
    pictures = {"references": ("https://example.com/a.png",), "mask": "https://example.com/mask.png"}
    assert sent("acme/painter", output_compression=80, **options, **pictures) == {
        "prompt": "a red fox",
        "aspect_ratio": "3:2",
        "resolution": "2K",
        "quality": "high",
        "background": "opaque",
        "moderation": "low",
        "output_format": "webp",
        "output_quality": 80,
        "input_images": ["https://example.com/a.png"],
        "mask": "https://example.com/mask.png",
    }
    assert sent("acme/painter", size="640x480") == {"prompt": "a red fox", "width": 640, "height": 480}
    with pytest.raises(UnsupportedOption, match="no option callback_url"):
        plan("acme/painter", callback_url="https://example.com/done")


def test_a_models_own_schema_has_its_parameters() -> None:
    """From the latest version of a model, or from a version."""
    schema = {
        "components": {
            "schemas": {
                "Input": {
                    "properties": {
                        "prompt": {"type": "string"},
                        "seed": {"type": "integer"},
                        "num_inference_steps": {"type": "integer", "minimum": 1, "maximum": 8},
                        "scheduler": {"allOf": [{"$ref": "#/components/schemas/scheduler"}]},
                        "output_format": {"allOf": [{"$ref": "#/components/schemas/output_format"}]},
                        "image_input": {"type": "array"},
                    }
                },
                "scheduler": {"type": "string", "enum": ["DDIM", "K_EULER"]},
                "output_format": {"type": "string", "enum": ["jpg", "png"]},
            }
        }
    }
    for answer in ({"latest_version": {"openapi_schema": schema}}, {"openapi_schema": schema}):
        model = REPLICATE.read_schema("acme/painter", answer)
        assert model is not None
        assert {name: each.allowed for name, each in model.parameters.items()} == {
            "seed": (),
            "steps": ("1 to 8",),
            "scheduler": ("DDIM", "K_EULER"),
        }
        assert (model.formats, model.max_references, model.strict) == (("jpeg", "png"), 16, False)
    assert REPLICATE.read_schema("acme/painter", {"detail": "Not found"}) is None
    assert REPLICATE.schema_call("acme/painter") == Call("GET", "/models/acme/painter")
    assert REPLICATE.schema_call("acme/painter:abc12345") == Call("GET", "/models/acme/painter/versions/abc12345")
    assert REPLICATE.schema_call("flux") is None


# predictions


def test_a_submission_is_a_prediction() -> None:
    """Its id is that of the task."""
    submission = REPLICATE.read_submission(PREDICTION)
    assert (submission.task_id, submission.finished) == ("gm3qorzdhgbfurvjtvhg6dckhu", None)
    assert REPLICATE.task_call(submission.task_id) == Call("GET", "/predictions/gm3qorzdhgbfurvjtvhg6dckhu")
    assert REPLICATE.cancel_call(submission.task_id) == Call("POST", "/predictions/gm3qorzdhgbfurvjtvhg6dckhu/cancel")
    with pytest.raises(SubmissionUnknown):
        REPLICATE.read_submission({"status": "starting"})


def test_a_prediction_that_has_not_begun_is_queued() -> None:
    """So that cancelling it costs nothing."""
    assert state() == Pending("starting", queued=True)
    assert state(status="processing", started_at="2026-11-30T12:00:01Z") == Pending("processing")


def test_the_progress_is_the_last_one_in_the_logs() -> None:
    """As tqdm writes it."""
    logs = "Using seed: 7\n  0%|          | 0/4 [00:00<?, ?it/s]\n 75%|███████▌  | 3/4 [00:01<00:00]\n"
    assert state(status="processing", logs=logs) == Pending("processing", 0.75)


@pytest.mark.parametrize("output", [OUTPUT, [OUTPUT]])
def test_a_succeeded_prediction_has_an_address_that_lives_an_hour(output: Any) -> None:
    """One address, or a list; the addresses of the prediction itself are none of a picture."""
    done = state(status="succeeded", output=output, completed_at="2026-11-30T12:00:05.500Z", metrics={"predict_time": 1.25})
    assert done == Succeeded((OUTPUT,), expires_at=1_796_040_005.5 + 3600, seconds=1.25)


@pytest.mark.parametrize(("removed", "words"), [(True, "deleted"), (False, "no picture")])
def test_a_succeeded_prediction_without_output(removed: bool, words: str) -> None:
    """An hour later the service has nothing left."""
    found = state(status="succeeded", output=None, data_removed=removed)
    assert isinstance(found.error, PictureMissing)
    assert words in found.error.what


@pytest.mark.parametrize(
    ("fields", "kind", "charge"),
    [
        ({"status": "aborted"}, TaskFailed, "no"),
        ({"status": "canceled"}, TaskFailed, "no"),
        ({"status": "canceled", "started_at": "2026-11-30T12:00:01Z"}, TaskFailed, "unknown"),
        ({"status": "failed", "error": "CUDA out of memory", "started_at": "2026-11-30T12:00:01Z"}, TaskFailed, "unknown"),
        ({"status": "failed", "error": "The input or output was flagged as sensitive. (E005)"}, ContentRejected, "unknown"),
        ({"status": "failed", "error": "NSFW content detected. Try running it again."}, ContentRejected, "unknown"),
    ],
)
def test_a_prediction_that_ended_without_a_picture(fields: dict[str, Any], kind: type[Exception], charge: str) -> None:
    """What never began is free."""
    found = state(**fields)
    assert isinstance(found, Failed)
    assert (type(found.error), found.error.charge) == (kind, charge)


@pytest.mark.parametrize(
    ("fields", "meaning"),
    [
        ({"status": "canceled"}, "cancelled"),
        ({"status": "aborted"}, "cancelled"),
        ({"status": "canceled", "started_at": "2026-11-30T12:00:01Z"}, "running"),
        ({"status": "succeeded"}, "finished"),
        ({"status": "processing"}, "unknown"),
    ],
)
def test_what_cancelling_did(fields: dict[str, Any], meaning: str) -> None:
    """The answer is the prediction."""
    assert REPLICATE.read_cancel({**PREDICTION, **fields}) == meaning


def test_the_list_of_predictions_names_model_prompt_and_time() -> None:
    """A lost submission is found there within the hour for which its input is kept."""
    listed = [PREDICTION, {**PREDICTION, "input": {}}, {**PREDICTION, "id": None}, {**PREDICTION, "created_at": "?"}, "x"]
    assert REPLICATE.list_call() == Call("GET", "/predictions")
    assert REPLICATE.read_list({"next": None, "previous": None, "results": listed}) == [
        ListedTask("gm3qorzdhgbfurvjtvhg6dckhu", SCHNELL, "a red fox", None, 1_796_040_000.0)
    ]
    with pytest.raises(APIError):
        REPLICATE.read_list({"detail": "Unauthenticated"})


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (401, {"title": "Unauthenticated", "detail": "You did not pass a valid authentication token", "status": 401}, AuthenticationError),
        (
            402,
            {"title": "Insufficient credit", "detail": "You have insufficient credit.", "status": 402},
            InsufficientBalance,
        ),
        (429, {"detail": "Request was throttled. Your rate limit resets in ~30s.", "status": 429}, RateLimited),
    ],
)
def test_errors(status: int, answer: Any, kind: type[Exception]) -> None:
    """Each with the service's own words, and none charged."""
    error = REPLICATE.read_error(status, answer)
    assert isinstance(error, kind)
    assert (error.charge, answer["detail"].rstrip(".") in error.what) == ("no", True)


def test_the_listed_models() -> None:
    """At least six, each dated; a token alone does not make Replicate the default."""
    assert len(REPLICATE.models) >= 6
    assert {model.document for model in REPLICATE.models} == {f"https://replicate.com/{model.name}/api" for model in REPLICATE.models}
    assert (REPLICATE.chosen_by_key, REPLICATE.key_variable) == (False, "REPLICATE_API_TOKEN")
