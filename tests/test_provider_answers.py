"""Whatever a gateway answers is read into one of our own words, and nothing it says breaks the reader."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from gateway_table import BATCHING, GATEWAYS, PROVIDERS
from hypothesis import given
from hypothesis import strategies as st

from imagegen_magic.errors import (
    APIError,
    AuthenticationError,
    ContentRejected,
    ImageGenError,
    InsufficientBalance,
    NotFound,
    PictureMissing,
    RateLimited,
    SubmissionUnknown,
    TaskFailed,
)
from imagegen_magic.providers.base import Call, Failed, Pending, Provider, Submission, Succeeded
from imagegen_magic.result import Cost

gateways = pytest.mark.parametrize("gateway", PROVIDERS.values(), ids=GATEWAYS)
APIMART, EVOLINK, GCCAI, XINGCHAO = PROVIDERS.values()
URL = "https://files.example.com/0.png"

HTML = """<!DOCTYPE html><html><head><title>502 Bad Gateway</title><style>body { color: red }</style></head>
<body><script>alert("x < y")</script><h1>502&nbsp;Bad Gateway</h1><p>nginx</p></body></html>"""


def submission_error(gateway: Provider, answer: Any) -> ImageGenError:
    """Return what reading this answer to a submission raises."""
    with pytest.raises(ImageGenError) as caught:
        gateway.read_submission(answer)
    return caught.value


SUBMISSIONS: list[tuple[Provider, Any, str]] = [
    (APIMART, {"code": 200, "data": [{"status": "submitted", "task_id": "task_01KPT"}]}, "task_01KPT"),
    (GCCAI, {"code": 200, "data": {"status": "submitted", "id": "task_01KPT"}}, "task_01KPT"),
    (APIMART, {"code": "200", "message": "success", "data": [{"id": "task_1"}]}, "task_1"),
    (APIMART, {"task_id": "task_1"}, "task_1"),
    (APIMART, {"code": 200, "data": [None, {"task_id": "task_1", "id": 12}]}, "task_1"),
    (EVOLINK, {"id": "task-unified-1757-x", "object": "image.generation.task", "status": "pending", "progress": 0}, "task-unified-1757-x"),
    (EVOLINK, {"id": 12345, "status": "PENDING"}, "12345"),
    (XINGCHAO, {"id": "image_fd35", "object": "image", "created": 1, "status": "queued", "error": None}, "image_fd35"),
    (XINGCHAO, {"id": "image_fd35", "status": "processing", "error": ""}, "image_fd35"),
    (XINGCHAO, {"id": "image_fd35", "status": "queued", "error": "slow today"}, "image_fd35"),
]


@pytest.mark.parametrize(("gateway", "answer", "task_id"), SUBMISSIONS)
def test_a_submissions_id_is_found_wherever_it_is(gateway: Provider, answer: Any, task_id: str) -> None:
    """`data` as list or object or not at all, `task_id` or `id`, text or number."""
    assert gateway.read_submission(answer).task_id == task_id


@pytest.mark.parametrize(
    "beside",
    [
        {"error": {"code": "", "message": "", "type": ""}},
        {"error": {"code": 0, "message": None}},
        {"error": {}, "errors": []},
        {"detail": "accepted"},
        {"detail": [{"msg": "accepted"}]},
        {"error": {"message": "slow today"}},
        {"code": "created"},
    ],
    ids=repr,
)
@pytest.mark.parametrize(("gateway", "answer", "task_id"), SUBMISSIONS[:6])
def test_a_paid_task_is_never_thrown_away(gateway: Provider, answer: Any, task_id: str, beside: dict[str, Any]) -> None:
    """Where a task is named and nothing says that it failed, an empty error or a friendly detail beside it is no refusal."""
    assert gateway.read_submission({**answer, **beside}).task_id == task_id


@gateways
@pytest.mark.parametrize("refusing", [{"success": False}, {"code": 402}, {"status": "failed"}, {"error": {"code": 429, "message": "slow"}}])
def test_a_named_task_that_is_refused_all_the_same(gateway: Provider, refusing: dict[str, Any]) -> None:
    """A failed status, a refusing code and `success: false` refuse also beside an id."""
    assert isinstance(submission_error(gateway, {"task_id": "task_1", **refusing}), ImageGenError)


@gateways
def test_an_empty_error_alone_refuses_nothing(gateway: Provider) -> None:
    """Without an id and an error it is unknown whether it was accepted."""
    for answer in ({"code": 200, "error": {"code": "", "message": ""}}, {"error": {"code": 200}}, {"errors": [""]}, {"errors": [{}]}):
        assert type(submission_error(gateway, answer)) is SubmissionUnknown
    assert type(submission_error(gateway, {"error": {"type": "server_error"}})) is APIError


def test_further_tasks_of_one_submission_are_named() -> None:
    """A gateway that makes two tasks of one submission may charge for both: the ids of the others are kept."""
    answer = {"code": 200, "data": [{"task_id": "a"}, {"task_id": "b"}, {}, {"task_id": "a"}, {"id": "c"}]}
    assert APIMART.read_submission(answer) == Submission("a", extra_task_ids=("b", "c"))
    assert APIMART.read_submission({"code": 200, "data": [{"task_id": "a"}]}).extra_task_ids == ()


OPENAI = [
    {"id": "t", "status": "completed", "data": [{"url": URL}]},
    {"id": "t", "status": "completed", "data": [{"url": URL, "revised_prompt": "a fox"}, {"url": URL}]},
    {"id": "t", "status": "completed", "data": {"url": URL}},
    {"id": "t", "status": "completed", "result": {"data": [{"url": URL}]}},
    {"id": "t", "status": "completed", "result": {"image": {"url": URL}}},
    {"id": "t", "status": "completed", "result": {"image": URL}},
    {"id": "t", "status": "completed", "result_url": URL},
    {"code": 200, "data": {"id": "t", "status": "completed", "result": {"data": [{"url": URL}]}}},
    {"code": 200, "data": [{"id": "t", "status": "completed", "result_url": URL}]},
]


@gateways
@pytest.mark.parametrize("answer", OPENAI, ids=repr)
def test_pictures_in_openais_own_shape_are_found(gateway: Provider, answer: Any) -> None:
    """`data` holds the pictures where the answer itself is the task, and `image` and `result_url` name one too."""
    assert gateway.read_task(answer) == Succeeded((URL,))
    if gateway.polling.batch_size and "code" not in answer:
        assert gateway.read_batch({"data": [answer]}) == {"t": Succeeded((URL,))}


def test_the_picture_that_was_sent_is_no_result() -> None:
    """A task that repeats its `image` beside its status has not made that one."""
    state = EVOLINK.read_task({"id": "t", "status": "completed", "image": URL, "results": ["https://files.example.com/1.png"]})
    assert state == Succeeded(("https://files.example.com/1.png",))


def test_an_envelope_with_an_id_of_its_own_still_holds_the_task() -> None:
    """The id and status of a request around it are not the task's."""
    answer = {"id": "req_1", "status": "success", "data": {"task_id": "task_1"}}
    assert APIMART.read_submission(answer).task_id == "task_1"


def test_a_batch_beside_an_empty_error_is_read() -> None:
    """An empty list with an empty error is an empty list, and tasks beside an error are tasks."""
    empty, words = {"code": "", "message": ""}, {"message": "slow today"}
    assert APIMART.read_batch({"code": 200, "data": [], "error": empty}) == {}
    running = [{"id": "t", "status": "in_progress"}]
    assert APIMART.read_batch({"code": 200, "data": running, "error": words}) == {"t": Pending("in_progress")}
    with pytest.raises(APIError):
        APIMART.read_batch({"code": 200, "data": [], "error": words})


def test_evolinks_submission_tells_credits_and_duration() -> None:
    """Reserved credits and the estimated time come with the id."""
    answer = {"id": "task-1", "status": "pending", "task_info": {"estimated_time": 45}, "usage": {"credits_reserved": 1.6}}
    cost = Cost(Decimal("1.6"), "credits", "reserved", "EvoLink's answer")
    assert EVOLINK.read_submission(answer) == Submission("task-1", cost, 45.0)


@pytest.mark.parametrize(
    "usage",
    [None, 5, [], {}, {"credits_reserved": None}, {"credits_reserved": "many"}, {"credits_reserved": -1}, {"credits_reserved": True}],
)
def test_credits_that_are_none_are_unknown(usage: Any) -> None:
    """What cannot be an amount is unknown, never 0."""
    assert EVOLINK.read_submission({"id": "task-1", "usage": usage, "task_info": usage}) == Submission("task-1")


@gateways
@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        0,
        True,
        "",
        "ok",
        HTML,
        '{"id": "task_01',
        {"code": 200, "data": []},
        {"code": 200, "message": "success", "data": None},
        {"message": "queued"},
        {"id": ""},
        {"id": " "},
        {"id": ".."},
        {"id": "a b"},
        {"id": "\ud83e"},
        {"id": "x" * 5000},
        {"id": True},
        {"id": {"id": "x"}},
    ],
    ids=lambda answer: repr(answer)[:30],
)
def test_an_accepted_answer_without_id_and_error_is_unknown(gateway: Provider, answer: Any) -> None:
    """Nobody knows whether such a submission was accepted: it may have been charged and is not repeated."""
    error = submission_error(gateway, answer)
    assert (type(error), error.charge) == (SubmissionUnknown, "unknown")


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"code": "invalid_parameter", "message": "size is wrong", "type": "invalid_request_error"}},
        {"error": "size is wrong"},
        {"success": False, "message": "size is wrong"},
        {"success": False, "id": "req_1", "message": "size is wrong"},
        {"code": 400, "message": "size is wrong", "id": "req_1"},
        {"code": "bad_size", "msg": "size is wrong"},
        {"detail": "size is wrong"},
        {"detail": [{"loc": ["body", "size"], "msg": "size is wrong"}]},
        {"errors": [{"message": "size is wrong"}]},
        {"status": "error", "message": "size is wrong"},
        {"status": 422, "message": "size is wrong"},
        {"code": 200, "data": [{"task_id": "task_1", "status": "failed", "error": {"message": "size is wrong"}}]},
    ],
    ids=lambda answer: repr(answer)[:50],
)
@gateways
def test_an_error_inside_a_200_is_a_refusal(gateway: Provider, answer: Any) -> None:
    """Error objects, strings, `detail`, `success: false`, codes and failed envelopes are refusals in the gateway's own words."""
    error = submission_error(gateway, answer)
    assert isinstance(error, APIError)
    assert (error.refused, error.charge, "size is wrong" in error.what) == (True, "no", True)


@gateways
def test_words_alone_are_a_refusal_only_where_they_are_plain(gateway: Provider) -> None:
    """A bare message inside a 200 counts as a refusal where it speaks of moderation, money, key or pace."""
    assert isinstance(submission_error(gateway, {"message": "blocked by the safety system"}), ContentRejected)
    assert isinstance(submission_error(gateway, {"message": "Insufficient balance"}), InsufficientBalance)


def test_xingchaos_failed_envelope_is_read_at_any_status() -> None:
    """The same envelope says no inside a 200 and inside a 400."""
    words = "Invalid request: resolution '4k' is not supported for ratio '4:3'"
    answer = {"id": "image_fd35", "object": "image", "created": 1774836724, "model": "gpt-image-2", "status": "failed", "error": words}
    for error in (submission_error(XINGCHAO, answer), XINGCHAO.read_error(200, answer), XINGCHAO.read_error(400, answer)):
        assert isinstance(error, APIError)
        assert (words in error.what, error.refused) == (True, True)


MODERATION: list[Any] = [
    {"error": {"code": "content_policy_violation", "message": "Your prompt was rejected.", "type": "invalid_request_error"}},
    {
        "error": {
            "code": "moderation_blocked",
            "message": "Your request was rejected by the safety system.",
            "type": "image_generation_user_error",
        }
    },
    {"error": {"code": 400, "message": "Request rejected", "type": "content_policy_violation"}},
    {"error": {"code": "", "message": "This prompt was flagged by our moderation", "type": "upstream_error"}},
    {"error": {"code": "sensitive_words_detected", "message": "user sensitive words detected"}},
    {"error": "The image violates our usage policies"},
    {"error": "prohibited content in the prompt"},
    {"error": "提示词包含敏感内容"},
    {"error": "内容违规，请修改提示词"},
    {"message": "图片审核不通过"},
    {"message": "内容安全检查失败"},
    {"detail": "Content blocked: NSFW"},
    "content_policy_violation",
]


@gateways
@pytest.mark.parametrize("answer", MODERATION, ids=lambda answer: repr(answer)[:60])
def test_moderations_refusals_are_content_rejected(gateway: Provider, answer: Any) -> None:
    """Each gateway's words for it, in English and Chinese, at 400 and 403; nothing was charged."""
    for status in (400, 403, 422):
        error = gateway.read_error(status, answer)
        assert (type(error), error.blame, error.charge) == (ContentRejected, "moderation", "no")


@pytest.mark.parametrize(
    "words",
    [
        "invalid value for moderation: must be auto or low",
        "parameter names are case sensitive content",
        "image_urls is insensitive",
        "no available channel for model",
        "size must be <= 3840 and > 0",
    ],
)
def test_ordinary_refusals_are_not_taken_for_moderation(words: str) -> None:
    """The option moderation, and words that only look alike, stay ordinary errors, whole."""
    error = APIMART.read_error(400, {"error": {"message": words}})
    assert (type(error), words in error.what) == (APIError, True)


@gateways
@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (401, {"error": {"code": "invalid_api_key", "message": "Invalid token"}}, AuthenticationError),
        (401, None, AuthenticationError),
        (403, {"error": {"message": "无效的令牌"}}, AuthenticationError),
        (200, {"code": 401, "message": "Unauthorized"}, AuthenticationError),
        (402, {}, InsufficientBalance),
        (403, {"error": {"code": "insufficient_user_quota", "message": "用户额度不足"}}, InsufficientBalance),
        (429, {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}, InsufficientBalance),
        (400, {"error": "余额不足"}, InsufficientBalance),
        (200, {"success": False, "message": "Insufficient balance"}, InsufficientBalance),
        (429, {"error": {"message": "slow down"}}, RateLimited),
        (429, HTML, RateLimited),
        (200, {"error": {"message": "rate limit exceeded"}}, RateLimited),
        (404, {"error": {"message": "task not found"}}, NotFound),
        (404, "nothing here", NotFound),
        (403, {"error": {"message": "not from this country"}}, APIError),
        (400, {"error": {"message": "bad size"}}, APIError),
    ],
)
def test_errors_have_our_own_kinds(gateway: Provider, status: int, answer: Any, kind: type[APIError]) -> None:
    """Key, balance, pace and not found are different errors; all of them certainly were not accepted."""
    error = gateway.read_error(status, answer)
    assert type(error) is kind
    assert isinstance(error, APIError)
    assert (error.refused, error.charge) == (True, "no")


@gateways
@pytest.mark.parametrize("status", [500, 502, 504, 520, 599])
@pytest.mark.parametrize("answer", [None, HTML, {"error": {"message": "internal error"}}, {"error": "timeout"}, "<p>safety</p>"], ids=repr)
def test_an_outage_leaves_open_whether_it_was_accepted(gateway: Provider, status: int, answer: Any) -> None:
    """A 5xx may come after acceptance: not refused, charge unknown; a page of HTML is no moderation."""
    error = gateway.read_error(status, answer)
    assert isinstance(error, APIError)
    assert (type(error), error.status, error.refused, error.charge) == (APIError, status, False, "unknown")


def test_a_503_was_not_accepted() -> None:
    """Service unavailable means that nothing was taken, so that it may be repeated."""
    error = EVOLINK.read_error(503, HTML)
    assert isinstance(error, APIError)
    assert (error.refused, error.charge) == (True, "no")


@pytest.mark.parametrize("gateway", [APIMART, GCCAI], ids=["apimart", "gccai"])
def test_build_request_failed_at_500_is_a_refusal(gateway: Provider) -> None:
    """APIMart's dialect says permanent refusals with HTTP 500; the words tell them from outages."""
    error = gateway.read_error(500, {"error": {"code": "", "message": "build_request_failed: invalid size 100x100", "type": "api_error"}})
    assert isinstance(error, APIError)
    assert (error.status, error.refused, error.charge) == (500, True, "no")
    inside = {"error": {"code": "build_request_failed", "message": "build_request_failed: content_policy_violation"}}
    assert isinstance(gateway.read_error(500, inside), ContentRejected)
    other = EVOLINK.read_error(500, {"error": {"message": "build_request_failed: invalid size"}})
    assert isinstance(other, APIError)
    assert other.refused is False


@pytest.mark.parametrize(
    ("code", "expected"), [(400, "400"), ("bad_size", "bad_size"), ("", "invalid"), (None, "invalid"), ([1], "invalid"), (True, "invalid")]
)
def test_a_code_may_be_anything(code: Any, expected: str) -> None:
    """int, text, "" or nothing; the type stands in where there is no code."""
    error = APIMART.read_error(400, {"error": {"code": code, "message": "no", "type": "invalid"}})
    assert isinstance(error, APIError)
    assert error.code == expected


@pytest.mark.parametrize(
    "answer",
    [
        {"request_id": "req_12345678", "error": "no"},
        {"error": {"message": "no (request id: req_12345678)"}},
        {"error": {"message": "no", "request_id": "req_12345678"}},
    ],
)
def test_the_id_for_support_is_kept(answer: Any) -> None:
    """Beside the error, inside it, or in its words."""
    error = APIMART.read_error(400, answer)
    assert isinstance(error, APIError)
    assert error.request_id == "req_12345678"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (HTML, "502 Bad Gateway nginx"),
        ("<html><head><title>Just a moment…</title></head><body></body></html>", "Just a moment…"),
        ('{"error": {"message": "trunca', '{"error": {"message": "trunca'),
        ({"error": {"message": "<b>no</b>\n  such\tmodel\x1b[0m"}}, "no such model [0m"),
        ({"error": {"message": {"detail": "deep"}}}, "deep"),
        ({"error": ["one", {"message": "two"}]}, "one; two"),
        (["one", "two"], "one; two"),
        ({"error": {"code": "only_a_code"}}, "only_a_code"),
        ({"error": {"message": "Incorrect API key provided: sk-evo-1234567890abcdef"}}, "Incorrect API key provided: [key]"),
        ({}, "no reason given"),
        (None, "no reason given"),
        (17, "no reason given"),
    ],
)
def test_the_gateways_own_words_are_kept_in_one_line(answer: Any, words: str) -> None:
    """Markup, line ends, control characters and keys are taken out, nothing else."""
    assert EVOLINK.read_error(400, answer).what == f"EvoLink answered 400: {words}"


def test_long_words_are_cut() -> None:
    """A megabyte of text makes a message of some 300 characters."""
    for answer in ("x" * 1_000_000, {"error": {"message": "<script" * 100_000}}):
        assert len(EVOLINK.read_error(400, answer).what) < 340


LOOKS: list[tuple[Provider, Any, Any]] = [
    (APIMART, {"code": 200, "data": {"id": "t", "status": "submitted", "progress": 0}}, Pending("submitted", 0.0)),
    (APIMART, {"code": 200, "data": {"id": "t", "status": "in_progress", "progress": 45}}, Pending("in_progress", 0.45)),
    (APIMART, {"code": 200, "data": {"id": "t", "status": "In Progress", "progress": "45%"}}, Pending("in_progress", 0.45)),
    (APIMART, {"code": 200, "data": {"id": "t", "status": "pending", "progress": 250}}, Pending("pending", 1.0)),
    (APIMART, {"code": 200, "data": {"id": "t", "status": "pending", "progress": -5}}, Pending("pending", 0.0)),
    (APIMART, {"code": 200, "data": {"id": "t", "status": "pending", "progress": "soon"}}, Pending("pending")),
    (APIMART, {"code": 200, "data": {"id": "t", "status": "pending", "progress": True}}, Pending("pending")),
    (APIMART, {"code": 200, "data": {"id": "t", "status": "pending", "progress": float("nan")}}, Pending("pending")),
    (GCCAI, {"code": 200, "data": {"id": "t", "status": "upscaling"}}, Pending("upscaling")),
    (GCCAI, {"code": 200, "data": {"id": "t", "status": 3}}, Pending("3")),
    (EVOLINK, {"id": "t", "status": "processing", "progress": 60, "type": "image"}, Pending("processing", 0.6)),
    (XINGCHAO, {"id": "t", "status": "QUEUED", "image_url": None, "error": None}, Pending("queued")),
    (XINGCHAO, {"id": "t", "status": "completed", "image_url": URL, "error": None}, Succeeded((URL,))),
    (EVOLINK, {"id": "t", "status": "completed", "progress": 100, "results": [URL, URL + "?2"]}, Succeeded((URL, URL + "?2"))),
    (EVOLINK, {"data": {"id": "t", "status": "Completed", "results": URL}}, Succeeded((URL,))),
    (
        EVOLINK,
        {"id": "t", "status": "completed", "results": [URL], "usage": {"credits_reserved": 4}},
        Succeeded((URL,), cost=Cost(Decimal(4), "credits", "reserved", "EvoLink's answer")),
    ),
]


@pytest.mark.parametrize(("gateway", "answer", "state"), LOOKS, ids=lambda value: getattr(value, "name", None) or repr(value)[:60])
def test_a_look_is_read_into_a_state(gateway: Provider, answer: Any, state: Any) -> None:
    """Status words in any case, progress as number or text, unknown words as still running."""
    assert gateway.read_task(answer) == state


def test_gccais_sample_is_read_whole() -> None:
    """The document's own answer: address, expiry, the gateway's seconds and dollars."""
    images = [{"url": ["https://upload.gccai.ai/f/image/x_0.png"], "expires_at": 1776928569}]
    answer = {
        "code": 200,
        "data": {"id": "t", "status": "completed", "progress": 100, "actual_time": 46, "cost": 0.05279, "result": {"images": images}},
    }
    cost = Cost(Decimal("0.05279"), "USD", "measured", "GCCAI's answer")
    assert GCCAI.read_task(answer) == Succeeded(("https://upload.gccai.ai/f/image/x_0.png",), 1776928569.0, cost, 46.0)


@pytest.mark.parametrize(
    "result",
    [
        {"images": [{"url": [URL, URL + "?2"]}]},
        {"images": [{"url": [URL]}, {"url": [URL + "?2"]}]},
        {"images": [{"url": URL}, {"url": URL + "?2"}]},
        {"images": [URL, URL + "?2"]},
        {"images": {"url": [URL, URL + "?2"]}},
        [{"url": URL}, {"url": URL + "?2"}],
        {
            "images": [
                {
                    "url": [
                        URL,
                        URL + "?2",
                        URL,
                        "",
                        None,
                        5,
                        "ftp://x/y",
                        "javascript:alert(1)",
                        "data:text/plain;base64,AA",
                        "https://",
                        "/local",
                    ]
                }
            ]
        },
    ],
    ids=range(7),
)
@pytest.mark.parametrize("gateway", [APIMART, GCCAI], ids=["apimart", "gccai"])
def test_addresses_are_found_however_they_are_nested(gateway: Provider, result: Any) -> None:
    """One entry or several, a string or a list; what is no http(s) address is ignored, and each counts once."""
    state = gateway.read_task({"code": 200, "data": {"id": "t", "status": "completed", "result": result}})
    assert state == Succeeded((URL, URL + "?2"))


def test_references_in_an_answer_are_not_taken_for_results() -> None:
    """An echo of the request is not a picture that was made."""
    answer = {"id": "t", "status": "completed", "image_urls": [URL], "input": {"url": URL}, "results": [URL + "?made"]}
    assert EVOLINK.read_task(answer) == Succeeded((URL + "?made",))


@pytest.mark.parametrize(
    ("given_time", "read"),
    [
        (1776928569, 1776928569.0),
        (1776928569000, 1776928569.0),
        ("1776928569", 1776928569.0),
        (0, None),
        (-1, None),
        (86400, None),
        ("tomorrow", None),
        (None, None),
        (10**400, None),
    ],
    ids=range(9),
)
def test_an_expiry_is_taken_if_it_can_be_one(given_time: Any, read: float | None) -> None:
    """Epoch seconds or milliseconds; anything else is unknown."""
    answer = {"data": {"id": "t", "status": "completed", "result": {"images": [{"url": [URL], "expires_at": given_time}]}}}
    assert APIMART.read_task(answer) == Succeeded((URL,), read)


@pytest.mark.parametrize("cost", [None, "free", True, -1, float("inf"), float("nan"), [], {}, 10**400], ids=range(9))
def test_a_cost_that_is_none_is_unknown(cost: Any) -> None:
    """Only an amount is an amount; 0 is one where the gateway says so."""
    state = APIMART.read_task(
        {"data": {"id": "t", "status": "completed", "cost": cost, "actual_time": cost, "result": {"images": [{"url": URL}]}}}
    )
    assert state == Succeeded((URL,))
    free = APIMART.read_task({"data": {"id": "t", "status": "completed", "cost": 0, "result": {"images": [{"url": URL}]}}})
    assert isinstance(free, Succeeded)
    assert (free.cost.amount, free.cost.kind) == (Decimal(0), "measured")


def _failed(gateway: Provider, answer: Any) -> ImageGenError:
    state = gateway.read_task(answer)
    assert isinstance(state, Failed)
    return state.error


@gateways
def test_completed_without_an_address_keeps_the_raw_answer(gateway: Provider) -> None:
    """It is a failure that may have been charged, with the gateway's message."""
    error = _failed(gateway, {"id": "task-7", "status": "completed", "results": [], "result": {"images": []}, "image_url": None})
    assert (type(error), error.charge, "task-7" in error.what) == (PictureMissing, "unknown", True)


@gateways
@pytest.mark.parametrize("word", ["failed", "FAILED", "cancelled", "canceled"])
@pytest.mark.parametrize("error", ["no free GPU", {"code": "x", "message": "no free GPU", "type": "task_error"}])
def test_a_failed_task_keeps_the_gateways_words(gateway: Provider, word: str, error: Any) -> None:
    """failed and cancelled end the waiting, with the reason."""
    failure = _failed(gateway, {"code": 200, "message": "success", "data": {"id": "t", "status": word, "error": error}})
    assert (type(failure), "no free GPU" in failure.what) == (TaskFailed, True)


def test_a_failed_task_by_moderation_is_content_rejected() -> None:
    """EvoLink's task error, APIMart's reason, Xingchao's text."""
    answers = [
        (EVOLINK, {"id": "t", "status": "failed", "error": {"code": "content_policy_violation", "message": "no", "type": "task_error"}}),
        (APIMART, {"data": {"id": "t", "status": "failed", "fail_reason": "rejected by the safety system"}}),
        (XINGCHAO, {"id": "t", "status": "failed", "error": "图片包含敏感内容"}),
    ]
    assert [type(_failed(gateway, answer)) for gateway, answer in answers] == [ContentRejected] * 3


def test_a_failed_task_for_want_of_money_says_so() -> None:
    """The account was empty when its turn came."""
    error = _failed(EVOLINK, {"id": "t", "status": "failed", "error": {"code": "insufficient_credits", "message": "top up"}})
    assert (type(error), "top up" in error.what) == (InsufficientBalance, True)


def test_a_failed_task_without_a_reason_keeps_the_answer() -> None:
    """Without a message, the raw answer is shown."""
    assert "task-7" in _failed(EVOLINK, {"id": "task-7", "status": "failed"}).what


@gateways
@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        5,
        "",
        HTML,
        '{"data": {"status',
        {"code": 200, "data": []},
        {"data": {"id": "t"}},
        {"success": False, "message": "no"},
        {"code": 500, "message": "no"},
        {"status": "error", "message": "no"},
        {"error": "content_policy_violation"},
    ],
    ids=lambda answer: repr(answer)[:30],
)
def test_a_look_that_says_nothing_of_the_task_is_an_api_error(gateway: Provider, answer: Any) -> None:
    """The task goes on; this poll has no state."""
    with pytest.raises(APIError):
        gateway.read_task(answer)


def test_a_task_id_cannot_leave_its_path() -> None:
    """Slashes, dots with slashes and question marks in an id are escaped."""
    assert EVOLINK.task_call("../credits?x=1#\ud83e") == Call("GET", "/v1/tasks/..%2Fcredits%3Fx%3D1%23%3F")


@pytest.mark.parametrize("gateway", [PROVIDERS[name] for name in BATCHING], ids=BATCHING)
def test_a_batch_asks_for_many_and_reads_many(gateway: Provider) -> None:
    """Up to fifty ids in one call; what the gateway leaves out is missing, what has no status too."""
    assert gateway.batch_call(["a", "b"]) == Call("POST", "/v1/tasks/batch", {"task_ids": ["a", "b"]})
    tasks = [
        {"id": "a", "status": "processing", "progress": 10},
        {"task_id": "b", "status": "completed", "results": [URL]},
        {"id": "c", "status": "failed", "error": {"message": "no"}},
        {"id": "d"},
        {"status": "processing"},
        None,
        "x",
    ]
    for answer in ({"code": 200, "data": tasks}, {"data": {"tasks": tasks}}, tasks):
        states = gateway.read_batch(answer)
        assert list(states) == ["a", "b", "c"]
        assert (states["a"], states["b"]) == (Pending("processing", 0.1), Succeeded((URL,)))
        assert isinstance(states["c"], Failed)


def test_a_batch_is_bounded_and_may_be_absent() -> None:
    """Xingchao has none; nothing to ask makes no call; more than fifty is the caller's mistake."""
    assert XINGCHAO.batch_call(["a"]) is None
    assert EVOLINK.batch_call([]) is None
    with pytest.raises(ValueError, match="50"):
        EVOLINK.batch_call(["a"] * 51)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        "",
        HTML,
        5,
        {"data": None},
        {"data": {"id": "a", "status": "completed"}},
        {"success": False, "data": [], "message": "no"},
        {"error": {"message": "no"}},
    ],
    ids=lambda answer: repr(answer)[:30],
)
def test_an_unreadable_batch_is_an_api_error(answer: Any) -> None:
    """So that the caller can go back to single looks."""
    with pytest.raises(APIError):
        EVOLINK.read_batch(answer)


def test_an_empty_batch_is_empty() -> None:
    """All ids unknown is an answer."""
    assert EVOLINK.read_batch({"data": []}) == {}


_words = st.sampled_from(
    [
        "id",
        "task_id",
        "status",
        "error",
        "data",
        "result",
        "images",
        "url",
        "results",
        "image_url",
        "message",
        "detail",
        "code",
        "type",
        "success",
        "progress",
        "usage",
        "credits_reserved",
        "task_info",
        "estimated_time",
        "expires_at",
        "cost",
        "actual_time",
        "tasks",
        "errors",
        "request_id",
        "completed",
        "failed",
        "pending",
    ]
)
_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | _words
    | st.sampled_from([URL, HTML, 200, 400, "failed", 10**400])
)
_anything = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words | st.text(max_size=5), inner, max_size=6), max_leaves=25
)


@gateways
@given(answer=_anything, status=st.integers(400, 599))
def test_no_answer_breaks_a_reader(gateway: Provider, answer: Any, status: int) -> None:
    """Arbitrary JSON makes a state, a submission or an error of ours, whose message is one bounded line."""
    errors = [gateway.read_error(status, answer)]
    for reader in (gateway.read_submission, gateway.read_task, gateway.read_batch):
        try:
            found = reader(answer)
        except ImageGenError as error:
            errors.append(error)
        else:
            assert isinstance(found, Submission | Pending | Succeeded | Failed | dict)
            errors += [found.error] if isinstance(found, Failed) else []
    for error in errors:
        assert (len(error.what) < 500, error.what.isprintable()) == (True, True)
        error.what.encode()


@gateways
@given(answer=_anything.filter(lambda answer: isinstance(answer, dict)), cut=st.floats(0, 1))
def test_truncated_json_breaks_no_reader(gateway: Provider, answer: Any, cut: float) -> None:
    """The text of half an answer is an error too."""
    try:
        whole = json.dumps(answer)
    except ValueError:
        return
    text = whole[: int(len(whole) * cut)]
    assert isinstance(submission_error(gateway, text), SubmissionUnknown)
    with pytest.raises(APIError):
        gateway.read_task(text)
    assert isinstance(gateway.read_error(400, text), ImageGenError)


@gateways
def test_an_abyss_of_nesting_breaks_no_reader(gateway: Provider) -> None:
    """Thousands of levels are read no deeper than needed."""
    deep: Any = URL
    for _ in range(3000):
        deep = {"error": deep, "url": [deep]}
    answer = {"id": "t", "status": "completed", "results": deep, "error": deep}
    assert isinstance(gateway.read_task(answer), Failed)
    assert isinstance(gateway.read_error(400, answer), APIError)
