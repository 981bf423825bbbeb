"""Answers that gateways really give, beyond those of the pages: each is read as what it is."""

from __future__ import annotations

import base64
import io
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from PIL import Image

from imagegen_magic.errors import APIError, InsufficientBalance, TaskFailed
from imagegen_magic.providers.base import Failed, Pending, Succeeded
from imagegen_magic.providers.gpt_image import output_tokens
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost

URL = "https://cdn.example.com/one.png"
APIMART, GCCAI = get_provider("apimart"), get_provider("gccai")
EVOLINK, XINGCHAO = get_provider("evolink"), get_provider("xingchao")


def _data_uri() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


class TestEvoLink:
    """Its finished tasks, its pixels, its errors."""

    FINISHED: ClassVar[dict[str, Any]] = {
        "id": "task-unified-1",
        "object": "image.generation.task",
        "status": "completed",
        "progress": 100,
        "results": [URL],
        "duration": 41,
        "usage": {"billing_rule": "per_call", "credits_reserved": 4.0, "credits_used": 3.6, "cost": {"usd": 0.05}},
    }

    def test_the_real_charge_and_duration(self) -> None:
        """`credits_used` is measured; until then what is reserved is shown."""
        state = EVOLINK.read_task(self.FINISHED)
        assert state == Succeeded((URL,), None, Cost(Decimal("3.6"), "credits", "measured", "EvoLink's answer"), 41.0)
        reserved = EVOLINK.cost({"usage": {"credits_reserved": 4}})
        assert (reserved.kind, reserved.amount) == ("reserved", Decimal(4))
        assert EVOLINK.cost({"usage": {"credits_reserved": 4, "cost": {"usd": 0.05}}}).unit == "USD"

    def test_a_pixel_budget_counts_as_requested(self) -> None:
        """A real 16:9 at 2k came as 2736x1536; the table's pixels stay the first."""
        plan = EVOLINK.plan(ImageRequest("a fox", size="16:9", resolution="2k"))
        assert plan.pixels == ((2048, 1152), (2736, 1536))
        assert plan.warnings == ()
        assert EVOLINK.plan(ImageRequest("a fox", size="3:1", resolution="4k")).pixels == ((3840, 1280),)

    def test_mask_background_and_format_go_out_only_on_request(self) -> None:
        """So that the bodies and fingerprints of earlier requests stay."""
        bare = EVOLINK.plan(ImageRequest("a fox")).calls[0].json or {}
        assert not {"mask_url", "background", "output_format"} & set(bare)
        options = {"mask": URL, "references": (URL,), "background": "opaque", "output_format": "webp"}
        body = EVOLINK.plan(ImageRequest("a fox", **options)).calls[0].json or {}
        assert (body["mask_url"], body["background"], body["output_format"]) == (URL, "opaque", "webp")

    def test_several_pictures_are_warned_of(self) -> None:
        """One task often returns one."""
        assert "often returns only one picture" in EVOLINK.plan(ImageRequest("a fox", n=3)).warnings[-1]

    @pytest.mark.parametrize("code", ["insufficient_token_quota", "token_daily_quota_exceeded"])
    def test_a_limit_of_the_key_is_not_the_accounts(self, code: str) -> None:
        """Raise the key's limit, or wait."""
        error = EVOLINK.read_error(402, {"error": {"code": code, "message": "quota of this token", "type": "x"}})
        assert isinstance(error, InsufficientBalance)
        assert "the key's own limit" in error.hint

    def test_a_model_that_the_key_may_not_use(self) -> None:
        """Choose another model."""
        error = EVOLINK.read_error(403, {"error": {"code": "key_model_not_allowed", "message": "not allowed"}})
        assert isinstance(error, APIError)
        assert "choose another model" in error.hint

    @pytest.mark.parametrize(
        ("code", "step"),
        [
            ("resource_exhausted", "try again later"),
            ("service_unavailable", "try again later"),
            ("generation_timeout", "try again later"),
            ("invalid_parameters", "change the request"),
            ("image_dimension_mismatch", "change the request"),
        ],
    )
    def test_a_failed_task_says_who_has_to_act_and_what_is_suggested(self, code: str, step: str) -> None:
        """Not charged, by its page; the gateway's suggestion is shown."""
        failure = {"code": code, "message": "it failed", "type": "task_error", "suggestion": "use 1:1", "fallback_suggestion": "wait"}
        state = EVOLINK.read_task({"id": "t", "status": "failed", "error": failure})
        assert isinstance(state, Failed)
        assert (state.error.charge, state.error.hint) == ("no", f"{step}; EvoLink suggests: use 1:1; wait")


@pytest.mark.parametrize("provider", [APIMART, EVOLINK, GCCAI])
def test_failed_tasks_are_free_where_the_page_says_so(provider: Any) -> None:
    """Xingchao's does not say it, and no page says it of a task that expired."""
    assert provider.failures_free.startswith("https://")
    for each, charge in ((provider, "no"), (XINGCHAO, "unknown")):
        state = each.read_task({"id": "t", "status": "failed", "error": {"code": "x", "message": "no"}})
        assert isinstance(state, Failed)
        assert isinstance(state.error, TaskFailed)
        assert state.error.charge == charge
    assert isinstance(expired := provider.read_task({"id": "t", "status": "expired"}), Failed)
    assert expired.error.charge == "unknown"


FINISHED_AT_ONCE = [
    {"data": {"object": "generation.result", "status": "completed", "result": {"images": [{"url": [URL]}]}}},
    {"created": 1_796_000_000, "data": [{"url": URL}]},
    {"data": {"status": "completed", "result_urls": [URL]}},
    {"status": "completed", "result_data": [{"image_url": URL}]},
]


@pytest.mark.parametrize("answer", FINISHED_AT_ONCE)
def test_a_finished_answer_to_a_submission_is_a_finished_task(answer: dict[str, Any]) -> None:
    """Without any task id."""
    submission = APIMART.read_submission(answer)
    assert submission.task_id == ""
    assert submission.finished is not None
    assert submission.finished.image_urls == (URL,)


def test_an_address_beside_a_task_id_is_no_result() -> None:
    """It may be that of the task."""
    submission = APIMART.read_submission({"data": {"task_id": "t1", "url": URL}})
    assert (submission.task_id, submission.finished) == ("t1", None)


@pytest.mark.parametrize("split", [False, True])
def test_data_addresses_are_pictures(split: bool) -> None:
    """Whole, or split at the comma."""
    uri = _data_uri()
    urls = uri.split(",") if split else [uri]
    state = APIMART.read_task({"data": {"id": "t", "status": "completed", "result": {"images": [{"url": urls}]}}})
    assert isinstance(state, Succeeded)
    assert state.image_urls == (uri,)
    assert len(repr(state)) < 300


def test_xingchaos_codes_and_amount() -> None:
    """A cost in a currency that is not stated, and the backend's code in two places."""
    state = XINGCHAO.read_task({"data": {"id": "t", "status": "completed", "image_url": URL, "amount": 0.3}})
    assert isinstance(state, Succeeded)
    assert (state.cost.amount, state.cost.unit, state.cost.kind) == (Decimal("0.3"), "", "measured")
    for answer in (
        {"data": {"id": "t", "status": "failed", "error_code": "E1001", "error": "no luck"}},
        {"id": "t", "status": "failed", "error": "no luck", "result": {"errorCode": "E1001"}},
    ):
        failed = XINGCHAO.read_task(answer)
        assert isinstance(failed, Failed)
        assert "E1001" in failed.error.what


@pytest.mark.parametrize("status", ["FAILURE", "error", "expired", "timeout"])
def test_further_words_for_a_failed_task(status: str) -> None:
    """With an id; without one it is an error of the request."""
    assert isinstance(APIMART.read_task({"data": {"id": "t", "status": status}}), Failed)


def test_a_word_that_no_page_has_is_no_failure() -> None:
    """It waits."""
    assert isinstance(APIMART.read_task({"data": {"id": "t", "status": "polishing"}}), Pending)


@pytest.mark.parametrize(("status", "code"), [(400, "get_channel_failed"), (422, "bad_response_status_code")])
def test_an_outage_in_the_form_of_a_refusal(status: int, code: str) -> None:
    """It was certainly not accepted, and later it may be."""
    error = APIMART.read_error(status, {"error": {"code": code, "message": "no channel"}})
    assert isinstance(error, APIError)
    assert (error.refused, error.charge) == (True, "no")
    assert "try again later" in error.hint


@pytest.mark.parametrize(
    ("pixels", "dollars"),
    [
        ((1024, 1024), (0.0059, 0.0132, 0.0527, 0.0937, 0.2107)),
        ((1536, 1024), (0.0047, 0.0103, 0.0412, 0.0738, 0.1646)),
        ((2048, 2048), (0.0119, 0.0268, 0.1070, 0.1903, 0.4282)),
        ((3840, 2160), (0.0111, 0.0260, 0.1001, 0.1779, 0.4003)),
    ],
)
def test_tokens_of_2_5(pixels: tuple[int, int], dollars: tuple[float, ...]) -> None:
    """They agree with the published prices at $30 per million."""
    qualities = ("low", "medium", "high", "xhigh", "max")
    found = [output_tokens(quality, pixels, "gpt-image-2.5-flare") * 30 / 1e6 for quality in qualities]
    assert [round(amount, 4) for amount in found] == pytest.approx(dollars, abs=0.00011)
