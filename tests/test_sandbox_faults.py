"""Every fault of the sandbox strikes as its name says: armed, from the start, or asked for in a prompt."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from gateway_table import GATEWAYS, POLL, SUBMIT
from PIL import Image
from test_sandbox import Box
from waiting import Overlay

from imagegen_magic.errors import (
    AuthenticationError,
    ContentRejected,
    ImageGenError,
    InsufficientBalance,
    RateLimited,
    ReferenceUnreachable,
    TaskFailed,
)
from imagegen_magic.providers.base import Failed, Pending, Succeeded
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.sandbox.faults import KINDS


@pytest.fixture
def box() -> Box:
    """Return a sandbox whose tasks take ten seconds of a clock that the test moves."""
    return Box()


def arm(box: Box, kind: str, **more: Any) -> None:
    """Arm a fault over the wire."""
    assert box.ask("POST", "/_sandbox/faults", key=None, json={"kind": kind, **more}).status_code == 200


def struck(box: Box, kind: str, **body: Any) -> httpx2.Response:
    """Return the answer to a download that the fault struck."""
    url = box.finished("apimart", box.accepted("apimart", **body))[0]
    arm(box, kind)
    return box.download(url)


def state(box: Box, gateway: str, task: str) -> Any:
    """Look at a task as its provider does."""
    return get_provider(gateway).read_task(box.look(gateway, task))


# arming


def test_a_fault_strikes_as_often_as_it_was_armed(box: Box) -> None:
    """Twice armed, the third submission passes; without a number it is once."""
    arm(box, "unavailable", times=2)
    assert [box.submit("evolink").status_code for _ in range(3)] == [503, 503, 200]
    arm(box, "unavailable")
    assert [box.submit("evolink").status_code for _ in range(2)] == [503, 200]


def test_a_fault_can_be_armed_for_ever_and_disarmed(box: Box) -> None:
    """`times` null means always, until DELETE."""
    arm(box, "unavailable", times=None)
    assert [box.submit("evolink").status_code for _ in range(4)] == [503] * 4
    assert box.ask("DELETE", "/_sandbox/faults", key=None).json() == []
    assert box.submit("evolink").status_code == 200


def test_a_fault_can_be_meant_for_one_gateway_and_one_prompt(box: Box) -> None:
    """Others pass it by without using it up."""
    arm(box, "unavailable", provider="evolink", match="castle")
    assert box.submit("apimart", prompt="a castle").status_code == 200
    assert box.submit("evolink", prompt="a fox").status_code == 200
    assert box.submit("evolink", prompt="a castle").status_code == 503


def test_faults_are_armed_from_the_start() -> None:
    """`create_app(faults=["KIND:TIMES"])`."""
    box = Box(faults=["unavailable:2"])
    assert [box.submit("evolink").status_code for _ in range(3)] == [503, 503, 200]


def test_a_directive_in_the_prompt_asks_for_a_fault(box: Box) -> None:
    """`[[fault: KIND]]` strikes that prompt only; 429 and 503 once each, so that a retry is answered."""
    assert box.submit("evolink", prompt="a fox [[fault: moderation]]").status_code == 400
    assert box.submit("evolink", prompt="a fox").status_code == 200
    assert [box.submit("evolink", prompt="a fox [[fault: rate-limited]]").status_code for _ in range(2)] == [429, 200]
    assert [box.submit("evolink", prompt="a fox [[fault: unavailable:2]]").status_code for _ in range(3)] == [503, 503, 200]


def test_directives_work_in_every_phase(box: Box) -> None:
    """A prompt may ask for a failing look, a clinging fault and a bad download too."""
    task = box.accepted("evolink", prompt="x [[fault: look-500]] [[ fault : non-image ]]")
    assert box.ask("GET", POLL["evolink"] + task).status_code == 500
    assert box.download(box.finished("evolink", task)[0]).headers["content-type"].startswith("text/html")
    assert isinstance(state(box, "evolink", box.accepted("evolink", prompt="y [[fault: never-finishes]]")), Pending)


def test_an_unknown_fault_is_refused_with_the_names(box: Box) -> None:
    """Over the wire, from the start and in a prompt."""
    assert "drop-after-accept" in box.ask("POST", "/_sandbox/faults", json={"kind": "nope"}).json()["error"]
    assert box.ask("POST", "/_sandbox/faults", content=b"nonsense").status_code == 400
    with pytest.raises(ValueError, match="no fault is called 'nope'"):
        Box(faults=["nope"])
    response = box.submit("evolink", prompt="[[fault: nope]]")
    assert (response.status_code, "drop-after-accept" in response.text) == (400, True)


@pytest.mark.parametrize(
    "wrong",
    [{"times": "2"}, {"times": 1.5}, {"times": True}, {"times": -1}, {"match": 5}, {"provider": ["evolink"]}, {"kind": None}],
    ids=repr,
)
def test_a_fault_of_wrong_types_is_refused_when_it_is_armed(box: Box, wrong: dict[str, Any]) -> None:
    """And not when it would strike: the next submission and its look are as ever."""
    assert box.ask("POST", "/_sandbox/faults", json={"kind": "failed", **wrong}).status_code == 400
    assert box.look("evolink", box.accepted("evolink"))["status"] == "pending"


def test_the_armed_faults_and_all_kinds_are_shown(box: Box) -> None:
    """GET returns what is armed, and of each kind its phase and meaning."""
    arm(box, "failed", times=3, match="fox")
    shown = box.ask("GET", "/_sandbox/faults").json()
    assert shown["armed"] == [{"kind": "failed", "times": 3, "provider": None, "match": "fox"}]
    assert set(shown["kinds"]) == set(KINDS)


# submit


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_drop_after_accept_breaks_the_connection_of_an_accepted_task(box: Box, gateway: str) -> None:
    """In process the transport sees ConnectionResetError; the task exists and was counted."""
    arm(box, "drop-after-accept")
    with pytest.raises(ConnectionResetError):
        box.submit(gateway)
    (entry,) = box.log()["submissions"]
    assert (entry["accepted"], entry["fault"]) == (True, "drop-after-accept")
    assert isinstance(state(box, gateway, entry["task_id"]), Pending)


def test_hang_after_accept_never_answers(box: Box) -> None:
    """The task is accepted, and no answer comes until the client disconnects."""
    arm(box, "hang-after-accept")

    async def wait() -> None:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(box.app), base_url="http://sandbox.invalid") as client:
            async with asyncio.timeout(0.2):
                await client.post(SUBMIT["evolink"], json={"prompt": "x"}, headers={"authorization": "Bearer k"})

    with pytest.raises(TimeoutError):
        asyncio.run(wait())
    assert box.log()["accepted"] == 1


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_server_error_after_accept_leaves_a_task(box: Box, status: int) -> None:
    """The answer says 5xx and the task exists all the same; the same Idempotency-Key finds it."""
    arm(box, f"{status}-after-accept")
    assert box.submit("apimart", idempotency="k").status_code == status
    task = box.log()["submissions"][0]["task_id"]
    assert box.submit("apimart", idempotency="k").json()["data"][0]["task_id"] == task
    assert box.log()["accepted"] == 1


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_drop_before_accept_breaks_the_connection_without_a_task(box: Box, gateway: str) -> None:
    """No task is made; the same Idempotency-Key makes it afterwards."""
    arm(box, "drop-before-accept")
    with pytest.raises(ConnectionResetError):
        box.submit(gateway, idempotency="k")
    assert box.log()["accepted"] == 0
    assert box.submit(gateway, idempotency="k").status_code == 200
    assert box.log()["accepted"] == 1


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_unavailable_store_of_keys_makes_no_task(box: Box, gateway: str) -> None:
    """`idempotency-unavailable` is 503, which is read as a refusal that may be repeated."""
    arm(box, "idempotency-unavailable")
    response = box.submit(gateway, idempotency="k")
    assert (response.status_code, box.log()["accepted"]) == (503, 0)
    assert "the request was not executed" in response.text
    assert box.submit(gateway, idempotency="k").status_code == 200


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize(("kind", "waits"), [("repeat-in-progress", True), ("repeat-indeterminate", False)])
def test_a_repeated_key_can_be_without_a_result(box: Box, gateway: str, kind: str, waits: bool) -> None:
    """409, with Retry-After while the first request is executed; the first submission is not struck, and no second task is made."""
    arm(box, kind)
    assert box.submit(gateway, idempotency="k").status_code == 200
    response = box.submit(gateway, idempotency="k")
    assert (response.status_code, "retry-after" in response.headers) == (409, waits)
    assert box.submit(gateway, idempotency="k").status_code == 200
    assert box.log()["accepted"] == 1


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("rate-limited", 429, RateLimited),
        ("unavailable", 503, ImageGenError),
        ("unauthorized", 401, AuthenticationError),
        ("no-balance", 402, InsufficientBalance),
    ],
)
def test_a_refusal_makes_no_task(box: Box, gateway: str, kind: str, status: int, error: type[ImageGenError]) -> None:
    """Each gateway's own shape, read by its provider as what it is; 429 carries Retry-After."""
    arm(box, kind)
    response = box.submit(gateway)
    assert (response.status_code, "retry-after" in response.headers) == (status, status == 429)
    assert isinstance(get_provider(gateway).read_error(status, response.json()), error)
    assert box.log()["accepted"] == 0


@pytest.mark.parametrize(("gateway", "status"), [("apimart", 500), ("gccai", 500), ("evolink", 400), ("xingchao", 200)])
def test_moderation_refuses_in_each_gateways_shape(box: Box, gateway: str, status: int) -> None:
    """apimart's 500 build_request_failed, evolink's 4xx and xingchao's failed envelope all mean ContentRejected."""
    arm(box, "moderation")
    response = box.submit(gateway)
    assert (response.status_code, box.log()["accepted"]) == (status, 0)
    provider = get_provider(gateway)
    if status == 200:
        with pytest.raises(ContentRejected):
            provider.read_submission(response.json())
    else:
        assert isinstance(provider.read_error(status, response.json()), ContentRejected)


def test_html_comes_as_an_error_page_or_as_an_answer(box: Box) -> None:
    """The error page is a refusal; the page at 200 hides an accepted task."""
    for kind, status, accepted in (("html-error-page", 403, 0), ("html-answer", 200, 1)):
        arm(box, kind)
        response = box.submit("evolink")
        assert (response.status_code, response.text[:9], box.log()["accepted"]) == (status, "<!doctype", accepted)


def test_truncated_json_ends_in_the_middle(box: Box) -> None:
    """The body is the beginning of a right answer, and the task exists."""
    arm(box, "truncated-json")
    response = box.submit("evolink")
    with pytest.raises(json.JSONDecodeError):
        response.json()
    assert (response.text[0], box.log()["accepted"]) == ("{", 1)


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_no_task_id_names_no_task(box: Box, gateway: str) -> None:
    """The right answer without any id, and the task exists."""
    arm(box, "no-task-id")
    assert box.log()["accepted"] == 0
    assert '"id"' not in (text := box.submit(gateway).text)
    assert '"task_id"' not in text
    assert box.log()["accepted"] == 1


def test_data_object_is_apimarts_newer_answer(box: Box) -> None:
    """`data` is an object with an `id`, which the provider reads alike."""
    arm(box, "data-object")
    answer = box.submit("apimart").json()
    assert answer["data"]["status"] == "submitted"
    assert get_provider("apimart").read_submission(answer).task_id == answer["data"]["id"]


# look


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize(("kind", "error"), [("failed", TaskFailed), ("failed-by-moderation", ContentRejected)])
def test_a_task_fails_for_good(box: Box, gateway: str, kind: str, error: type[ImageGenError]) -> None:
    """It waits like any other, then every look says so, in the gateway's own error shape."""
    task = box.accepted(gateway)
    arm(box, kind)
    assert isinstance(state(box, gateway, task), Pending)
    box.clock.now += 60
    for _ in range(2):
        failed = state(box, gateway, task)
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, error)


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_unknown_word_lasts_until_the_task_finishes(box: Box, gateway: str) -> None:
    """A status no page mentions, then completed."""
    task = box.accepted(gateway)
    arm(box, "unknown-word")
    waiting = state(box, gateway, task)
    assert (type(waiting), waiting.status) == (Pending, "polishing")
    box.clock.now += 60
    assert isinstance(state(box, gateway, task), Succeeded)


@pytest.mark.parametrize(("gateway", "field"), [("apimart", "images"), ("evolink", "results"), ("xingchao", "image_url")])
def test_no_address_is_completed_without_a_picture(box: Box, gateway: str, field: str) -> None:
    """Completed, and the place of the addresses is empty."""
    task = box.accepted(gateway)
    arm(box, "no-address")
    box.clock.now += 60
    answer = box.look(gateway, task)
    place = answer["data"]["result"] if gateway == "apimart" else answer
    assert not place[field]


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("url-string", ["str", "str"]), ("url-list", [2]), ("several-entries", [1, 1])],
)
def test_urls_come_in_every_shape_that_was_seen(box: Box, kind: str, shape: list[Any]) -> None:
    """A string an entry, one entry with a list of all, one entry a picture: two pictures are read from each."""
    task = box.accepted("apimart", n=2)
    arm(box, kind)
    box.clock.now += 60
    answer = box.look("apimart", task)
    urls = [entry["url"] for entry in answer["data"]["result"]["images"]]
    assert [type(url).__name__ if isinstance(url, str) else len(url) for url in urls] == shape
    assert len(get_provider("apimart").read_task(answer).image_urls) == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_task_can_be_forgotten(box: Box, gateway: str) -> None:
    """404 at every look, at evolink 400 as for any unknown task, and left out of the batch."""
    task = box.accepted(gateway)
    arm(box, "task-forgotten")
    assert [box.ask("GET", POLL[gateway] + task).status_code for _ in range(2)] == [400 if gateway == "evolink" else 404] * 2
    if gateway != "xingchao":
        assert box.ask("POST", f"/{gateway}/v1/tasks/batch", json={"task_ids": [task]}).json()["data"] == []


def test_a_task_that_never_finishes_stays_below_one(box: Box) -> None:
    """Long after its time it is still running, at 99 per cent."""
    task = box.accepted("evolink")
    arm(box, "never-finishes")
    box.clock.now += 1_000_000
    assert state(box, "evolink", task) == Pending("processing", 0.99)


def test_a_held_task_finishes_once_the_faults_are_disarmed(box: Box) -> None:
    """However long it was held; one that is made later is not held."""
    task = box.accepted("evolink")
    arm(box, "held")
    box.clock.now += 1_000_000
    assert state(box, "evolink", task) == Pending("processing", 0.99)
    box.clock.now += 1
    box.ask("DELETE", "/_sandbox/faults", key=None)
    assert len(box.finished("evolink", task)) == 1
    assert box.accepted("evolink") != task


def test_fewer_pictures_than_asked(box: Box) -> None:
    """One is missing."""
    task = box.accepted("evolink", n=3)
    arm(box, "fewer-pictures")
    assert len(box.finished("evolink", task)) == 2


def test_a_look_can_meet_500_429_and_garbage(box: Box) -> None:
    """Each strikes one look; the next is answered."""
    task = box.accepted("evolink")
    for kind, status in (("look-500", 500), ("look-rate-limited", 429), ("look-garbage", 200)):
        arm(box, kind)
        response = box.ask("GET", POLL["evolink"] + task)
        assert (response.status_code, response.text.startswith("<!doctype")) == (status, kind == "look-garbage")
        assert box.look("evolink", task)["status"] == "pending"


def test_a_batch_look_can_be_refused_or_garbage(box: Box) -> None:
    """400 in the gateway's shape, or HTML; single looks are untouched."""
    task = box.accepted("evolink")
    for kind, status in (("batch-400", 400), ("batch-garbage", 200)):
        arm(box, kind)
        response = box.ask("POST", "/evolink/v1/tasks/batch", json={"task_ids": [task]})
        assert (response.status_code, response.text.startswith("<!doctype")) == (status, kind == "batch-garbage")
    assert box.look("evolink", task)["status"] == "pending"


# download


@pytest.mark.parametrize(("kind", "status"), [("expired", 410), ("expired-403", 403)])
def test_an_expired_address_stays_expired_until_the_task_is_asked_anew(box: Box, kind: str, status: int) -> None:
    """The old address never works again, the new one does."""
    task = box.accepted("evolink")
    (old,) = box.finished("evolink", task)
    arm(box, kind)
    assert box.download(old).status_code == status
    assert box.download(old).status_code == 403
    (new,) = box.finished("evolink", task)
    assert (new != old, box.download(new).status_code) == (True, 200)


def test_a_download_can_be_a_server_error_once(box: Box) -> None:
    """500, then the picture."""
    (url,) = box.finished("evolink", box.accepted("evolink"))
    arm(box, "download-500")
    assert [box.download(url).status_code for _ in range(2)] == [500, 200]


def test_truncated_has_fewer_bytes_than_content_length(box: Box) -> None:
    """In process the body simply ends."""
    response = struck(box, "truncated")
    assert 0 < len(response.content) < int(response.headers["content-length"])


def test_a_dropped_download_breaks_in_the_middle(box: Box) -> None:
    """In process the transport sees ConnectionResetError."""
    with pytest.raises(ConnectionResetError):
        struck(box, "dropped-download")


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_truncated_jpeg_has_no_content_length_and_no_end(box: Box, form: str) -> None:
    """Its header is whole, its pixels are not."""
    response = struck(box, "truncated-jpeg", output_format=form)
    assert "content-length" not in response.headers
    image = Image.open(io.BytesIO(response.content))
    assert image.format == "JPEG"
    with pytest.raises(OSError, match="truncated"):
        image.load()


@pytest.mark.parametrize("body", [{}, {"size": "16:9", "resolution": "2k"}, {"prompt": "a quiet lake", "quality": "high"}])
def test_corrupt_bytes_spoil_the_picture_but_not_its_header(box: Box, body: dict[str, Any]) -> None:
    """As many bytes as promised, a readable header, and pixel data that fails its checksum."""
    response = struck(box, "corrupt", **body)
    assert len(response.content) == int(response.headers["content-length"])
    image = Image.open(io.BytesIO(response.content))
    with pytest.raises(SyntaxError, match="broken PNG file"):
        image.verify()


@pytest.mark.parametrize(("kind", "declared"), [("oversized", True), ("oversized-undeclared", False)])
def test_oversized_is_more_than_64_mebibytes(box: Box, kind: str, declared: bool) -> None:
    """With and without a Content-Length."""
    response = struck(box, kind)
    assert (len(response.content) > 64 * 2**20, "content-length" in response.headers) == (True, declared)


def test_a_non_image_is_a_page(box: Box) -> None:
    """HTML at 200."""
    response = struck(box, "non-image")
    assert (response.status_code, response.text[:9]) == (200, "<!doctype")


def test_a_bomb_is_small_whole_and_huge(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A valid PNG below 64 kB that decodes to 100 megapixels."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    content = struck(box, "bomb").content
    image = Image.open(io.BytesIO(content))
    assert (len(content) < 65_536, image.size) == (True, (10_000, 10_000))
    image.load()


def test_slow_trickles_and_is_whole(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes come in twenty parts over some seconds."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    url = box.finished("evolink", box.accepted("evolink"))[0]
    arm(box, "slow")
    with monkeypatch.context() as patched:
        patched.setattr("imagegen_magic.sandbox.fault_responses.asyncio", Overlay(asyncio, sleep=sleep))
        response = box.download(url)
    assert (len(pauses), sum(pauses) > 2) == (20, True)
    Image.open(io.BytesIO(response.content)).load()


@pytest.mark.parametrize(("kind", "host"), [("redirect-loopback", "127.0.0.1"), ("redirect-link-local", "169.254.169.254")])
def test_a_redirect_can_point_into_private_places(box: Box, kind: str, host: str) -> None:
    """302 to an address from which no image should come."""
    response = struck(box, kind)
    assert (response.status_code, httpx2.URL(response.headers["location"]).host) == (302, host)


def test_an_honest_redirect_leads_to_the_picture(box: Box) -> None:
    """302 to another address of the same picture."""
    response = struck(box, "redirect")
    assert response.status_code == 302
    Image.open(io.BytesIO(box.download(response.headers["location"]).content)).load()


def test_wrong_size_has_another_aspect_ratio(box: Box) -> None:
    """A whole picture of other pixels."""
    assert Image.open(io.BytesIO(struck(box, "wrong-size", size="16:9").content)).size == (1536, 648)


@pytest.mark.parametrize(("asked", "made"), [("png", "JPEG"), ("jpeg", "PNG"), ("webp", "JPEG")])
def test_wrong_format_lies_about_its_type(box: Box, asked: str, made: str) -> None:
    """The header names what was asked, the bytes are another format."""
    response = struck(box, "wrong-format", output_format=asked)
    assert (response.headers["content-type"], Image.open(io.BytesIO(response.content)).format) == (f"image/{asked}", made)


# upload, references and masks: more in test_sandbox_edits.py


@pytest.mark.parametrize(("kind", "status", "wait"), [("upload-refused", 400, None), ("upload-500", 500, None), ("upload-429", 429, "1")])
def test_an_upload_can_fail(box: Box, kind: str, status: int, wait: str | None) -> None:
    """Refused, an outage, or too many; the next one is accepted."""
    arm(box, kind)
    file = {"file": ("x.png", png(), "image/png")}
    first, second = (box.ask("POST", "/gccai/v1/uploads/images", files=file) for _ in range(2))
    assert (first.status_code, first.headers.get("retry-after"), second.status_code) == (status, wait, 200)


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_reference_gone_is_refused_in_each_dialect(box: Box, gateway: str) -> None:
    """Once, as the provider reads it: certainly not accepted, and the address is why."""
    response = box.submit(gateway, prompt="a fox [[fault: reference-gone]]", image_urls=["https://x.example/a.png"])
    assert isinstance(get_provider(gateway).read_error(response.status_code, response.json()), ReferenceUnreachable)
    again = box.submit(gateway, idempotency="another", prompt="a fox [[fault: reference-gone]]", image_urls=["https://x.example/b.png"])
    assert again.status_code == 200


def test_mask_ignored_clings_to_the_task(box: Box, real_sandbox: None) -> None:
    """Nothing that the mask protects stays as it was."""
    fox, mask = (
        box.ask("POST", "/gccai/v1/uploads/images", files={"file": ("x.png", content, "image/png")}).json()["url"]
        for content in (png("navy"), png("#ffff"))
    )
    asked = {"image_urls": [fox], "mask_url": mask, "size": "1024x1024"}
    assert box.picture("gccai", **asked).convert("RGB").getcolors() == [(1024 * 1024, (0, 0, 128))]
    assert len(box.picture("gccai", prompt="x [[fault: mask-ignored]]", **asked).getcolors(2**20) or []) > 10


def png(colour: str = "teal") -> bytes:
    """Return a small PNG with alpha."""
    out = io.BytesIO()
    Image.new("RGBA", (64, 64), colour).save(out, "PNG")
    return out.getvalue()


def test_every_kind_of_fault_is_tested_here() -> None:
    """A new kind needs a test: its name must occur in this file, or in that of a service with an API of its own."""
    folder = Path(__file__).parent
    text = "".join((folder / name).read_text(encoding="utf-8") for name in (Path(__file__).name, "test_openai_sandbox.py"))
    named = {kind for kind in KINDS if f'"{kind}"' in text or kind in text}
    assert set(KINDS) - named - {f"{status}-after-accept" for status in (500, 502, 504)} == set()
